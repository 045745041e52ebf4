"""``audio-extract chunk``: an audio file in pieces for what comes next."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_extract.cli.invocation import Invocation, command
from audio_extract.cli.quantities import read_seconds, read_size

if TYPE_CHECKING:
    from audio_extract.chunker import ChunkedAudio


class Limit(StrEnum):
    """What decides where to cut."""

    DURATION = "duration"
    SIZE = "size"


class ChunkCodec(StrEnum):
    """What chunks can be encoded to."""

    MP3 = "mp3"
    FLAC = "flac"
    WAV = "wav"


@command
def chunk(
    invocation: Invocation,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audio file, or a recording.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where the chunks go; else a folder beside FILE with its name.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        Limit | None,
        typer.Option(
            help="duration: 15 minutes each. size: below 24 MB each, for services that take 25.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(help="Length of a chunk: 15m, 90s, 1.5h.", show_default=False)
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Every chunk is smaller: 24MB, 500kB. With --duration both hold.", show_default=False
        ),
    ] = None,
    overlap: Annotated[str, typer.Option(help="What chunks have in common with the next: 2s.")] = "0s",
    silence: Annotated[
        bool,
        typer.Option(
            "--silence",
            help="Cut in the silence nearest to the place, at most 30 s (a quarter of a chunk) away.",
        ),
    ] = False,
    silence_threshold: Annotated[
        float, typer.Option(help="Nothing is louder in silence, in dB below full scale.")
    ] = -40.0,
    silence_length: Annotated[str, typer.Option(help="Silence is at least so long.")] = "0.5s",
    codec: Annotated[
        ChunkCodec | None,
        typer.Option(
            help="Encode to this; else MP3, FLAC and WAV are cut as they are, and the rest becomes MP3.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace chunks that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what stands in chunks.json.")] = False,
) -> None:
    """Split an audio file, where that is possible without encoding it again, and write DIR/chunks.json."""
    from audio_extract import _engine
    from audio_extract.chunker import DEFAULT_BYTES, DEFAULT_SECONDS, AudioChunker
    from audio_extract.cli.inputs import ffmpeg_of
    from audio_extract.cli.interrupt import run_interruptible

    wanted_bytes = (
        read_size("--size", size) if size is not None else DEFAULT_BYTES if by is Limit.SIZE else None
    )
    wanted_seconds = read_seconds("--duration", duration) if duration is not None else None
    if wanted_seconds is None and (by is Limit.DURATION or wanted_bytes is None):
        wanted_seconds = DEFAULT_SECONDS
    chunker = AudioChunker(
        duration_seconds=wanted_seconds,
        max_bytes=wanted_bytes,
        overlap_seconds=read_seconds("--overlap", overlap),
        at_silence=silence,
        silence_threshold_db=silence_threshold,
        silence_seconds=read_seconds("--silence-length", silence_length),
        codec=codec.value if codec is not None else None,
        ffmpeg=Path(ffmpeg_of(invocation)["path"]) if invocation.config is not None else None,
    )
    cancel = _engine.CancelToken()
    done = run_interruptible(
        lambda: chunker.chunk(file, output, overwrite=overwrite, cancel=cancel), cancel=cancel.cancel
    )
    typer.echo(
        json.dumps(json.loads(done.index.read_text(encoding="utf-8")), ensure_ascii=False)
        if as_json
        else done.index
    )
    invocation.say(_summary(done))


def _summary(done: ChunkedAudio) -> str:
    from audio_extract.presentation import duration, size

    longest = max(one.end - one.start for one in done.chunks)
    largest = max(one.size_bytes for one in done.chunks)
    silent = sum(one.silence_cut for one in done.chunks)
    count = len(done.chunks)
    parts = [
        f"{done.source}: {duration(done.duration)} in {count} chunk{'s' if count != 1 else ''}",
        f"the longest {duration(longest)}",
        f"the largest {size(largest)}",
    ]
    if silent:
        parts.append(f"{silent} of {count - 1} cuts in silence")
    return ", ".join(parts)

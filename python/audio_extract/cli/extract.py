"""``audio-extract extract``: one recording or several, now, without configuration or database."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from audio_extract.cli import errors
from audio_extract.cli.inputs import ffmpeg_of, resolve
from audio_extract.cli.invocation import Invocation, command
from audio_extract.cli.outputs import plan_outputs
from audio_extract.cli.progress import TransferDisplay
from audio_extract.cli.wanted import (
    CodecFlag,
    PresetFlag,
    QualityFlag,
    chunk_rule,
    of_tracks,
    refuse_impossible,
    wanted_audio,
    wanted_track,
)
from audio_extract.exceptions import AudioExtractError, CancelledError
from audio_extract.presentation import duration, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract._engine import CancelToken
    from audio_extract.cli.inputs import Input
    from audio_extract.cli.outputs import Output, Outputs
    from audio_extract.engine_types import (
        Audio,
        ChunkRule,
        Ffmpeg,
        ProbeTrack,
        Tags,
        TransferReport,
        TransferRequest,
    )
    from audio_extract.measuring import Shaping


class StrategyFlag(StrEnum):
    """How bytes are fetched."""

    PARALLEL = "parallel"
    AUDIO_ONLY = "audio_only"
    STREAM = "stream"
    AUTO = "auto"


@command
def extract(
    invocation: Invocation,
    *,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="A file, a folder, https://…, drive:ID, or a Drive share link.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DEST",
            help="A file, a folder, or gs://bucket/prefix/; else beside a local source, or in this folder.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        list[PresetFlag] | None,
        typer.Option(
            help="podcast (MP3 128k stereo), speech (16 kHz mono FLAC), speech-small (Opus 24k mono), "
            "archive (the sound as it is). Several make several results of one reading.",
            show_default=False,
        ),
    ] = None,
    codec: Annotated[
        CodecFlag | None, typer.Option(help="copy takes the sound as it is; else mp3.", show_default=False)
    ] = None,
    quality: Annotated[QualityFlag, typer.Option(help="Encoder effort.")] = QualityFlag.STANDARD,
    bitrate: Annotated[
        str | None, typer.Option(help="For example 128k; else the codec's usual one.", show_default=False)
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(min=8000, max=192_000, help="In Hz; else as recorded.", show_default=False)
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, max=8, help="Else as recorded.", show_default=False)
    ] = None,
    track: Annotated[
        str,
        typer.Option(
            metavar="TRACK", help="Which sound track: its number from 0, a language (eng), all, or mix."
        ),
    ] = "0",
    normalize: Annotated[
        float | None,
        typer.Option(
            min=-70,
            max=-5,
            metavar="LUFS",
            help="Make it so loud: -16. A local file is measured first and gets one gain (no peak above "
            "-1 dBTP); what comes over the network gets one that changes in time.",
            show_default=False,
        ),
    ] = None,
    trim_silence: Annotated[
        bool,
        typer.Option(
            "--trim-silence", help="Leave out silence at the beginning and the end; the source is read twice."
        ),
    ] = False,
    strategy: Annotated[
        StrategyFlag,
        typer.Option(
            help="How bytes are fetched. Drive's checksum can only be compared where everything is: not by "
            "audio_only, nor by auto where it skips the picture."
        ),
    ] = StrategyFlag.PARALLEL,
    chunk_duration: Annotated[
        str | None,
        typer.Option(help="Cut the result into chunks too, each so long: 15m.", show_default=False),
    ] = None,
    chunk_size: Annotated[
        str | None, typer.Option(help="… each smaller than this: 24MB.", show_default=False)
    ] = None,
    chunk_silence: Annotated[
        bool, typer.Option("--chunk-silence", help="… at the silence nearest to the place.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a result that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each source.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show on stderr where the time went, stage by stage.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be made.")] = False,
) -> None:
    """Take the sound out of recordings. Several sources go on after a failure (exit code 1)."""
    from audio_extract import _engine
    from audio_extract.cli.interrupt import run_interruptible

    wanted = wanted_audio(preset, codec, quality, bitrate=bitrate, sample_rate=sample_rate, channels=channels)
    which = wanted_track(track)
    rule = chunk_rule(chunk_duration, chunk_size, at_silence=chunk_silence)
    refuse_impossible(wanted, rule, normalize, track=which, trim=trim_silence)
    cancel = _engine.CancelToken()
    with TransferDisplay(wanted=invocation.verbosity >= 0) as display:
        ffmpeg = cache(lambda: ffmpeg_of(invocation))
        run = _Run(
            *(invocation, ffmpeg, wanted, strategy, cancel, display),
            rule=rule,
            track=which,
            normalize=normalize,
            trim=trim_silence,
            overwrite=overwrite,
            as_json=as_json,
            dry_run=dry_run,
            profile=profile,
        )
        code = run_interruptible(
            lambda: run.all(sources, output),
            cancel=cancel.cancel,
            on_look=display.refresh,
        )
    if code:
        raise typer.Exit(code)


@dataclass(slots=True)
class _Run:
    """Carries out one call: each recording in turn, going on after a failure."""

    invocation: Invocation
    ffmpeg: Callable[[], Ffmpeg]
    wanted: list[tuple[str, Audio]]
    strategy: StrategyFlag
    cancel: CancelToken
    display: TransferDisplay
    rule: ChunkRule | None
    track: int | str
    normalize: float | None
    trim: bool
    overwrite: bool
    as_json: bool
    dry_run: bool
    profile: bool

    def all(self, words: list[str], output: str | None) -> int:
        """Return the exit code."""
        failures: list[AudioExtractError] = []
        inputs: list[Input] = []
        for word in words:
            try:
                inputs.extend(resolve(word, self.invocation))
            except AudioExtractError as error:
                failures.append(self._failed(word, error))
        many = len(inputs) + len(failures) > 1
        outputs = plan_outputs(
            output, many=many, overwrite=self.overwrite, invocation=self.invocation, recordings=inputs
        )
        for recording in inputs:
            try:
                self._one(recording, outputs)
            except CancelledError:
                raise
            except AudioExtractError as error:
                failures.append(self._failed(recording.word, error))
        if not failures:
            return errors.EXIT_DONE
        return errors.EXIT_SOME_FAILED if many else failures[0].exit_code

    def _one(self, recording: Input, outputs: Outputs) -> None:
        from audio_extract import _engine
        from audio_extract.plan.tracks import chosen

        tracks = cache(lambda: self._tracks(recording))
        known = tracks() if isinstance(self.track, str) else ()
        (_, main), *more = of_tracks(self.wanted, chosen(self.track, known, recording.name))
        extension, content_type = self._kind_of_result(main, tracks)
        target = outputs.place(recording, extension=extension, content_type=content_type)
        others = []
        for name, audio in more:
            kind = self._kind_of_result(audio, tracks)
            others.append(
                target.beside(name, extension=kind[0], content_type=kind[1], overwrite=self.overwrite)
            )
        if self.dry_run:
            labels = [target.label, *(other.label for other in others)]
            self._print(
                {"source": recording.word, "output": target.label, "dry_run": True}, "\n".join(labels)
            )
            return
        tags: Tags = {"title": PurePath(recording.name).stem}

        def shaped(audio: Audio) -> Audio:
            return cast("Audio", {**audio, **self._shaping(recording, audio), "tags": tags})

        request: TransferRequest = {
            "source": recording.source,
            "sink": target.sink,
            "audio": shaped(main),
            "ffmpeg": self.ffmpeg(),
            "fetch": {"strategy": self.strategy.value},
        }
        if others:
            request["outputs"] = [
                {"sink": other.sink, "audio": shaped(audio)}
                for other, (_, audio) in zip(others, more, strict=True)
            ]
        if self.rule is not None:
            request["chunks"] = target.chunks(self.rule, content_type=content_type, overwrite=self.overwrite)
            request["measure"] = self.rule.get("silence")
        progress = _engine.Progress()
        self.display.follow(recording.name, progress)
        before = time.monotonic()
        report = _engine.transfer(
            request,
            source_token=recording.token,
            sink_token=target.token,
            progress=progress,
            cancel=self.cancel,
        )
        self._done(recording, [target, *others], report, time.monotonic() - before)

    def _shaping(self, recording: Input, audio: Audio) -> Shaping:
        """Return what makes a recording as loud and as long as asked; decodes it once more for that."""
        if self.normalize is None and not self.trim:
            return {}
        from audio_extract.measuring import shaping_for

        found = shaping_for(
            recording.source,
            audio,
            self.ffmpeg(),
            normalize=self.normalize,
            trim={} if self.trim else None,
            token=recording.token,
            cancel=self.cancel,
        )
        if found is None:
            self.invocation.say(f"{recording.name}: nothing is heard, so its sound stays as it is")
        return found or {}

    def _tracks(self, recording: Input) -> list[ProbeTrack]:
        """Read the recording's index."""
        from audio_extract import _engine

        report = _engine.probe(
            {"source": recording.source, "ffmpeg": self.ffmpeg()},
            source_token=recording.token,
            cancel=self.cancel,
        )
        return report["tracks"]

    def _kind_of_result(self, audio: Audio, tracks: Callable[[], list[ProbeTrack]]) -> tuple[str, str]:
        """Return extension and content type; what a copy becomes depends on the sound that is there."""
        from audio_extract.plan.formats import CONTENT_TYPES, EXTENSIONS

        codec = audio["codec"]
        extension = EXTENSIONS.get(codec)
        if extension is None:
            track = audio.get("track", 0)
            extension = next((t["copy_extension"] for t in tracks() if t["index"] == track), "m4a")
        return extension, CONTENT_TYPES[extension]

    def _done(self, recording: Input, targets: list[Output], report: TransferReport, seconds: float) -> None:
        target = targets[0]
        stored = report["stored"]
        chunks = report["chunks"]
        labels = [one.label for one in targets]
        more: dict[str, Any] = {}
        if len(targets) > 1:
            more["outputs"] = [
                {
                    "output": label,
                    "size_bytes": one["stored"]["size_bytes"],
                    "crc32c": one["stored"]["crc32c"],
                }
                for label, one in zip(labels[1:], report["outputs"], strict=True)
            ]
        if chunks is not None:
            index = target.index_chunks(PurePath(target.label).name, chunks[-1]["end"], chunks)
            labels.append(index)
            more["chunks"] = index
        self.display.clear()
        self._print(
            {
                "source": recording.word,
                "output": target.label,
                "size_bytes": stored["size_bytes"],
                "crc32c": stored["crc32c"],
                "audio_seconds": report["audio_seconds"],
                "source_size_bytes": report["source_size_bytes"],
                "fetched_bytes": report["fetched_bytes"],
                "strategy": report["strategy"],
                "fallback_reason": report["fallback_reason"],
                "elapsed_seconds": round(seconds, 3),
                **more,
            },
            "\n".join(labels),
        )
        self.invocation.say(
            f"{recording.name}: {duration(report['audio_seconds'])} of sound, "
            f"{size(report['fetched_bytes'])} fetched of {size(report['source_size_bytes'])}, "
            f"{size(stored['size_bytes'])} stored in {seconds:.1f} s"
            + (f", {len(chunks)} chunk{'s' if len(chunks) != 1 else ''}" if chunks is not None else "")
        )

        if self.profile:
            from audio_extract.cli.waterfall import print_waterfall

            print_waterfall(report["stages"], to_stderr=True)

    def _failed(self, word: str, error: AudioExtractError) -> AudioExtractError:
        self.display.clear()
        errors.print_error(error, subject=word)
        if self.as_json:
            self._print({"source": word, "error": {"code": error.code, "message": error.message}}, "")
        return error

    def _print(self, result: dict[str, Any], label: str) -> None:
        typer.echo(json.dumps(result, ensure_ascii=False) if self.as_json else label)

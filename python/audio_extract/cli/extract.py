"""``audio-extract extract``: one recording or several, now, without configuration or database."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio_extract.cli import errors
from audio_extract.cli.inputs import ffmpeg_of, resolve
from audio_extract.cli.invocation import Invocation, command
from audio_extract.cli.outputs import plan_outputs
from audio_extract.cli.progress import TransferDisplay
from audio_extract.exceptions import AudioExtractError, CancelledError, ConfigurationError
from audio_extract.presentation import duration, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract._engine import CancelToken
    from audio_extract.cli.inputs import Input
    from audio_extract.cli.outputs import Output, Outputs
    from audio_extract.engine_types import Audio, Ffmpeg, TransferReport, TransferRequest


class CodecFlag(StrEnum):
    """What the result is."""

    MP3 = "mp3"
    AAC = "aac"
    OPUS = "opus"
    FLAC = "flac"
    WAV = "wav"
    COPY = "copy"


class QualityFlag(StrEnum):
    """How much time the encoder takes."""

    FAST = "fast"
    STANDARD = "standard"
    BEST = "best"


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
    codec: Annotated[CodecFlag, typer.Option(help="copy takes the sound as it is.")] = CodecFlag.MP3,
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
    track: Annotated[int, typer.Option(min=0, help="Which sound track, from 0.")] = 0,
    strategy: Annotated[
        StrategyFlag,
        typer.Option(
            help="How bytes are fetched. Drive's checksum can only be compared where everything is: not by "
            "audio_only, nor by auto where it skips the picture."
        ),
    ] = StrategyFlag.PARALLEL,
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

    audio: Audio = {
        "codec": codec.value,
        "quality": quality.value,
        "bitrate_bps": parse_bitrate(bitrate),
        "sample_rate_hz": sample_rate,
        "channels": channels,
        "track": track,
    }
    cancel = _engine.CancelToken()
    with TransferDisplay(wanted=invocation.verbosity >= 0) as display:
        ffmpeg = cache(lambda: ffmpeg_of(invocation))
        run = _Run(
            *(invocation, ffmpeg, audio, strategy, cancel, display),
            as_json=as_json,
            dry_run=dry_run,
            profile=profile,
        )
        code = run_interruptible(
            lambda: run.all(sources, output, overwrite=overwrite),
            cancel=cancel.cancel,
            on_look=display.refresh,
        )
    if code:
        raise typer.Exit(code)


def parse_bitrate(text: str | None) -> int | None:
    """Return ``128k``, ``128000`` or ``0.5M`` in bits per second.

    Raises:
        ConfigurationError: It is something else.
    """
    if text is None:
        return None
    factor = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    digits = text[:-1] if factor > 1 else text
    try:
        value = round(float(digits) * factor)
    except (ValueError, OverflowError):
        value = 0
    if not 6_000 <= value <= 10_000_000:
        raise ConfigurationError(
            f"--bitrate {text}: expected a bitrate between 6k and 10m, such as 128k", code="usage.invalid"
        )
    return value


@dataclass(slots=True)
class _Run:
    """Carries out one call: each recording in turn, going on after a failure."""

    invocation: Invocation
    ffmpeg: Callable[[], Ffmpeg]
    audio: Audio
    strategy: StrategyFlag
    cancel: CancelToken
    display: TransferDisplay
    as_json: bool
    dry_run: bool
    profile: bool

    def all(self, words: list[str], output: str | None, *, overwrite: bool) -> int:
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
            output, many=many, overwrite=overwrite, invocation=self.invocation, recordings=inputs
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

        extension, content_type = self._kind_of_result(recording)
        target = outputs.place(recording, extension=extension, content_type=content_type)
        if self.dry_run:
            self._print({"source": recording.word, "output": target.label, "dry_run": True}, target.label)
            return
        request: TransferRequest = {
            "source": recording.source,
            "sink": target.sink,
            "audio": {**self.audio, "tags": {"title": PurePath(recording.name).stem}},
            "ffmpeg": self.ffmpeg(),
            "fetch": {"strategy": self.strategy.value},
        }
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
        self._done(recording, target, report, time.monotonic() - before)

    def _kind_of_result(self, recording: Input) -> tuple[str, str]:
        """Return extension and content type; what a copy becomes depends on the sound that is there."""
        from audio_extract.plan.formats import CONTENT_TYPES, EXTENSIONS

        codec = self.audio["codec"]
        extension = EXTENSIONS.get(codec)
        if extension is None:
            from audio_extract import _engine

            report = _engine.probe(
                {"source": recording.source, "ffmpeg": self.ffmpeg()},
                source_token=recording.token,
                cancel=self.cancel,
            )
            track = self.audio.get("track", 0)
            extension = next((t["copy_extension"] for t in report["tracks"] if t["index"] == track), "m4a")
        return extension, CONTENT_TYPES[extension]

    def _done(self, recording: Input, target: Output, report: TransferReport, seconds: float) -> None:
        stored = report["stored"]
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
            },
            target.label,
        )
        self.invocation.say(
            f"{recording.name}: {duration(report['audio_seconds'])} of sound, "
            f"{size(report['fetched_bytes'])} fetched of {size(report['source_size_bytes'])}, "
            f"{size(stored['size_bytes'])} stored in {seconds:.1f} s"
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

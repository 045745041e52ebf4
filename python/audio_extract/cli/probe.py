"""``audio-extract probe``: what is inside a recording, from its index alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from audio_extract.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from audio_extract.engine_types import ProbeNetwork, ProbeReport, SoundReport


@command
def probe(
    invocation: Invocation,
    *,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A file, https://…, drive:ID or a Drive share link.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    waveform: Annotated[
        bool,
        typer.Option(
            "--waveform", help="Decode the sound too: its waveform, loudness (EBU R128) and silence."
        ),
    ] = False,
    track: Annotated[int, typer.Option(min=0, help="Which sound track --waveform shows, from 0.")] = 0,
) -> None:
    """Show container, tracks and length, and what each way to fetch the audio would cost."""
    from audio_extract import _engine
    from audio_extract.cli.inputs import ffmpeg_of, resolve_one
    from audio_extract.cli.interrupt import run_interruptible

    cancel = _engine.CancelToken()

    def work() -> tuple[str, ProbeReport, SoundReport | None]:
        recording = resolve_one(source, invocation)
        ffmpeg = ffmpeg_of(invocation)
        report = _engine.probe(
            {"source": recording.source, "ffmpeg": ffmpeg}, source_token=recording.token, cancel=cancel
        )
        if not waveform:
            return recording.name, report, None
        measured = _engine.transfer(
            {
                "source": recording.source,
                "sink": {"kind": "nothing"},
                "audio": {"codec": "wav", "track": track},
                "measure": {},
                "ffmpeg": ffmpeg,
            },
            source_token=recording.token,
            cancel=cancel,
        )
        return recording.name, report, measured["sound"]

    name, report, sound = run_interruptible(work, cancel=cancel.cancel)
    if as_json:
        measured = {"sound": sound} if waveform else {}
        typer.echo(json.dumps({"source": source, "name": name, **report, **measured}, ensure_ascii=False))
        return
    _print_tables(name, report)
    if sound is not None:
        _print_sound(sound)


def _print_sound(sound: SoundReport) -> None:
    """Draw the waveform as wide as the terminal is, and say what was measured."""
    import shutil

    from audio_extract.presentation import duration
    from audio_extract.sound import loudness_text, terminal_lines

    columns = min(shutil.get_terminal_size().columns, 120)
    for line in terminal_lines(sound["waveform"], columns):
        typer.echo(line)
    silence = sound["silence"]
    typer.echo(f"loudness: {loudness_text(sound['loudness']) or 'nothing is heard'}")  # type: ignore[arg-type]
    typer.echo(
        f"silence: {duration(silence['total_seconds'])} of {duration(sound['seconds'])}, "
        f"{silence['leading_seconds']:.1f} s before the first sound and "
        f"{silence['trailing_seconds']:.1f} s after the last"
    )


def _print_tables(name: str, report: ProbeReport) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from audio_extract.presentation import duration, size

    console = Console()
    picture = "with picture" if report["has_video"] else "sound only"
    console.print(
        Text(
            f"{name}: {report['container']}, {size(report['size_bytes'])}, "
            f"{duration(report['duration_seconds'])}, {picture}"
        )
    )
    about = report["about"]
    if about["title"]:
        console.print(Text(f"title: {about['title']}"))
    if about["created_unix_seconds"] is not None:
        made = datetime.fromtimestamp(about["created_unix_seconds"], UTC)
        console.print(Text(f"made: {made:%Y-%m-%d %H:%M:%S} UTC"))
    for chapter in about["chapters"]:
        console.print(Text(f"chapter: {duration(chapter['start_seconds'])} {chapter['title']}"))
    tracks = Table("track", "codec", "rate", "channels", "language", "length", box=None)
    for track in report["tracks"]:
        tracks.add_row(
            str(track["index"]),
            track["codec"],
            f"{track['sample_rate_hz']} Hz" if track["sample_rate_hz"] else "–",
            str(track["channels"] or "–"),
            Text(track["language"] or "–"),
            duration(track["duration_seconds"]),
        )
    console.print(tracks)
    plans = Table("strategy", "bytes", "requests", "quota units", "predicted", box=None)
    for plan in report["plans"]:
        plans.add_row(
            plan["strategy"],
            size(plan["fetch_bytes"]),
            f"{plan['requests']:,}",
            f"{plan['quota_units']:,}" if plan["quota_units"] else "–",
            "–" if plan["predicted_seconds"] is None else f"{plan['predicted_seconds']:.1f} s",
        )
    console.print(plans)
    if report["network"]:
        console.print(Text(_predicted_with(report["network"])))
    if report["fallback_reason"]:
        console.print(Text(f"the whole file is needed: {report['fallback_reason']}"))


def _predicted_with(network: ProbeNetwork) -> str:
    """Say what the predictions rest on."""
    one, together = network["connection_bytes_per_second"], network["all_bytes_per_second"]
    figures = {
        "latency_seconds": f"{network['latency_seconds'] * 1000:.0f} ms to an answer",
        "connection_bytes_per_second": f"{one / 1e6:.1f} MB/s a connection",
        "all_bytes_per_second": f"{together / 1e6:.1f} MB/s in all",
    }
    measured = [text for name, text in figures.items() if name not in network["assumed"]]
    assumed = [text for name, text in figures.items() if name in network["assumed"]]
    parts = [f"measured: {', '.join(measured)}"] if measured else []
    parts += [f"assumed: {', '.join(assumed)}"] if assumed else []
    return f"predicted at least, without encoding; {'; '.join(parts)}"

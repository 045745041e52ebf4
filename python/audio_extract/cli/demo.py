"""``audio-extract demo``: the real service between emulators of Drive and Cloud Storage."""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_extract.cli import errors
from audio_extract.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from collections.abc import Iterator


@command
def demo(
    invocation: Invocation,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End by itself: verify everything, then run twice more.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1, max=3600, help="Length of each sample; 8 with --once, else 60.", show_default=False
        ),
    ] = None,
    hours: Annotated[
        float, typer.Option(min=0, max=24, help="Length of one more, long recording; 0 makes none.")
    ] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(help="Keep everything here; else in a temporary folder.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the dashboard, without --once.")] = 8080,
    browser: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            "--browser/--no-browser",
            help="Open the dashboard in a browser; without either, where there is a terminal.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the service at work without Google: emulators on loopback, sample recordings, the dashboard."""
    from audio_extract.cli.demo_stage import open_stage
    from audio_extract.cli.inputs import ffmpeg_of
    from audio_extract.cli.interrupt import run_interruptible

    ffmpeg = Path(ffmpeg_of(invocation)["path"])
    length = seconds or (8 if once else 60)
    with _folder(folder) as place:
        invocation.say(f"making sample recordings of {length:g} s in {place}")
        with open_stage(
            place,
            ffmpeg=ffmpeg,
            seconds=length,
            hours=hours,
            dashboard_port=0 if once else port,
            health_port=0 if once else port + 1 if port else 0,
            log_to_console=not once,
        ) as stage:
            invocation.say(f"Drive: {stage.drive.url}   Cloud Storage: {stage.storage.url}")
            if not once:
                from audio_extract.cli.serving import serve

                wanted = sys.stderr.isatty() if browser is None else browser
                serve(stage.settings, invocation, open_browser=wanted)
                return
            from audio_extract.cli.demo_rounds import Rounds

            rounds = Rounds(stage, invocation, ffmpeg)
            problems = run_interruptible(rounds.all, cancel=rounds.stop)
            for problem in problems:
                print(f"WRONG  {problem}", file=sys.stderr)
            typer.echo(rounds.summary())
            if problems:
                raise typer.Exit(errors.EXIT_SOME_FAILED)


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="audio-extract-demo-") as made:
        yield Path(made)

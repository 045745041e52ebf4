"""Puts the commands together. Importing this must stay cheap: commands import what is slow when they run."""

from __future__ import annotations

import os
import sys
import threading
import time

import typer

from audio_extract.cli import config, db, service, trace
from audio_extract.cli.audit import audit
from audio_extract.cli.check import check
from audio_extract.cli.chunk import chunk
from audio_extract.cli.completion import completion
from audio_extract.cli.demo import demo
from audio_extract.cli.emulator import emulator
from audio_extract.cli.extract import extract
from audio_extract.cli.healthcheck import healthcheck
from audio_extract.cli.help import CommandGroups
from audio_extract.cli.once import once
from audio_extract.cli.probe import probe
from audio_extract.cli.recordings import forget, list_recordings, retry, show, syncs
from audio_extract.cli.run import run as run_service
from audio_extract.cli.top import top
from audio_extract.cli.version import version
from audio_extract.cli.worker import worker

app = typer.Typer(
    name="audio-extract",
    cls=CommandGroups,
    help="Takes the audio out of meeting recordings and stores it exactly once.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog="Exit codes: 0 done · 1 some recordings failed · 2 usage or configuration · 3 credentials or "
    "permission · 4 nothing to do · 5 temporary, try again · 70 a bug · 130/143 interrupted.",
)

#: How long threads may take to end after the command has.
_LAST_SECONDS = 5.0
_ONE_FILE = "One recording, now"
_SERVICE = "The service"
_TRACKER = "What is known"
_SETUP = "Set-up"
_ABOUT = "About this program"

app.command(rich_help_panel=_ONE_FILE)(extract)
app.command(rich_help_panel=_ONE_FILE)(probe)
app.command(rich_help_panel=_ONE_FILE)(chunk)
app.command("run", rich_help_panel=_SERVICE)(run_service)
app.command(rich_help_panel=_SERVICE)(once)
app.command(rich_help_panel=_SERVICE)(worker)
app.command(rich_help_panel=_SERVICE)(top)
app.command(rich_help_panel=_SERVICE)(demo)
app.command(rich_help_panel=_SERVICE)(emulator)
app.command("list", rich_help_panel=_TRACKER)(list_recordings)
app.command(rich_help_panel=_TRACKER)(show)
app.command(rich_help_panel=_TRACKER)(retry)
app.command(rich_help_panel=_TRACKER)(forget)
app.command(rich_help_panel=_TRACKER)(syncs)
app.command(rich_help_panel=_TRACKER)(audit)
app.command(rich_help_panel=_SETUP)(check)
app.add_typer(trace.app, name="trace", rich_help_panel=_TRACKER)
app.add_typer(config.app, name="config", rich_help_panel=_SETUP)
app.add_typer(db.app, name="db", rich_help_panel=_SETUP)
app.add_typer(service.app, name="service", rich_help_panel=_SETUP)
app.command(rich_help_panel=_ABOUT)(version)
app.command(rich_help_panel=_ABOUT)(completion)
app.command(hidden=True)(healthcheck)


def _open_standard_streams() -> None:
    """Give a closed stdout or stderr (``>&-``) somewhere to go.

    Otherwise the next file that is opened gets number 1 or 2, and a child's messages end up in the database.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            empty = os.open(os.devnull, os.O_WRONLY)
            if empty != number:
                os.dup2(empty, number)
                os.close(empty)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8"))


def run() -> None:
    """Run the command line and end the process with the exit code of the contract."""
    _open_standard_streams()
    try:
        _carry_out()
    except SystemExit as end:
        _end_in_time(end.code if isinstance(end.code, int) else 0)
        raise


def _end_in_time(code: int) -> None:
    """Let the interpreter wait only so long for threads that hang.

    Whatever had to be done is done. A thread that waits for a database server that is stopped would keep the
    process for ever: nothing ends a thread from outside, and the interpreter waits for its executors'.
    """

    def end() -> None:
        time.sleep(_LAST_SECONDS)
        os._exit(code)

    threading.Thread(target=end, name="end", daemon=True).start()


def _carry_out() -> None:
    if sys.argv[1:2] == ["monitor"]:
        # The executable is no Python that could be asked for the module.
        from audio_extract.cli import monitor

        sys.exit(monitor.main(sys.argv[2:]))
    app(prog_name="audio-extract")

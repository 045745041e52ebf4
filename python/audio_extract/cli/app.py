"""Puts the commands together. Importing this must stay cheap: commands import what is slow when they run."""

from __future__ import annotations

import typer

from audio_extract.cli.completion import completion
from audio_extract.cli.extract import extract
from audio_extract.cli.probe import probe
from audio_extract.cli.version import version

app = typer.Typer(
    name="audio-extract",
    help="Takes the audio out of meeting recordings and stores it exactly once.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="Exit codes: 0 done · 1 some recordings failed · 2 usage or configuration · 3 credentials or "
    "permission · 4 nothing to do · 5 temporary, try again · 70 a bug · 130/143 interrupted.",
)

_ONE_FILE = "One recording, now"
_ABOUT = "About this program"

app.command(rich_help_panel=_ONE_FILE)(extract)
app.command(rich_help_panel=_ONE_FILE)(probe)
app.command(rich_help_panel=_ABOUT)(version)
app.command(rich_help_panel=_ABOUT)(completion)


def run() -> None:
    """Run the command line and end the process with the exit code of the contract."""
    app(prog_name="audio-extract")

"""One call of a command: the flags that every command shares, and what follows from them.

A command is a function whose first parameter is an :class:`Invocation`; :func:`command` gives it the shared
flags, so that they are accepted after every command's words, and turns what it raises into an exit code.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio_extract.cli import errors
from audio_extract.exceptions import ConfigurationError
from audio_extract.presentation import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.settings import Settings


class LogFormat(StrEnum):
    """How log lines look on stderr."""

    TEXT = "text"
    JSON = "json"


@dataclass(slots=True)
class Invocation:
    """The shared flags of one call.

    Attributes:
        config: The file of ``--config``; None searches the usual places.
        assume_yes: Nothing is asked.
        verbosity: -1 with ``-q``, 0, 1 with ``-v``, 2 with ``-vv``.
        log_format: None follows the settings.
        show_traceback: A person's errors carry a traceback too.
    """

    config: Path | None = None
    assume_yes: bool = False
    verbosity: int = 0
    log_format: LogFormat | None = None
    show_traceback: bool = field(default=False)

    def settings(self, overrides: dict[str, Any] | None = None) -> Settings:
        """Load the settings of this call.

        Args:
            overrides: Flags, nested as in the file; they win over environment and file.

        Raises:
            ConfigurationError: A setting is wrong; the message names it.
        """
        from audio_extract.settings import load_settings

        settings = load_settings(self.config, overrides=overrides)
        self.show_traceback = self.show_traceback or settings.behavior.show_full_traceback
        return settings

    def confirm(self, question: str) -> None:
        """Ask before something is changed for good.

        Raises:
            ConfigurationError: There is nobody to ask and ``--yes`` was not given.
            typer.Abort: The person said no.
        """
        if self.assume_yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfigurationError(
                f"{question} There is no terminal to answer on, so nothing was changed. "
                "To do: run it again with --yes.",
                code="usage.needs_yes",
            )
        if not typer.confirm(question, err=True):
            print("nothing was changed", file=sys.stderr)
            raise typer.Exit(errors.EXIT_DONE)

    def say(self, text: str) -> None:
        """Tell the person something on stderr, unless ``-q``."""
        if self.verbosity >= 0:
            print(one_line(text), file=sys.stderr)


def _shared_parameters() -> list[inspect.Parameter]:
    flags: list[tuple[str, Any, Any]] = [
        (
            "config",
            None,
            Annotated[
                Path | None,
                typer.Option(
                    "--config",
                    "-c",
                    help="The settings file; without it the usual places are searched.",
                    show_default=False,
                    rich_help_panel=_PANEL,
                ),
            ],
        ),
        (
            "yes",
            False,
            Annotated[
                bool,
                typer.Option("--yes", "-y", help="Answer every question with yes.", rich_help_panel=_PANEL),
            ],
        ),
        (
            "verbose",
            0,
            Annotated[
                int,
                typer.Option(
                    "-v",
                    count=True,
                    help="Say more; -vv says everything.",
                    rich_help_panel=_PANEL,
                    show_default=False,
                    metavar="",
                ),
            ],
        ),
        (
            "quiet",
            False,
            Annotated[
                bool,
                typer.Option("-q", help="Say only what failed.", rich_help_panel=_PANEL, show_default=False),
            ],
        ),
        (
            "log_format",
            None,
            Annotated[
                LogFormat | None,
                typer.Option(
                    "--log-format",
                    help="How log lines look on stderr.",
                    show_default=False,
                    rich_help_panel=_PANEL,
                ),
            ],
        ),
    ]
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, default, annotation in flags
    ]


_PANEL = "Shared flags"


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a Typer command of a function that takes an :class:`Invocation` first."""
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())[1:]

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        verbosity = -1 if arguments.pop("quiet") else arguments.pop("verbose")
        arguments.pop("verbose", None)
        invocation = Invocation(
            config=arguments.pop("config"),
            assume_yes=arguments.pop("yes"),
            verbosity=verbosity,
            log_format=arguments.pop("log_format"),
            show_traceback=verbosity >= 2,
        )
        _quiet_libraries(verbosity)
        try:
            function(invocation, **arguments)
        except BaseException as error:  # noqa: BLE001 - here everything becomes an exit code
            raise typer.Exit(errors.exit_code(error, invocation)) from None

    run.__signature__ = signature.replace(parameters=[*own, *_shared_parameters()])  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    del run.__wrapped__
    return run


def _quiet_libraries(verbosity: int) -> None:
    """Warnings of libraries reach stderr as plain lines until a command sets up the service's logs."""
    from audio_extract.telemetry.redaction import RedactingFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
    level = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logging.basicConfig(level=level, handlers=[handler])

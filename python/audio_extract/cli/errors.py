"""The one place where a failure becomes an exit code and a text on stderr.

Exit codes are a contract: 0 done · 1 some recordings failed · 2 usage or configuration · 3 credentials or
permission · 4 nothing to do · 5 temporary · 70 a bug · 130/143 interrupted after a clean stop.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import PurePath
from typing import TYPE_CHECKING

import typer

from audio_extract.exceptions import AudioExtractError
from audio_extract.presentation import one_line

if TYPE_CHECKING:
    from audio_extract.cli.invocation import Invocation

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_NOTHING_TO_DO = 4
EXIT_TEMPORARY = 5
EXIT_BUG = 70
#: What a shell reports for a program that wrote to a closed pipe (``audio-extract list | head``).
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

#: Outside the service nothing is retried or forgotten; this message says what a person does at the prompt.
_SAID_BY_MESSAGE = frozenset({"source.not_found"})
#: And these remedies are other ones there.
_AT_PROMPT = {
    "destination.exists": "choose another name with -o, or replace it with --overwrite",
    "destination.io": "check the disk and try again",
    "destination.no_space": "make room and try again",
    "destination.not_found": "create it, or name another with -o",
    "destination.permission_denied": "get the right to write there, or name another place with -o",
    "media.cannot_copy": "choose --codec mp3 or another encoder",
    "media.encrypted": "get a copy without protection",
    "media.no_audio": "nothing can be extracted; check the microphone for the next meeting",
    "media.track_not_found": "choose another with --track (0 is the first)",
    "media.unsupported": "install a complete FFmpeg and name it in AUDIO_EXTRACT__PROCESSING__FFMPEG__PATH",
    "media.unreadable": "play it where it comes from; if that fails too, get a whole copy of it",
    "source.io": "check the disk and try again",
    "source.permission_denied": "get the right to read it (in Drive: share it with the service account)",
}


class Interrupted(BaseException):
    """A signal ended the command, and everything it had started was stopped first."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


def exit_code(error: BaseException, invocation: Invocation) -> int:
    """Tell the person what failed and what to do, and return the exit code.

    Args:
        error: What ended the command.
        invocation: Decides whether a traceback is shown.
    """
    code = getattr(error, "exit_code", EXIT_BUG)
    match error:
        case typer.Exit() | Interrupted():
            pass
        case SystemExit():
            code = error.code if isinstance(error.code, int) else EXIT_BUG
        case KeyboardInterrupt() | typer.Abort():
            print("interrupted", file=sys.stderr)
            code = 128 + signal.SIGINT
        case BrokenPipeError():
            _give_up_output()
            code = EXIT_BROKEN_PIPE
        case OSError() if error.errno in _FULL:
            where = error.filename or "the output"
            print(f"error: writing {where}: {error.strerror}; make room and try again", file=sys.stderr)
            _give_up_output()
            code = EXIT_TEMPORARY
        case AudioExtractError():
            print_error(error)
            if invocation.show_traceback:
                _print_traceback(error)
        case _:
            _print_traceback(error)
            print(
                f"error: this is a bug: {type(error).__name__}: {_redacted(str(error))}\n"
                "       to do: report it with the lines above and what you ran",
                file=sys.stderr,
            )
    return int(code)


def _give_up_output() -> None:
    """Nobody takes stdout any more: the interpreter would complain once more when it flushes at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(error: AudioExtractError, *, subject: str | None = None) -> None:
    """Print one failure with its remedy on stderr, secrets removed."""
    where = f"{subject}: " if subject and PurePath(subject).name not in error.message else ""
    text = f"error: {where}{_redacted(error.message)}"
    # Only problems with the settings come as a list, and it is the person's own file that they quote.
    lines = text.split("\n") if error.code == "config.invalid" else [text]
    print("\n".join(map(one_line, lines)), file=sys.stderr)
    remedy = _AT_PROMPT.get(error.code) or remedy_for(error)
    if remedy:
        from audio_extract.failure_texts import AGAIN

        # The command has ended: nothing is tried again by itself.
        print(f"       to do: {remedy.replace(AGAIN, 'try again later')}", file=sys.stderr)


def remedy_for(error: AudioExtractError) -> str | None:
    """Return what to do about a failure, unless its message says so already."""
    if error.code in _SAID_BY_MESSAGE:
        return None
    text = remedy_of(error.code)
    return text if text and text not in error.message else None


def remedy_of(code: str | None) -> str | None:
    """Return what to do about a kind of failure."""
    if code is None:
        return None
    from audio_extract.failure_texts import remedy

    return remedy(code)


def _print_traceback(error: BaseException) -> None:
    print(_redacted("".join(traceback.format_exception(error))), end="", file=sys.stderr)


def _redacted(text: str) -> str:
    from audio_extract.telemetry.redaction import redact

    return redact(text)

"""The whole terminal for one command: drawn again and again, single keys, and given back as it was."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from audio_extract.cli.errors import Interrupted
from audio_extract.cli.interrupt import watching_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from rich.console import Console, RenderableType

#: How often the screen is drawn, and how soon a signal is seen.
_LOOK_SECONDS: Final = 0.25
#: Arrows and function keys, as terminals send them (ECMA-48 §5.4, and SS3); they stand for nothing here.
_FUNCTION_KEYS: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)")
#: What the keyboard says when the terminal is gone.
GONE: Final = "\x04"


def has_screen() -> bool:
    """Tell whether stdout is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"", "dumb", "unknown"}


def show_screen(
    draw: Callable[[], RenderableType], on_key: Callable[[str], bool], *, console: Console | None = None
) -> None:
    """Draw until a key ends it.

    Args:
        draw: Makes what is shown, four times a second and after each key.
        on_key: Gets each key; whether it ends the command.
        console: Where; stdout unless given.

    Raises:
        Interrupted: A signal ended it. The terminal is as it was before.
    """
    from rich.console import Console

    console = console or Console()
    with watching_signals(lambda: None) as watch, _suspension() as suspension:
        while _one_stretch(console, draw, on_key, lambda: watch.received is not None or suspension.wanted):
            if not suspension.wanted:
                break
            suspension.carry_out()
    if watch.received is not None:
        raise Interrupted(watch.received)


def _one_stretch(
    console: Console,
    draw: Callable[[], RenderableType],
    on_key: Callable[[str], bool],
    is_over: Callable[[], bool],
) -> bool:
    """Draw until a key (False) or a signal (True) ends it, and give the terminal back."""
    from rich.live import Live

    with (
        _single_keys() as read,
        Live(
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live,
    ):
        while not is_over():
            live.update(draw(), refresh=True)
            for key in read():
                if on_key(key):
                    return False
    return True


@contextmanager
def _single_keys() -> Iterator[Callable[[], list[str]]]:
    """Give what waits a moment for keys and returns them; they come without Enter and are not echoed."""
    import termios
    import tty

    if not sys.stdin.isatty():
        yield _no_keys
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number, termios.TCSADRAIN)
    try:
        yield lambda: _keys(number)
    finally:
        # What was typed and not read is no command for the shell.
        termios.tcsetattr(number, termios.TCSAFLUSH, before)


def _no_keys() -> list[str]:
    select.select([], [], [], _LOOK_SECONDS)
    return []


def _keys(number: int) -> list[str]:
    readable, _, _ = select.select([number], [], [], _LOOK_SECONDS)
    if not readable:
        return []
    try:
        typed = os.read(number, 1024)
    except OSError:
        typed = b""
    if not typed:
        return [GONE]
    text = typed.decode(errors="replace")
    return list(_FUNCTION_KEYS.sub("", text))


class _Suspension:
    """Ctrl-Z: the terminal is given back first."""

    def __init__(self) -> None:
        self.wanted = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z was pressed."""
        del number, frame
        self.wanted = True

    def carry_out(self) -> None:
        """Stop this process; returns when the shell lets it go on."""
        self.wanted = False
        os.kill(os.getpid(), signal.SIGSTOP)


@contextmanager
def _suspension() -> Iterator[_Suspension]:
    suspension = _Suspension()
    before = signal.signal(signal.SIGTSTP, suspension.on_signal)
    try:
        yield suspension
    finally:
        signal.signal(signal.SIGTSTP, before)

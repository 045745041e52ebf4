"""Shows a list again and again, as ``list --watch`` does."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from audio_extract.cli.screen import GONE, show_screen
from audio_extract.exceptions import AudioExtractError
from audio_extract.presentation import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

_EVERY_SECONDS: Final = 2.0


def watch_list(read: Callable[[], RenderableType]) -> None:
    """Show what ``read`` gives, until a key or a signal ends it.

    Args:
        read: Asks for the list, in a thread: it may hang, and Ctrl-C has to work all the same.

    Raises:
        AudioExtractError: The list cannot be read at first. Later the last one stays, with the reason.
    """
    from rich.console import Group
    from rich.text import Text

    shown: list[RenderableType] = [read()]
    problem: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(_EVERY_SECONDS):
            try:
                shown[:] = [read()]
                problem.clear()
            except AudioExtractError as error:
                problem[:] = [one_line(error.message)]

    def draw() -> RenderableType:
        head = Text(f" {datetime.now(UTC).astimezone():%H:%M:%S} · q quit ", style="reverse")
        return Group(head, *(Text(f"{text}; this is older", style="bold red") for text in problem), *shown)

    threading.Thread(target=look, name="watch", daemon=True).start()
    try:
        show_screen(draw, lambda key: key in {"q", "Q", GONE})
    finally:
        over.set()

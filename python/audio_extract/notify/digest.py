"""What people are told in words: one message for some failures, one for each success if they want to know."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.notify.ending import Ending


class DigestSettings(Protocol):
    """What a section says about messages."""

    @property
    def on_failure(self) -> bool:
        """Tell of failures."""

    @property
    def on_success(self) -> bool:
        """Tell of what was stored."""

    @property
    def failure_threshold(self) -> int:
        """How many failures make a message."""


class Digest:
    """Makes messages of endings.

    Args:
        settings: What is wanted.
        send: Takes a subject and a text; must not raise or wait.
    """

    def __init__(self, settings: DigestSettings, send: Callable[[str, str], None]) -> None:
        self._settings = settings
        self._send = send
        self._lock = threading.Lock()
        self._failures: list[str] = []

    def tell(self, ending: Ending) -> None:
        """A transfer ended; of failures one message tells, when there are enough."""
        if ending.status == "completed":
            if self._settings.on_success:
                text = f"The audio of {ending.name} is stored and verified. The dashboard has its link."
                self._send(f"audio-extract: stored {ending.name}", text)
            return
        if not self._settings.on_failure:
            return
        with self._lock:
            self._failures.append(ending.text)
            if len(self._failures) < self._settings.failure_threshold:
                return
            failures, self._failures = self._failures, []
        count = "1 recording" if len(failures) == 1 else f"{len(failures)} recordings"
        self._send(f"audio-extract: {count} failed", "\n\n".join(failures))

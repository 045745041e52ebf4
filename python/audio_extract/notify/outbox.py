"""Deliveries one after the other, in a thread that nobody waits for."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

#: More than that many wait only while the receiver is down for long.
_MOST_WAITING: Final = 1000
#: At the end, this long for what still waits.
_DRAIN_SECONDS: Final = 10.0


class Outbox:
    """Delivers what is put into it.

    Attributes:
        closing: Set when no more comes: who waits before another try gives up.

    Args:
        name: Of the receiver, for the log; not a secret.
    """

    def __init__(self, name: str) -> None:
        self.closing = threading.Event()
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(_MOST_WAITING)
        self._is_full = False

    def put(self, delivery: Callable[[], None]) -> None:
        """Carry out a delivery later. It must not raise."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(delivery)
        except queue.Full:
            if not self._is_full:
                _log.warning(
                    "%s: %d messages wait already, further ones are dropped",
                    self._name,
                    _MOST_WAITING,
                    extra={"event": "notify.dropped"},
                )
            self._is_full = True
        else:
            self._is_full = False

    def close(self) -> None:
        """Deliver what waits, for at most some seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self.closing.set()
        try:
            self._waiting.put(None, timeout=_DRAIN_SECONDS)
        except queue.Full:
            return
        thread.join(_DRAIN_SECONDS)

    def _work(self) -> None:
        while (delivery := self._waiting.get()) is not None:
            delivery()

"""Answers that cost something are kept for as long as they are worth: many who look share one question."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Asking takes at most this share of the time, however many look.
_SHARE: Final = 0.05
#: No answer is older than this; the page looks once more after it.
_MOST_SECONDS: Final = 3.0


class Remembered(Generic[T]):
    """Asks at most so often that asking takes a twentieth of the time; a quick answer is always a new one.

    While one caller asks, the others get the last answer instead of waiting. Safe for threads.

    Args:
        ask: The question. What it raises reaches the caller who asked.
        monotonic: The clock.
    """

    def __init__(self, ask: Callable[[], T], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._asking = threading.Lock()
        self._last: tuple[T, float] | None = None

    def __call__(self) -> T:
        """Return the answer."""
        last = self._last
        if last is not None and self._monotonic() < last[1]:
            return last[0]
        if last is not None and not self._asking.acquire(blocking=False):
            return last[0]
        if last is None:
            self._asking.acquire()
        try:
            before = self._monotonic()
            answer = self._ask()
            after = self._monotonic()
            self._last = (answer, after + min(_MOST_SECONDS, (after - before) / _SHARE))
        finally:
            self._asking.release()
        return answer

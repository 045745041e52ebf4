"""Answers that cost something are kept for as long as they are worth: many who look share one question."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from audio_extract.exceptions import AudioExtractError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: Asking takes at most this share of the time, however many look.
_SHARE: Final = 0.02
#: No answer is called fresh for longer than this; the page looks twice more after it.
_MOST_SECONDS: Final = 6.0
#: An answer that ceased to be fresh so recently is given while a new one is asked for; nobody waits then.
_RECENT_SECONDS: Final = 10.0


#: So many different answers are kept while nothing changes.
_MOST_ANSWERS: Final = 32
#: And so long: of two changes at once PostgreSQL may show the later number first, and the earlier adds none.
_UNCHANGED_SECONDS: Final = 2.0
#: What another process changes is seen after so long at the latest; what this one does, at once.
_SURE_SECONDS: Final = 0.25


class Unchanged(Generic[T]):
    """Keeps answers until something changes; asking whether it did costs far less than they do.

    For a moment after asking, not even that is asked. Safe for threads.

    Args:
        change: Gives a number that is another one after each change.
        monotonic: The clock.
    """

    def __init__(self, change: Callable[[], int], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._change = change
        self._monotonic = monotonic
        self._kept: tuple[int, float, dict[Hashable, T]] = (-1, 0.0, {})
        # Until when nothing can have changed that matters, and how often somebody said that something did.
        self._sure_until = 0.0
        self._changes = 0

    def at_hand(self, key: Hashable) -> T | None:
        """Return an answer for which nothing at all is asked, if there is one."""
        _, until, answers = self._kept
        return answers.get(key) if self._monotonic() < min(until, self._sure_until) else None

    def changed(self) -> None:
        """Something changed here: whoever comes next sees it."""
        self._changes += 1
        self._sure_until = 0.0

    def __call__(self, key: Hashable, ask: Callable[[], T]) -> T:
        """Return the answer to the question of a name."""
        changes, now = self._changes, self._monotonic()
        # Asked before: what changes meanwhile is read again by whoever comes next.
        change = self._change()
        at, until, answers = self._kept
        if at != change or now >= until or len(answers) >= _MOST_ANSWERS:
            answers = {}
            self._kept = (change, now + _UNCHANGED_SECONDS, answers)
        if key not in answers:
            answers[key] = ask()
        self._sure_until = now + _SURE_SECONDS
        if changes != self._changes:
            self._sure_until = 0.0
        return answers[key]


def _in_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="remembered", daemon=True).start()


class Remembered(Generic[T]):
    """Asks at most so often that asking takes a fiftieth of the time; a quick answer is always a new one.

    Somebody waits for an answer only where there is none from the last seconds. Safe for threads.

    Args:
        ask: The question. What it raises reaches the caller who waits for it.
        monotonic: The clock.
        later: Does something beside the caller.
    """

    def __init__(
        self,
        ask: Callable[[], T],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        later: Callable[[Callable[[], None]], None] = _in_a_thread,
    ) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._later = later
        self._asking = threading.Lock()
        self._last: tuple[T, float, float] | None = None

    def at_hand(self) -> T | None:
        """Return an answer that nobody has to wait for, if there is one.

        Where it is not fresh, a new one is asked for meanwhile.
        """
        last, now = self._last, self._monotonic()
        if last is None:
            return None
        answer, fresh_until, cost = last
        if now < fresh_until:
            return answer
        if cost == 0 or now >= fresh_until + _RECENT_SECONDS:
            return None
        if self._asking.acquire(blocking=False):
            self._later(self._again)
        return answer

    def __call__(self) -> T:
        """Return the answer."""
        answer = self.at_hand()
        if answer is not None:
            return answer
        with self._asking:
            return self._new()

    def _again(self) -> None:
        try:
            self._new()
        except AudioExtractError as error:
            # Nobody waits for it. The next one asks again, and the health check tells what is away.
            _log.debug("asking again: %s", error, extra={"event": "web.not_remembered"})
        finally:
            self._asking.release()

    def _new(self) -> T:
        before = self._monotonic()
        answer = self._ask()
        after = self._monotonic()
        cost = after - before
        self._last = (answer, after + min(_MOST_SECONDS, cost / _SHARE), cost if cost > 0.01 else 0)
        return answer

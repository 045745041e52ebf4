"""Asks what can hang, so that whoever looks gets an answer in time: the database, and what signs links.

A server that is stopped, or a network that swallows packets, answers neither yes nor no, and no driver gives
up by itself. A question that takes too long is left behind in its thread; while the health check says that
the database is away, or too many hang, nothing is asked at all.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from audio_extract.exceptions import TransientError
from audio_extract.web.health import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.web.health import HealthMonitor

T = TypeVar("T")

#: How long a question may take that only reads; a million rows take a tenth of a second.
READ_SECONDS: Final = 10.0
#: The same where something is changed, which may be all rows.
CHANGE_SECONDS: Final = 60.0
#: How many are asked at once; the others wait for their turn, within their time.
_AT_ONCE: Final = 40
#: Those that hang, from which on no more are risked.
_MOST_HANGING: Final = 40
#: How long a thread waits for the next question before it ends.
_IDLE_SECONDS: Final = 5.0
_CODE: Final = "database.unavailable"


class Questions:
    """Runs questions in threads, each for a limited time. Belongs to one event loop.

    Args:
        health: Says whether the database is away.
    """

    def __init__(self, health: HealthMonitor) -> None:
        self._health = health
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._hanging: set[_Question[Any]] = set()
        self._threads = _Threads()

    async def ask(self, question: Callable[[], T], *, seconds: float = READ_SECONDS) -> T:
        """Return what ``question`` returns, or raise what it raises.

        Args:
            question: Runs in a thread of its own.
            seconds: How long it may take. After that it goes on, but nobody hears of it.

        Raises:
            TransientError: There was no answer in time, or there would be none.
        """
        if (why := self.why_not()) is not None:
            raise TransientError(why, code=_CODE)
        asked = _Question(question, asyncio.get_running_loop(), self._threads)
        try:
            async with asyncio.timeout(seconds), self._turns:
                return await asked.answer()
        except TimeoutError as error:
            if asked.runs:
                self._hanging.add(asked)
                asked.on_end = lambda: self._hanging.discard(asked)
            message = f"the database did not answer within {seconds:g} s"
            raise TransientError(message, code=_CODE) from error

    def why_not(self) -> str | None:
        """Return why nothing is asked now; None: questions are asked."""
        database = self._health.known("database")
        if database is not None and database.status is Status.UNHEALTHY:
            return f"the database cannot be asked: {database.message}"
        if len(self._hanging) >= _MOST_HANGING:
            return f"{_MOST_HANGING} questions to the database hang"
        return None


class _Threads:
    """Threads that can be left behind.

    They are daemons, as those of asyncio and anyio are not: one that hangs must not keep the process from
    ending. One that is not needed for some seconds ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The last one that had something to do is the next: the others end.
        self._idle: list[queue.SimpleQueue[Callable[[], None]]] = []

    def run(self, work: Callable[[], None]) -> None:
        """Do it in a thread that has nothing to do, or in a new one. ``work`` raises nothing."""
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is not None:
            inbox.put(work)
            return
        inbox = queue.SimpleQueue()
        inbox.put(work)
        threading.Thread(target=self._live, args=(inbox,), name="question", daemon=True).start()

    def _live(self, inbox: queue.SimpleQueue[Callable[[], None]]) -> None:
        while True:
            try:
                work = inbox.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                # It was taken just now, and its work comes.
                continue
            work()
            # What the work holds must not wait here with the thread.
            del work
            with self._lock:
                self._idle.append(inbox)


class _Question(Generic[T]):
    """One question in its thread. Everything but the question itself happens in the event loop."""

    def __init__(self, question: Callable[[], T], loop: asyncio.AbstractEventLoop, threads: _Threads) -> None:
        self._question = question
        self._loop = loop
        self._threads = threads
        self._future: asyncio.Future[T] = loop.create_future()
        self.runs = False
        self.on_end: Callable[[], None] = lambda: None

    async def answer(self) -> T:
        self.runs = True
        self._threads.run(self._run)
        return await self._future

    def _run(self) -> None:
        try:
            answer = self._question()
        except BaseException as error:  # noqa: BLE001 - handed to who asked, as it is
            self._tell(self._future.set_exception, error)
        else:
            self._tell(self._future.set_result, answer)

    def _tell(self, tell: Callable[[T], None] | Callable[[BaseException], None], what: object) -> None:
        def end() -> None:
            self.runs = False
            self.on_end()
            if not self._future.done():
                tell(what)  # type: ignore[arg-type]

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(end)

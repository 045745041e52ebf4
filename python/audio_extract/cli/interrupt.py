"""Ctrl-C and SIGTERM: the main thread stays free to see them while another one works."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from audio_extract.cli.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

Result = TypeVar("Result")

#: How often the main thread looks up; Python runs a signal's handler at the next look.
_LOOK_SECONDS = 0.1
#: The engine ends within a second. What a library does (a request of Google's client that hangs) cannot be
#: ended from outside; after this long the process ends without it.
_GRACE_SECONDS = 5.0


class SignalWatch:
    """Which signal arrived, if one did.

    Attributes:
        received: The number of the first signal; None while there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None


@contextmanager
def watching_signals(on_signal: Callable[[], object]) -> Iterator[SignalWatch]:
    """Call ``on_signal`` for SIGINT and SIGTERM instead of ending the process.

    Args:
        on_signal: Asks the work to stop; called in the main thread, once for each signal.
    """
    watch = SignalWatch()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        watch.received = watch.received or number
        on_signal()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield watch
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_interruptible(
    work: Callable[[], Result],
    *,
    cancel: Callable[[], object],
    on_look: Callable[[], None] | None = None,
    grace_seconds: float = _GRACE_SECONDS,
) -> Result:
    """Run ``work`` in a thread and return its result.

    Args:
        work: May block with the GIL released, as the engine does.
        cancel: Makes ``work`` end soon; called when a signal arrives.
        on_look: Called some ten times a second meanwhile, for example to draw progress.
        grace_seconds: How long ``work`` may take to end after a signal.

    Raises:
        Interrupted: A signal arrived, and ``work`` has ended, or was left behind after the grace.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to the main thread as it is
            future.set_exception(error)

    ended_at: float | None = None
    with watching_signals(cancel) as watch:
        thread = threading.Thread(target=run, name="command", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_SECONDS)
            if watch.received is None:
                if on_look is not None:
                    on_look()
                continue
            ended_at = ended_at or time.monotonic() + grace_seconds
            if time.monotonic() > ended_at:
                break
    if watch.received is not None:
        raise Interrupted(watch.received) from (future.exception() if future.done() else None)
    return future.result()

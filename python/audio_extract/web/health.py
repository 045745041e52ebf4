"""The state of each component, kept fresh in the background, so that a probe is answered at once.

A check may hang for as long as the network lets it; the answer a probe gets is the last known one, and a
component that did not answer in time is unhealthy.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from audio_extract.exceptions import AudioExtractError
from audio_extract.failure_texts import remedy
from audio_extract.telemetry.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_log = logging.getLogger(__name__)

#: Without these nothing can be stored; without the others the service goes on with what it has.
ESSENTIAL: Final = frozenset({"database", "ffmpeg", "storage"})
#: How long a page or a probe waits for the very first results, which has to be answered within a second.
FIRST_RESULTS_SECONDS: Final = 0.8
_LOOK_SECONDS: Final = 0.02


class Status(StrEnum):
    """How a component, or the whole service, is."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """The state of one component.

    Attributes:
        status: How it is.
        message: What was seen, for a person; never a secret.
        remedy: What to do; None where nothing is to be done, or the message says it.
    """

    status: Status
    message: str
    remedy: str | None = None


class HealthMonitor:
    """Runs the checks again and again, and remembers what they said."""

    def __init__(
        self,
        checks: Mapping[str, Callable[[], ComponentHealth]],
        *,
        interval_seconds: float = 15,
        timeout_seconds: float = 5,
    ) -> None:
        self._checks = dict(checks)
        self._interval = interval_seconds
        self._timeout = timeout_seconds
        self._lock = threading.Lock()
        self._results: dict[str, ComponentHealth] = {}
        self._running: dict[str, Future[ComponentHealth]] = {}
        self._stop = threading.Event()
        self._first = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to run the checks in the background."""
        self._thread = threading.Thread(target=self._loop, name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop. A check that hangs is left behind; its thread ends with the process."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._timeout + 1)
            self._thread = None

    @property
    def has_looked(self) -> bool:
        """Whether the very first results are there."""
        return self._first.is_set()

    def components(self, *, wait_seconds: float = 0) -> dict[str, ComponentHealth]:
        """Return the last known state of every component.

        Args:
            wait_seconds: How long to wait for the very first results, just after the start.
        """
        if wait_seconds:
            self._first.wait(wait_seconds)
        unknown = ComponentHealth(Status.UNHEALTHY, "not checked yet")
        with self._lock:
            return {name: self._results.get(name, unknown) for name in self._checks}

    async def components_soon(self, *, wait_seconds: float) -> dict[str, ComponentHealth]:
        """Return the same without holding up the event loop."""
        end = time.monotonic() + wait_seconds
        while not self.has_looked and time.monotonic() < end:
            await asyncio.sleep(_LOOK_SECONDS)
        return self.components()

    def known(self, name: str) -> ComponentHealth | None:
        """Return the last known state of one component; None: it was never checked, or there is none."""
        with self._lock:
            return self._results.get(name)

    def refresh(self) -> None:
        """Run every check once, all at the same time, and remember the answers."""
        with self._lock:
            free = [name for name in self._checks if name not in self._running]
        for name in free:
            self._running[name] = Future()
            # One thread for each check: one that hangs must not keep the others waiting, nor, being a daemon,
            # the process from ending.
            words = (name, self._running[name])
            threading.Thread(target=self._one, args=words, name=f"health-{name}", daemon=True).start()
        wait(self._running.values(), timeout=self._timeout)
        with self._lock:
            for name, future in list(self._running.items()):
                if future.done():
                    self._remember(name, future.result())
                    del self._running[name]
                else:
                    self._remember(
                        name,
                        ComponentHealth(
                            Status.UNHEALTHY,
                            f"no answer within {self._timeout:g} s",
                            "look with audio-extract check: the network, the server, the disk",
                        ),
                    )
        self._first.set()

    def _one(self, name: str, future: Future[ComponentHealth]) -> None:
        try:
            health = self._checks[name]()
        except AudioExtractError as error:
            health = ComponentHealth(Status.UNHEALTHY, redact(error.message), remedy(error.code))
        except BaseException as error:  # noqa: BLE001 - whatever a library raises, the component does not work
            health = ComponentHealth(Status.UNHEALTHY, redact(f"{type(error).__name__}: {error}"))
        future.set_result(health)

    def _remember(self, name: str, health: ComponentHealth) -> None:
        before = self._results.get(name)
        self._results[name] = health
        if before is None or before.status != health.status:
            level = logging.INFO if health.status == Status.HEALTHY else logging.WARNING
            _log.log(
                level,
                "%s is %s: %s",
                name,
                health.status.value,
                health.message,
                extra={"event": "health.changed", "component": name, "status": health.status.value},
            )

    def _loop(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(self._interval)


def overall(components: Mapping[str, ComponentHealth]) -> Status:
    """Return the state of the service as a whole."""
    if any(health.status == Status.UNHEALTHY and name in ESSENTIAL for name, health in components.items()):
        return Status.UNHEALTHY
    if any(health.status != Status.HEALTHY for health in components.values()):
        return Status.DEGRADED
    return Status.HEALTHY

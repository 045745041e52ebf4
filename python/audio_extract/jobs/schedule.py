"""What runs by the clock, and how it went: the wrapper of APScheduler for the service."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from audio_extract.exceptions import AudioExtractError

if TYPE_CHECKING:
    from collections.abc import Callable

    from apscheduler.schedulers.background import BackgroundScheduler

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobState:
    """How one job is.

    Attributes:
        name: Which.
        running_since: When the run that goes on began; None: none does.
        ended_at: When the last run ended; None: none has.
        error: What ended the last run; None: it went well.
    """

    name: str
    running_since: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None


class Schedule:
    """Runs jobs, each at most once at a time; one that fails is said and runs again at its time.

    The system's clock decides: what a job works with may be another one.
    """

    def __init__(self) -> None:
        self._scheduler: BackgroundScheduler | None = None
        self._lock = threading.Lock()
        self._states: dict[str, JobState] = {}

    def open(self) -> None:
        """Take jobs; none runs before `start`."""
        from apscheduler.schedulers.background import BackgroundScheduler

        # One second of grace, APScheduler's default, would skip runs silently when the machine is busy.
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        # A run that takes longer than its interval is no news: the next one follows at its time.
        logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(job_defaults=defaults, timezone=UTC)

    def start(self) -> None:
        """Begin to run the jobs."""
        self._opened().start()

    def stop(self) -> None:
        """Run nothing any more; a run that goes on ends by itself."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
            self._scheduler = None

    @property
    def running(self) -> bool:
        """Whether jobs run."""
        return self._scheduler is not None and self._scheduler.running

    def every(self, seconds: float, job: Callable[[], Any], name: str) -> None:
        """Run a job now and at every interval."""
        now = datetime.now(UTC)
        self._opened().add_job(
            self.guarded(job, name), "interval", seconds=seconds, id=name, name=name, next_run_time=now
        )

    def cron(self, when: str, job: Callable[[], Any], name: str) -> None:
        """Run a job when cron would, in UTC."""
        from apscheduler.triggers.cron import CronTrigger

        self._opened().add_job(self.guarded(job, name), CronTrigger.from_crontab(when, timezone=UTC), id=name)

    def once(self, job: Callable[[], Any], name: str) -> None:
        """Run a job once, now."""
        self._opened().add_job(self.guarded(job, name), id=name)

    def at(self, when: datetime, job: Callable[[], Any], name: str, *, key: str) -> None:
        """Run a job once, at a time; another one with the same key is forgotten. After `stop`: nothing."""
        if self._scheduler is not None:
            self._scheduler.add_job(
                self.guarded(job, name), "date", run_date=when, id=key, replace_existing=True
            )

    def soon(self, name: str) -> None:
        """Run a job now instead of at its time; where there is none of this name, nothing."""
        if self._scheduler is not None and self._scheduler.get_job(name) is not None:
            self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    def states(self) -> list[JobState]:
        """Return how each job is that has begun at least once."""
        with self._lock:
            return list(self._states.values())

    def guarded(self, job: Callable[[], Any], name: str) -> Callable[[], None]:
        """Return the job so that it survives its own failures, and its state is known."""

        def run() -> None:
            before = self._state(name)
            self._set(replace(before, running_since=datetime.now(UTC)))
            error = None
            try:
                job()
            except AudioExtractError as failure:
                error = f"{failure.message} ({failure.code})"
                _log.error(
                    "%s: %s (%s)",
                    name,
                    failure,
                    failure.code,
                    extra={"event": "job.failed", "job": name, "code": failure.code},
                )
            except Exception as failure:  # noqa: BLE001 - a scheduled job must not end the schedule
                error = f"{type(failure).__name__}: {failure}"
                _log.exception(
                    "%s failed unexpectedly; please report this",
                    name,
                    extra={"event": "job.crashed", "job": name},
                )
            finally:
                self._set(JobState(name, ended_at=datetime.now(UTC), error=error))

        return run

    def _state(self, name: str) -> JobState:
        with self._lock:
            return self._states.get(name, JobState(name))

    def _set(self, state: JobState) -> None:
        with self._lock:
            self._states[state.name] = state

    def _opened(self) -> BackgroundScheduler:
        if self._scheduler is None:
            message = "the schedule is not open"
            raise RuntimeError(message)
        return self._scheduler

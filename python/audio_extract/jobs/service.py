"""The service: discovery on a schedule, a bounded pool of transfers, and an orderly end.

``run_once`` is one discovery and all that is due; ``start`` and ``stop`` are the same for as long as the
process lives. With a queue of jobs (``execution.backend: procrastinate``) what is due is put there instead of
into the pool, and ``take`` is what a job asks for. Time, sources, storage and tracker are given, so that
tests decide about them.

Owns how the parts work together: who looks is `lookout`, who transfers is `pool`, who puts right what dead
processes left is `recovery`, what runs when is `schedule`.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from audio_extract.exceptions import InternalError
from audio_extract.jobs.lookout import Lookout
from audio_extract.jobs.pool import Pool
from audio_extract.jobs.recovery import Recovery
from audio_extract.jobs.schedule import Schedule
from audio_extract.jobs.transfer import Outcome, TransferJob
from audio_extract.telemetry.metrics import Metrics
from audio_extract.telemetry.traces import Traces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audio_extract.ffmpeg import FoundFfmpeg
    from audio_extract.jobs.active import ActiveTransfers
    from audio_extract.jobs.queue_worker import QueueWorker
    from audio_extract.jobs.report import CycleReport
    from audio_extract.settings import Settings
    from audio_extract.sources.base import Source
    from audio_extract.sources.folder_watch import FolderWatch
    from audio_extract.storage.base import StorageAdapter
    from audio_extract.tracker import Tracker
    from audio_extract.tracker.job_queue import JobQueue

_log = logging.getLogger(__name__)

#: How often a running service looks for what became due.
_DISPATCH_SECONDS = 5.0
_RECOVER_SECONDS = 30.0
#: How often the depth of the queue is measured, whoever looks for recordings.
_COUNT_SECONDS = 30.0
#: After the moment from which a file counts as settled.
_SETTLED_SECONDS = 0.1
#: A folder that tells of changes all the time is looked at no more often than this.
_MOST_OFTEN_SECONDS = 5.0
#: For what a job has left to say to the queue after its transfer ended.
_END_JOBS_SECONDS = 10.0


class Service:
    """Runs the stages.

    Args:
        settings: The settings.
        tracker: The database.
        sources: Where recordings come from.
        storage: Where audio goes.
        ffmpeg: Finds the program; called when it is needed.
        traces: Where spans go.
        metrics: What is counted.
        on_outcome: Told of each transfer as it ends, in its thread; must not raise.
        queue: Where jobs for other processes are put and taken; None transfers in this process only.
        now: The clock.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tracker: Tracker,
        sources: Sequence[Source],
        storage: StorageAdapter,
        ffmpeg: Callable[[], FoundFfmpeg],
        traces: Traces | None = None,
        metrics: Metrics | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
        queue: JobQueue | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings
        self.tracker = tracker
        self.sources = list(sources)
        self.storage = storage
        self.metrics = metrics or Metrics()
        for source in self.sources:
            source.count_requests(self.metrics.counting(source.name))
        storage.count_requests(self.metrics.counting(storage.storage_type))
        self.now = now
        self.schedule = Schedule()
        self.traces = traces or Traces()
        self._queue = queue
        self._worker: QueueWorker | None = None
        self._watches: list[FolderWatch] = []
        self._renewal: threading.Event | None = None
        self._lookout = Lookout(
            settings,
            tracker=tracker,
            sources=self.sources,
            discoverer=tracker.discoverer() if queue is not None else None,
            traces=self.traces,
            metrics=self.metrics,
            now=now,
        )
        job = TransferJob(
            settings=settings,
            tracker=tracker,
            sources={source.name: source for source in self.sources},
            storage=storage,
            ffmpeg=ffmpeg,
            traces=self.traces,
            metrics=self.metrics,
            now=now,
        )
        self.pool = Pool(
            settings,
            tracker=tracker,
            job=job,
            on_outcome=on_outcome,
            on_stop=self._take_no_more_jobs,
            now=now,
        )
        self._recovery = Recovery(
            settings, tracker=tracker, storage=storage, job=job, now=now, on_outcome=on_outcome
        )

    @property
    def active(self) -> ActiveTransfers:
        """The transfers that run in this process."""
        return self.pool.active

    # One cycle.

    def discover(self, *, full: bool = False, only: Source | None = None) -> CycleReport:
        """Look for recordings in every source; a source that cannot be looked at does not stop the others.

        Args:
            full: Compare whole listings instead of reading the change feed.
            only: Look at this one.
        """
        return self._lookout.discover(full=full, only=only)

    def recover(self) -> None:
        """Take back what dead workers left."""
        self._recovery.recover()

    def sweep(self) -> int:
        """Remove what killed processes left at a destination folder; returns how many files."""
        return self._recovery.sweep()

    def clean_up(self) -> int:
        """Remove details older than the settings keep them; what says that something is done stays."""
        return self._recovery.clean_up()

    def run_once(
        self, *, full: bool = False, on_outcome: Callable[[Outcome], None] | None = None
    ) -> CycleReport:
        """Discover, then transfer everything that is due, and wait for it; or leave it to workers.

        Args:
            full: Compare whole listings instead of reading the change feed.
            on_outcome: Told of each transfer as it ends, in its thread.
        """
        self.recover()
        self.schedule.guarded(self.sweep, "sweep")()
        report = self.discover(full=full)
        if self._queue is not None:
            report.deferred = self._queue.defer_due(self.now())
            return report
        counting = threading.Lock()

        def ended(outcome: Outcome) -> None:
            with counting:
                report.add(outcome)
            if on_outcome is not None:
                on_outcome(outcome)

        self.pool.carry_out_due(ended)
        self._lookout.count_queue()
        return report

    # The running service.

    def start(self, *, only_take_jobs: bool = False) -> None:
        """Begin to work: discovery now and at every interval, transfers as they become due.

        Args:
            only_take_jobs: Leave discovery and what follows from time to other processes (``worker``).
        """
        self.pool.stopping.clear()
        self.pool.only_one_round = False
        self._renewal = self.pool.keep_leases()
        self.schedule.open()
        self.recover()
        self.schedule.every(_RECOVER_SECONDS, self.recover, "lease-recovery")
        self.schedule.every(_COUNT_SECONDS, self._lookout.count_queue, "queue-depth")
        if not only_take_jobs:
            self.schedule.once(self.sweep, "sweep")
            interval = self.settings.google_drive.check_interval_seconds
            self.schedule.every(interval, self._discover_and_dispatch, "discovery")
            self.schedule.every(_DISPATCH_SECONDS, self._dispatch, "dispatch")
            self.schedule.cron(self.settings.behavior.cleanup_schedule, self.clean_up, "clean-up")
        if self._queue is not None:
            self.schedule.every(_RECOVER_SECONDS, self._queue.recover_stalled, "stalled-jobs")
            if only_take_jobs or self.settings.execution.run_takes_jobs:
                self._worker = self._start_worker(self._queue)
        self.schedule.start()
        if not only_take_jobs:
            watches = (source.watch(self._look_when_settled(source)) for source in self.sources)
            self._watches = [watch for watch in watches if watch is not None]
        _log.info("the service runs", extra={"event": "service.started"})

    def stop(self, grace_seconds: float = 25.0) -> bool:
        """End in order: no new work, wait for what runs, then stop the rest and give it back.

        Args:
            grace_seconds: How long running transfers may take to finish.

        Returns:
            Whether every transfer finished by itself.
        """
        self.pool.stopping.set()
        for watch in self._watches:
            watch.close()
        self._watches = []
        self.schedule.stop()
        self._take_no_more_jobs()
        finished = self.active.wait_below(1, timeout_seconds=grace_seconds)
        if not finished:
            _log.warning(
                "%d transfers are stopped and go back to the queue",
                len(self.active),
                extra={"event": "service.stopping_transfers"},
            )
            self.active.cancel_all()
            self.active.wait_below(1, timeout_seconds=5)
        if self._worker is not None:
            self._worker.join(_END_JOBS_SECONDS)
            self._worker = None
        self._lookout.release()
        if self._renewal is not None:
            self._renewal.set()
        self.traces.flush()
        _log.info("the service has ended", extra={"event": "service.stopped"})
        return finished

    def close(self) -> None:
        """Give connections back, after everything has ended. The tracker is its owner's to close."""
        self._lookout.release()
        for source in self.sources:
            source.close()
        self.storage.close()

    @property
    def failure(self) -> InternalError | None:
        """Why no jobs are taken any more although nobody asked for that. Only a new start helps."""
        error = None if self._worker is None else self._worker.failure
        if error is None:
            return None
        failure = InternalError(f"taking jobs ended unexpectedly: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure

    def dispatch_soon(self) -> None:
        """Look for due recordings now, for example after a person asked for one."""
        self.schedule.soon("dispatch")

    def take(self, recording_id: str) -> Outcome | None:
        """Transfer one recording if it is due and nobody else has it; what a job asks for."""
        return self.pool.take(recording_id)

    # Inside.

    def _discover_and_dispatch(self) -> None:
        self.discover()
        self._dispatch()

    def _dispatch(self) -> int:
        """Fill the free places of the pool with what is due, or put it into the queue; returns how many."""
        return self.pool.dispatch() if self._queue is None else self._queue.defer_due(self.now())

    def _look_when_settled(self, source: Source) -> Callable[[], None]:
        """What to do when a source tells of a change: look once what changed has settled."""

        def look() -> None:
            self.discover(only=source)
            self._dispatch()

        every = max(source.settle_seconds, _MOST_OFTEN_SECONDS)

        def changed() -> None:
            when = datetime.now(UTC) + timedelta(seconds=source.settle_seconds + _SETTLED_SECONDS)
            # Further changes put it off, but only so far: while one file is written for hours, others come.
            key = f"changed-{source.name}-{when.timestamp() // every:.0f}"
            self.schedule.at(when, look, "discovery", key=key)

        return changed

    def _start_worker(self, queue: JobQueue) -> QueueWorker:
        from audio_extract.jobs.queue_worker import QueueWorker

        worker = QueueWorker(queue, self.take, places=self.settings.processing.max_parallel_downloads)
        worker.start()
        return worker

    def _take_no_more_jobs(self) -> None:
        if self._worker is not None:
            self._worker.stop()

"""The service: discovery on a schedule, a bounded pool of transfers, and an orderly end.

``run_once`` is one discovery and all that is due; ``start`` and ``stop`` are the same for as long as the
process lives. With a queue of jobs (``execution.backend: procrastinate``) what is due is put there instead of
into the pool, and ``take`` is what a job asks for. Time, sources, storage and tracker are given, so that
tests decide about them.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from audio_extract.discover import discover
from audio_extract.exceptions import AudioExtractError, InternalError
from audio_extract.jobs.active import ActiveTransfer, ActiveTransfers
from audio_extract.jobs.transfer import Outcome, TransferJob
from audio_extract.telemetry.metrics import Metrics
from audio_extract.telemetry.redaction import redact
from audio_extract.telemetry.traces import Traces
from audio_extract.tracker import Owner, RetryPolicy, State, SyncRun
from audio_extract.tracker.retry_policy import STORAGE_DOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from apscheduler.schedulers.background import BackgroundScheduler

    from audio_extract.ffmpeg import FoundFfmpeg
    from audio_extract.jobs.queue_worker import QueueWorker
    from audio_extract.settings import Settings
    from audio_extract.sources.base import Source
    from audio_extract.sources.folder_watch import FolderWatch
    from audio_extract.storage.base import StorageAdapter
    from audio_extract.tracker import Claim, Tracker
    from audio_extract.tracker.job_queue import JobQueue

_log = logging.getLogger(__name__)

_LEASE_SECONDS = 60.0
_RENEW_SECONDS = 20.0
#: How often a running service looks for what became due.
_DISPATCH_SECONDS = 5.0
_RECOVER_SECONDS = 30.0
#: After the moment from which a file counts as settled.
_SETTLED_SECONDS = 0.1
#: A folder that tells of changes all the time is looked at no more often than this.
_MOST_OFTEN_SECONDS = 5.0
#: For what a job has left to say to the queue after its transfer ended.
_END_JOBS_SECONDS = 10.0
#: Kinds of errors that the next recording would meet too: the pool pauses instead of failing one by one.
_PAUSING = frozenset({"authentication", "configuration", "no_space"})
_PAUSE_SECONDS = 60.0
_DATABASE_PAUSE_SECONDS = 5.0


@dataclass(slots=True)
class CycleReport:
    """What one cycle did.

    Attributes:
        found: Recordings that discovery saw for the first time.
        completed: Transfers that stored something.
        adopted: Recordings whose object stood there already.
        failures: Transfers that ended with an error.
        released: Transfers that were stopped and go back to the queue.
        deferred: Recordings that workers were asked to look at (`execution.backend: procrastinate`).
        discoverer_elsewhere: Another process looks for recordings, so this one did not.
        source_errors: Sources that could not be looked at.
    """

    found: int = 0
    completed: int = 0
    adopted: int = 0
    released: int = 0
    deferred: int = 0
    discoverer_elsewhere: bool = False
    failures: list[Outcome] = field(default_factory=list)
    source_errors: list[AudioExtractError] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one transfer."""
        if outcome.state is State.COMPLETED:
            if outcome.adopted:
                self.adopted += 1
            else:
                self.completed += 1
        elif (
            outcome.state is State.PENDING and outcome.error is not None and outcome.error.kind == "cancelled"
        ):
            self.released += 1
        elif outcome.error is not None:
            self.failures.append(outcome)

    @property
    def due(self) -> int:
        """How many recordings were due."""
        return self.completed + self.adopted + self.released + self.deferred + len(self.failures)


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
        self.active = ActiveTransfers()
        self._traces = traces or Traces()
        self._on_outcome = on_outcome
        self._queue = queue
        self._discoverer = tracker.discoverer() if queue is not None else None
        self._worker: QueueWorker | None = None
        self.now = now
        self._owner = Owner.current()
        self._job = TransferJob(
            settings=settings,
            tracker=tracker,
            sources={source.name: source for source in self.sources},
            storage=storage,
            ffmpeg=ffmpeg,
            traces=self._traces,
            metrics=self.metrics,
            now=now,
        )
        self._scheduler: BackgroundScheduler | None = None
        self._watches: list[FolderWatch] = []
        self._discovering = threading.Lock()
        self._dispatching = threading.Lock()
        self._stopping = threading.Event()
        self._paused_until = 0.0
        self._wake = threading.Event()

    # One cycle.

    def discover(self, *, full: bool = False, only: Source | None = None) -> CycleReport:
        """Look for recordings in every source; a source that cannot be looked at does not stop the others.

        Args:
            full: Compare whole listings instead of reading the change feed.
            only: Look at this one.
        """
        # A look that a change in a folder asks for comes beside those at intervals.
        with self._discovering:
            return self._discover([only] if only is not None else self.sources, full=full)

    def _discover(self, sources: Sequence[Source], *, full: bool) -> CycleReport:
        report = CycleReport()
        if self._discoverer is not None and not self._discoverer.is_this():
            report.discoverer_elsewhere = True
            _log.debug("another process looks for recordings", extra={"event": "discovery.elsewhere"})
            self._count_queue()
            return report
        for source in sources:
            with self._traces.span("discovery", {"source": source.name, "full": full}):
                try:
                    result = discover(source, self.tracker, self.settings, self.now(), full=full)
                except AudioExtractError as error:
                    self._failed_look(source.name, error, report, full=full)
                    continue
            report.found += result.new
            for problem in result.problems:
                self._failed_look(source.name, problem, report, full=full)
            if not result.problems:
                self.metrics.discovered(at_unix_seconds=self.now().timestamp())
        self._count_queue()
        return report

    def _failed_look(self, source: str, error: AudioExtractError, report: CycleReport, *, full: bool) -> None:
        """Say and write down that a source, or a folder of it, could not be looked at."""
        _log.error("looking for recordings: %s (%s)", error, error.code, extra={"event": "discovery.failed"})
        report.source_errors.append(error)
        # The health check reads it.
        if error.code.startswith("database."):
            # It could not be written either; the database's own check says so.
            return
        now = self.now()
        self.tracker.add_sync(
            SyncRun(
                source=source,
                kind="full" if full else "incremental",
                started_at=now,
                ended_at=now,
                error_code=error.code,
                error_message=redact(error.message),
            )
        )

    def recover(self) -> None:
        """Take back what dead workers left."""
        recovered = self.tracker.recover(self.now(), policy=RetryPolicy.from_settings(self.settings.behavior))
        if recovered.pending or recovered.quarantined:
            _log.warning(
                "%d recordings of workers that ended are due again, %d are quarantined",
                len(recovered.pending),
                len(recovered.quarantined),
                extra={"event": "leases.recovered"},
            )
        for recording_id in recovered.pending:
            self._reconcile(recording_id)

    def _reconcile(self, recording_id: str) -> None:
        """Look whether a dead worker's recording stands at the destination; else it is due as before."""
        row = self.tracker.recording(recording_id)
        if row is None or row.object_name is None:
            return
        claim = self.tracker.claim_one(recording_id, self._owner, self.now(), lease_seconds=_LEASE_SECONDS)
        if claim is None:
            return
        is_adopted = False
        try:
            is_adopted = self._job.adopt(claim)
        except AudioExtractError as error:
            _log.warning("looking for what a dead worker stored of %s: %s", claim.name, error)
        finally:
            if not is_adopted:
                self.tracker.release(claim, self.now(), reason="recovered")

    def run_once(
        self, *, full: bool = False, on_outcome: Callable[[Outcome], None] | None = None
    ) -> CycleReport:
        """Discover, then transfer everything that is due, and wait for it; or leave it to workers.

        Args:
            full: Compare whole listings instead of reading the change feed.
            on_outcome: Told of each transfer as it ends, in its thread.
        """
        self.recover()
        self._guarded(self.sweep, "sweep")()
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

        limit = self.settings.processing.max_parallel_downloads
        renewal = self._keep_leases()
        try:
            while not self._stopping.is_set() and not self._paused():
                self.active.wait_below(limit)
                if self._stopping.is_set() or self._paused():
                    break
                if self._dispatch(ended) == 0:
                    if len(self.active) == 0:
                        break
                    self.active.wait_below(len(self.active))
            self.active.wait_below(1)
        except BaseException:
            self._stopping.set()
            self.active.cancel_all()
            self.active.wait_below(1, timeout_seconds=5)
            raise
        finally:
            renewal.set()
        self._count_queue()
        return report

    # The running service.

    def start(self, *, only_take_jobs: bool = False) -> None:
        """Begin to work: discovery now and at every interval, transfers as they become due.

        Args:
            only_take_jobs: Leave discovery and what follows from time to other processes (``worker``).
        """
        from apscheduler.schedulers.background import BackgroundScheduler

        self._stopping.clear()
        self._renewal = self._keep_leases()
        # One second of grace, APScheduler's default, would skip runs silently when the machine is busy.
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        scheduler = BackgroundScheduler(job_defaults=defaults, timezone=UTC)
        now = datetime.now(UTC)
        self._scheduler = scheduler

        def every(seconds: float, job: Callable[[], Any], name: str) -> None:
            scheduler.add_job(
                self._guarded(job, name), "interval", seconds=seconds, id=name, next_run_time=now
            )

        self.recover()
        every(_RECOVER_SECONDS, self.recover, "lease-recovery")
        if not only_take_jobs:
            scheduler.add_job(self._guarded(self.sweep, "sweep"), id="sweep")
            self._schedule_discovery(scheduler, every)
        if self._queue is not None:
            every(_RECOVER_SECONDS, self._queue.recover_stalled, "stalled-jobs")
            if only_take_jobs or self.settings.execution.run_takes_jobs:
                self._worker = self._start_worker(self._queue)
        scheduler.start()
        if not only_take_jobs:
            watches = (source.watch(self._look_when_settled(source)) for source in self.sources)
            self._watches = [watch for watch in watches if watch is not None]
        _log.info("the service runs", extra={"event": "service.started"})

    def _schedule_discovery(
        self, scheduler: BackgroundScheduler, every: Callable[[float, Callable[[], Any], str], None]
    ) -> None:
        from apscheduler.triggers.cron import CronTrigger

        every(self.settings.google_drive.check_interval_seconds, self._discover_and_dispatch, "discovery")
        every(_DISPATCH_SECONDS, self._dispatch, "dispatch")
        scheduler.add_job(
            self._guarded(self.clean_up, "clean-up"),
            CronTrigger.from_crontab(self.settings.behavior.cleanup_schedule, timezone=UTC),
            id="clean-up",
        )

    def _look_when_settled(self, source: Source) -> Callable[[], None]:
        """What to do when a source tells of a change: look once what changed has settled."""

        def look() -> None:
            self.discover(only=source)
            self._dispatch()

        every = max(source.settle_seconds, _MOST_OFTEN_SECONDS)

        def changed() -> None:
            scheduler = self._scheduler
            if scheduler is None:
                return
            when = datetime.now(UTC) + timedelta(seconds=source.settle_seconds + _SETTLED_SECONDS)
            # Further changes put it off, but only so far: while one file is written for hours, others come.
            scheduler.add_job(
                self._guarded(look, "discovery"),
                "date",
                run_date=when,
                id=f"changed-{source.name}-{when.timestamp() // every:.0f}",
                replace_existing=True,
            )

        return changed

    def stop(self, grace_seconds: float = 25.0) -> bool:
        """End in order: no new work, wait for what runs, then stop the rest and give it back.

        Args:
            grace_seconds: How long running transfers may take to finish.

        Returns:
            Whether every transfer finished by itself.
        """
        self._stopping.set()
        for watch in self._watches:
            watch.close()
        self._watches = []
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
            self._scheduler = None
        if self._worker is not None:
            self._worker.stop()
        finished = self.active.wait_below(1, timeout_seconds=grace_seconds)
        if not finished:
            _log.warning("%d transfers are stopped and go back to the queue", len(self.active))
            self.active.cancel_all()
            self.active.wait_below(1, timeout_seconds=5)
        if self._worker is not None:
            self._worker.join(_END_JOBS_SECONDS)
            self._worker = None
        if self._discoverer is not None:
            self._discoverer.release()
        renewal = getattr(self, "_renewal", None)
        if renewal is not None:
            renewal.set()
        self._traces.flush()
        _log.info("the service has ended", extra={"event": "service.stopped"})
        return finished

    def close(self) -> None:
        """Give connections back, after everything has ended. The tracker is its owner's to close."""
        if self._discoverer is not None:
            self._discoverer.release()
        for source in self.sources:
            source.close()
        self.storage.close()

    @property
    def running(self) -> bool:
        """Whether the schedule is on."""
        return self._scheduler is not None

    @property
    def failure(self) -> InternalError | None:
        """Why no jobs are taken any more although nobody asked for that. Only a new start helps."""
        error = None if self._worker is None else self._worker.failure
        if error is None:
            return None
        failure = InternalError(f"taking jobs ended unexpectedly: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure

    def clean_up(self) -> int:
        """Remove details older than the settings keep them; what says that something is done stays."""
        self.sweep()
        days = self.settings.behavior.cleanup_old_records_days
        return self.tracker.cleanup(days, self.now()) if days > 0 else 0

    def sweep(self) -> int:
        """Remove what killed processes left at a destination folder; returns how many files.

        Temporary files, and files under names of recordings that nobody will transfer any more, where no log
        proves that they are whole: on gcsfuse a killed writer leaves half a file under the final name.
        """
        if self.storage.storage_type != "local":
            return 0
        removed = self.storage.remove_abandoned()
        for name in self.tracker.abandoned_names():
            standing = self.storage.stat(name)
            if standing is not None and not standing.metadata:
                _log.warning("removing %s: half a file, of a recording that is not wanted any more", name)
                self.storage.delete(name)
                removed += 1
        return removed

    def dispatch_soon(self) -> None:
        """Look for due recordings now, for example after a person asked for one."""
        if self._scheduler is not None:
            self._scheduler.modify_job("dispatch", next_run_time=datetime.now(UTC))

    # Inside.

    def _discover_and_dispatch(self) -> None:
        self.discover()
        self._dispatch()

    def take(self, recording_id: str) -> Outcome | None:
        """Transfer one recording if it is due and nobody else has it; what a job asks for.

        Waits while the service is paused. None: there was nothing to do, or the service stops.
        """
        while not self._stopping.is_set() and (wait := self._paused_until - time.monotonic()) > 0:
            self._stopping.wait(wait)
        if self._stopping.is_set():
            return None
        try:
            claim = self.tracker.claim_one(
                recording_id, self._owner, self.now(), lease_seconds=_LEASE_SECONDS
            )
        except AudioExtractError as error:
            # It is due still, and gets a new job when the database is back.
            _log.error("taking a recording: %s (%s)", error, error.code, extra={"event": "claim.failed"})
            return None
        if claim is None:
            return None
        active = ActiveTransfer(claim, self.now())
        self.active.add(active)
        if self._stopping.is_set():
            # `stop` may have looked before this one was there: nobody would end it.
            active.cancel.cancel()
        return self._carry_out(active)

    def _start_worker(self, queue: JobQueue) -> QueueWorker:
        from audio_extract.jobs.queue_worker import QueueWorker

        worker = QueueWorker(queue, self.take, places=self.settings.processing.max_parallel_downloads)
        worker.start()
        return worker

    def _dispatch(self, counts: Callable[[Outcome], None] | None = None) -> int:
        """Fill the free places of the pool with what is due, or put it into the queue; returns how many.

        Args:
            counts: Told of each transfer's end; without it, one that ends makes place for the next.
        """
        if self._queue is not None:
            return self._queue.defer_due(self.now())
        with self._dispatching:
            free = self.settings.processing.max_parallel_downloads - len(self.active)
            if free <= 0 or self._stopping.is_set() or self._paused():
                return 0
            claims = self.tracker.claim(self._owner, self.now(), limit=free, lease_seconds=_LEASE_SECONDS)
            for claim in claims:
                self._begin(claim, counts)
            return len(claims)

    def _begin(self, claim: Claim, counts: Callable[[Outcome], None] | None) -> None:
        active = ActiveTransfer(claim, self.now())
        self.active.add(active)

        def work() -> None:
            self._carry_out(active, counts)
            if counts is None and not self._stopping.is_set():
                # Written down already; the free place may be taken at once.
                self._dispatch()

        threading.Thread(target=work, name=f"transfer-{claim.id}").start()

    def _carry_out(self, active: ActiveTransfer, counts: Callable[[Outcome], None] | None = None) -> Outcome:
        claim = active.claim
        try:
            try:
                outcome = self._job.carry_out(active)
                self._consider_pausing(outcome)
            except AudioExtractError as error:
                # The database itself: the lease runs out, and recovery takes the recording back.
                _log.error("%s: %s (%s)", claim.name, error, error.code, extra={"event": "record.failed"})
                outcome = Outcome(claim, None, error=error)
                # Not for long: the next claim asks the database before any byte is moved.
                self._pause(_DATABASE_PAUSE_SECONDS)
            # Before its place is free: who waits for the last one then knows of all.
            for told in (self._on_outcome, counts):
                if told is not None:
                    told(outcome)
        finally:
            self.active.remove(active)
        return outcome

    def _consider_pausing(self, outcome: Outcome) -> None:
        error = outcome.error
        if error is None or outcome.state is None:
            return
        if error.kind in _PAUSING or (error.code in STORAGE_DOWN and self.running):
            # One round goes on: what one recording met just now another need not meet.
            self._pause()
        elif self.settings.behavior.stop_on_error and error.kind != "cancelled":
            _log.error("stopping at the first error, as behavior.stop_on_error says")
            self._stopping.set()
            if self._worker is not None:
                self._worker.stop()

    def _pause(self, seconds: float = _PAUSE_SECONDS) -> None:
        self._paused_until = time.monotonic() + seconds
        _log.warning("no new transfers for %.0f seconds: the next one would fail too", seconds)

    def _paused(self) -> bool:
        return time.monotonic() < self._paused_until

    def _keep_leases(self) -> threading.Event:
        """Renew the leases of running transfers until the returned event is set; a lost one is cancelled."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(_RENEW_SECONDS):
                for transfer in self.active.all():
                    try:
                        held = self.tracker.renew(transfer.claim, self.now(), lease_seconds=_LEASE_SECONDS)
                    except AudioExtractError as error:
                        _log.warning("renewing a lease: %s", error)
                        continue
                    if not held:
                        transfer.cancel.cancel()

        threading.Thread(target=renew, name="lease-renewal", daemon=True).start()
        return done

    def _guarded(self, job: Callable[[], Any], name: str) -> Callable[[], None]:
        """A scheduled job that survives its own failures."""

        def run() -> None:
            try:
                job()
            except AudioExtractError as error:
                _log.error("%s: %s (%s)", name, error, error.code, extra={"event": "job.failed"})
            except Exception:  # noqa: BLE001 - a scheduled job must not end the schedule
                _log.exception(
                    "%s failed unexpectedly; please report this", name, extra={"event": "job.failed"}
                )

        return run

    def _count_queue(self) -> None:
        self.metrics.queue({state.value: count for state, count in self.tracker.counts().items()})

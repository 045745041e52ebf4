"""The transfers of this process: claiming what is due, a bounded number at a time, and the leases on it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from audio_extract.exceptions import AudioExtractError
from audio_extract.jobs.active import ActiveTransfer, ActiveTransfers
from audio_extract.jobs.transfer import Outcome
from audio_extract.tracker import Owner
from audio_extract.tracker.retry_policy import STORAGE_DOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.jobs.transfer import TransferJob
    from audio_extract.settings import Settings
    from audio_extract.tracker import Claim, Tracker

_log = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
_RENEW_SECONDS = 20.0
#: Kinds of errors that the next recording would meet too: the pool pauses instead of failing one by one.
_PAUSING = frozenset({"authentication", "configuration", "no_space"})
_PAUSE_SECONDS = 60.0
_DATABASE_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Why no new transfers begin, and until when."""

    reason: str
    until: datetime


class Pool:
    """Carries out transfers, each in a thread of its own.

    Args:
        settings: The settings.
        tracker: The database.
        job: Carries out one transfer.
        on_outcome: Told of each transfer as it ends, in its thread; must not raise.
        on_stop: Called when the settings say to stop at an error.
        now: The clock.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tracker: Tracker,
        job: TransferJob,
        on_outcome: Callable[[Outcome], None] | None,
        on_stop: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self.active = ActiveTransfers()
        self.stopping = threading.Event()
        self.only_one_round = True
        """Whether the process ends after what is due now, so that waiting for better times is no use."""
        self._settings = settings
        self._tracker = tracker
        self._job = job
        self._on_outcome = on_outcome
        self._on_stop = on_stop
        self._now = now
        self._owner = Owner.current()
        self._dispatching = threading.Lock()
        self._paused_until = 0.0
        self._pause_reason = ""

    def carry_out_due(self, ended: Callable[[Outcome], None]) -> None:
        """Transfer everything that is due, and wait for it; or for what runs, where it has to pause or stop.

        Args:
            ended: Told of each transfer as it ends, in its thread.
        """
        limit = self._settings.processing.max_parallel_downloads
        renewal = self.keep_leases()
        try:
            while not self.stopping.is_set() and not self.paused():
                self.active.wait_below(limit)
                if self.stopping.is_set() or self.paused():
                    break
                if self.dispatch(ended) == 0:
                    if len(self.active) == 0:
                        break
                    self.active.wait_below(len(self.active))
            self.active.wait_below(1)
        except BaseException:
            self.stopping.set()
            self.active.cancel_all()
            self.active.wait_below(1, timeout_seconds=5)
            raise
        finally:
            renewal.set()

    def take(self, recording_id: str) -> Outcome | None:
        """Transfer one recording if it is due and nobody else has it; what a job asks for.

        Waits while the service is paused. None: there was nothing to do, or the service stops.
        """
        while not self.stopping.is_set() and (wait := self._paused_until - time.monotonic()) > 0:
            self.stopping.wait(wait)
        if self.stopping.is_set():
            return None
        try:
            claim = self._tracker.claim_one(
                recording_id, self._owner, self._now(), lease_seconds=LEASE_SECONDS
            )
        except AudioExtractError as error:
            # It is due still, and gets a new job when the database is back.
            _log.error(
                "taking a recording: %s (%s)",
                error,
                error.code,
                extra={"event": "lease.claim_failed", "recording_id": recording_id, "code": error.code},
            )
            return None
        if claim is None:
            return None
        active = ActiveTransfer(claim, self._now())
        self.active.add(active)
        if self.stopping.is_set():
            # `stop` may have looked before this one was there: nobody would end it.
            active.cancel.cancel()
        return self._carry_out(active)

    def dispatch(self, counts: Callable[[Outcome], None] | None = None) -> int:
        """Fill the free places of the pool with what is due; returns how many.

        Args:
            counts: Told of each transfer's end; without it, one that ends makes place for the next.
        """
        with self._dispatching:
            free = self._settings.processing.max_parallel_downloads - len(self.active)
            if free <= 0 or self.stopping.is_set() or self.paused():
                return 0
            claims = self._tracker.claim(self._owner, self._now(), limit=free, lease_seconds=LEASE_SECONDS)
            for claim in claims:
                self._begin(claim, counts)
            return len(claims)

    def _begin(self, claim: Claim, counts: Callable[[Outcome], None] | None) -> None:
        active = ActiveTransfer(claim, self._now())
        self.active.add(active)

        def work() -> None:
            self._carry_out(active, counts)
            if counts is None and not self.stopping.is_set():
                # Written down already; the free place may be taken at once.
                try:
                    self.dispatch()
                except AudioExtractError as error:
                    # The database went away in between; the next look takes it.
                    self._pause(error, _DATABASE_PAUSE_SECONDS)

        threading.Thread(target=work, name=f"transfer-{claim.id}").start()

    def _carry_out(self, active: ActiveTransfer, counts: Callable[[Outcome], None] | None = None) -> Outcome:
        claim = active.claim
        try:
            try:
                outcome = self._job.carry_out(active)
                self._consider_pausing(outcome)
            except AudioExtractError as error:
                # The database itself: the lease runs out, and recovery takes the recording back.
                _log.error(
                    "%s: %s (%s)",
                    claim.name,
                    error,
                    error.code,
                    extra={"event": "transfer.not_recorded", "recording_id": claim.id, "code": error.code},
                )
                outcome = Outcome(claim, None, error=error)
                # Not for long: the next claim asks the database before any byte is moved.
                self._pause(error, _DATABASE_PAUSE_SECONDS)
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
        if error.kind == "configuration" and outcome.claim.wanted_outputs:
            # Of what somebody asked for of this one recording.
            return
        if error.kind in _PAUSING or (error.code in STORAGE_DOWN and not self.only_one_round):
            # One round goes on: what one recording met just now another need not meet.
            self._pause(error)
        elif self._settings.behavior.stop_on_error and error.kind != "cancelled":
            _log.error(
                "stopping at the first error, as behavior.stop_on_error says",
                extra={"event": "service.stopping_at_error", "code": error.code},
            )
            self.stopping.set()
            self._on_stop()

    @property
    def pause(self) -> Pause | None:
        """Why no new transfers begin for a while; None: they do."""
        left = self._paused_until - time.monotonic()
        if left <= 0:
            return None
        return Pause(self._pause_reason, datetime.now(UTC) + timedelta(seconds=left))

    def _pause(self, error: AudioExtractError, seconds: float | None = None) -> None:
        seconds = _PAUSE_SECONDS if seconds is None else seconds
        self._pause_reason = error.message
        self._paused_until = time.monotonic() + seconds
        _log.warning(
            "no new transfers for %.0f seconds: the next one would fail too",
            seconds,
            extra={"event": "transfers.paused", "code": error.code, "wait_seconds": seconds},
        )

    def paused(self) -> bool:
        """Whether no new transfers begin for a while, because they would fail too."""
        return time.monotonic() < self._paused_until

    def keep_leases(self) -> threading.Event:
        """Renew the leases of running transfers until the returned event is set; a lost one is cancelled."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(_RENEW_SECONDS):
                for transfer in self.active.all():
                    try:
                        held = self._tracker.renew(transfer.claim, self._now(), lease_seconds=LEASE_SECONDS)
                    except AudioExtractError as error:
                        _log.warning(
                            "renewing a lease: %s",
                            error,
                            extra={
                                "event": "lease.renewal_failed",
                                "recording_id": transfer.claim.id,
                                "code": error.code,
                            },
                        )
                        continue
                    if not held:
                        transfer.cancel.cancel()

        threading.Thread(target=renew, name="lease-renewal", daemon=True).start()
        return done

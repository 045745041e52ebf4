"""Puts right what processes that died left: recordings, names, temporary and half-written files."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from audio_extract.exceptions import AudioExtractError
from audio_extract.jobs.chunk_folder import ChunkFolder
from audio_extract.jobs.pool import LEASE_SECONDS
from audio_extract.jobs.transfer import Outcome
from audio_extract.tracker import Owner, RetryPolicy, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from audio_extract.jobs.transfer import TransferJob
    from audio_extract.settings import Settings
    from audio_extract.storage.base import StorageAdapter
    from audio_extract.tracker import Tracker

_log = logging.getLogger(__name__)

#: Sweeping is done at every start and once a day.
_SWEPT_BEFORE: Final = timedelta(days=2)


class Recovery:
    """Runs at start and on the schedule.

    Args:
        settings: The settings.
        tracker: The database.
        storage: Where audio goes.
        job: Knows what makes a stored object a recording's.
        now: The clock.
        on_outcome: Told of each recording that was found stored; must not raise.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tracker: Tracker,
        storage: StorageAdapter,
        job: TransferJob,
        now: Callable[[], datetime],
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._settings = settings
        self._tracker = tracker
        self._storage = storage
        self._job = job
        self._now = now
        self._on_outcome = on_outcome
        self._owner = Owner.current()

    def recover(self) -> None:
        """Take back what dead workers left."""
        recovered = self._tracker.recover(
            self._now(), policy=RetryPolicy.from_settings(self._settings.behavior)
        )
        if recovered.pending or recovered.quarantined:
            _log.warning(
                "%d recordings of workers that ended are due again, %d are quarantined",
                len(recovered.pending),
                len(recovered.quarantined),
                extra={
                    "event": "lease.recovered",
                    "pending": len(recovered.pending),
                    "quarantined": len(recovered.quarantined),
                },
            )
        for recording_id in recovered.pending:
            self._reconcile(recording_id)

    def _reconcile(self, recording_id: str) -> None:
        """Look whether a dead worker's recording stands at the destination; else it is due as before."""
        row = self._tracker.recording(recording_id)
        if row is None or row.object_name is None:
            return
        claim = self._tracker.claim_one(recording_id, self._owner, self._now(), lease_seconds=LEASE_SECONDS)
        if claim is None:
            return
        is_adopted = False
        try:
            is_adopted = self._job.adopt(claim)
        except AudioExtractError as error:
            _log.warning(
                "looking for what a dead worker stored of %s: %s",
                claim.name,
                error,
                extra={"event": "lease.recovery_failed", "recording_id": claim.id, "code": error.code},
            )
        finally:
            if not is_adopted:
                self._tracker.release(claim, self._now(), reason="recovered")
        if is_adopted and self._on_outcome is not None:
            self._on_outcome(Outcome(claim, State.COMPLETED, adopted=True))

    def clean_up(self) -> int:
        """Remove details older than the settings keep them; what says that something is done stays."""
        self.sweep()
        days = self._settings.behavior.cleanup_old_records_days
        return self._tracker.cleanup(days, self._now()) if days > 0 else 0

    def sweep(self) -> int:
        """Remove what killed processes left at the destination; returns how many files.

        Of recordings that nobody will transfer any more: chunks of which there is no index, and in a folder
        files that no log proves to be whole, because on gcsfuse a killed writer leaves half a file under the
        final name. In a folder temporary files too.
        """
        lately = self._now() - _SWEPT_BEFORE
        is_local = self._storage.storage_type == "local"
        removed = self._storage.remove_abandoned() if is_local else 0
        # In a bucket each name is a request: what was swept before is not looked at again.
        left = self._tracker.abandoned(None if is_local else lately) + self._tracker.given_up(lately)
        for one in left:
            for name in one.names:
                if is_local:
                    removed += self._remove_half(name)
                pieces = ChunkFolder(self._storage, name, one.source_id).remove_pieces()
                if pieces:
                    _log.warning(
                        "removed %d chunks of %s, of a recording that is not wanted any more",
                        pieces,
                        name,
                        extra={"event": "leftover.removed", "storage_path": name},
                    )
                removed += pieces
        return removed

    def _remove_half(self, name: str) -> bool:
        standing = self._storage.stat(name)
        if standing is None or standing.metadata:
            return False
        _log.warning(
            "removing %s: half a file, of a recording that is not wanted any more",
            name,
            extra={"event": "leftover.removed", "storage_path": name},
        )
        self._storage.delete(name)
        return True

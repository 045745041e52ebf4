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
    from audio_extract.tracker import Abandoned, Tracker

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
        state = None
        try:
            state = self._job.adopt(claim)
        except AudioExtractError as error:
            _log.warning(
                "looking for what a dead worker stored of %s: %s",
                claim.name,
                error,
                extra={"event": "lease.recovery_failed", "recording_id": claim.id, "code": error.code},
            )
        finally:
            if state is None:
                self._tracker.release(claim, self._now(), reason="recovered")
        if state is State.COMPLETED and self._on_outcome is not None:
            self._on_outcome(Outcome(claim, State.COMPLETED, adopted=True))

    def clean_up(self) -> int:
        """Remove details older than the settings keep them; what says that something is done stays."""
        self.sweep()
        days = self._settings.behavior.cleanup_old_records_days
        return self._tracker.cleanup(days, self._now()) if days > 0 else 0

    def sweep(self) -> int:
        """Remove what killed processes left at the destination; returns how many files.

        Of recordings of which no audio was stored and that nobody will transfer any more: what was to stand
        beside the audio, chunks of which there is no index, and in a folder audio that no log proves to be
        whole, because on gcsfuse a killed writer leaves half a file under the final name. In a folder
        temporary files too.
        """
        lately = self._now() - _SWEPT_BEFORE
        is_local = self._storage.storage_type == "local"
        removed = self._storage.remove_abandoned() if is_local else 0
        # In a bucket each name is a request: what was swept before is not looked at again.
        left = self._tracker.abandoned(None if is_local else lately) + self._tracker.given_up(lately)
        for one in left:
            for name in one.names:
                removed += self._remove(name, one, is_local=is_local)
        return removed

    def _remove(self, name: str, left: Abandoned, *, is_local: bool) -> int:
        """Remove what stands under a name: whole audio stays, what was to be beside it goes."""
        is_audio = name == left.audio_name
        standing = self._storage.stat(name) if is_local or not is_audio else None
        is_half = is_local and standing is not None and not standing.metadata
        is_ours = standing is not None and standing.metadata.get("source-id") == left.source_id
        removed = 0
        if standing is not None and (is_half or (is_ours and not is_audio)):
            self._storage.delete(name, standing.generation)
            removed = 1
        removed += ChunkFolder(self._storage, name, left.source_id).remove_pieces(also_whole=not is_audio)
        if removed:
            _log.warning(
                "removed %d files of %s: of a recording that is not wanted any more, or not whole",
                removed,
                name,
                extra={"event": "leftover.removed", "storage_path": name},
            )
        return removed

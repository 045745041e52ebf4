"""From how a transfer ended to what others are told of it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from audio_extract.exceptions import AudioExtractError
from audio_extract.failure_texts import failure_text
from audio_extract.notify import Ending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from audio_extract.jobs.transfer import Outcome
    from audio_extract.notify import Notifiers
    from audio_extract.settings import Settings
    from audio_extract.storage.base import StorageAdapter
    from audio_extract.tracker import RecordingRow, StoredChunk, Tracker


_log = logging.getLogger(__name__)


def tell(
    notifiers: Notifiers, outcome: Outcome, tracker: Tracker, storage: StorageAdapter, settings: Settings
) -> None:
    """Tell how a transfer ended; one that was stopped, and what stood there already, is no news.

    Of audio that a process stored which died before it could tell, this is the first that is heard.
    """
    error, claim = outcome.error, outcome.claim
    is_old = outcome.adopted and not claim.was_cut_short
    if outcome.state is None or is_old or (error is not None and error.kind == "cancelled"):
        return
    row, stored = None, {}
    try:
        row = tracker.recording(claim.id)
        if error is None and row is not None:
            stored = _stored(row, tracker, storage, settings)
    except AudioExtractError:
        # The database went away just now; what is known of the ending has to do.
        pass
    notifiers.tell(
        Ending(
            id=f"{claim.id}-{claim.token}",
            at=datetime.now(UTC),
            recording_id=claim.id,
            name=claim.name,
            source=claim.source,
            source_id=claim.source_id,
            status=outcome.state.value,
            text="" if error is None else failure_text(error.code, claim.name, error.message),
            code=None if error is None else error.code,
            next_attempt_at=None if row is None or error is None else row.next_attempt_at,
            trace_id=row.trace_id if row else None,
            **stored,
        )
    )


def _stored(
    row: RecordingRow, tracker: Tracker, storage: StorageAdapter, settings: Settings
) -> dict[str, Any]:
    """Return what is told of stored audio, of what stands beside it, and of its pieces."""

    def pieces(chunks: Iterable[StoredChunk]) -> tuple[dict[str, Any], ...]:
        return tuple(
            {
                "storage_path": one.object_name,
                "url": _url(one.object_name, storage, settings),
                "start_seconds": one.start_seconds,
                "end_seconds": one.end_seconds,
                "size_bytes": one.size_bytes,
                "crc32c": one.crc32c,
            }
            for one in chunks
        )

    found: dict[str, Any] = {
        "storage_type": row.storage_type,
        "bucket": settings.bucket_name if row.storage_type == "gcs" else None,
        "storage_path": row.storage_path,
        "size_bytes": row.stored_size_bytes,
        "crc32c": row.crc32c,
        "generation": row.generation,
        "audio_seconds": row.audio_seconds,
        "outputs": tuple(
            {
                "name": one.name,
                "storage_path": one.object_name,
                "url": _url(one.object_name, storage, settings),
                "size_bytes": one.size_bytes,
                "crc32c": one.crc32c,
                "audio_seconds": one.audio_seconds,
                **({"chunks": pieces(one.chunks)} if one.chunks else {}),
            }
            for one in tracker.outputs_of(row.id)
        ),
        "chunks": pieces(tracker.chunks_of(row.id)),
    }
    found["companions"] = tuple(tracker.companions_of(row.id))
    if row.storage_path is None:
        return found
    found["url"] = _url(row.storage_path, storage, settings)
    if settings.monitoring.notifications.links and storage.storage_type == "gcs":
        lifetime = timedelta(hours=settings.storage.gcs.url_expiration_hours)
        try:
            found["link"] = storage.get_url(row.storage_path, lifetime)
            found["link_expires_at"] = datetime.now(UTC) + lifetime
        except AudioExtractError as error:
            _log.warning(
                "no link to %s could be made: %s",
                row.storage_path,
                error,
                extra={"event": "notify.no_link", "code": error.code},
            )
    return found


def _url(name: str, storage: StorageAdapter, settings: Settings) -> str:
    return f"gs://{settings.bucket_name}/{name}" if storage.storage_type == "gcs" else storage.get_url(name)

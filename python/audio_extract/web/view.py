"""What the page and the API show beside the tracker's rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from audio_extract.failure_texts import FailureParts, failure_parts, failure_text
from audio_extract.telemetry.redaction import redact
from audio_extract.tracker.values import values_of
from audio_extract.web.access.people import person_of
from audio_extract.web.components import MEANINGS
from audio_extract.web.health import Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from starlette.requests import Request

    from audio_extract.tracker.tracker import Tracker
    from audio_extract.tracker.values import RecordingRow, Stats
    from audio_extract.web.health import ComponentHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveView:
    """One transfer that runs now.

    Attributes:
        id: The recording's id.
        name: Its name.
        stage: Where the transfer stands.
        fraction: How much is done, 0 to 1; None while that is not known.
        text: The same for people, with speed and time left.
    """

    id: str
    name: str
    stage: str
    fraction: float | None
    text: str
    fetched_bytes: int
    source_size_bytes: int | None
    stored_bytes: int
    audio_seconds: float
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class ShownSettings:
    """The settings as the page shows them.

    Attributes:
        file: The settings file; None: there is none.
        sections: Every section of the settings, nested as in the file, without secrets.
    """

    file: str | None
    sections: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class AudioLocation:
    """Where a browser gets a recording's audio: a URL, or a file that we serve."""

    url: str | None = None
    file: Path | None = None


def health_json(components: Mapping[str, ComponentHealth]) -> dict[str, dict[str, str | None]]:
    """Return the components' states as the API gives them."""
    return {
        name: {
            "status": health.status.value,
            "message": health.message,
            "meaning": None if health.status is Status.HEALTHY else MEANINGS.get(name),
            "remedy": health.remedy,
        }
        for name, health in components.items()
    }


def found(tracker: Tracker, recording_id: str) -> RecordingRow:
    """Return a recording.

    Raises:
        HTTPException: 404, there is none of this id.
    """
    row = tracker.recording(recording_id)
    if row is None:
        raise HTTPException(404, f"no recording has the id {recording_id!r}")
    return row


def actor_of(request: Request) -> str:
    """Return who asks, for the audit log."""
    return person_of(request).name


def reason(row: RecordingRow) -> str | None:
    """Return why a recording failed and what to do, for people; None where it did not."""
    if row.error_code is None:
        parts = why(row)
        return None if parts is None else parts.cause
    return failure_text(row.error_code, row.name, row.error_message or "")


def why(row: RecordingRow) -> FailureParts | None:
    """Return the same in parts, where the recording's name is told already."""
    if row.error_code is not None:
        return failure_parts(row.error_code, row.name, row.error_message or "")
    # The earlier service gave its failures no code, and often no text.
    text = row.error_message or row.state_reason
    if text:
        return FailureParts(redact(text))
    return FailureParts("why is not known") if row.status in {"failed", "quarantined"} else None


def success_rate(stats: Stats) -> float | None:
    """Return the share of the ended ones that were stored, 0 to 1; None while none has ended."""
    ended = stats.completed + stats.failed
    return stats.completed / ended if ended else None


def row_json(row: RecordingRow, base_url: str) -> dict[str, Any]:
    """Return a row of the API: every key in every row, null where a value is not known.

    Args:
        row: The tracker's row.
        base_url: Of this server, with a slash at its end. ``storage_url`` leads through it to the audio: it
            does not expire and holds no signature; ``storage_location`` is where the audio really is.
    """
    # Not `asdict`, which copies each value deeply and takes longer than the rest of the answer.
    values = values_of(row)
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.isoformat()
    values["metadata"] = {**row.metadata, "file_name": row.name}
    values["storage_location"] = row.storage_url
    values["storage_url"] = f"{base_url}recordings/{row.id}/audio" if row.status == "completed" else None
    values["reason"] = reason(row)
    return values

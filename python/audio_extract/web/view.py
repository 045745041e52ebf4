"""The values that page and API show, and where they get them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingView:
    """One recording as people see it; None where a value is not known."""

    id: str
    name: str
    status: str
    file_path: str
    source: str
    source_id: str
    revision: str | None
    recorded_at: datetime | None
    discovered_at: datetime | None
    processed_at: datetime | None
    storage_type: str | None
    storage_path: str | None
    source_size_bytes: int | None
    fetched_bytes: int | None
    stored_size_bytes: int | None
    crc32c: str | None
    audio_seconds: float | None
    elapsed_seconds: float | None
    strategy: str | None
    attempts: int
    next_attempt_at: datetime | None
    error_code: str | None
    error_message: str | None
    remedy: str | None
    trace_id: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveView:
    """One transfer that runs now."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsView:
    """How much there is."""

    total: int
    completed: int
    failed: int
    pending: int
    in_progress: int
    skipped: int
    audio_seconds: float
    source_bytes: int
    stored_bytes: int

    @property
    def success_rate(self) -> float | None:
        """Share of the ended ones that were stored, 0 to 1; None while none has ended."""
        ended = self.completed + self.failed
        return self.completed / ended if ended else None


@dataclass(frozen=True, slots=True)
class PageOfRecordings:
    """Some recordings, newest first.

    Attributes:
        rows: The recordings.
        next_cursor: What asks for the next ones; None at the end.
    """

    rows: list[RecordingView]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class AudioLocation:
    """Where a browser gets a recording's audio: a URL, or a file that we serve."""

    url: str | None = None
    file: Path | None = None


class Recordings(Protocol):
    """What the web needs to know about recordings. Methods may block: none is called in the event loop."""

    def recent(self, *, days: int, limit: int, cursor: str | None) -> PageOfRecordings:
        """Recordings of the last days in any state.

        Raises:
            ValueError: The cursor is not one of ours.
        """
        ...

    def failed(self, *, limit: int, cursor: str | None) -> PageOfRecordings:
        """Recordings that failed or are quarantined.

        Raises:
            ValueError: The cursor is not one of ours.
        """
        ...

    def get(self, recording_id: str) -> RecordingView | None:
        """One recording, or None."""
        ...

    def stats(self) -> StatsView:
        """How much there is."""
        ...

    def active(self) -> list[ActiveView]:
        """What runs now."""
        ...

    def audio(self, recording_id: str) -> AudioLocation | None:
        """Where the audio of a completed recording is, or None.

        Raises:
            AudioExtractError: The destination cannot give it.
        """
        ...

"""Which recordings are wanted. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, Literal

from audio_extract.plan.formats import MEDIA_TYPES

if TYPE_CHECKING:
    from datetime import datetime

    from audio_extract.settings import Settings
    from audio_extract.sources.base import Recording

Reason = Literal["kind", "name", "too_old", "too_large", "cannot_download", "not_settled", "incomplete"]

#: What sources say of files whose kind they do not know.
_UNKNOWN_TYPES: Final = frozenset({None, "", "application/octet-stream"})
_FINAL: Final = frozenset({"kind", "name", "too_old", "too_large", "cannot_download"})


@dataclass(frozen=True, slots=True)
class Selected:
    """The recording is wanted."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The recording is not wanted, or not yet.

    Attributes:
        reason: Stable word, for tables and metrics.
        message: Why, for people.
    """

    reason: Reason
    message: str

    @property
    def later(self) -> bool:
        """It will be wanted once it is whole: look again, and do not remember it as skipped."""
        return self.reason not in _FINAL


def select(
    recording: Recording, settings: Settings, now: datetime, *, arrived: bool = False
) -> Selected | Skipped:
    """Decide whether a recording is wanted.

    Args:
        recording: As its source described it.
        settings: The rules.
        now: With time zone.
        arrived: It just appeared in the change feed. Files that are moved into a folder keep their old dates,
            so age does not count then.
    """
    rules = (
        _kind(recording, settings),
        _name(recording, settings),
        None if arrived else _too_old(recording, settings.google_drive.days_to_look_back, now),
        _too_large(recording, settings),
        _not_ready(recording),
    )
    return next((skipped for skipped in rules if skipped is not None), Selected())


def kind_of(recording: Recording) -> str | None:
    """Return a recording's MIME type: what its source says, else what its extension means."""
    said = (recording.mime_type or "").partition(";")[0].strip().lower()
    if said in _UNKNOWN_TYPES:
        return MEDIA_TYPES.get(PurePath(recording.name).suffix.lower())
    return said


def _kind(recording: Recording, settings: Settings) -> Skipped | None:
    kind = kind_of(recording)
    wanted = settings.google_drive.mime_types
    if kind is not None and any(fnmatchcase(kind, pattern.lower()) for pattern in wanted):
        return None
    return Skipped("kind", f"{kind or 'an unknown kind of file'} is not in google_drive.mime_types")


def _name(recording: Recording, settings: Settings) -> Skipped | None:
    local = recording.source == "local"
    patterns = (settings.sources.local if local else settings.google_drive).name_patterns
    name = recording.name.casefold()
    if not patterns or any(fnmatchcase(name, pattern.casefold()) for pattern in patterns):
        return None
    setting = "sources.local.name_patterns" if local else "google_drive.name_patterns"
    return Skipped("name", f"its name matches none of {setting}")


def _too_old(recording: Recording, days: int, now: datetime) -> Skipped | None:
    if not days:
        return None
    # The later of both: an upload of an old file, or a recording that was replaced, is news.
    newest = max(recording.created_at, recording.modified_at or recording.created_at)
    if newest >= now - timedelta(days=days):
        return None
    return Skipped("too_old", f"older than google_drive.days_to_look_back ({days} days)")


def _too_large(recording: Recording, settings: Settings) -> Skipped | None:
    limit = settings.max_source_bytes
    if limit is None or recording.size_bytes is None or recording.size_bytes <= limit:
        return None
    megabytes = settings.processing.max_file_size_mb
    return Skipped("too_large", f"larger than processing.max_file_size_mb ({megabytes})")


def _not_ready(recording: Recording) -> Skipped | None:
    if not recording.can_download:
        return Skipped("cannot_download", "its owner does not allow downloads")
    if not recording.settled:
        return Skipped("not_settled", "it is still being written")
    checksum = recording.md5 or recording.sha256
    if recording.source == "drive" and (recording.size_bytes is None or not checksum):
        return Skipped("incomplete", "Drive has no size or checksum for it yet")
    return None

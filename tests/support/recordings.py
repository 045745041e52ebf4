"""Recordings as a source lists them, for tests that do not care where they come from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from audio_extract.sources.base import Recording
from audio_extract.tracker import Stored

NOW = datetime(2026, 1, 29, 10, 0, tzinfo=UTC)
#: Names that people, phones and attackers give: every database must give them back unchanged.
HOSTILE_NAMES = (
    "Robert'); DROP TABLE recordings;--.mp4",
    "%s %(id)s {name} :name ?1 $1.mp4",
    "nul \x00 and substitute \x1a0000.mp4",
    "not UTF-8 \udcff\udc00.mp4",
    "lone surrogate \ud800.mp4",
    "Wöchentlich 🎙 \u202egnp.mp4\r\n\t",
    '"quoted" `back` \\slash\\ \x7f.mp4',
    "x" * 20_000,
    "",
)


def after(seconds: float) -> datetime:
    """Some time after NOW."""
    return NOW + timedelta(seconds=seconds)


def recording(source_id: str = "one", **changes: Any) -> Recording:
    """One recording in Drive."""
    values: dict[str, Any] = {
        "source": "drive",
        "source_id": source_id,
        "revision": "r1",
        "name": f"{source_id}.mp4",
        "created_at": NOW - timedelta(hours=1),
        "mime_type": "video/mp4",
        "size_bytes": 1000,
        "md5": "0" * 32,
    }
    return Recording(**{**values, **changes})


def stored(name: str = "dev/2026/01/one_audio.mp3", **changes: Any) -> Stored:
    """An object that was uploaded."""
    values: dict[str, Any] = {
        "storage_type": "gcs",
        "storage_path": name,
        "storage_url": f"gs://bucket/{name}",
        "size_bytes": 100,
        "crc32c": "AAAAAA==",
        "generation": 1_769_680_800_000_000,
        "content_type": "audio/mpeg",
        "audio_seconds": 60.0,
    }
    return Stored(**{**values, **changes})

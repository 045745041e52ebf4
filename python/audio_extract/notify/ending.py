"""How a transfer ended, as far as others are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one transfer ended.

    Attributes:
        id: Of this transfer; the same whenever it is told again.
        at: When.
        recording_id: The tracker's.
        name: The recording's file name.
        source: ``drive`` or ``local``.
        source_id: Its id there.
        status: ``completed``, or where a failure led: ``failed``, ``quarantined``, ``skipped``.
        text: For people: what failed, why and what to do. Empty when it is completed.
        code: Of the error.
        next_attempt_at: When it is tried again by itself.
        storage_type: ``gcs`` or ``local``, when audio is stored; the next six too.
        bucket: Its bucket.
        storage_path: The object's name, or the path below the folder.
        size_bytes: Of the audio.
        crc32c: Base64 of the big-endian value.
        generation: The object's generation.
        audio_seconds: Its length.
        trace_id: The transfer's trace.
        url: Where the audio is, without a signature: ``gs://…``, or ``file:///…`` on this machine.
        link: A link that whoever has it can use, where that is asked for; it expires at `link_expires_at`.
        outputs: What stands beside the audio: name, storage_path, url, size_bytes, crc32c, audio_seconds, and
            chunks where it was split.
        companions: What the meeting left beside its recording: kind, name, link.
        chunks: Its pieces in order: storage_path, url, start_seconds, end_seconds, size_bytes, crc32c.
    """

    id: str
    at: datetime
    recording_id: str
    name: str
    source: str
    source_id: str
    status: str
    text: str = ""
    code: str | None = None
    next_attempt_at: datetime | None = None
    storage_type: str | None = None
    bucket: str | None = None
    storage_path: str | None = None
    size_bytes: int | None = None
    crc32c: str | None = None
    generation: int | None = None
    audio_seconds: float | None = None
    trace_id: str | None = None
    url: str | None = None
    link: str | None = None
    link_expires_at: datetime | None = None
    outputs: tuple[Mapping[str, Any], ...] = ()
    chunks: tuple[Mapping[str, Any], ...] = ()
    companions: tuple[Mapping[str, Any], ...] = ()


class Notifier(Protocol):
    """Somebody who is told. No method raises or waits for the network."""

    def tell(self, ending: Ending) -> None:
        """A transfer ended."""

    def close(self) -> None:
        """Deliver what waits, for at most some seconds."""

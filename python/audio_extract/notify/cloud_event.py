"""How a transfer ended, as a CloudEvent 1.0.

The ``id`` is that of the transfer, so that a receiver that gets an event twice can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from audio_extract.notify.ending import Ending

_TYPES: Final = "audio-extract.recording"


def event(ending: Ending, source: str) -> dict[str, Any]:
    """Return a CloudEvent.

    Args:
        ending: What happened.
        source: Which service this is.
    """
    kind = "completed" if ending.status == "completed" else "failed"
    names = (
        "recording_id", "name", "source", "source_id", "status", "code", "storage_type", "bucket",
        "storage_path", "url", "link", "size_bytes", "crc32c", "generation", "audio_seconds", "trace_id",
    )  # fmt: skip
    data = {name: getattr(ending, name) for name in names}
    data["link_expires_at"] = ending.link_expires_at.isoformat() if ending.link_expires_at else None
    if kind == "failed":
        data["message"] = ending.text
        data["next_attempt_at"] = ending.next_attempt_at.isoformat() if ending.next_attempt_at else None
    for name in ("outputs", "chunks", "companions"):
        data[name] = [dict(one) for one in getattr(ending, name)] or None
    return {
        "specversion": "1.0",
        "id": ending.id,
        "source": source,
        "type": f"{_TYPES}.{kind}",
        "subject": ending.storage_path or ending.name,
        "time": ending.at.isoformat(),
        "datacontenttype": "application/json",
        "data": {name: value for name, value in data.items() if value is not None},
    }


def is_wanted(ending: Ending, *, on_success: bool, on_failure: bool) -> bool:
    """Tell whether somebody wants to hear of an ending."""
    return on_success if ending.status == "completed" else on_failure

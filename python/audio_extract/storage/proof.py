"""What a processing log says of the audio file it is about, so that the file can be recognised later.

A file in a folder carries no metadata. That it is ours is believed only if a log, which was written after the
file was verified, names its size and CRC32C (DESIGN.md, "Exactly once"). A bucket keeps metadata with the
object, but its logs have the same form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audio_extract.storage.base import StoredFile

#: The part of a processing log that this file owns.
KEY = "stored"


def proof_of(stored: StoredFile) -> dict[str, Any]:
    """The entry :data:`KEY` of a processing log: merge it into the log of a transfer that was verified."""
    return {
        KEY: {
            "name": stored.name,
            "size_bytes": stored.size_bytes,
            "crc32c": stored.crc32c,
            "metadata": dict(stored.metadata),
        }
    }


def proven_metadata(
    log: Mapping[str, Any] | None, *, name: str, size_bytes: int, crc32c: str
) -> dict[str, str]:
    """The metadata of a file that a log proves; empty when it does not."""
    entry = (log or {}).get(KEY)
    if not isinstance(entry, dict):
        return {}
    metadata = entry.get("metadata")
    is_proven = (
        entry.get("name") == name
        and entry.get("size_bytes") == size_bytes
        and entry.get("crc32c") == crc32c
        and isinstance(metadata, dict)
    )
    return {str(key): str(value) for key, value in metadata.items()} if is_proven and metadata else {}

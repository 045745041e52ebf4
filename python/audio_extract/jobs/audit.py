"""Compares what the database says is stored with what stands at the destination; changes nothing.

The destination is listed once, into a temporary database of its own, so that memory does not grow with it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from audio_extract.tracker import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audio_extract.settings import Settings
    from audio_extract.storage.base import StorageAdapter, StoredFile
    from audio_extract.tracker import Tracker
    from audio_extract.tracker.values import RecordingRow

_PAGE: Final = 500
#: Below the prefix: logs of transfers.
_LOGS: Final = "metadata/"

Kind = Literal["missing", "different", "unfinished", "extra"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as it should be.

    Attributes:
        kind: ``missing``: recorded as stored, and not there. ``different``: there, with other content.
            ``unfinished``: there, of a recording that is not completed; the next round looks at it.
            ``extra``: there, and no recording's.
        name: Of the object, or the path below the folder.
        recording_id: Whose; None for an extra one.
        detail: What is different, or where an extra one seems to come from.
    """

    kind: Kind
    name: str
    recording_id: str | None
    detail: str


def compare(
    tracker: Tracker, storage: StorageAdapter, settings: Settings, *, checksums: bool = False
) -> Iterator[Difference]:
    """Give what differs, recordings first.

    Args:
        tracker: What should be there.
        storage: What is there.
        settings: Give the prefix below which to look.
        checksums: Also read every file of a folder; a bucket knows the checksums of its objects.

    Raises:
        AudioExtractError: The destination cannot be listed, or the database not be read.
    """
    prefix = f"{settings.object_prefix}/" if settings.object_prefix else ""
    with closing(_listed(storage, prefix)) as there:
        for row in _completed(tracker, storage.storage_type, prefix):
            name = row.storage_path or ""
            found = there.execute(
                "SELECT size, crc32c, generation FROM files WHERE name = ?", (name,)
            ).fetchone()
            if found is None:
                yield Difference(kind="missing", name=name, recording_id=row.id, detail=row.name)
                continue
            there.execute("UPDATE files SET known = 1 WHERE name = ?", (name,))
            size, crc32c, generation = found
            if checksums and not crc32c:
                standing = storage.stat(name)
                crc32c = standing.crc32c if standing is not None else ""
            detail = _unlike(row, size, crc32c, generation)
            if detail:
                yield Difference(kind="different", name=name, recording_id=row.id, detail=detail)
        for name, source_id in there.execute(
            "SELECT name, source_id FROM files WHERE NOT known ORDER BY name"
        ):
            owner = tracker.named(name)
            if owner is not None and owner.status != State.COMPLETED:
                yield Difference(
                    kind="unfinished",
                    name=name,
                    recording_id=owner.id,
                    detail=f"{owner.name} is {owner.status}",
                )
            else:
                detail = f"says that it is of {source_id}" if source_id else "says of no recording"
                yield Difference(kind="extra", name=name, recording_id=None, detail=detail)


def _listed(storage: StorageAdapter, prefix: str) -> sqlite3.Connection:
    """What stands there, in a temporary database; SQLite keeps what is large on the disk."""
    there = sqlite3.connect("")
    there.execute(
        "CREATE TABLE files (name TEXT PRIMARY KEY, size INTEGER, crc32c TEXT, generation INTEGER, "
        "source_id TEXT, known INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"
    )
    logs = prefix + _LOGS
    there.executemany(
        "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, 0)",
        (_values(file) for file in storage.list_files(prefix) if not file.name.startswith(logs)),
    )
    return there


def _values(file: StoredFile) -> tuple[str, int, str, int | None, str | None]:
    return file.name, file.size_bytes, file.crc32c, file.generation, file.metadata.get("source-id")


def _completed(tracker: Tracker, storage_type: str, prefix: str) -> Iterator[RecordingRow]:
    cursor: str | None = None
    while True:
        page = tracker.listing(states=[State.COMPLETED], limit=_PAGE, cursor=cursor)
        for row in page.rows:
            # What was stored elsewhere, or by the earlier service nobody knows where, is not looked for here.
            name = row.storage_path
            if name and row.storage_type == storage_type and name.startswith(prefix):
                yield row
        cursor = page.next_cursor
        if cursor is None:
            return


def _unlike(row: RecordingRow, size: int, crc32c: str, generation: int | None) -> str:
    """What is not as the database says; empty when all is."""
    wanted = {"bytes": row.stored_size_bytes, "CRC32C": row.crc32c, "generation": row.generation}
    found = {"bytes": size, "CRC32C": crc32c or None, "generation": generation}
    return ", ".join(
        f"{what} {found[what]} and not {value}"
        for what, value in wanted.items()
        if value is not None and found[what] is not None and found[what] != value
    )

"""Taking over the database of the earlier service, so that nothing in it is processed again.

Its three tables are set aside under ``legacy_…`` names and kept as they are; what ``processed_videos`` says
is copied. Columns are looked up by name: versions of the earlier service differ in what they have.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, inspect, text

from audio_extract.tracker import history
from audio_extract.tracker.models import processed_videos, recordings
from audio_extract.tracker.states import Event, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

_TABLES = ("processed_videos", "drive_files", "sync_history", "db_version")
_PREFIX = "legacy_"
_DONE = frozenset({"completed", "success", "processed", "done"})


def is_present(connection: Connection, tables: set[str]) -> bool:
    """Whether the earlier service made this database."""
    if "processed_videos" not in tables:
        return False
    names = {column["name"] for column in inspect(connection).get_columns("processed_videos")}
    return {"file_path", "status"} <= names and "recording_id" not in names


def set_aside(connection: Connection) -> None:
    """Give the earlier service's tables other names."""
    tables = set(inspect(connection).get_table_names())
    for name in _TABLES:
        if name in tables:
            connection.execute(text(f"ALTER TABLE {name} RENAME TO {_PREFIX}{name}"))


def adopt(connection: Connection, now: datetime) -> int:
    """Copy what was processed: completed stays so, failed is due at once. Returns how many there are."""
    old = f"{_PREFIX}processed_videos"
    names = [column["name"] for column in inspect(connection).get_columns(old)]
    # Read as text and numbers: the types its columns claim to have are not always what they hold.
    columns = ", ".join(f'"{name}"' for name in names)
    found = connection.execute(text(f"SELECT {columns} FROM {old} ORDER BY 1")).mappings()  # noqa: S608
    rows = [dict(row) for row in found]
    newest: dict[str, dict[str, Any]] = {}
    for row in rows:
        path = str(row["file_path"])
        known = newest.get(path)
        # Of two rows about one file the one that says "completed" counts: it must not be processed again.
        if known is None or not _is_done(known) or _is_done(row):
            newest[path] = row
    for path, row in newest.items():
        _adopt_one(connection, path, row, now)
    return len(newest)


def _is_done(row: Mapping[str, Any]) -> bool:
    return str(row["status"]).lower() in _DONE


def _adopt_one(connection: Connection, path: str, row: dict[str, Any], now: datetime) -> None:
    done = _is_done(row)
    source = "drive" if path.startswith("drive://") else "local"
    source_id = path.removeprefix("drive://")
    processed_at = _moment(row.get("processed_at"))
    details = _details(row.get("metadata"))
    state = State.COMPLETED if done else State.FAILED
    url, object_path = row.get("gcs_url"), row.get("gcs_path")
    storage = {
        "storage_type": row.get("storage_type") or ("gcs" if object_path or url else None),
        "storage_path": row.get("storage_path") or object_path or row.get("output_path"),
        "storage_url": row.get("storage_url") or url,
    }
    error = row.get("error_message")
    recording_id = connection.execute(
        insert(recordings)
        .values(
            source=source,
            source_id=source_id,
            name=str(details.get("file_name") or details.get("name") or source_id.rpartition("/")[2]),
            state=state,
            state_reason="adopted",
            state_changed_at=processed_at or now,
            discovered_at=processed_at or now,
            processed_at=processed_at,
            next_attempt_at=None if done else now,
            error_message=None if done or error is None else str(error),
            **(storage if done else {}),
        )
        .returning(recordings.c.id)
    ).scalar_one()
    connection.execute(
        insert(processed_videos).values(
            recording_id=recording_id,
            file_path=path,
            file_hash=row.get("file_hash"),
            status=state,
            processed_at=processed_at,
            metadata=details,
            gcs_url=url,
            gcs_path=object_path,
            upload_timestamp=_moment(row.get("upload_timestamp")),
            error_message=None if error is None else str(error),
            **storage,
        )
    )
    history.record_event(
        connection, recording_id, Event.ADOPTED, now, after=state, actor="upgrade",
        detail={"status": str(row["status"])},
    )  # fmt: skip


def _moment(value: object) -> datetime | None:
    """Read a time of the earlier service, which wrote UTC without saying so."""
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _details(value: object) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    try:
        found = json.loads(str(value))
    except ValueError:
        return {"text": str(value)}
    return found if isinstance(found, dict) else {"value": found}

"""Taking over the database of the earlier service, so that nothing in it is processed again.

In place its three tables are set aside under ``legacy_…`` names and kept as they are; from another file
they are only read. What ``processed_videos`` says is copied. Columns are looked up by name: versions of the
earlier service differ in what they have.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, inspect, select, text

from audio_extract.exceptions import ConfigurationError, TransientError
from audio_extract.tracker import history
from audio_extract.tracker.models import audit_log, processed_videos, recordings
from audio_extract.tracker.states import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection, RowMapping

_TABLES = ("processed_videos", "drive_files", "sync_history", "db_version")
_PREFIX = "legacy_"
_REQUIRED = frozenset({"file_path", "status"})
#: What an imported completion ends. One that is being transferred is left to its holder.
_WAITING = frozenset({State.DISCOVERED, State.PENDING, State.FAILED, State.QUARANTINED, State.SKIPPED})
_BATCH = 500
_DONE = frozenset({"completed", "success", "processed", "done"})


def is_present(connection: Connection, tables: set[str]) -> bool:
    """Whether the earlier service made this database, also when its tables were set aside before."""
    if "processed_videos" not in tables:
        return f"{_PREFIX}processed_videos" in tables
    names = {column["name"] for column in inspect(connection).get_columns("processed_videos")}
    return names >= _REQUIRED and "recording_id" not in names


def set_aside(connection: Connection) -> None:
    """Give the earlier service's tables other names."""
    tables = set(inspect(connection).get_table_names())
    for name in _TABLES:
        if name in tables:
            connection.execute(text(f"ALTER TABLE {name} RENAME TO {_PREFIX}{name}"))


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What became of the recordings of an earlier database.

    Attributes:
        added: Were not known here.
        completed: Were known and waited; they are completed now and will not be processed again.
        known: Are left as they are.
    """

    added: int = 0
    completed: int = 0
    known: int = 0

    def __add__(self, other: TakenOver) -> TakenOver:
        return TakenOver(self.added + other.added, self.completed + other.completed, self.known + other.known)


def adopt(connection: Connection, now: datetime) -> int:
    """Copy what was processed: completed stays so, failed is due at once. Returns how many there are."""
    old = f"{_PREFIX}processed_videos"
    names = [column["name"] for column in inspect(connection).get_columns(old)]
    # Read as text and numbers: the types its columns claim to have are not always what they hold.
    columns = ", ".join(f'"{name}"' for name in names)
    found = connection.execute(text(f"SELECT {columns} FROM {old} ORDER BY 1")).mappings()  # noqa: S608
    return take_over(connection, [dict(row) for row in found], now, actor="upgrade").added


def read_file(path: Path) -> list[dict[str, Any]]:
    """Read what an earlier service's file says was processed; the file is not changed.

    Raises:
        ConfigurationError: It is not there, or not a database of the earlier service.
        TransientError: The service that uses it has locked it.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path} is not there, or not a file", code="database.import")
    try:
        return _read(path)
    except sqlite3.Error as error:
        if "locked" in str(error) or "busy" in str(error):
            raise TransientError(
                f"{path} is locked by the service that uses it; stop that service, and try again",
                code="database.unavailable",
            ) from error
        if "readonly" in str(error):
            return _read_unfinished(path)
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: sqlite3.Error | OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path} cannot be read: {error}. Stop the service that uses it, or copy it together with its "
        "-wal file, and try again",
        code="database.import",
    )


def _read_unfinished(path: Path) -> list[dict[str, Any]]:
    """Read what a service left that was killed while it wrote; a copy takes its last transaction back."""
    with tempfile.TemporaryDirectory(prefix="audio-extract-import-") as folder:
        copy = Path(folder) / "copy.db"
        try:
            for suffix in ("", "-journal", "-wal"):
                part = path.with_name(path.name + suffix)
                if part.exists():
                    shutil.copyfile(part, f"{copy}{suffix}")
            with closing(sqlite3.connect(copy)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
            return _read(copy, called=path)
        except (sqlite3.Error, OSError) as error:
            raise _unreadable(path, error) from error


def _read(path: Path, *, called: Path | None = None) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        # Whatever stands there is better than nothing.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.row_factory = sqlite3.Row
        names = {row["name"] for row in connection.execute("PRAGMA table_info(processed_videos)")}
        if not names >= _REQUIRED or "recording_id" in names:
            raise ConfigurationError(
                f"{called or path} is not a database of the earlier service: it has no such table "
                "processed_videos"
                + (" (this program made it: set monitoring.database_path to it)" if names else ""),
                code="database.import",
            )
        return [dict(row) for row in connection.execute("SELECT * FROM processed_videos ORDER BY 1")]


def newest(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return one row for each file: of two the one that says "completed", else the last."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        path = str(row["file_path"])
        known = found.get(path)
        # It must not be processed again.
        if known is None or not _is_done(known) or _is_done(row):
            found[path] = row
    return found


def completed(rows: Iterable[Mapping[str, Any]]) -> int:
    """Return how many of the rows say that a recording is done."""
    return sum(_is_done(row) for row in rows)


def take_over(
    connection: Connection, rows: Iterable[dict[str, Any]], now: datetime, *, actor: str
) -> TakenOver:
    """Copy what the earlier service says was processed: completed stays so, failed is due at once.

    What is known here already is left alone, but that it is completed counts: it is not processed again.
    """
    total = TakenOver()
    found = iter(newest(rows).items())
    while batch := dict(islice(found, _BATCH)):
        total += _take_over_some(connection, batch, now, actor)
    return total


def _is_done(row: Mapping[str, Any]) -> bool:
    return str(row["status"]).lower() in _DONE


def _take_over_some(
    connection: Connection, batch: dict[str, dict[str, Any]], now: datetime, actor: str
) -> TakenOver:
    names = {_name(path): row for path, row in batch.items()}
    known: dict[tuple[str, str], RowMapping] = {}
    for source in ("drive", "local"):
        ids = [source_id for of, source_id in names if of == source]
        query = (
            select(recordings)
            .where(recordings.c.source == source, recordings.c.source_id.in_(ids))
            .order_by(recordings.c.id)
            .with_for_update()
        )
        for found in connection.execute(query).mappings():
            known[source, found["source_id"]] = found
    total = TakenOver()
    for name, found in known.items():
        total += _complete_known(connection, found, names[name], now, actor)
    fresh = {name: row for name, row in names.items() if name not in known}
    if fresh:
        _insert(connection, fresh, now, actor)
    return total + TakenOver(added=len(fresh))


def _name(path: str) -> tuple[str, str]:
    return ("drive" if path.startswith("drive://") else "local", path.removeprefix("drive://"))


def _storage(row: Mapping[str, Any]) -> dict[str, Any]:
    url, object_path = row.get("gcs_url"), row.get("gcs_path")
    return {
        "storage_type": row.get("storage_type") or ("gcs" if object_path or url else None),
        "storage_path": row.get("storage_path") or object_path or row.get("output_path"),
        "storage_url": row.get("storage_url") or url,
    }


def _complete_known(
    connection: Connection, known: RowMapping, row: dict[str, Any], now: datetime, actor: str
) -> TakenOver:
    if not _is_done(row) or known["state"] not in _WAITING:
        return TakenOver(known=1)
    processed_at = _moment(row.get("processed_at"))
    values = {**_storage(row), "processed_at": processed_at, "error_message": None}
    history.move(
        connection, known, Event.ADOPTED, State.COMPLETED, now, actor=actor, reason="adopted", values=values,
        detail={"status": str(row["status"])},
    )  # fmt: skip
    connection.execute(processed_videos.delete().where(processed_videos.c.recording_id == known["id"]))
    connection.execute(insert(processed_videos), [_earlier_row(known["id"], row)])
    return TakenOver(completed=1)


def _insert(
    connection: Connection, fresh: dict[tuple[str, str], dict[str, Any]], now: datetime, actor: str
) -> None:
    values = []
    for (source, source_id), row in fresh.items():
        done, error = _is_done(row), row.get("error_message")
        processed_at = _moment(row.get("processed_at"))
        details = _details(row.get("metadata"))
        storage = _storage(row)
        values.append(
            {
                "source": source,
                "source_id": source_id,
                "name": str(details.get("file_name") or details.get("name") or source_id.rpartition("/")[2]),
                "state": State.COMPLETED if done else State.FAILED,
                "state_reason": "adopted",
                "state_changed_at": processed_at or now,
                "discovered_at": processed_at or now,
                "processed_at": processed_at,
                "next_attempt_at": None if done else now,
                "error_message": None if done or error is None else str(error),
                **(storage if done else dict.fromkeys(storage)),
            }
        )
    statement = insert(recordings).returning(recordings.c.id, recordings.c.source, recordings.c.source_id)
    made = {(row.source, row.source_id): row.id for row in connection.execute(statement, values)}
    connection.execute(
        insert(processed_videos), [_earlier_row(made[name], row) for name, row in fresh.items()]
    )
    events = [
        history.audit_values(
            made[name],
            Event.ADOPTED,
            now,
            after=State.COMPLETED if _is_done(row) else State.FAILED,
            actor=actor,
            detail={"status": str(row["status"])},
        )
        for name, row in fresh.items()
    ]
    connection.execute(insert(audit_log), events)


def _earlier_row(recording_id: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as it was, beside what the tracker adds."""
    error = row.get("error_message")
    return {
        "recording_id": recording_id,
        "file_path": str(row["file_path"]),
        "file_hash": row.get("file_hash"),
        "status": State.COMPLETED if _is_done(row) else State.FAILED,
        "processed_at": _moment(row.get("processed_at")),
        "metadata": _details(row.get("metadata")),
        "gcs_url": row.get("gcs_url"),
        "gcs_path": row.get("gcs_path"),
        "upload_timestamp": _moment(row.get("upload_timestamp")),
        "error_message": None if error is None else str(error),
        **_storage(row),
    }


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

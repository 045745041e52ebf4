"""How an attempt ended: in ``transfers``, and in ``processed_videos`` in the words of the earlier service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import update

from audio_extract.tracker.models import processed_videos, transfers
from audio_extract.tracker.states import State
from audio_extract.tracker.values import file_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection

    from audio_extract.tracker.database import Database


def end_transfer(
    connection: Connection, transfer_id: int, now: datetime, outcome: str, **values: Any
) -> None:
    """Write how an attempt ended: completed, failed, released or crashed."""
    connection.execute(
        update(transfers)
        .where(transfers.c.id == transfer_id)
        .values({"ended_at": now, "outcome": outcome, **values})
    )


def note_outcome(
    database: Database, connection: Connection, row: Mapping[str, Any], state: State, now: datetime
) -> None:
    """Write a recording's outcome. What is stored stays noted when a later revision of it fails.

    Args:
        database: Knows the dialect.
        connection: The transaction.
        row: The recording, with what the outcome changed.
        state: Completed, failed or quarantined.
        now: The time.
    """
    done = state is State.COMPLETED
    in_bucket = done and row["storage_type"] == "gcs"
    local = row["source"] == "local"
    values = {
        "recording_id": row["id"],
        "file_path": file_path(row["source"], row["source_id"]),
        "file_hash": row["revision"] if local else row["source_id"],
        "status": state,
        "processed_at": now,
        "metadata": _metadata(row),
        "gcs_url": row["storage_url"] if in_bucket else None,
        "gcs_path": row["storage_path"] if in_bucket else None,
        "upload_timestamp": now if in_bucket else None,
        "storage_type": row["storage_type"] if done else None,
        "storage_path": row["storage_path"] if done else None,
        "storage_url": row["storage_url"] if done else None,
        "error_message": None if done else row["error_message"],
    }
    statement = database.insert(processed_videos).values(values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["recording_id"],
            set_={name: statement.excluded[name] for name in values if name != "recording_id"},
            where=None if done else processed_videos.c.status != State.COMPLETED,
        )
    )


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        "mime_type",
        "size_bytes",
        "created_at",
        "folder_id",
        "web_link",
        "revision",
        "plan_id",
        "crc32c",
    )
    found = {name: row[name] for name in names if row[name] is not None}
    return {"file_name": row["name"], **found}

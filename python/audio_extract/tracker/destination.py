"""What stands at the destination, what is beside it, and what was only begun there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from audio_extract.tracker.models import chunks, outputs, recordings
from audio_extract.tracker.states import KEPT, State
from audio_extract.tracker.values import Abandoned, Placed, StoredChunk, StoredOutput, row_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import Any

    from sqlalchemy import RowMapping, Select

    from audio_extract.tracker.database import Database


class AtDestination:
    """The part of the tracker that knows what stands where."""

    _database: Database

    def abandoned(self, since: datetime | None = None) -> list[Abandoned]:
        """Return what was named of recordings that nobody will transfer any more by himself.

        Args:
            since: Only those of which that is so since then; None: all.
        """
        query = _NAMED.where(
            recordings.c.object_name.is_not(None),
            recordings.c.storage_path.is_(None),
            recordings.c.state.in_((State.SKIPPED, State.QUARANTINED)),
        )
        return self._named(query if since is None else query.where(recordings.c.state_changed_at >= since))

    def given_up(self, since: datetime) -> list[Abandoned]:
        """Return what was named beside stored audio, and given up since then."""
        query = _NAMED.where(
            recordings.c.state == State.COMPLETED,
            recordings.c.state_changed_at >= since,
            recordings.c.state_reason == KEPT,
        )
        return self._named(query)

    def _named(self, query: Select[Any]) -> list[Abandoned]:
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            beside = select(outputs.c.object_name).where(outputs.c.recording_id.in_([row.id for row in rows]))
            stored = {*connection.scalars(beside), *(row.storage_path for row in rows)}
        found = []
        for row in rows:
            names = (row.object_name, *(row.output_names or {}).values())
            left = tuple(name for name in names if name not in stored)
            found.append(Abandoned(row.source_id, row.object_name, left))
        return found

    def chunks_of(self, recording_id: str) -> list[StoredChunk]:
        """Return the pieces of a recording's audio, when it was split."""
        number = row_id(recording_id)
        if number is None:
            return []
        query = (
            select(chunks)
            .where(chunks.c.recording_id == number, chunks.c.output == "")
            .order_by(chunks.c.chunk_index)
        )
        with self._database.read() as connection:
            return [_chunk(row) for row in connection.execute(query).mappings()]

    def companions_of(self, recording_id: str) -> list[dict[str, str]]:
        """Return kind, name and link of what the meeting left beside its recording."""
        number = row_id(recording_id)
        query = select(recordings.c.companions).where(recordings.c.id == number)
        with self._database.read() as connection:
            return list(connection.scalar(query) or ())

    def wanted_outputs_of(self, recording_id: str) -> set[str]:
        """Return the names of what a person asked to have beside a recording's audio."""
        query = select(recordings.c.wanted_outputs).where(recordings.c.id == row_id(recording_id))
        with self._database.read() as connection:
            return {one["name"] for one in connection.scalar(query) or ()}

    def outputs_of(self, recording_id: str) -> list[StoredOutput]:
        """Return what else is stored of a recording beside its audio, by name."""
        number = row_id(recording_id)
        if number is None:
            return []
        query = select(outputs).where(outputs.c.recording_id == number).order_by(outputs.c.name)
        pieces = (
            select(chunks)
            .where(chunks.c.recording_id == number, chunks.c.output != "")
            .order_by(chunks.c.chunk_index)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
            found: dict[str, list[StoredChunk]] = {}
            for piece in connection.execute(pieces).mappings():
                found.setdefault(piece["output"], []).append(_chunk(piece))
        return [
            StoredOutput(
                **{name: row[name] for name in row if name != "recording_id"},
                chunks=tuple(found.get(row["name"], ())),
            )
            for row in rows
        ]

    def placed(self, *, batch: int = 500) -> Iterator[list[Placed]]:
        """Return what is stored or has a name, and what is beside it, some at a time so that nobody waits."""
        after = 0
        while True:
            query = (
                select(recordings)
                .where(
                    recordings.c.id > after,
                    or_(
                        recordings.c.storage_path.is_not(None),
                        recordings.c.object_name.is_not(None),
                        recordings.c.state == State.COMPLETED,
                    ),
                )
                .order_by(recordings.c.id)
                .limit(batch)
            )
            with self._database.read() as connection:
                rows = connection.execute(query).mappings().all()
                if not rows:
                    return
                pieces = select(chunks).where(chunks.c.recording_id.between(rows[0]["id"], rows[-1]["id"]))
                found = [_placed(row) for row in rows]
                by_id = {row.recording_id: row for row in found}
                found += [
                    _piece(by_id[str(piece["recording_id"])], piece)
                    for piece in connection.execute(pieces).mappings()
                ]
                beside = select(outputs).where(outputs.c.recording_id.between(rows[0]["id"], rows[-1]["id"]))
                found += [
                    _beside(by_id[str(one["recording_id"])], one)
                    for one in connection.execute(beside).mappings()
                ]
            after = rows[-1]["id"]
            yield found

    def placed_one(self, recording_id: str) -> Placed | None:
        """Return where one recording's audio stands now."""
        query = select(recordings).where(recordings.c.id == int(recording_id))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _placed(row)


_NAMED = select(
    recordings.c.id,
    recordings.c.source_id,
    recordings.c.object_name,
    recordings.c.output_names,
    recordings.c.storage_path,
)


def _placed(row: RowMapping) -> Placed:
    return Placed(
        recording_id=str(row["id"]),
        name=row["name"],
        state=row["state"],
        state_changed_at=row["state_changed_at"],
        revision=row["completed_revision"],
        object_name=row["object_name"],
        storage_type=row["storage_type"],
        storage_path=row["storage_path"],
        size_bytes=row["stored_size_bytes"],
        crc32c=row["crc32c"],
        generation=row["generation"],
    )


def _chunk(row: RowMapping) -> StoredChunk:
    return StoredChunk(
        index=row["chunk_index"],
        object_name=row["object_name"],
        start_seconds=row["start_seconds"],
        end_seconds=row["end_seconds"],
        size_bytes=row["size_bytes"],
        crc32c=row["crc32c"],
        silence_cut=row["silence_cut"],
    )


def _piece(whole: Placed, piece: RowMapping) -> Placed:
    return replace(
        whole,
        is_chunk=True,
        object_name=None,
        storage_path=piece["object_name"],
        size_bytes=piece["size_bytes"],
        crc32c=piece["crc32c"],
        generation=None,
    )


def _beside(whole: Placed, one: RowMapping) -> Placed:
    return replace(
        whole,
        is_output=True,
        object_name=None,
        storage_path=one["object_name"],
        size_bytes=one["size_bytes"],
        crc32c=one["crc32c"],
        generation=one["generation"],
    )

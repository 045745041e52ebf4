"""What discovery writes: recordings that were seen, are not wanted or are gone, and how far it came."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, or_, select, update

from audio_extract.tracker import history
from audio_extract.tracker.models import cursors, drive_files, recordings, sync_history
from audio_extract.tracker.recording_writer import RecordingWriter, RevisionPolicy, Unwanted
from audio_extract.tracker.states import Event, State
from audio_extract.tracker.values import Recorded, SourceRecording, SyncRun, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from sqlalchemy import RowMapping

    from audio_extract.tracker.database import Database

#: One transaction: short, so that workers claim in between.
_BATCH = 500
#: PostgreSQL's index rows hold 2,704 bytes.
_LONGEST_ID_BYTES = 2000


class Discovery:
    """The part of the tracker that discovery uses."""

    _database: Database

    def record(
        self,
        found: Iterable[SourceRecording],
        now: datetime,
        *,
        unwanted: Callable[[Any], Unwanted | None] | None = None,
        new_revisions: RevisionPolicy = "never",
    ) -> Recorded:
        """Write down recordings that a source listed; what is known as it is costs no write.

        Args:
            found: The recordings.
            now: The time.
            unwanted: The selection rules: why a recording is not wanted, or None. Without them everything
                new is wanted, and what was skipped stays so.
            new_revisions: What to do when the content of a *completed* recording changed: nothing, make
                another object, or replace the object. Any other recording just takes the new revision, with
                all its attempts.
        """
        writer = RecordingWriter(self._database, now, unwanted, new_revisions)
        total = Recorded()
        iterator = iter(found)
        while batch := list(islice(iterator, _BATCH)):
            # A listing may name one twice (two folders, a page that moved); the last word counts.
            unique = {(item.source, item.source_id): item for item in batch}
            # Oldest first; and in one order, so that two discoverers cannot wait for each other.
            ordered = sorted(unique.values(), key=lambda item: (item.created_at, item.source, item.source_id))
            fitting = [item for item in ordered if _id_bytes(item) <= _LONGEST_ID_BYTES]
            refused = tuple(item.source_id for item in ordered if _id_bytes(item) > _LONGEST_ID_BYTES)
            total += writer.write(fitting) + Recorded(refused=refused)
        return total

    def skip(self, source: str, source_id: str, reason: str, now: datetime) -> bool:
        """Mark a recording as not wanted. False: it is not known, is being transferred, or is completed."""
        return self._leave(source, [source_id], Event.SKIPPED, reason, now) == 1

    def remove(self, source: str, source_ids: Iterable[str], now: datetime) -> int:
        """Mark recordings as gone from the source; what is completed stays. Returns how many were marked."""
        count = 0
        iterator = iter(source_ids)
        while batch := list(islice(iterator, _BATCH)):
            count += self._leave(source, batch, Event.GONE, "gone", now)
        return count

    def known_ids(self, source: str, *, folders: Iterable[str] | None = None) -> set[str]:
        """Return the ids of a source that are not marked as gone; a reconcile compares them with a list.

        Args:
            source: Of which.
            folders: Only of recordings that were found in these.
        """
        query = select(recordings.c.source_id).where(
            recordings.c.source == source,
            or_(
                recordings.c.state != State.SKIPPED,
                recordings.c.state_reason.is_(None),
                recordings.c.state_reason != "gone",
            ),
        )
        if folders is not None:
            query = query.where(recordings.c.folder_id.in_(list(folders)))
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def get_cursor(self, name: str) -> str | None:
        """Return how far a change feed was read, or None."""
        with self._database.read() as connection:
            return connection.execute(select(cursors.c.value).where(cursors.c.name == name)).scalar()

    def set_cursor(self, name: str, value: str | None, now: datetime) -> None:
        """Remember how far a change feed was read, after its recordings were written; None forgets it."""
        with self._database.write() as connection:
            if value is None:
                connection.execute(cursors.delete().where(cursors.c.name == name))
                return
            statement = self._database.insert(cursors).values(name=name, value=value, updated_at=now)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["name"], set_={"value": value, "updated_at": now}
                )
            )

    def add_sync(self, run: SyncRun) -> None:
        """Add a run of discovery to ``sync_history``."""
        with self._database.write() as connection:
            connection.execute(insert(sync_history).values(values_of(run)))

    def last_sync(self, source: str) -> SyncRun | None:
        """Return the newest run of discovery over a source."""
        query = (
            select(sync_history)
            .where(sync_history.c.source == source)
            .order_by(sync_history.c.started_at.desc(), sync_history.c.id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else SyncRun(**{name: row[name] for name in row if name != "id"})

    def _leave(self, source: str, ids: list[str], event: Event, reason: str, now: datetime) -> int:
        waiting = (State.DISCOVERED, State.PENDING, State.FAILED, State.QUARANTINED)
        with self._database.write() as connection:
            query = (
                select(recordings)
                .where(
                    recordings.c.source == source,
                    recordings.c.source_id.in_(ids),
                    recordings.c.state.in_(waiting),
                )
                .order_by(recordings.c.id)
                .with_for_update()
            )
            rows = connection.execute(query).mappings().all()
            if event is Event.GONE:
                rows = [row for row in rows if not _decides_itself(row)]
            for row in rows:
                history.move(connection, row, event, State.SKIPPED, now, actor="discovery", reason=reason)
            if event is Event.GONE and source == "drive":
                connection.execute(
                    update(drive_files)
                    .where(drive_files.c.file_id.in_(ids), drive_files.c.removed_at.is_(None))
                    .values(removed_at=now)
                )
            return len(rows)


def _decides_itself(row: RowMapping) -> bool:
    """Whether more is wanted of audio that is stored: the attempt sees whether that stands, and keeps it."""
    is_stored = row["completed_revision"] is not None and row["completed_revision"] == row["revision"]
    return is_stored and row["next_attempt_at"] is not None


def _id_bytes(item: SourceRecording) -> int:
    return len(item.source_id.encode("utf-8", "surrogatepass"))

"""What discovery writes: recordings that were seen, are not wanted or are gone, and how far it came."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import insert, select, update

from audio_extract.tracker import history
from audio_extract.tracker.models import audit_log, cursors, drive_files, recordings, sync_history
from audio_extract.tracker.states import Event, State
from audio_extract.tracker.values import RECORDING_FIELDS, Recorded, SourceRecording, SyncRun, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

    from audio_extract.tracker.database import Database

#: What happens to a completed recording whose content changed.
RevisionPolicy = Literal["never", "new_object", "replace"]
#: Returns why the selection rules do not want a recording, or None.
SkipReason = "Callable[[SourceRecording], str | None]"

#: One transaction: short, so that workers claim in between.
_BATCH = 500
#: PostgreSQL's index rows hold 2,704 bytes.
_LONGEST_ID_BYTES = 2000
_FRESH: dict[str, Any] = {
    "attempts": 0, "failures": 0, "crashes": 0,
    "error_code": None, "error_kind": None, "error_message": None, "ffmpeg_tail": None,
}  # fmt: skip


class Discovery:
    """The part of the tracker that discovery uses."""

    _database: Database

    def record(
        self,
        found: Iterable[SourceRecording],
        now: datetime,
        *,
        skip_reason: Callable[[SourceRecording], str | None] | None = None,
        new_revisions: RevisionPolicy = "never",
    ) -> Recorded:
        """Write down recordings that a source listed; what is known as it is costs no write.

        Args:
            found: The recordings.
            now: The time.
            skip_reason: The selection rules. Without them everything that is new is wanted, and what was skipped
                stays so.
            new_revisions: What to do when the content of a *completed* recording changed: nothing, make another
                object, or replace the object. Any other recording just takes the new revision, with all its
                attempts.
        """
        total = Recorded()
        iterator = iter(found)
        while batch := list(islice(iterator, _BATCH)):
            # A listing may name one twice (two folders, a page that moved); the last word counts.
            unique = {(item.source, item.source_id): item for item in batch}
            fitting = [
                item
                for item in unique.values()
                if len(item.source_id.encode("utf-8", "surrogatepass")) <= _LONGEST_ID_BYTES
            ]
            refused = tuple(item.source_id for item in unique.values() if item not in fitting)
            with self._database.write() as connection:
                writer = _Writer(self._database, connection, now, skip_reason, new_revisions)
                total += writer.write(fitting)
            total += Recorded(refused=refused)
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

    def known_ids(self, source: str) -> Iterator[str]:
        """Return the ids of a source that are not marked as gone; a reconcile compares them with its listing."""
        query = (
            select(recordings.c.source_id)
            .where(recordings.c.source == source)
            .where((recordings.c.state != State.SKIPPED) | (recordings.c.state_reason != "gone"))
        )
        with self._database.read() as connection:
            yield from connection.execute(query).scalars()

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
            for row in rows:
                history.move(connection, row, event, State.SKIPPED, now, actor="discovery", reason=reason)
            if event is Event.GONE and source == "drive":
                connection.execute(
                    update(drive_files)
                    .where(drive_files.c.file_id.in_(ids), drive_files.c.removed_at.is_(None))
                    .values(removed_at=now)
                )
            return len(rows)


class _Writer:
    """One batch of `record`, in one transaction."""

    def __init__(
        self,
        database: Database,
        connection: Connection,
        now: datetime,
        skip_reason: Callable[[SourceRecording], str | None] | None,
        new_revisions: RevisionPolicy,
    ) -> None:
        self._database = database
        self._connection = connection
        self._now = now
        self._skip_reason = skip_reason
        self._new_revisions = new_revisions

    def write(self, found: list[SourceRecording]) -> Recorded:
        known = self._known(found)
        fresh = [item for item in found if (item.source, item.source_id) not in known]
        result = self._insert(fresh)
        touched = [
            item
            for item in found
            if (row := known.get((item.source, item.source_id))) is not None and self._differs(item, row)
        ]
        ids = [known[item.source, item.source_id]["id"] for item in touched]
        rows = {
            (row["source"], row["source_id"]): row for row in history.locked(self._connection, ids) if ids
        }
        changed = skipped = 0
        for item in touched:
            row = rows.get((item.source, item.source_id))
            # Without a row it was forgotten in between; the next listing finds it again.
            if row is not None:
                is_changed, is_skipped = self._update(item, row)
                changed += is_changed
                skipped += is_skipped
        self._drive_files([*fresh, *touched])
        return result + Recorded(changed=changed, known=len(found) - len(fresh) - changed, skipped=skipped)

    def _known(self, found: list[SourceRecording]) -> dict[tuple[str, str], RowMapping]:
        known: dict[tuple[str, str], RowMapping] = {}
        for source in {item.source for item in found}:
            ids = [item.source_id for item in found if item.source == source]
            query = select(recordings).where(recordings.c.source == source, recordings.c.source_id.in_(ids))
            for row in self._connection.execute(query).mappings():
                known[source, row["source_id"]] = row
        return known

    def _differs(self, item: SourceRecording, row: RowMapping) -> bool:
        if any(getattr(item, name) != row[name] for name in RECORDING_FIELDS):
            return True
        match row["state"]:
            case State.DISCOVERED:
                return item.settled or self._reason(item) is not None
            case State.SKIPPED:
                return self._skip_reason is not None and (self._reason(item) or "") != row["state_reason"]
            case State.PENDING | State.FAILED:
                return self._reason(item) is not None
            case State.COMPLETED:
                return self._outdated(item, row)
        return False

    def _reason(self, item: SourceRecording) -> str | None:
        return self._skip_reason(item) if self._skip_reason is not None else None

    def _outdated(self, item: SourceRecording, row: RowMapping) -> bool:
        # A row of the earlier service has no revision: what it stored is taken as it is.
        stored = row["completed_revision"]
        return self._new_revisions != "never" and stored is not None and stored != item.revision

    def _insert(self, fresh: list[SourceRecording]) -> Recorded:
        if not fresh:
            return Recorded()
        values = []
        for item in fresh:
            reason = self._reason(item)
            state = State.SKIPPED if reason else State.PENDING if item.settled else State.DISCOVERED
            values.append(
                {
                    **_facts(item),
                    "state": state,
                    "state_reason": reason,
                    "state_changed_at": self._now,
                    "discovered_at": self._now,
                    "next_attempt_at": self._now if state is State.PENDING else None,
                }
            )
        # Two discoverers on PostgreSQL: who comes second finds it known.
        statement = (
            self._database.insert(recordings)
            .on_conflict_do_nothing(index_elements=["source", "source_id"])
            .returning(recordings.c.id, recordings.c.state, recordings.c.state_reason)
        )
        made = self._connection.execute(statement, values).all()
        if made:
            self._connection.execute(
                insert(audit_log),
                [
                    history.audit_values(
                        row.id, Event.RECORDED, self._now, after=row.state, actor="discovery",
                        reason=row.state_reason,
                    )
                    for row in made
                ],
            )  # fmt: skip
        skipped = sum(row.state == State.SKIPPED for row in made)
        return Recorded(new=len(made), known=len(fresh) - len(made), skipped=skipped)

    def _update(self, item: SourceRecording, row: RowMapping) -> tuple[bool, bool]:
        """Bring one row up to what the source says; returns whether its content changed and whether it is skipped."""
        state = State(row["state"])
        changed = row["revision"] is not None and item.revision != row["revision"]
        facts = _facts(item)
        reason = self._reason(item)
        if state is State.IN_PROGRESS or (state is State.COMPLETED and not self._outdated(item, row)):
            self._note(row, facts, changed=changed)
            return changed, False
        if reason is not None and state is not State.COMPLETED:
            if state is State.SKIPPED:
                self._connection.execute(
                    update(recordings)
                    .where(recordings.c.id == row["id"])
                    .values({**facts, "state_reason": reason})
                )
            else:
                self._move(row, Event.SKIPPED, State.SKIPPED, facts, reason=reason)
            return changed, True
        to = State.PENDING if item.settled else State.DISCOVERED
        if changed or (state is State.COMPLETED):
            values = {**facts, **_FRESH}
            if state is State.COMPLETED and self._new_revisions == "new_object":
                values["object_name"] = None
            self._move(
                row, Event.CHANGED, to, values, detail={"revision": item.revision, "before": row["revision"]}
            )
        elif state is State.DISCOVERED and item.settled:
            self._move(row, Event.SETTLED, to, facts)
        elif state is State.SKIPPED and (self._skip_reason is not None or row["state_reason"] == "gone"):
            self._move(row, Event.SELECTED, to, {**facts, **_FRESH})
        else:
            self._note(row, facts, changed=False)
        return changed, False

    def _move(
        self,
        row: RowMapping,
        event: Event,
        to: State,
        values: dict[str, Any],
        *,
        reason: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        history.move(
            self._connection,
            row,
            event,
            to,
            self._now,
            actor="discovery",
            reason=reason,
            next_attempt_at=self._now if to is State.PENDING else None,
            detail=detail,
            values=values,
        )

    def _note(self, row: RowMapping, facts: dict[str, Any], *, changed: bool) -> None:
        different = {name: value for name, value in facts.items() if value != row[name]}
        if not different:
            return
        self._connection.execute(update(recordings).where(recordings.c.id == row["id"]).values(different))
        event = "revision_seen" if changed else "updated"
        detail = {name: {"before": row[name], "after": value} for name, value in different.items()}
        history.record_event(self._connection, row["id"], event, self._now, actor="discovery", detail=detail)

    def _drive_files(self, found: list[SourceRecording]) -> None:
        values = [
            {
                "file_id": item.source_id,
                "name": item.name,
                "mime_type": item.mime_type,
                "size_bytes": item.size_bytes,
                "md5_checksum": item.md5,
                "created_time": item.created_at,
                "modified_time": item.modified_at,
                "folder_id": item.folder_id,
                "web_view_link": item.web_link,
                "first_seen_at": self._now,
                "changed_at": self._now,
                "removed_at": None,
            }
            for item in found
            if item.source == "drive"
        ]
        if values:
            statement = self._database.insert(drive_files)
            kept = {"file_id", "first_seen_at"}
            self._connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["file_id"],
                    set_={name: statement.excluded[name] for name in values[0] if name not in kept},
                ),
                values,
            )


def _facts(item: SourceRecording) -> dict[str, Any]:
    return {name: getattr(item, name) for name in RECORDING_FIELDS}

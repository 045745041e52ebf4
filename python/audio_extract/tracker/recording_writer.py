"""One batch of a listing, compared with what is known and written down in one transaction."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sqlalchemy import insert, select, update

from audio_extract.tracker import history
from audio_extract.tracker.models import audit_log, drive_files, recordings
from audio_extract.tracker.states import Event, State
from audio_extract.tracker.values import RECORDING_FIELDS, Recorded, SourceRecording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy import Column, Connection, Row, RowMapping

    from audio_extract.tracker.database import Database

#: What happens to a completed recording whose content changed.
RevisionPolicy = Literal["never", "new_object", "replace"]
#: Age decides only whether something new is wanted. What waits for its next attempt grows older meanwhile.
_TOO_OLD = "too_old"
#: What is read of a known recording to see whether there is news of it.
_COMPARED = tuple(
    recordings.c[name] for name in (*RECORDING_FIELDS, "state", "state_reason", "completed_revision")
)
_said = attrgetter(*RECORDING_FIELDS)
_WAITING = frozenset({State.PENDING, State.FAILED, State.QUARANTINED})
_FRESH: dict[str, Any] = {
    "attempts": 0, "failures": 0, "crashes": 0,
    "error_code": None, "error_kind": None, "error_message": None, "ffmpeg_tail": None,
}  # fmt: skip


class Unwanted(Protocol):
    """Why the selection rules do not want a recording (`audio_extract.plan.selection.Skipped`)."""

    @property
    def reason(self) -> str:
        """A stable word."""

    @property
    def later(self) -> bool:
        """It will be wanted once it is whole."""


class RecordingWriter:
    """Knows the rules of one call of `record`."""

    def __init__(
        self,
        database: Database,
        now: datetime,
        unwanted: Callable[[Any], Unwanted | None] | None,
        new_revisions: RevisionPolicy,
    ) -> None:
        self._database = database
        self._now = now
        self._unwanted = unwanted
        self._new_revisions = new_revisions

    def write(self, found: list[SourceRecording]) -> Recorded:
        """Write down what is new or different. Nothing else takes the place of a writer."""
        with self._database.read() as connection:
            news = self._news(connection, found)
        if not news:
            return Recorded(known=len(found))
        with self._database.write() as connection:
            known = self._known(connection, news, (recordings.c.source_id, recordings.c.id))
            fresh = [item for item in news if (item.source, item.source_id) not in known]
            result = self._insert(connection, fresh)
            rows = history.locked(connection, [row.id for row in known.values()])
            by_key = {(row["source"], row["source_id"]): row for row in rows}
            for item in news:
                row = by_key.get((item.source, item.source_id))
                if row is not None:
                    result += self._update(connection, item, row)
            self._write_drive_files(connection, news)
        return result + Recorded(known=len(found) - result.new - result.changed)

    def _news(self, connection: Connection, found: list[SourceRecording]) -> list[SourceRecording]:
        known = self._known(connection, found, _COMPARED)
        on_drive = [item.source_id for item in found if item.source == "drive"]
        removed = set(
            connection.execute(
                select(drive_files.c.file_id).where(
                    drive_files.c.file_id.in_(on_drive), drive_files.c.removed_at.is_not(None)
                )
            ).scalars()
            if on_drive
            else ()
        )
        return [
            item
            for item in found
            if (row := known.get((item.source, item.source_id))) is None
            or (item.source == "drive" and item.source_id in removed)
            or self._differs(item, row)
        ]

    def _known(
        self, connection: Connection, found: list[SourceRecording], columns: Sequence[Column[Any]]
    ) -> dict[tuple[str, str], Row[Any]]:
        known: dict[tuple[str, str], Row[Any]] = {}
        for source in {item.source for item in found}:
            ids = [item.source_id for item in found if item.source == source]
            query = select(*columns).where(recordings.c.source == source, recordings.c.source_id.in_(ids))
            for row in connection.execute(query):
                known[source, row.source_id] = row
        return known

    def _wish(self, item: SourceRecording, before: State | None = None) -> tuple[State, str | None]:
        """Where the rules want a recording to be, and why."""
        unwanted = self._unwanted(item) if self._unwanted is not None else None
        if unwanted is not None and unwanted.reason == _TOO_OLD and before in _WAITING:
            unwanted = None
        if unwanted is not None and not unwanted.later:
            return State.SKIPPED, unwanted.reason
        if unwanted is not None:
            return State.DISCOVERED, unwanted.reason
        return (State.PENDING, None) if item.settled else (State.DISCOVERED, "not_settled")

    def _differs(self, item: SourceRecording, row: Row[Any]) -> bool:
        # A reconcile comes here for every recording there is.
        if row[: len(RECORDING_FIELDS)] != _said(item):
            return True
        state = State(row.state)
        if state is State.IN_PROGRESS:
            return False
        if state is State.COMPLETED:
            return self._outdated(item, row.completed_revision)
        if state is State.SKIPPED and self._stays_skipped(row.state_reason):
            return False
        wish, reason = self._wish(item, state)
        if state in _WAITING:
            return wish is State.SKIPPED
        return wish is not state or reason != row.state_reason

    def _stays_skipped(self, reason: str | None) -> bool:
        # Who does not know the selection rules cannot say that they changed.
        return self._unwanted is None and reason != "gone"

    def _outdated(self, item: SourceRecording, stored: str | None) -> bool:
        # A row of the earlier service has no revision: what it stored is taken as it is.
        return self._new_revisions != "never" and stored is not None and stored != item.revision

    def _insert(self, connection: Connection, fresh: list[SourceRecording]) -> Recorded:
        if not fresh:
            return Recorded()
        values = []
        for item in fresh:
            state, reason = self._wish(item)
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
        made = connection.execute(statement, values).all()
        events = [
            history.audit_values(
                row.id,
                Event.RECORDED,
                self._now,
                after=row.state,
                actor="discovery",
                reason=row.state_reason,
            )
            for row in made
        ]
        if events:
            connection.execute(insert(audit_log), events)
        return Recorded(new=len(made), skipped=sum(row.state == State.SKIPPED for row in made))

    def _update(self, connection: Connection, item: SourceRecording, row: RowMapping) -> Recorded:
        """Bring one row up to what the source says."""
        state = State(row["state"])
        changed = row["revision"] is not None and item.revision != row["revision"]
        result = Recorded(changed=int(changed))
        facts = _facts(item)
        busy = state is State.IN_PROGRESS or (
            state is State.COMPLETED and not self._outdated(item, row["completed_revision"])
        )
        if busy or (state is State.SKIPPED and not changed and self._stays_skipped(row["state_reason"])):
            self._note(connection, row, facts, changed=changed)
            return result
        wish, reason = self._wish(item, state)
        if wish is State.SKIPPED:
            if state in {State.SKIPPED, State.COMPLETED}:
                kept = {} if state is State.COMPLETED else {"state_reason": reason}
                self._note(connection, row, {**facts, **kept}, changed=changed)
            else:
                self._move(connection, row, Event.SKIPPED, wish, facts, reason=reason)
            return result + Recorded(skipped=int(state is not State.COMPLETED))
        if changed or state is State.COMPLETED:
            name = {"object_name": None} if self._renames(state) else {}
            detail = {"revision": item.revision, "before": row["completed_revision"] or row["revision"]}
            values = {**facts, **_FRESH, **name}
            self._move(connection, row, Event.CHANGED, wish, values, reason=reason, detail=detail)
            return Recorded(changed=1)
        if state is State.DISCOVERED and wish is State.PENDING:
            self._move(connection, row, Event.SETTLED, wish, facts)
        elif state is State.SKIPPED:
            self._move(connection, row, Event.SELECTED, wish, {**facts, **_FRESH}, reason=reason)
        else:
            kept = {"state_reason": reason} if state is State.DISCOVERED else {}
            self._note(connection, row, {**facts, **kept}, changed=False)
        return result

    def _renames(self, state: State) -> bool:
        return state is State.COMPLETED and self._new_revisions == "new_object"

    def _move(
        self,
        connection: Connection,
        row: RowMapping,
        event: Event,
        to: State,
        values: dict[str, Any],
        *,
        reason: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        history.move(
            connection,
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

    def _note(
        self, connection: Connection, row: RowMapping, values: dict[str, Any], *, changed: bool
    ) -> None:
        different = {name: value for name, value in values.items() if value != row[name]}
        if not different:
            return
        connection.execute(update(recordings).where(recordings.c.id == row["id"]).values(different))
        event = "revision_seen" if changed else "updated"
        detail = {name: {"before": row[name], "after": value} for name, value in different.items()}
        history.record_event(connection, row["id"], event, self._now, actor="discovery", detail=detail)

    def _write_drive_files(self, connection: Connection, found: list[SourceRecording]) -> None:
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
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["file_id"],
                    set_={name: statement.excluded[name] for name in values[0] if name not in kept},
                ),
                values,
            )


def _facts(item: SourceRecording) -> dict[str, Any]:
    return {name: getattr(item, name) for name in RECORDING_FIELDS}

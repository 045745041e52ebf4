"""Reading: counts, lists that are paged by key, and one recording with its history."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, func, literal, literal_column, select, tuple_, union_all

from audio_extract.tracker.claims import PRIORITIES
from audio_extract.tracker.columns import Moment, RowId
from audio_extract.tracker.models import (
    FAILED,
    audit_log,
    cursors,
    outputs,
    recordings,
    sync_history,
    transfers,
)
from audio_extract.tracker.states import State
from audio_extract.tracker.values import (
    AuditEntry,
    Day,
    Milestones,
    Page,
    RecordingRow,
    Stats,
    SyncRun,
    file_path,
    row_id,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import tzinfo

    from sqlalchemy import RowMapping

    from audio_extract.tracker.database import Database
    from audio_extract.tracker.values import Claim

_CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRANSFER_COLUMNS = (
    "started_at", "ended_at", "strategy", "fetched_bytes", "trace_id", "attempt", "outcome", "adopted"
)  # fmt: skip


class Queries:
    """The part of the tracker that shows."""

    _database: Database

    def counts(self) -> dict[State, int]:
        """Return how many recordings are in each state; each state is there."""
        query = select(recordings.c.state, func.count()).group_by(recordings.c.state)
        with self._database.read() as connection:
            found = {State(state): count for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in State}

    def due(self, now: datetime) -> int:
        """Return how many recordings could be claimed now."""
        query = select(func.count()).select_from(recordings).where(
            recordings.c.priority.in_(PRIORITIES), recordings.c.next_attempt_at <= now
        )  # fmt: skip
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def next_due_at(self) -> datetime | None:
        """Return when the next recording becomes due, which may have passed; None when nothing waits."""
        with self._database.read() as connection:
            moments = [
                connection.execute(
                    select(func.min(recordings.c.next_attempt_at)).where(recordings.c.priority == priority)
                ).scalar()
                for priority in PRIORITIES
            ]
        return min((moment for moment in moments if moment is not None), default=None)

    def stats(self) -> Stats:
        """Return how much there is."""
        query = select(
            recordings.c.state,
            func.count(),
            func.coalesce(func.sum(recordings.c.audio_seconds), 0),
            func.coalesce(func.sum(recordings.c.size_bytes), 0),
            func.coalesce(func.sum(recordings.c.stored_size_bytes), 0),
        ).group_by(recordings.c.state)
        with self._database.read() as connection:
            rows = {State(row[0]): row for row in connection.execute(query)}
        count = {state: rows[state][1] if state in rows else 0 for state in State}
        done = rows.get(State.COMPLETED)
        return Stats(
            total=sum(count.values()),
            completed=count[State.COMPLETED],
            failed=count[State.FAILED] + count[State.QUARANTINED],
            pending=count[State.PENDING] + count[State.DISCOVERED],
            in_progress=count[State.IN_PROGRESS],
            skipped=count[State.SKIPPED],
            audio_seconds=float(done[2]) if done else 0.0,
            source_bytes=int(done[3]) if done else 0,
            stored_bytes=int(done[4]) if done else 0,
        )

    def history(self, now: datetime, *, days: int, zone: tzinfo) -> list[Day]:
        """Return what ended on each of the last days, oldest first; every day is there, today last.

        Args:
            now: The time.
            days: How many days. What clean-up deleted is not counted.
            zone: Where days begin.
        """
        today = now.astimezone(zone).date()
        first = today - timedelta(days=days - 1)
        parts = []
        for number in range(days):
            begins, ends = (
                datetime.combine(first + timedelta(days=number + more), time(), zone) for more in (0, 1)
            )
            parts.append(
                select(
                    literal(number).label("number"),
                    transfers.c.outcome,
                    func.count().label("transfers"),
                    func.coalesce(func.sum(transfers.c.audio_seconds), 0).label("audio_seconds"),
                )
                # An index answers each day, however many there were before.
                .where(transfers.c.ended_at >= begins, transfers.c.ended_at < ends)
                .group_by(transfers.c.outcome)
            )
        with self._database.read() as connection:
            rows = connection.execute(union_all(*parts)).mappings().all()
        found = {(row["number"], row["outcome"]): row for row in rows}

        def one(number: int) -> Day:
            done, failed = found.get((number, "completed")), found.get((number, "failed"))
            return Day(
                day=first + timedelta(days=number),
                completed=done["transfers"] if done else 0,
                failed=failed["transfers"] if failed else 0,
                audio_seconds=float(done["audio_seconds"]) if done else 0.0,
            )

        return [one(number) for number in range(days)]

    def recent(
        self,
        now: datetime,
        *,
        days: int,
        states: Collection[State] = (),
        name: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> Page:
        """Return recordings whose state changed in the last days, newest first, as `listing` does.

        Args:
            now: The time.
            days: How many days.
            states: As in `listing`.
            name: As in `listing`.
            since: From when instead.
            until: Only those that changed before it.
            limit: As in `listing`.
            cursor: As in `listing`.

        Raises:
            ValueError: The cursor is not one of ours.
        """
        query = _limited(_rows(), states, name)
        query = query.where(recordings.c.state_changed_at >= (since or now - timedelta(days=days)))
        if until is not None:
            query = query.where(recordings.c.state_changed_at < until)
        return self._page(query, limit, cursor)

    def failed(self, *, limit: int, cursor: str | None = None) -> Page:
        """Return failed and quarantined recordings, newest first.

        Raises:
            ValueError: The cursor is not one of ours.
        """
        return self.listing(states=(State.FAILED, State.QUARANTINED), limit=limit, cursor=cursor)

    def listing(
        self,
        *,
        states: Collection[State] = (),
        name: str = "",
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Return recordings, newest first.

        Args:
            states: Only those in these; none: in any.
            name: Only those whose name contains this, whatever the case.
            limit: How many at most.
            cursor: Where the page before ended.

        Raises:
            ValueError: The cursor is not one of ours.
        """
        return self._page(_limited(_rows(), states, name), limit, cursor)

    def recording(self, recording_id: str) -> RecordingRow | None:
        """Return one recording, or None."""
        number = row_id(recording_id)
        if number is None:
            return None
        with self._database.read() as connection:
            row = connection.execute(_rows().where(recordings.c.id == number)).mappings().one_or_none()
        return None if row is None else _row(row)

    def find(self, text: str) -> RecordingRow | None:
        """Return the recording that a person means: its id, ``drive://ID``, or its id in the source."""
        source_id = text.removeprefix("drive://").removeprefix("drive:")
        query = _rows().where(
            recordings.c.source.in_(("drive", "local")), recordings.c.source_id == source_id
        )
        if source_id != text:
            query = query.where(recordings.c.source == "drive")
        else:
            by_id = self.recording(text)
            if by_id is not None:
                return by_id
        with self._database.read() as connection:
            row = connection.execute(query.order_by(recordings.c.id).limit(1)).mappings().one_or_none()
        return None if row is None else _row(row)

    def stored_as(self, storage_path: str) -> RecordingRow | None:
        """Return the recording whose audio, or another output, is stored under a name, or None."""
        owner = select(outputs.c.recording_id).where(outputs.c.object_name == storage_path)
        with self._database.read() as connection:
            for which in (recordings.c.storage_path == storage_path, recordings.c.id.in_(owner)):
                for row in connection.execute(_rows().where(which).limit(2)).mappings():
                    # What was verified stays where it is while more is made of it.
                    if row["state"] == State.COMPLETED or row["crc32c"] is not None:
                        return _row(row)
        return None

    def audit(self, recording_id: str | None = None, *, limit: int = 1000) -> list[AuditEntry]:
        """Return what happened to one recording, or to all, oldest first; of more than `limit` the newest."""
        query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        if recording_id is not None:
            number = row_id(recording_id)
            if number is None:
                return []
            query = query.where(audit_log.c.recording_id == number)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            AuditEntry(
                at=row["at"],
                recording_id=None if row["recording_id"] is None else str(row["recording_id"]),
                event=row["event"],
                from_state=row["from_state"],
                to_state=row["to_state"],
                actor=row["actor"],
                detail=row["detail"] or {},
            )
            for row in reversed(rows)
        ]

    def newest_change(self) -> int:
        """Return the number of the newest entry of the audit log; 0 when it is empty."""
        with self._database.read() as connection:
            return connection.execute(select(func.max(audit_log.c.id))).scalar() or 0

    def changes(self, after: int, limit: int = 500) -> list[tuple[int, RecordingRow]]:
        """Return what happened after an entry of the audit log: its number, and the recording as it is now.

        Each recording is there once, with its newest number; forgotten ones are not. Oldest first.
        """
        # Not the column itself: to group by that SQLite walks the index of all that ever happened.
        whose = (audit_log.c.recording_id + literal_column("0")).label("recording_id")
        newest = (
            select(whose, func.max(audit_log.c.id).label("number"))
            .where(audit_log.c.id > after, audit_log.c.recording_id.is_not(None))
            .group_by(whose)
            .order_by(func.max(audit_log.c.id))
            .limit(limit)
        )
        with self._database.read() as connection:
            numbers = {row.recording_id: row.number for row in connection.execute(newest)}
            rows = connection.execute(_rows().where(recordings.c.id.in_(numbers))).mappings().all()
        return sorted(((numbers[row["id"]], _row(row)) for row in rows), key=lambda change: change[0])

    def attempts_of(self, recording_id: str) -> list[dict[str, Any]]:
        """Return the rows of ``transfers`` of a recording, oldest first."""
        number = row_id(recording_id)
        if number is None:
            return []
        query = select(transfers).where(transfers.c.recording_id == number).order_by(transfers.c.fence)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def sounds_of(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return what was last measured on the sound of some recordings, by their ids."""
        numbers = [int(one) for one in ids]
        query = (
            select(transfers.c.recording_id, transfers.c.report)
            .where(
                transfers.c.recording_id.in_(numbers),
                transfers.c.outcome == "completed",
                transfers.c.adopted.is_(False),
            )
            .order_by(transfers.c.fence)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        sounds = ((str(row.recording_id), (row.report or {}).get("sound")) for row in rows)
        # A transfer that only made more of it measured nothing.
        return {number: sound for number, sound in sounds if sound is not None}

    def traces_before(self, claim: Claim) -> tuple[str | None, list[str]]:
        """Return the trace ids of the discovery that found a recording, and of its earlier attempts.

        A look writes down what it finds with the time at which it began.
        """
        found_in = (
            select(sync_history.c.trace_id)
            .join(
                recordings,
                (recordings.c.source == sync_history.c.source)
                & (recordings.c.discovered_at == sync_history.c.started_at),
            )
            .where(recordings.c.id == int(claim.id), sync_history.c.trace_id.is_not(None))
            .limit(1)
        )
        earlier = (
            select(transfers.c.trace_id)
            .where(
                transfers.c.recording_id == int(claim.id),
                transfers.c.fence < claim.token,
                transfers.c.trace_id.is_not(None),
            )
            .order_by(transfers.c.fence)
        )
        with self._database.read() as connection:
            return connection.scalar(found_in), list(connection.scalars(earlier))

    def syncs(self, *, limit: int = 20) -> list[SyncRun]:
        """Return the newest runs of discovery, newest first."""
        query = (
            select(sync_history)
            .order_by(sync_history.c.started_at.desc(), sync_history.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [SyncRun(**{name: row[name] for name in row if name != "id"}) for row in rows]

    def milestones(self, cursor_names: Collection[str]) -> Milestones:
        """Return when sources were last looked at with success, and recordings last found and stored.

        Args:
            cursor_names: Under which it is kept how far each source was read.
        """
        looked = select(cursors.c.updated_at).where(cursors.c.name.in_(cursor_names))
        # Ids grow, so that no column without an index is looked through.
        found = (
            select(recordings.c.discovered_at)
            .where(recordings.c.state != State.SKIPPED)
            .order_by(recordings.c.id.desc())
            .limit(1)
        )
        stored = select(func.max(recordings.c.state_changed_at)).where(recordings.c.state == State.COMPLETED)
        with self._database.read() as connection:
            times = connection.execute(looked).scalars().all()
            return Milestones(
                looked_at=min(times) if times and len(times) == len(cursor_names) else None,
                found_at=connection.execute(found).scalar_one_or_none(),
                stored_at=connection.execute(stored).scalar_one_or_none(),
            )

    def _page(self, query: Select[Any], limit: int, cursor: str | None) -> Page:
        if cursor is not None:
            moment, number = _read_cursor(cursor)
            # One comparison of both, which an index answers however many rows are of one moment.
            place = tuple_(recordings.c.state_changed_at, recordings.c.id)
            query = query.where(place < tuple_(literal(moment, Moment()), literal(number, RowId)))
        query = query.order_by(recordings.c.state_changed_at.desc(), recordings.c.id.desc())
        with self._database.read() as connection:
            # One more than asked for says whether there is a next page.
            found = connection.execute(query.limit(limit + 1)).mappings().all()
        rows = [_row(row) for row in found[:limit]]
        return Page(rows, _write_cursor(rows[-1]) if len(found) > limit and rows else None)


def _write_cursor(row: RecordingRow) -> str:
    return f"{(row.state_changed_at - _EPOCH) // timedelta(microseconds=1)}-{row.id}"


def _read_cursor(cursor: str) -> tuple[datetime, int]:
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        message = "this is not a cursor of this service"
        raise ValueError(message)
    try:
        return _EPOCH + timedelta(microseconds=int(found[1])), int(found[2])
    except OverflowError as error:
        message = "this is not a cursor of this service"
        raise ValueError(message) from error


def _rows() -> Select[Any]:
    joined = recordings.outerjoin(transfers, transfers.c.id == recordings.c.last_transfer_id)
    last = [transfers.c[name].label(f"last_{name}") for name in _TRANSFER_COLUMNS]
    return select(recordings, *last).select_from(joined)


def _limited(query: Select[Any], states: Collection[State], name: str) -> Select[Any]:
    if len(states) == 1:
        query = query.where(recordings.c.state == next(iter(states)))
    elif set(states) == {State.FAILED, State.QUARANTINED}:
        # Written out as in the index: with parameters SQLite does not see that it fits.
        query = query.where(FAILED)
    elif states:
        query = query.where(recordings.c.state.in_(states))
    return query.where(recordings.c.name.icontains(name, autoescape=True)) if name else query


def _row(row: RowMapping) -> RecordingRow:
    state = State(row["state"])
    started, ended = row["last_started_at"], row["last_ended_at"]
    due = row["next_attempt_at"]
    return RecordingRow(
        id=str(row["id"]),
        name=row["name"],
        status=state.value,
        state_reason=row["state_reason"],
        file_path=file_path(row["source"], row["source_id"]),
        source=row["source"],
        source_id=row["source_id"],
        revision=row["completed_revision"] if state is State.COMPLETED else row["revision"],
        recorded_at=row["created_at"],
        discovered_at=row["discovered_at"],
        processed_at=row["processed_at"],
        state_changed_at=row["state_changed_at"],
        storage_type=row["storage_type"],
        storage_path=row["storage_path"],
        storage_url=row["storage_url"],
        object_name=row["object_name"],
        source_size_bytes=row["size_bytes"],
        fetched_bytes=row["last_fetched_bytes"],
        stored_size_bytes=row["stored_size_bytes"],
        crc32c=row["crc32c"],
        generation=row["generation"],
        plan_id=row["plan_id"],
        audio_seconds=row["audio_seconds"],
        elapsed_seconds=(ended - started).total_seconds() if started and ended else None,
        strategy=row["last_strategy"],
        attempts=row["attempts"],
        crashes=row["crashes"],
        # A pending recording is due from when it became so; only a wait is worth showing.
        next_attempt_at=due if due is not None and due > row["state_changed_at"] else None,
        error_code=row["error_code"],
        error_kind=row["error_kind"],
        error_message=row["error_message"],
        ffmpeg_tail=row["ffmpeg_tail"],
        trace_id=row["last_trace_id"],
        metadata=_metadata(row),
    )


def _metadata(row: RowMapping) -> dict[str, Any]:
    names = ("mime_type", "size_bytes", "folder_id", "web_link", "md5", "sha256")
    return {"file_name": row["name"], **{name: row[name] for name in names}}

"""What a person asks for: retry, reprocess, forget, and cleaning up."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, literal, select, tuple_

from audio_extract.tracker import history, legacy
from audio_extract.tracker.columns import Moment, RowId
from audio_extract.tracker.models import drive_files, recordings, sync_history, transfers
from audio_extract.tracker.states import Event, State
from audio_extract.tracker.values import row_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

    from audio_extract.tracker.database import Database
    from audio_extract.tracker.legacy import TakenOver

_RETRIED = frozenset({State.PENDING, State.FAILED, State.QUARANTINED, State.SKIPPED})
_BATCH = 500


class Housekeeping:
    """The part of the tracker that people use."""

    _database: Database

    def retry(
        self,
        ids: Iterable[str],
        now: datetime,
        *,
        actor: str = "person",
        completed: bool = False,
        outputs: Sequence[Mapping[str, Any]] | None = None,
        afresh: bool = True,
    ) -> list[str]:
        """Make recordings due at once, before all others, with all their attempts.

        Args:
            ids: Recordings; unknown ones and those in progress are left out.
            now: The time.
            actor: Who asks.
            completed: Whether completed ones are processed again too.
            outputs: What they should have beside their audio too, as in ``processing.outputs``; one of a
                name takes the place of an earlier one. None: as before; empty: nothing but what is
                configured.
            afresh: False: with the attempts they have left, and in their turn.

        Returns:
            The ids that are due now.
        """
        wanted = _RETRIED | {State.COMPLETED} if completed else _RETRIED
        new = {"attempts": 0, "failures": 0, "crashes": 0, "priority": 1} if afresh else {}
        numbers = sorted({number for text in ids if (number := row_id(text)) is not None})
        moved: list[str] = []
        for start in range(0, len(numbers), _BATCH):
            with self._database.write() as connection:
                for row in history.locked(connection, numbers[start : start + _BATCH]):
                    if row["state"] not in wanted:
                        continue
                    history.move(
                        connection,
                        row,
                        Event.RETRIED,
                        State.PENDING,
                        now,
                        actor=actor,
                        next_attempt_at=now,
                        values={**new, "wanted_outputs": _added(row["wanted_outputs"], outputs)},
                        detail={"outputs": [one["name"] for one in outputs]} if outputs else None,
                    )
                    moved.append(str(row["id"]))
        return moved

    def retry_failed(self, now: datetime, *, actor: str = "person") -> list[str]:
        """Make every failed and quarantined recording due at once; returns their ids."""
        return self.retry(self.failed_ids(), now, actor=actor)

    def failed_ids(self) -> list[str]:
        """Return the ids of failed and quarantined recordings: what `retry_failed` would move."""
        query = select(recordings.c.id).where(recordings.c.state.in_((State.FAILED, State.QUARANTINED)))
        with self._database.read() as connection:
            return [str(number) for number in connection.execute(query).scalars()]

    def forget(self, ids: Iterable[str], now: datetime, *, actor: str = "person") -> list[str]:
        """Remove recordings from the database; the next discovery finds them as new ones.

        What is stored stays. The audit log stays. One in progress is left out.

        Returns:
            The ids that were removed.
        """
        numbers = sorted({number for text in ids if (number := row_id(text)) is not None})
        removed: list[str] = []
        for start in range(0, len(numbers), _BATCH):
            with self._database.write() as connection:
                rows = history.locked(connection, numbers[start : start + _BATCH])
                removed += _forget(connection, rows, now, actor)
        return removed

    def import_rows(
        self, rows: Iterable[dict[str, Any]], now: datetime, *, actor: str = "import"
    ) -> TakenOver:
        """Take over what an earlier service's database says was processed (`legacy.read_file`)."""
        with self._database.write() as connection:
            return legacy.take_over(connection, rows, now, actor=actor)

    def cleanup(self, days: int, now: datetime, *, actor: str | None = None) -> int:
        """Delete details older than some days: transfers but the last of each recording, and sync history.

        What says that a recording was processed is never deleted.

        Args:
            days: How many; 0 keeps everything.
            now: The time.
            actor: Who asks, for the audit log; None: the schedule, which is not in it.

        Returns:
            How many rows were deleted; none with 0 days, which keep everything.
        """
        if days <= 0:
            return 0
        before = now - timedelta(days=days)
        count = self._delete_transfers(before)
        with self._database.write() as connection:
            count += connection.execute(
                delete(sync_history).where(sync_history.c.started_at < before)
            ).rowcount
            if actor is not None:
                detail = {"days": days, "deleted": count}
                history.record_event(connection, None, "cleaned_up", now, actor=actor, detail=detail)
            if self._database.file is not None:
                # PostgreSQL keeps its statistics itself; without them SQLite takes the wrong index for lists.
                connection.exec_driver_sql("PRAGMA optimize")
        return count

    def _delete_transfers(self, before: datetime) -> int:
        """Delete what ended before a time and was not the last of its recording, some at a time."""
        is_last = (
            select(recordings.c.id)
            .where(
                recordings.c.id == transfers.c.recording_id, recordings.c.last_transfer_id == transfers.c.id
            )
            .exists()
        )
        place: tuple[datetime, int] | None = None
        count = 0
        while True:
            query = (
                select(transfers.c.ended_at, transfers.c.id)
                .where(transfers.c.ended_at < before, ~is_last)
                .order_by(transfers.c.ended_at, transfers.c.id)
                .limit(_BATCH)
            )
            if place is not None:
                # What stays is passed by once, and not again for each batch.
                query = query.where(
                    tuple_(transfers.c.ended_at, transfers.c.id)
                    > tuple_(literal(place[0], Moment()), literal(place[1], RowId))
                )
            with self._database.read() as connection:
                found = connection.execute(query).all()
            if not found:
                return count
            place = (found[-1][0], found[-1][1])
            # A transaction for each batch: workers claim and complete in between.
            with self._database.write() as connection:
                ids = [row[1] for row in found]
                done = connection.execute(delete(transfers).where(transfers.c.id.in_(ids), ~is_last))
                count += done.rowcount


def _added(
    earlier: Sequence[Mapping[str, Any]] | None, more: Sequence[Mapping[str, Any]] | None
) -> list[Mapping[str, Any]] | None:
    """Return what a recording should have beside its audio; one of a name instead of an earlier one."""
    if more is None:
        return None if earlier is None else list(earlier)
    if not more:
        return None
    by_name = {one["name"]: one for one in (*(earlier or ()), *more)}
    return list(by_name.values())


def _forget(connection: Connection, rows: list[RowMapping], now: datetime, actor: str) -> list[str]:
    removed = []
    for row in rows:
        if row["state"] == State.IN_PROGRESS:
            continue
        history.record_event(
            connection,
            row["id"],
            Event.FORGOTTEN,
            now,
            before=State(row["state"]),
            actor=actor,
            detail={name: row[name] for name in ("source", "source_id", "name", "object_name")},
        )
        connection.execute(delete(recordings).where(recordings.c.id == row["id"]))
        if row["source"] == "drive":
            connection.execute(delete(drive_files).where(drive_files.c.file_id == row["source_id"]))
        removed.append(str(row["id"]))
    return removed

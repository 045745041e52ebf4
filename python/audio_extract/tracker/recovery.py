"""Taking back what nobody works on any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select

from audio_extract.tracker import history, owners
from audio_extract.tracker.models import recordings
from audio_extract.tracker.outcomes import end_transfer, note_outcome
from audio_extract.tracker.owners import Owner
from audio_extract.tracker.retry_policy import RetryPolicy
from audio_extract.tracker.states import Event, State
from audio_extract.tracker.values import Recovered

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

    from audio_extract.tracker.database import Database


class Recovery:
    """The part of the tracker that runs at start and on a schedule."""

    _database: Database

    def recover(
        self,
        now: datetime,
        *,
        policy: RetryPolicy | None = None,
        host: str | None = None,
        is_alive: Callable[[Owner], bool] = owners.is_alive,
    ) -> Recovered:
        """Take back what nobody works on any more: expired leases, and those of this host's dead processes.

        Args:
            now: The time.
            policy: Knows how many processes may die over one recording.
            host: This host.
            is_alive: Whether an owner of this host still runs.
        """
        policy = policy or RetryPolicy()
        host = host or Owner.current().host
        pending: list[str] = []
        quarantined: list[str] = []
        with self._database.write() as connection:
            query = (
                select(recordings)
                # Few have a lease: its index finds them among any number of others.
                .where(
                    recordings.c.lease_expires_at.is_not(None),
                    or_(recordings.c.lease_expires_at <= now, recordings.c.lease_host == host),
                )
                .order_by(recordings.c.lease_expires_at, recordings.c.id)
                .with_for_update(skip_locked=True)
            )
            for row in connection.execute(query).mappings().all():
                expired = row["lease_expires_at"] <= now
                if not expired and is_alive(Owner.parse(row["lease_owner"])):
                    continue
                state = _recover_one(
                    connection, row, policy, now, "lease_expired" if expired else "owner_died"
                )
                if state is State.QUARANTINED:
                    quarantined.append(str(row["id"]))
                    crashed = {**row, "error_message": _crash_message(row["crashes"] + 1)}
                    note_outcome(self._database, connection, crashed, state, now)
                else:
                    pending.append(str(row["id"]))
        return Recovered(tuple(pending), tuple(quarantined))


def _recover_one(
    connection: Connection, row: RowMapping, policy: RetryPolicy, now: datetime, why: str
) -> State:
    crashes = row["crashes"] + 1
    decision = policy.after_crash(crashes)
    values: dict[str, Any] = {"crashes": crashes}
    if decision.state is State.QUARANTINED:
        values |= {
            "error_code": "tracker.crash_limit",
            "error_kind": "bug",
            "error_message": _crash_message(crashes),
            "processed_at": now,
        }
    if row["last_transfer_id"] is not None:
        end_transfer(connection, row["last_transfer_id"], now, "crashed")
    history.move(
        connection,
        row,
        Event.RECOVERED,
        decision.state,
        now,
        actor=Owner.current().name,
        reason=decision.reason if decision.state is State.QUARANTINED else why,
        next_attempt_at=now if decision.state is State.PENDING else None,
        detail={"holder": row["lease_owner"], "crashes": crashes},
        values=values,
    )
    return decision.state


def _crash_message(crashes: int) -> str:
    return (
        f"{crashes} processes ended while they worked on this recording; look for their end in the log "
        "(often the system killed them for memory), then retry it"
    )

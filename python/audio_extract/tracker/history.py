"""Moving a recording from one state to another: the update and its row in the audit log, never one alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, select, update

from audio_extract.exceptions import CancelledError
from audio_extract.tracker.models import audit_log, recordings
from audio_extract.tracker.states import Event, State, check_transition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

_NO_LEASE = {"lease_owner": None, "lease_host": None, "lease_pid": None, "lease_expires_at": None}


# Made once: to build a statement costs more than to run it.
_MOVE = update(recordings).where(
    recordings.c.id == bindparam("is_id"),
    recordings.c.state == bindparam("is_state"),
    recordings.c.fence == bindparam("is_fence"),
)
_NOTE = insert(audit_log)


class LeaseLostError(CancelledError):
    """Somebody else holds the recording, or a person forgot it: stop, and write nothing."""

    default_code = "tracker.lease_lost"


def locked(connection: Connection, ids: Iterable[int]) -> list[RowMapping]:
    """Return rows that nobody else changes before this transaction ends, in the order of their ids."""
    # One order for all processes, so that two of them cannot wait for each other.
    query = select(recordings).where(recordings.c.id.in_(list(ids))).order_by(recordings.c.id)
    return list(connection.execute(query.with_for_update()).mappings())


def move(
    connection: Connection,
    row: RowMapping,
    event: Event,
    to: State,
    now: datetime,
    *,
    actor: str | None = None,
    reason: str | None = None,
    next_attempt_at: datetime | None = None,
    detail: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
) -> None:
    """Move one recording, whose row the caller has locked in this transaction.

    Args:
        connection: The transaction.
        row: The row as it is.
        event: Why.
        to: Where to.
        now: The time.
        actor: Who: an owner's name, or what a person used.
        reason: Kept as ``state_reason``.
        next_attempt_at: When it is due.
        detail: More for the audit log.
        values: More columns to set.

    Raises:
        InternalError: There is no such transition.
        LeaseLostError: The row was claimed by somebody else since it was read.
    """
    before = State(row["state"])
    check_transition(event, before, to)
    lease = {} if to is State.IN_PROGRESS else _NO_LEASE
    changed = connection.execute(
        _MOVE,
        {
            "is_id": row["id"],
            "is_state": before,
            "is_fence": row["fence"],
            "state": to,
            "state_reason": reason,
            "state_changed_at": now,
            "next_attempt_at": next_attempt_at,
            **lease,
            **(values or {}),
        },
    )
    if changed.rowcount != 1:
        message = f"recording {row['id']} was taken by somebody else"
        raise LeaseLostError(message)
    record_event(
        connection, row["id"], event, now, before=before, after=to, actor=actor, reason=reason, detail=detail
    )


def audit_values(
    recording_id: int | None,
    event: str,
    now: datetime,
    *,
    before: State | None = None,
    after: State | None = None,
    actor: str | None = None,
    reason: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a row of the audit log."""
    facts = {**({"reason": reason} if reason else {}), **(detail or {})}
    return {
        "at": now,
        "recording_id": recording_id,
        "event": event,
        "from_state": before,
        "to_state": after,
        "actor": actor,
        "detail": facts or None,
    }


def record_event(
    connection: Connection,
    recording_id: int | None,
    event: str,
    now: datetime,
    *,
    before: State | None = None,
    after: State | None = None,
    actor: str | None = None,
    reason: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add one row to the audit log; without states, something that happened without a move."""
    values = audit_values(
        recording_id, event, now, before=before, after=after, actor=actor, reason=reason, detail=detail
    )
    connection.execute(_NOTE, values)

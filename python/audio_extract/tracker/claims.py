"""Leases: taking what is due, holding it, and ending it one way or another.

Every write of a holder names its fencing token. Who lost the lease changes nothing, and hears of it.

On SQLite a lease need not survive a power cut: whoever took it is on the same machine and does not either.
What its holder writes down afterwards brings the lease to the disk first.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from audio_extract.tracker import history
from audio_extract.tracker.history import LeaseLostError
from audio_extract.tracker.models import chunks as chunk_table
from audio_extract.tracker.models import outputs as output_table
from audio_extract.tracker.models import recordings, transfers
from audio_extract.tracker.outcomes import end_transfer, note_outcome
from audio_extract.tracker.retry_policy import Decision, RetryPolicy
from audio_extract.tracker.states import KEPT, Event, State
from audio_extract.tracker.values import (
    RECORDING_FIELDS,
    Claim,
    Stored,
    StoredChunk,
    StoredOutput,
    row_id,
    values_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

    from audio_extract.tracker.database import Database
    from audio_extract.tracker.owners import Owner

#: A person asked for it; found by discovery. Taken in this order.
PRIORITIES = (1, 0)
_NO_ERROR = {"error_code": None, "error_kind": None, "error_message": None, "ffmpeg_tail": None}

# Made once: to build a statement costs more than to run it.
_DUE = (
    select(recordings)
    .where(recordings.c.priority == bindparam("priority"), recordings.c.next_attempt_at <= bindparam("now"))
    .order_by(recordings.c.next_attempt_at, recordings.c.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_BEGIN_TRANSFER = insert(transfers).returning(transfers.c.id)
_RENEW = update(recordings).where(
    recordings.c.id == bindparam("is_id"),
    recordings.c.state == State.IN_PROGRESS,
    recordings.c.fence == bindparam("is_fence"),
)


class Claims:
    """The part of the tracker that workers use."""

    _database: Database

    def claim(self, owner: Owner, now: datetime, *, limit: int = 1, lease_seconds: float = 60) -> list[Claim]:
        """Take recordings that are due: first what a person asked for, then what waits longest.

        Safe for any number of processes: a recording is in at most one answer.
        """
        expires_at = now + timedelta(seconds=lease_seconds)
        with self._database.write(survives_power_cut=False) as connection:
            rows: list[RowMapping] = []
            for priority in PRIORITIES:
                if len(rows) < limit:
                    rows += _due_rows(connection, priority, now, limit - len(rows))
            return [_take(connection, row, owner, now, expires_at) for row in rows]

    def claim_one(
        self, recording_id: str, owner: Owner, now: datetime, *, lease_seconds: float = 60
    ) -> Claim | None:
        """Take one recording if it is due.

        None: it is not due, not known any more, or somebody else has it or is about to.
        """
        number = row_id(recording_id)
        if number is None:
            return None
        query = (
            select(recordings)
            .where(recordings.c.id == number, recordings.c.next_attempt_at <= now)
            .with_for_update(skip_locked=True)
        )
        with self._database.write(survives_power_cut=False) as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return None
            return _take(connection, row, owner, now, now + timedelta(seconds=lease_seconds))

    def renew(self, claim: Claim, now: datetime, *, lease_seconds: float = 60) -> bool:
        """Hold a lease for longer. False: somebody else has it; stop at once."""
        with self._database.write(survives_power_cut=False) as connection:
            changed = connection.execute(
                _RENEW,
                {
                    "is_id": int(claim.id),
                    "is_fence": claim.token,
                    "lease_expires_at": now + timedelta(seconds=lease_seconds),
                },
            )
            return changed.rowcount == 1

    def release(
        self, claim: Claim, now: datetime, *, reason: str = "released", delay_seconds: float = 0
    ) -> bool:
        """Give a recording back without spending an attempt. False: it was not held any more."""
        with self._database.write() as connection:
            row = _held_row(connection, claim)
            if row is None:
                return False
            end_transfer(connection, claim.transfer_id, now, "released")
            history.move(
                connection,
                row,
                Event.RELEASED,
                State.PENDING,
                now,
                actor=claim.owner,
                reason=reason,
                next_attempt_at=now + timedelta(seconds=delay_seconds),
            )
            return True

    def assign_object_name(self, claim: Claim, name: str, now: datetime) -> bool:
        """Decide under which name the audio will stand. False: another recording has that name.

        Raises:
            LeaseLostError: Somebody else holds the recording.
        """
        try:
            with self._database.write() as connection:
                row = _required(connection, claim)
                if row["object_name"] == name:
                    return True
                connection.execute(
                    update(recordings).where(recordings.c.id == row["id"]).values(object_name=name)
                )
                history.record_event(
                    connection, row["id"], "named", now, actor=claim.owner, detail={"object_name": name}
                )
        except IntegrityError:
            return False
        return True

    def assign_output_names(self, claim: Claim, names: Mapping[str, str]) -> None:
        """Write down under which names what is beside the audio will stand, by output.

        Raises:
            LeaseLostError: Somebody else holds the recording.
        """
        with self._database.write() as connection:
            row = _required(connection, claim)
            known = row["output_names"] or {}
            if not names.items() <= known.items():
                connection.execute(
                    update(recordings)
                    .where(recordings.c.id == row["id"])
                    .values(output_names={**known, **names})
                )

    def note_companions(
        self, recording_id: str, links: Sequence[Mapping[str, str]], texts: Sequence[StoredOutput]
    ) -> None:
        """Write down what a meeting left beside its recording.

        Args:
            recording_id: A recording that is completed.
            links: Kind, name and link of each.
            texts: Those that were copied beside the audio.
        """
        number = row_id(recording_id)
        with self._database.write() as connection:
            for row in history.locked(connection, [] if number is None else [number]):
                connection.execute(
                    update(recordings).where(recordings.c.id == row["id"]).values(companions=list(links))
                )
                _replace_outputs(connection, row["id"], texts, all_others=False)

    def complete(
        self,
        claim: Claim,
        stored: Stored,
        now: datetime,
        *,
        plan_id: str | None = None,
        report: Mapping[str, Any] | None = None,
        adopted: bool = False,
        chunks: Sequence[StoredChunk] = (),
        outputs: Sequence[StoredOutput] = (),
        revision: str | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Write down that the audio is stored and its checksum matched.

        Args:
            claim: The lease.
            stored: What stands at the destination.
            now: The time.
            plan_id: Hash of the output settings.
            report: The engine's report; none when an object was adopted.
            adopted: Whether the object was there already.
            chunks: The pieces, when the audio was split.
            outputs: What else stands beside the audio.
            revision: Which content was transferred, when it is not the claim's.
            trace_id: The transfer's trace.

        Raises:
            LeaseLostError: Somebody else holds the recording.
        """
        with self._database.write() as connection:
            row = _required(connection, claim)
            end_transfer(
                connection, claim.transfer_id, now, "completed",
                adopted=adopted, trace_id=trace_id, stored_bytes=stored.size_bytes,
                audio_seconds=stored.audio_seconds, **_from_report(report),
            )  # fmt: skip
            facts = values_of(stored)
            facts["stored_size_bytes"] = facts.pop("size_bytes")
            values = {
                **facts, **_NO_ERROR, "plan_id": plan_id, "completed_revision": revision or claim.revision,
                "processed_at": now, "attempts": claim.attempt, "failures": 0, "priority": 0,
            }  # fmt: skip
            history.move(
                connection,
                row,
                Event.COMPLETED,
                State.COMPLETED,
                now,
                actor=claim.owner,
                detail={"storage_path": stored.storage_path, "crc32c": stored.crc32c, "adopted": adopted},
                values=values,
            )
            connection.execute(chunk_table.delete().where(chunk_table.c.recording_id == row["id"]))
            rows = []
            for output, pieces in (("", chunks), *((one.name, one.chunks) for one in outputs)):
                for chunk in pieces:
                    chunk_values = values_of(chunk)
                    chunk_values["chunk_index"] = chunk_values.pop("index")
                    rows.append({**chunk_values, "recording_id": row["id"], "output": output})
            if rows:
                connection.execute(insert(chunk_table), rows)
            _replace_outputs(connection, row["id"], outputs, all_others=True)
            note_outcome(
                self._database,
                connection,
                {**row, **values, "revision": revision or claim.revision},
                State.COMPLETED,
                now,
            )

    def fail(
        self,
        claim: Claim,
        now: datetime,
        *,
        code: str,
        kind: str,
        message: str,
        policy: RetryPolicy,
        ffmpeg_tail: str | None = None,
        retry_after_seconds: float | None = None,
        report: Mapping[str, Any] | None = None,
        trace_id: str | None = None,
        audio_stands: bool = False,
    ) -> State:
        """Write down that a transfer ended with an error, and return where the recording went by the policy.

        What was asked for beside audio that is stored, and cannot be made, is given up: the recording is
        completed as before.

        Args:
            claim: The lease.
            now: The time.
            code: Of the error, as the next two.
            kind: What has to be done about it.
            message: For people.
            policy: Decides what follows.
            ffmpeg_tail: What FFmpeg said last.
            retry_after_seconds: What the server asked for.
            report: What was done until then.
            trace_id: The transfer's trace.
            audio_stands: The audio of this content was found at the destination, whole.

        Raises:
            LeaseLostError: Somebody else holds the recording.
        """
        with self._database.write() as connection:
            row = _required(connection, claim)
            decision = policy.decide(
                kind=kind,
                code=code,
                attempts=row["attempts"],
                failures=row["failures"],
                retry_after_seconds=retry_after_seconds,
            )
            error = {
                "error_code": code, "error_kind": kind, "error_message": message, "ffmpeg_tail": ffmpeg_tail
            }  # fmt: skip
            outcome = "released" if kind == "cancelled" else "failed"
            end_transfer(
                connection,
                claim.transfer_id,
                now,
                outcome,
                trace_id=trace_id,
                **error,
                **_from_report(report),
            )
            values: dict[str, Any] = {"attempts": row["attempts"] + decision.spends_attempt}
            if kind != "cancelled":
                values |= {**error, "failures": row["failures"] + 1, "priority": 0}
                if decision.state is not State.PENDING:
                    values["processed_at"] = now
            gives_up = decision.delay_seconds is None or kind == "configuration"
            event = Event.FAILED if kind != "cancelled" else Event.RELEASED
            if audio_stands and gives_up:
                event = Event.KEPT
                decision = Decision(State.COMPLETED, KEPT)
                names = select(output_table.c.name).where(output_table.c.recording_id == row["id"])
                made = set(connection.scalars(names))
                kept = [one for one in row["wanted_outputs"] or () if one["name"] in made]
                values |= {
                    **_NO_ERROR, "attempts": claim.attempt, "failures": 0,
                    "processed_at": row["processed_at"], "wanted_outputs": kept or None,
                }  # fmt: skip
            delay = decision.delay_seconds
            history.move(
                connection,
                row,
                event,
                decision.state,
                now,
                actor=claim.owner,
                reason=decision.reason,
                next_attempt_at=None if delay is None else now + timedelta(seconds=delay),
                detail={"code": code, "kind": kind, "message": message, "delay_seconds": delay},
                values=values,
            )
            if decision.state in {State.FAILED, State.QUARANTINED}:
                note_outcome(self._database, connection, {**row, **values}, decision.state, now)
            return decision.state


def _replace_outputs(
    connection: Connection, recording: int, outputs: Sequence[StoredOutput], *, all_others: bool
) -> None:
    """Write down outputs in place of those of their names, or of all but the texts of companions."""
    table = output_table.c
    named = table.name.in_([one.name for one in outputs])
    no_text = table.content_type.is_(None) | table.content_type.not_like("text/%")
    replaced = or_(named, no_text) if all_others else named
    connection.execute(output_table.delete().where(table.recording_id == recording, replaced))
    if outputs:
        rows = [{**values_of(one), "recording_id": recording} for one in outputs]
        for row in rows:
            del row["chunks"]
        connection.execute(insert(output_table), rows)


def _due_rows(connection: Connection, priority: int, now: datetime, limit: int) -> list[RowMapping]:
    values = {"priority": priority, "now": now, "most": limit}
    return list(connection.execute(_DUE, values).mappings())


def _take(
    connection: Connection, row: RowMapping, owner: Owner, now: datetime, expires_at: datetime
) -> Claim:
    token = row["fence"] + 1
    attempt = row["attempts"] + 1
    transfer_id = connection.execute(
        _BEGIN_TRANSFER,
        {
            "recording_id": row["id"],
            "fence": token,
            "attempt": attempt,
            "revision": row["revision"],
            "owner": owner.name,
            "started_at": now,
        },
    ).scalar_one()
    history.move(
        connection,
        row,
        Event.CLAIMED,
        State.IN_PROGRESS,
        now,
        actor=owner.name,
        detail={"attempt": attempt, "token": token},
        values={
            "fence": token,
            "lease_owner": owner.name,
            "lease_host": owner.host,
            "lease_pid": owner.pid,
            "lease_expires_at": expires_at,
            "last_transfer_id": transfer_id,
        },
    )
    return Claim(
        id=str(row["id"]),
        token=token,
        owner=owner.name,
        attempt=attempt,
        object_name=row["object_name"],
        verified=_verified(row),
        expires_at=expires_at,
        transfer_id=transfer_id,
        wanted_outputs=tuple(row["wanted_outputs"] or ()),
        output_names=row["output_names"] or {},
        was_cut_short=row["crashes"] > 0 and row["completed_revision"] != row["revision"],
        waiting_since=None if row["priority"] or row["completed_revision"] else row["discovered_at"],
        **{name: row[name] for name in RECORDING_FIELDS},
    )


def _verified(row: RowMapping) -> tuple[str, str] | None:
    """What stood under the recording's name when this revision of it was completed."""
    is_same = row["storage_path"] == row["object_name"] and row["completed_revision"] == row["revision"]
    plan_id, crc32c = row["plan_id"], row["crc32c"]
    return (plan_id, crc32c) if is_same and plan_id and crc32c else None


def _held(claim: Claim) -> tuple[Any, ...]:
    return (
        recordings.c.id == int(claim.id),
        recordings.c.state == State.IN_PROGRESS,
        recordings.c.fence == claim.token,
    )


def _held_row(connection: Connection, claim: Claim) -> RowMapping | None:
    query = select(recordings).where(*_held(claim)).with_for_update()
    return connection.execute(query).mappings().one_or_none()


def _required(connection: Connection, claim: Claim) -> RowMapping:
    row = _held_row(connection, claim)
    if row is None:
        message = f"{claim.name}: the lease was lost: somebody else works on it, or it was forgotten"
        raise LeaseLostError(message)
    return row


def _from_report(report: Mapping[str, Any] | None) -> dict[str, Any]:
    if report is None:
        return {}
    return {
        "report": dict(report),
        "strategy": report.get("strategy"),
        "fetched_bytes": report.get("fetched_bytes"),
    }

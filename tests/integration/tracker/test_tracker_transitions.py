"""Every transition that `states` draws, carried out on both databases, each with its row in the audit log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from audio_extract.tracker import Claim, Event, Owner, RetryPolicy, State, Tracker
from audio_extract.tracker.states import TRANSITIONS
from audio_extract.tracker.values import RECORDING_FIELDS
from support.recordings import NOW, after, recording, stored

ME = Owner("here", 1, "boot.namespace.1")
POLICY = RetryPolicy(jitter=lambda: 0)


class No:
    def __init__(self, reason: str, *, later: bool = False) -> None:
        self.reason = reason
        self.later = later


def unwanted(_item: object) -> No:
    return No("name")


def wanted(_item: object) -> None:
    return None


def the(tracker: Tracker) -> str:
    (row,) = tracker.listing().rows
    return row.id


def claim(tracker: Tracker, seconds: float = 0) -> Claim:
    (found,) = tracker.claim(ME, after(seconds))
    return found


def fail(tracker: Tracker, kind: str, seconds: float = 0, policy: RetryPolicy = POLICY) -> State:
    return tracker.fail(
        claim(tracker, seconds), after(seconds), code=f"source.{kind}", kind=kind, message="no", policy=policy
    )


def reach(tracker: Tracker, state: State | None) -> None:
    """Bring one recording into a state, as the service would."""
    if state is None:
        return
    tracker.record(
        [recording(settled=state is not State.DISCOVERED)],
        NOW,
        unwanted=unwanted if state is State.SKIPPED else None,
    )
    match state:
        case State.IN_PROGRESS:
            claim(tracker)
        case State.COMPLETED:
            tracker.complete(claim(tracker), stored(), NOW)
        case State.FAILED:
            fail(tracker, "transient")
        case State.QUARANTINED:
            fail(tracker, "media")


Step = Callable[[Tracker], object]

LATER = after(3600)
STEPS: dict[tuple[Event, State | None, State | None], Step] = {
    (Event.RECORDED, None, State.PENDING): lambda t: t.record([recording()], LATER),
    (Event.RECORDED, None, State.DISCOVERED): lambda t: t.record([recording(settled=False)], LATER),
    (Event.RECORDED, None, State.SKIPPED): lambda t: t.record([recording()], LATER, unwanted=unwanted),
    (Event.SETTLED, State.DISCOVERED, State.PENDING): lambda t: t.record([recording()], LATER),
    (Event.SELECTED, State.SKIPPED, State.PENDING): lambda t: t.record([recording()], LATER, unwanted=wanted),
    (Event.SELECTED, State.SKIPPED, State.DISCOVERED): lambda t: t.record(
        [recording(settled=False)], LATER, unwanted=wanted
    ),
    **{
        (Event.SKIPPED, state, State.SKIPPED): lambda t: t.skip("drive", "one", "name", LATER)
        for state in (State.DISCOVERED, State.PENDING, State.FAILED, State.QUARANTINED)
    },
    **{
        (Event.GONE, state, State.SKIPPED): lambda t: t.remove("drive", ["one"], LATER)
        for state in (State.DISCOVERED, State.PENDING, State.FAILED, State.QUARANTINED)
    },
    **{
        (Event.CHANGED, state, State.PENDING): lambda t: t.record(
            [recording(revision="r2")], LATER, new_revisions="replace", unwanted=wanted
        )
        for state in (
            State.DISCOVERED,
            State.PENDING,
            State.FAILED,
            State.QUARANTINED,
            State.SKIPPED,
            State.COMPLETED,
        )
    },
    **{
        (Event.CHANGED, state, State.DISCOVERED): lambda t: t.record(
            [recording(revision="r2", settled=False)], LATER, new_revisions="replace", unwanted=wanted
        )
        for state in (
            State.DISCOVERED,
            State.PENDING,
            State.FAILED,
            State.QUARANTINED,
            State.SKIPPED,
            State.COMPLETED,
        )
    },
    (Event.CLAIMED, State.PENDING, State.IN_PROGRESS): lambda t: claim(t, 3600),
    (Event.CLAIMED, State.FAILED, State.IN_PROGRESS): lambda t: claim(t, 3600),
    (Event.COMPLETED, State.IN_PROGRESS, State.COMPLETED): lambda t: t.complete(held(t), stored(), LATER),
    (Event.FAILED, State.IN_PROGRESS, State.FAILED): lambda t: end(t, "corruption"),
    (Event.FAILED, State.IN_PROGRESS, State.QUARANTINED): lambda t: end(t, "media"),
    (Event.FAILED, State.IN_PROGRESS, State.SKIPPED): lambda t: end(t, "not_found"),
    (Event.FAILED, State.IN_PROGRESS, State.PENDING): lambda t: end(t, "source_changed"),
    (Event.RELEASED, State.IN_PROGRESS, State.PENDING): lambda t: t.release(held(t), LATER),
    (Event.RECOVERED, State.IN_PROGRESS, State.PENDING): lambda t: t.recover(LATER),
    (Event.RECOVERED, State.IN_PROGRESS, State.QUARANTINED): lambda t: t.recover(
        LATER, policy=RetryPolicy(crash_limit=1)
    ),
    (Event.KEPT, State.IN_PROGRESS, State.COMPLETED): lambda t: t.fail(
        held(t), LATER, code="media.x", kind="media", message="no", policy=POLICY, audio_stands=True
    ),
    **{
        (Event.RETRIED, state, State.PENDING): lambda t: t.retry([the(t)], LATER, completed=True)
        for state in (State.PENDING, State.FAILED, State.QUARANTINED, State.SKIPPED, State.COMPLETED)
    },
    **{
        (Event.FORGOTTEN, state, None): lambda t: t.forget([the(t)], LATER)
        for state in (
            State.DISCOVERED,
            State.PENDING,
            State.FAILED,
            State.QUARANTINED,
            State.SKIPPED,
            State.COMPLETED,
        )
    },
}


def held(tracker: Tracker) -> Claim:
    """The claim of what is in progress, as its holder has it."""
    (attempt,) = tracker.attempts_of(the(tracker))
    row = tracker.recording(the(tracker))
    assert row is not None
    return Claim(
        id=row.id,
        token=attempt["fence"],
        owner=ME.name,
        attempt=attempt["attempt"],
        object_name=None,
        verified=None,
        expires_at=NOW,
        transfer_id=attempt["id"],
        **{name: getattr(recording(), name) for name in RECORDING_FIELDS},
    )


def end(tracker: Tracker, kind: str) -> State:
    return tracker.fail(held(tracker), LATER, code=f"source.{kind}", kind=kind, message="no", policy=POLICY)


def test_every_transition_that_is_drawn_is_tried_here() -> None:
    drawn = {(event, before, after) for (event, before), to in TRANSITIONS.items() for after in to}
    # Adoption needs a database of the earlier service: test_tracker_migrations, test_tracker_import.
    adopted = {row for row in drawn if row[0] is Event.ADOPTED}
    assert set(STEPS) == drawn - adopted


@pytest.mark.parametrize(
    ("event", "before", "to"), STEPS, ids=lambda value: str(value) if value is not None else "unknown"
)
def test_a_transition_moves_the_recording_and_is_in_the_audit_log(
    tracker: Tracker, event: Event, before: State | None, to: State | None
) -> None:
    reach(tracker, before)
    known = tracker.audit()
    if known:
        assert known[-1].to_state == before
    STEPS[event, before, to](tracker)
    rows = tracker.listing().rows
    assert [row.status for row in rows] == ([] if to is None else [to])
    (entry,) = tracker.audit()[len(known) :]
    assert (entry.event, entry.from_state, entry.to_state) == (event, before, to)
    assert entry.at == LATER
    assert entry.actor

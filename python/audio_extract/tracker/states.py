"""The states of a recording, and the only ways from one to another.

::

                    recorded                       recorded
                       │ still being written          │ selected
                       ▼                              ▼
                  discovered ──────settled──────▶  pending ◀───────────────────┐
                       │                            │   ▲                      │
          skipped,gone │          skipped,gone ┌────┤   │ released, recovered, │ retried,
                       ▼                       │    │   │ source changed       │ changed,
                    skipped ◀──────────────────┘    │claimed                   │ selected
                     ▲ │                            ▼   │                      │
              failed │ └─────────────────────┐   in_progress (lease, fence)    │
          (not found)└───────────────────────┼──────┤   │   │                  │
                                             │      │   │   └──failed──▶ quarantined ─┐
                                             │      │   │ failed                      │
                                             │      │   └──────▶ failed ──────────────┤
                                             │      │              └─claimed when due─▶ in_progress
                                             │      └──completed──▶ completed ────────┤
                                             └────────────────────────────────────────┴──▶ pending (see above)

* ``discovered``: seen, but its file is still being written.
* ``pending``: to be transferred from ``next_attempt_at`` on.
* ``in_progress``: one owner holds its lease until ``lease_expires_at``.
* ``completed``: the destination's checksum matched.
* ``failed``: tried again at ``next_attempt_at``; without that time, only when a person asks.
* ``quarantined``: its attempts are used up, or it can never work; a person has to ask.
* ``skipped``: not wanted by the selection rules, or gone from the source.

Each transition is one transaction together with its row in ``audit_log``. This file owns which transitions
there are; ``history`` carries them out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from audio_extract.exceptions import InternalError


class State(StrEnum):
    """Where a recording stands."""

    DISCOVERED = "discovered"
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    SKIPPED = "skipped"


class Event(StrEnum):
    """Why a recording moves."""

    RECORDED = "recorded"
    """Seen for the first time."""
    SETTLED = "settled"
    """No longer being written."""
    SELECTED = "selected"
    """The selection rules want it now."""
    SKIPPED = "skipped"
    """The selection rules do not want it."""
    GONE = "gone"
    """It is no longer in the source."""
    CHANGED = "changed"
    """The source holds another revision."""
    CLAIMED = "claimed"
    """An owner took the lease."""
    COMPLETED = "completed"
    """The audio is stored and verified."""
    FAILED = "failed"
    """A transfer ended with an error."""
    KEPT = "kept"
    """What was asked for beside stored audio failed; that is as it was."""
    RELEASED = "released"
    """The owner gave it back without spending an attempt."""
    RECOVERED = "recovered"
    """The owner died, or let the lease expire."""
    RETRIED = "retried"
    """A person asked for it."""
    ADOPTED = "adopted"
    """Taken over from the earlier service's database."""
    FORGOTTEN = "forgotten"
    """A person removed it from the database."""


#: Why a recording is completed of which more was asked than could be made (``state_reason``).
KEPT: Final = "kept"

#: What waits for something, and has no owner.
_IDLE = (State.DISCOVERED, State.PENDING, State.FAILED, State.QUARANTINED)

#: (event, from) → to. None is "not in the database".
TRANSITIONS: dict[tuple[Event, State | None], frozenset[State | None]] = {
    (Event.RECORDED, None): frozenset({State.DISCOVERED, State.PENDING, State.SKIPPED}),
    (Event.ADOPTED, None): frozenset({State.COMPLETED, State.FAILED}),
    **{(Event.ADOPTED, state): frozenset({State.COMPLETED}) for state in (*_IDLE, State.SKIPPED)},
    (Event.SETTLED, State.DISCOVERED): frozenset({State.PENDING}),
    (Event.SELECTED, State.SKIPPED): frozenset({State.PENDING, State.DISCOVERED}),
    **{(Event.SKIPPED, state): frozenset({State.SKIPPED}) for state in _IDLE},
    **{(Event.GONE, state): frozenset({State.SKIPPED}) for state in _IDLE},
    **{
        (Event.CHANGED, state): frozenset({State.PENDING, State.DISCOVERED})
        for state in (*_IDLE, State.SKIPPED, State.COMPLETED)
    },
    (Event.CLAIMED, State.PENDING): frozenset({State.IN_PROGRESS}),
    (Event.CLAIMED, State.FAILED): frozenset({State.IN_PROGRESS}),
    (Event.COMPLETED, State.IN_PROGRESS): frozenset({State.COMPLETED}),
    (Event.FAILED, State.IN_PROGRESS): frozenset(
        {State.FAILED, State.QUARANTINED, State.SKIPPED, State.PENDING}
    ),
    (Event.KEPT, State.IN_PROGRESS): frozenset({State.COMPLETED}),
    (Event.RELEASED, State.IN_PROGRESS): frozenset({State.PENDING}),
    (Event.RECOVERED, State.IN_PROGRESS): frozenset({State.PENDING, State.QUARANTINED}),
    **{
        (Event.RETRIED, state): frozenset({State.PENDING})
        for state in (State.PENDING, State.FAILED, State.QUARANTINED, State.SKIPPED, State.COMPLETED)
    },
    **{(Event.FORGOTTEN, state): frozenset({None}) for state in (*_IDLE, State.SKIPPED, State.COMPLETED)},
}


def check_transition(event: Event, before: State | None, after: State | None) -> None:
    """Refuse a transition that is not drawn above.

    Raises:
        InternalError: The program tried one; that is a bug.
    """
    if after not in TRANSITIONS.get((event, before), frozenset()):
        message = f"a recording cannot go from {before or 'unknown'} to {after or 'unknown'} by {event}"
        raise InternalError(message, code="tracker.illegal_transition")

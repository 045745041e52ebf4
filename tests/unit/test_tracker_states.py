from __future__ import annotations

import itertools

import pytest

from audio_extract.exceptions import InternalError
from audio_extract.tracker import Event, State
from audio_extract.tracker.states import TRANSITIONS, check_transition

PLACES: tuple[State | None, ...] = (None, *State)


def test_a_transition_that_is_not_drawn_is_refused() -> None:
    refused = 0
    for event, before, after in itertools.product(Event, PLACES, PLACES):
        if after in TRANSITIONS.get((event, before), frozenset()):
            check_transition(event, before, after)
            continue
        with pytest.raises(InternalError, match=f"by {event}") as caught:
            check_transition(event, before, after)
        assert caught.value.code == "tracker.illegal_transition"
        refused += 1
    assert refused > 600


def test_only_a_claim_leads_into_progress() -> None:
    assert {event for (event, _), to in TRANSITIONS.items() if State.IN_PROGRESS in to} == {Event.CLAIMED}


def test_only_the_holder_of_a_lease_completes() -> None:
    into = {key for key, to in TRANSITIONS.items() if State.COMPLETED in to}
    # What the earlier service completed nobody holds.
    adopted = {(event, before) for event, before in into if event is Event.ADOPTED}
    assert into - adopted == {(Event.COMPLETED, State.IN_PROGRESS), (Event.KEPT, State.IN_PROGRESS)}
    assert (Event.ADOPTED, State.IN_PROGRESS) not in adopted


def test_nothing_but_a_person_or_new_content_brings_back_what_is_quarantined() -> None:
    ways = {
        event
        for (event, before), to in TRANSITIONS.items()
        if before is State.QUARANTINED and State.PENDING in to
    }
    assert ways == {Event.RETRIED, Event.CHANGED}


def test_every_state_can_be_reached_and_left() -> None:
    reached = {place for to in TRANSITIONS.values() for place in to}
    left = {before for _, before in TRANSITIONS}
    assert reached >= set(State)
    assert left >= set(State)

"""Ten rounds of the kill test; `make chaos` runs two hundred."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from audio_extract.tracker.states import Event
from chaos.points import NOT_HERE, POINTS, PRELUDES, REQUESTS
from chaos.rounds import kitchen
from chaos.schedule import schedule

DATABASES = ("sqlite", "postgresql")


@pytest.mark.timeout(600)
def test_killed_anywhere_every_recording_ends_as_one_object(tmp_path: Path) -> None:
    hits: Counter[str] = Counter()
    with kitchen(tmp_path, DATABASES) as shared:
        for plan in schedule(10, 20250301, hits, databases=DATABASES):
            verdict = shared.round(plan)
            hits.update(verdict.hit)
            assert not verdict.wrong, f'{plan}\n{verdict.wrong}\nmake chaos ARGS="{plan.command()}"'
    assert len(hits) >= 8


def test_the_points_are_those_of_the_state_machine() -> None:
    events = {point.partition(" ")[2] for point in POINTS if point.startswith(("before ", "after "))}
    assert {str(event) for event in Event} - events == {str(event) for event in NOT_HERE}
    assert set(PRELUDES) <= set(Event) - set(NOT_HERE)
    assert len(POINTS) == len(set(POINTS)) >= 12
    assert set(REQUESTS) <= set(POINTS)

"""Answers that are kept: how long, and who waits for a new one."""

from __future__ import annotations

import threading

import pytest

from audio_extract.web.remembered import Remembered


class Clock:
    def __init__(self) -> None:
        self.time = 0.0
        self.cost = 0.0
        self.asked = 0

    def __call__(self) -> float:
        return self.time

    def ask(self) -> int:
        self.time += self.cost
        self.asked += 1
        return self.asked


@pytest.mark.parametrize(("cost", "kept"), [(0.0, 0.0), (0.1, 2.0), (0.134, 2.68), (1.0, 3.0)])
def test_an_answer_is_kept_twenty_times_as_long_as_it_took_but_no_more_than_three_seconds(
    cost: float, kept: float
) -> None:
    clock = Clock()
    clock.cost = cost
    remembered = Remembered(clock.ask, monotonic=clock)
    assert remembered() == 1
    if kept:
        clock.time += kept - 0.01
        assert remembered() == 1
    clock.time += 0.02
    assert remembered() == 2


def test_while_one_asks_the_others_get_the_last_answer_and_nobody_asks_twice() -> None:
    clock, asking, go_on = Clock(), threading.Event(), threading.Event()
    answers = iter([1, 2, 3])

    def ask() -> int:
        answer = next(answers)
        if answer == 2:
            asking.set()
            assert go_on.wait(10)
        return answer

    remembered = Remembered(ask, monotonic=clock)
    assert remembered() == 1
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(remembered()))
    thread.start()
    assert asking.wait(10)
    assert remembered() == 1
    go_on.set()
    thread.join()
    assert found == [2]


def test_an_error_reaches_who_asked_and_the_next_one_asks_again() -> None:
    failing = [True]

    def ask() -> int:
        if failing:
            failing.clear()
            raise LookupError
        return 1

    remembered = Remembered(ask)
    with pytest.raises(LookupError):
        remembered()
    assert remembered() == 1

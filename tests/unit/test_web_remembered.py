"""Answers that are kept: how long, and who waits for a new one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from audio_extract.exceptions import TransientError
from audio_extract.web.remembered import Remembered, Unchanged


class Clock:
    """Time, and a question that costs some of it."""

    def __init__(self, cost: float = 0.0) -> None:
        self.time = 0.0
        self.cost = cost
        self.asked = 0
        self.works: list[Callable[[], None]] = []
        self.remembered = Remembered(self.ask, monotonic=lambda: self.time, later=self.works.append)

    def ask(self) -> int:
        self.time += self.cost
        self.asked += 1
        return self.asked


@pytest.mark.parametrize(("cost", "kept"), [(0.1, 5.0), (0.11, 5.5), (1.0, 6.0)])
def test_an_answer_is_kept_fifty_times_as_long_as_it_took_but_no_more_than_six_seconds(
    cost: float, kept: float
) -> None:
    clock = Clock(cost)
    assert clock.remembered() == 1
    clock.time += kept - 0.01
    assert (clock.remembered(), clock.works) == (1, [])
    clock.time += 0.02
    # Nobody waits: the last one is given, and one new one is asked for.
    assert (clock.remembered(), clock.remembered(), len(clock.works)) == (1, 1, 1)
    clock.works.pop()()
    assert (clock.remembered(), clock.works) == (2, [])


def test_a_quick_answer_is_always_a_new_one() -> None:
    clock = Clock(0.001)
    assert clock.remembered() == 1
    clock.time += 0.1
    assert (clock.remembered(), clock.works) == (2, [])


def test_an_answer_of_long_ago_is_not_given() -> None:
    clock = Clock(0.1)
    assert clock.remembered() == 1
    clock.time += 60
    assert (clock.remembered(), clock.works) == (2, [])


def test_a_question_that_fails_beside_a_caller_is_asked_again_and_one_that_is_waited_for_is_told() -> None:
    failing = [False]
    clock = Clock(0.1)

    def ask() -> int:
        clock.time += 0.1
        if failing[0]:
            raise TransientError("the database does not answer")
        return clock.ask()

    remembered = Remembered(ask, monotonic=lambda: clock.time, later=clock.works.append)
    assert remembered() == 1
    failing[0] = True
    clock.time += 12
    assert remembered() == 1
    clock.works.pop()()
    assert remembered() == 1
    assert len(clock.works) == 1
    clock.works.pop()()
    clock.time += 60
    with pytest.raises(TransientError):
        remembered()
    failing[0] = False
    assert remembered() == 2


def test_in_a_service_the_new_answer_comes_by_itself() -> None:
    asked, clock = threading.Event(), Clock()

    def ask() -> int:
        clock.time += 0.1
        if clock.asked:
            asked.set()
        return clock.ask()

    remembered = Remembered(ask, monotonic=lambda: clock.time)
    assert remembered() == 1
    clock.time += 5
    assert remembered() == 1
    assert asked.wait(10)


def test_answers_are_kept_until_something_changes() -> None:
    now, asked = [1], []

    def ask(name: str) -> str:
        asked.append(name)
        return f"{name} at {now[0]}"

    unchanged: Unchanged[str] = Unchanged(lambda: now[0])
    assert [unchanged(name, lambda name=name: ask(name)) for name in "abab"] == ["a at 1", "b at 1"] * 2
    now[0] = 2
    assert [unchanged(name, lambda name=name: ask(name)) for name in ("b", "a")] == ["b at 2", "a at 2"]
    assert asked == ["a", "b", "b", "a"]


def test_what_changes_while_it_is_asked_for_is_asked_for_again() -> None:
    now = [1]

    def ask() -> int:
        now[0] += 1
        return now[0]

    unchanged: Unchanged[int] = Unchanged(lambda: now[0])
    assert (unchanged("a", ask), unchanged("a", ask)) == (2, 3)


def test_no_more_answers_are_kept_than_a_few() -> None:
    unchanged: Unchanged[int] = Unchanged(lambda: 0)
    for number in range(1_000):
        assert unchanged(number, lambda number=number: number) == number
        assert len(unchanged._kept[2]) <= 32


def test_a_change_that_adds_no_number_is_seen_a_little_later() -> None:
    now, said = [0.0], ["before"]
    unchanged: Unchanged[str] = Unchanged(lambda: 0, monotonic=lambda: now[0])
    assert unchanged("a", lambda: said[0]) == "before"
    said[0] = "after"
    now[0] = 1.9
    assert unchanged("a", lambda: said[0]) == "before"
    now[0] = 2.0
    assert unchanged("a", lambda: said[0]) == "after"


def test_an_answer_is_at_hand_for_a_moment_and_until_something_changes_here() -> None:
    time, number, looks = [0.0], [1], []

    def change() -> int:
        looks.append(number[0])
        return number[0]

    unchanged: Unchanged[str] = Unchanged(change, monotonic=lambda: time[0])
    assert unchanged.at_hand("a") is None
    assert unchanged("a", lambda: "one") == "one"
    time[0] = 0.2
    assert (unchanged.at_hand("a"), unchanged.at_hand("b"), looks) == ("one", None, [1])
    # Another process changed something: it is seen after a quarter of a second.
    number[0] = 2
    assert unchanged.at_hand("a") == "one"
    time[0] = 0.25
    assert unchanged.at_hand("a") is None
    assert unchanged("a", lambda: "two") == "two"
    assert unchanged.at_hand("a") == "two"
    unchanged.changed()
    assert unchanged.at_hand("a") is None
    # Nothing changed after all: the answer is good, and at hand again.
    assert (unchanged("a", lambda: "three"), unchanged.at_hand("a")) == ("two", "two")


def test_what_is_changed_here_while_it_is_asked_for_is_not_at_hand() -> None:
    unchanged: Unchanged[str] = Unchanged(lambda: 1)

    def ask() -> str:
        unchanged.changed()
        return "before"

    assert unchanged("a", ask) == "before"
    assert unchanged.at_hand("a") is None
    unchanged("a", ask)
    assert unchanged.at_hand("a") == "before"


def test_who_does_not_want_to_wait_is_given_what_is_there() -> None:
    clock = Clock(0.1)
    assert clock.remembered.at_hand() is None
    assert clock.remembered() == 1
    clock.time += 7
    assert (clock.remembered.at_hand(), len(clock.works)) == (1, 1)
    clock.time += 60
    assert clock.remembered.at_hand() is None
    quick = Clock(0.001)
    assert quick.remembered() == 1
    quick.time += 0.1
    assert quick.remembered.at_hand() is None

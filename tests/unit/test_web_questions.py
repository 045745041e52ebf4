"""Threads that answer questions: used again, left behind when one hangs, and gone when nobody asks."""

from __future__ import annotations

import asyncio
import threading

import pytest

from audio_extract.exceptions import TransientError
from audio_extract.web import questions as module
from audio_extract.web.health import HealthMonitor
from audio_extract.web.questions import Questions
from support.engine import wait_until


def threads() -> set[int | None]:
    return {thread.ident for thread in threading.enumerate() if thread.name == "question"}


@pytest.fixture(autouse=True)
def _short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 1)


def test_one_thread_answers_one_after_the_other_and_ends_when_nobody_asks() -> None:
    before = threads()

    async def ask() -> set[int]:
        questions = Questions(HealthMonitor({}))
        seen = set()
        for _ in range(20):
            seen.add(await questions.ask(threading.get_ident))
            # The thread says that it is free after it gave its answer.
            assert wait_until(lambda: len(questions._threads._idle) == 1, 10)
        return seen

    assert len(asyncio.run(ask())) == 1
    assert wait_until(lambda: threads() <= before, 10)


def test_a_question_that_hangs_takes_no_other_with_it_and_its_thread_is_used_again_later() -> None:
    before, gate = threads(), threading.Event()

    async def ask() -> None:
        questions = Questions(HealthMonitor({}))
        with pytest.raises(TransientError, match="did not answer within"):
            await questions.ask(gate.wait, seconds=0.05)
        answers = await asyncio.gather(*(questions.ask(lambda n=n: n * n) for n in range(50)))  # type: ignore[misc]
        assert answers == [n * n for n in range(50)]
        with pytest.raises(ZeroDivisionError):
            await questions.ask(lambda: 1 / 0)
        assert await questions.ask(lambda: "still there") == "still there"
        gate.set()

    asyncio.run(ask())
    assert wait_until(lambda: threads() <= before, 10)


def test_a_question_that_comes_while_a_thread_gives_up_waiting_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.001)

    async def ask() -> None:
        questions = Questions(HealthMonitor({}))
        for number in range(500):
            assert await questions.ask(lambda number=number: number, seconds=5) == number  # type: ignore[misc]
            await asyncio.sleep(number % 3 / 1000)

    asyncio.run(ask())

"""Server-sent events: who listens is told what changes, by whomever."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from audio_extract.exceptions import TransientError
from audio_extract.tracker import RecordingRow, Tracker
from audio_extract.web.health import ComponentHealth, Status
from support.dashboard import NOW, Shown, running
from support.engine import wait_until


@dataclass
class Event:
    name: str
    data: Any
    id: int | None


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    audio = tmp_path / "weekly_audio.mp3"
    audio.write_bytes(b"audio")
    made = Shown(audio)
    with made.server, made.tracker:
        yield made
        made.events.close()


@contextmanager
def listening(shown: Shown, last_event_id: int | None = None) -> Iterator[Iterator[Event]]:
    headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
    address = f"http://127.0.0.1:{shown.server.ports['dashboard']}/api/events"
    with httpx.stream("GET", address, headers=headers, timeout=10) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield events(response)


def events(response: httpx.Response) -> Iterator[Event]:
    values: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            values[name] = value
        else:
            if "event" in values:
                number = values.get("id")
                data = json.loads(values["data"])
                yield Event(values["event"], data, None if number is None else int(number))
            values = {}


def wait_for(found: Iterator[Event], name: str) -> Event:
    return next(event for event in found if event.name == name)


def test_who_comes_is_told_what_runs_and_how_the_components_are(shown: Shown) -> None:
    with listening(shown) as found:
        active, health, hello = next(found), next(found), next(found)
    assert [active.name, health.name, hello.name] == ["active", "health", "hello"]
    assert active.data[0]["fraction"] == 0.25
    assert health.data["status"] == "healthy"
    assert health.data["components"]["database"]["message"] == "fine"
    assert hello.id == shown.tracker.newest_change()


def test_what_another_process_does_is_told_with_the_recording_as_it_is_now(shown: Shown) -> None:
    with listening(shown) as found:
        wait_for(found, "hello")
        with Tracker.open(shown.tracker.location) as other:
            other.retry([shown.ids["bad"]], NOW, actor="somebody")
        event = wait_for(found, "recording")
        assert event.id == shown.tracker.newest_change()
        assert (event.data["id"], event.data["status"]) == (shown.ids["bad"], "pending")


def test_who_comes_back_is_told_just_what_was_missed(shown: Shown) -> None:
    with listening(shown) as found:
        seen = wait_for(found, "hello").id
    shown.tracker.retry([shown.ids["r3"]], NOW, actor="somebody", completed=True)
    shown.tracker.retry([shown.ids["bad"]], NOW, actor="somebody")
    with listening(shown, seen) as found:
        told = [wait_for(found, "recording") for _ in range(2)]
    assert [event.data["id"] for event in told] == [shown.ids["r3"], shown.ids["bad"]]
    with listening(shown, told[0].id) as found:
        assert wait_for(found, "recording").data["id"] == shown.ids["bad"]


def test_what_was_written_late_under_a_lower_number_is_not_missed(shown: Shown) -> None:
    """Of two transactions of PostgreSQL the one with the higher number may end first."""

    def happens(number: int, source_id: str) -> None:
        with shown.tracker._database.write() as connection:
            connection.execute(
                text("INSERT INTO audit_log (id, at, recording_id, event) VALUES (:id, :at, :of, 'retried')"),
                {"id": number, "at": "2026-01-29 10:00:00.000000", "of": shown.ids[source_id]},
            )

    with listening(shown) as found:
        start = wait_for(found, "hello").id
        assert start is not None
        happens(start + 2, "r3")
        seen = wait_for(found, "recording").id
    assert seen == start + 2
    happens(start + 1, "bad")
    with listening(shown, seen) as found:
        event = wait_for(found, "recording")
        assert (event.id, event.data["id"]) == (start + 1, shown.ids["bad"])
        happens(start + 3, "r4")
        assert wait_for(found, "recording").id == start + 3


def test_who_comes_from_another_database_is_asked_to_load_everything(shown: Shown) -> None:
    newest = shown.tracker.newest_change()
    with listening(shown, newest + 1) as found:
        assert wait_for(found, "reload").id == newest


def test_a_bug_ends_the_streams_and_who_comes_back_is_told_again(
    shown: Shown, caplog: pytest.LogCaptureFixture
) -> None:
    fails = threading.Event()
    broken = shown.active

    class Broken(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            if fails.is_set():
                fails.clear()
                raise RuntimeError("a bug")
            return iter(broken)

    shown.active = Broken()
    with listening(shown) as found:
        wait_for(found, "hello")
        fails.set()
        assert [event.name for event in found if event.name != "active"] == []
    assert "the events of the page stopped" in caplog.text
    with listening(shown) as found:
        wait_for(found, "hello")
        shown.active = running(0.5)
        assert wait_for(found, "active").data[0]["fraction"] == 0.5


def test_who_leaves_before_the_database_answered_takes_no_place(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    import audio_extract.web.events as events_module

    monkeypatch.setattr(events_module, "_MOST_CLIENTS", 1)
    asked, answer = threading.Event(), threading.Event()
    ask = Tracker.newest_change

    def slow(tracker: Tracker) -> int:
        asked.set()
        assert answer.wait(20)
        return ask(tracker)

    monkeypatch.setattr(Tracker, "newest_change", slow)
    address = f"http://127.0.0.1:{shown.server.ports['dashboard']}/api/events"
    with httpx.stream("GET", address, timeout=10) as response:
        assert response.status_code == 200
        assert asked.wait(10)
        assert httpx.get(address).status_code == 503
    answer.set()
    assert wait_until(lambda: not shown.events._clients, 10)
    with listening(shown) as found:
        wait_for(found, "hello")


def test_who_missed_too_much_is_asked_to_load_everything(shown: Shown) -> None:
    from support.dashboard import listed

    shown.tracker.record([listed(f"many{number}") for number in range(600)], NOW)
    with listening(shown, 0) as found:
        event = wait_for(found, "reload")
        assert event.id == shown.tracker.newest_change()


def test_progress_and_health_are_told_when_they_change(shown: Shown) -> None:
    with listening(shown) as found:
        wait_for(found, "hello")
        shown.active = running(0.5)
        assert wait_for(found, "active").data[0]["fraction"] == 0.5
        shown.component = ComponentHealth(Status.UNHEALTHY, "gone")
        shown.health.refresh()
        assert wait_for(found, "health").data["status"] == "unhealthy"
        shown.active = []
        assert wait_for(found, "active").data == []


def test_a_database_that_does_not_answer_does_not_end_the_stream(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def gone(_tracker: Tracker, _after: int, _limit: int = 0) -> list[tuple[int, RecordingRow]]:
        asked.set()
        raise TransientError("the database does not answer", code="database.unavailable")

    with listening(shown) as found:
        wait_for(found, "hello")
        with monkeypatch.context() as patched:
            patched.setattr(Tracker, "changes", gone)
            assert asked.wait(10)
            shown.active = running(0.75)
            assert wait_for(found, "active").data[0]["fraction"] == 0.75
        shown.tracker.retry([shown.ids["bad"]], NOW, actor="somebody")
        assert wait_for(found, "recording").data["status"] == "pending"


def test_streams_end_at_once_when_the_service_stops(shown: Shown) -> None:
    with listening(shown) as found:
        wait_for(found, "hello")
        before = time.monotonic()
        shown.events.close()
        assert list(found) == []
        shown.server.stop()
        assert time.monotonic() - before < 2


def test_a_client_that_does_not_read_is_asked_to_load_everything_instead_of_filling_the_memory() -> None:
    import asyncio

    from audio_extract.web.events import _Client, _Event

    async def slow() -> list[str]:
        client = _Client()
        for _ in range(101):
            client.tell(_Event("active", []))
        return [
            event.name if (event := client.queue.get_nowait()) else "" for _ in range(client.queue.qsize())
        ]

    assert asyncio.run(slow()) == ["reload"]

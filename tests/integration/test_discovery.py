"""Discovery: what sources say, recorded by the rules, with the cursor kept last."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audio_extract.discover import DiscoveryResult, discover
from audio_extract.discover.discovery import cursor_name
from audio_extract.emulator import DriveEmulator, EmulatorServer
from audio_extract.emulator.faults import Answer
from audio_extract.exceptions import TransientError
from audio_extract.settings import Settings, load_settings
from audio_extract.sources.drive import DriveSource
from audio_extract.sources.drive_client import DriveClient
from audio_extract.sources.local import LocalSource
from audio_extract.tracker import Tracker
from audio_extract.tracker.states import State

NOW = datetime(2025, 1, 29, 10, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=300)


class World:
    """An emulated Drive, a source, a database, and a time that tests move."""

    def __init__(self, server: EmulatorServer[DriveEmulator], tracker: Tracker) -> None:
        self.server = server
        self.state = server.emulator
        self.tracker = tracker
        self.folder = self.state.add_folder("Meet Recordings")
        self.now = NOW
        self.sources: list[DriveSource] = []
        self.source = self.restart()
        self.settings = settings()

    def restart(self, *more_folders: str) -> DriveSource:
        client = DriveClient(endpoint=self.server.url, sleep=lambda _: None, max_attempts=2)
        self.source = DriveSource(client, [self.folder, *more_folders])
        self.sources.append(self.source)
        return self.source

    def add(self, name: str, **options: Any) -> str:
        return self.state.add_file(
            name.encode(), name=name, **{"parent": self.folder, "created_time": self.now, **options}
        )

    def look(self, *, full: bool = False) -> DiscoveryResult:
        return discover(self.source, self.tracker, self.settings, self.now, full=full)

    def states(self) -> dict[str, str]:
        """Name of each recording → its state, and why."""
        rows = self.tracker.listing(limit=500).rows
        return {row.name: f"{row.status} {row.state_reason or ''}".strip() for row in rows}


def settings(**drive: Any) -> Settings:
    return load_settings(
        overrides={
            "google_drive": {"recordings_folder_id": "abc", **drive},
            "storage": {"local": {"path": "/out"}},
        },
        environ={},
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with (
        EmulatorServer(DriveEmulator(clock=lambda: NOW)) as server,
        Tracker.open(str(tmp_path / "tracker.db"), now=NOW) as tracker,
    ):
        world = World(server, tracker)
        yield world
        for source in world.sources:
            source.close()


def test_the_first_look_records_everything_with_the_reasons_of_what_is_not_wanted(world: World) -> None:
    world.add("new.mp4")
    world.add("old.mp4", created_time=LONG_AGO)
    world.add("notes.txt")
    result = world.look()
    assert (result.kind, result.seen, result.new, result.skipped, result.removed) == ("full", 3, 3, 2, 0)
    assert result.skipped_reasons == {"too_old": 1, "kind": 1}
    assert world.states() == {
        "new.mp4": "pending",
        "old.mp4": "skipped too_old",
        "notes.txt": "skipped kind",
    }


def test_a_second_look_without_news_records_nothing(world: World) -> None:
    world.add("new.mp4")
    world.look()
    result = world.look()
    assert (result.kind, result.seen, result.new, result.changed) == ("incremental", 0, 0, 0)
    again = world.look(full=True)
    assert (again.kind, again.seen, again.new, again.changed, again.removed) == ("full", 1, 0, 0, 0)


def test_an_old_file_that_is_moved_in_later_is_wanted(world: World) -> None:
    elsewhere = world.state.add_folder("elsewhere")
    moved = world.add("moved.mp4", parent=elsewhere, created_time=LONG_AGO)
    world.add("old.mp4", created_time=LONG_AGO)
    world.look()
    world.state.move(moved, world.folder)
    world.look()
    assert world.states() == {"moved.mp4": "pending", "old.mp4": "skipped too_old"}
    # A reconcile decides as the feed did.
    world.look(full=True)
    assert world.states() == {"moved.mp4": "pending", "old.mp4": "skipped too_old"}


def test_a_move_that_the_feed_missed_is_found_by_a_reconcile(world: World) -> None:
    world.look()
    world.add("moved.mp4", created_time=LONG_AGO)
    world.look(full=True)
    assert world.states() == {"moved.mp4": "pending"}


def test_a_renamed_old_file_stays_unwanted(world: World) -> None:
    old = world.add("old.mp4", created_time=LONG_AGO)
    world.look()
    world.state.edit(old, name="renamed.mp4")
    world.look()
    assert world.states() == {"renamed.mp4": "skipped too_old"}


def test_the_old_files_of_a_folder_that_is_added_later_are_left_alone(world: World) -> None:
    world.add("new.mp4")
    world.look()
    more = world.state.add_folder("more")
    world.add("old.mp4", parent=more, created_time=LONG_AGO)
    world.restart(more)
    world.look()
    assert world.states() == {"new.mp4": "pending", "old.mp4": "skipped too_old"}


def test_what_waits_for_its_turn_does_not_become_too_old(world: World) -> None:
    world.add("new.mp4")
    world.look()
    world.now = NOW + timedelta(days=30)
    world.look(full=True)
    assert world.states() == {"new.mp4": "pending"}


def test_a_file_without_a_checksum_is_asked_about_until_it_has_one(world: World) -> None:
    late = world.add("late.mp4", with_checksums=False)
    assert world.look().waiting == 1
    assert world.states() == {"late.mp4": "discovered not_settled"}
    # Drive does not always report this as a change: nothing is added to the change log here.
    world.look()
    item = world.state.item(late)
    log_length = world.state.last_change()
    world.state.compute_checksums(late)
    del world.state._changes[log_length:]
    assert item.checksums is not None
    world.look()
    assert world.states() == {"late.mp4": "pending"}


def test_a_file_that_goes_before_it_has_a_checksum_is_gone(world: World) -> None:
    late = world.add("late.mp4", with_checksums=False)
    world.look()
    world.state.trash(late)
    assert world.look().removed == 1
    assert world.states() == {"late.mp4": "skipped gone"}


@pytest.mark.parametrize("full", [False, True])
def test_what_is_gone_is_marked_and_what_comes_back_is_wanted_again(world: World, full: bool) -> None:
    file_id = world.add("a.mp4")
    world.look()
    world.state.trash(file_id)
    assert world.look(full=full).removed == 1
    assert world.states() == {"a.mp4": "skipped gone"}
    world.state.untrash(file_id)
    world.look(full=full)
    assert world.states() == {"a.mp4": "pending"}


def test_changed_rules_take_effect_with_the_next_full_look(world: World) -> None:
    world.add("standup.mp4")
    world.add("retro.mp4")
    world.look()
    world.settings = settings(name_patterns=["*standup*"])
    world.look(full=True)
    assert world.states() == {"standup.mp4": "pending", "retro.mp4": "skipped name"}
    world.settings = settings()
    world.look(full=True)
    assert world.states() == {"standup.mp4": "pending", "retro.mp4": "pending"}


def test_a_look_that_fails_leaves_the_cursor_and_the_next_one_misses_nothing(world: World) -> None:
    world.look()
    cursor = world.tracker.get_cursor(cursor_name("drive"))
    world.add("a.mp4")
    world.state.faults.add(Answer(reason="backendError"), kind="drive.changes", times=2)
    with pytest.raises(TransientError):
        world.look()
    assert world.tracker.get_cursor(cursor_name("drive")) == cursor
    world.look()
    assert world.states() == {"a.mp4": "pending"}


def test_a_crash_before_the_cursor_is_kept_means_looking_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.look()
    world.add("a.mp4")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(world.tracker, "set_cursor", crash)
        with pytest.raises(KeyboardInterrupt):
            world.look()
    result = world.look()
    assert (result.seen, result.new) == (1, 0)
    assert world.states() == {"a.mp4": "pending"}


def test_a_new_database_finds_everything_again(world: World, tmp_path: Path) -> None:
    world.add("a.mp4")
    world.look()
    with Tracker.open(str(tmp_path / "another.db"), now=NOW) as another:
        world.tracker = another
        assert world.look().new == 1


def test_each_look_stands_in_the_history(world: World) -> None:
    world.add("a.mp4")
    world.look()
    run = world.tracker.last_sync("drive")
    assert run is not None
    assert (run.kind, run.seen, run.new, run.started_at) == ("full", 1, 1, NOW)


def test_a_local_file_waits_until_it_has_settled(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"video")
    os.utime(folder / "a.mp4", (NOW.timestamp(), NOW.timestamp()))
    moment = [NOW]
    source = LocalSource(folder, settle_seconds=10, now=lambda: moment[0])
    with Tracker.open(str(tmp_path / "tracker.db"), now=NOW) as tracker:
        assert discover(source, tracker, settings(), moment[0]).waiting == 1
        assert [row.status for row in tracker.listing().rows] == [State.DISCOVERED]
        moment[0] += timedelta(seconds=10)
        assert discover(source, tracker, settings(), moment[0]).waiting == 0
        assert [row.status for row in tracker.listing().rows] == [State.PENDING]
        (folder / "a.mp4").unlink()
        assert discover(source, tracker, settings(), moment[0]).removed == 1

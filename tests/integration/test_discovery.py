"""Discovery: what sources say, recorded by the rules, with the cursor kept last."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audio_extract.discover import DiscoveryResult, discover
from audio_extract.discover.discovery import cursor_name
from audio_extract.emulator import DriveEmulator, EmulatorServer
from audio_extract.emulator.faults import Answer
from audio_extract.exceptions import PermissionDeniedError, TransientError
from audio_extract.settings import Settings, load_settings
from audio_extract.sources.drive import DriveSource
from audio_extract.sources.drive_client import DriveClient
from audio_extract.sources.drive_listing import DriveListing
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

    def drive_requests(self) -> int:
        kinds = ("drive.list", "drive.get", "drive.changes", "drive.start_page_token", "drive.about")
        return sum(self.state.requests.count(kind) for kind in kinds)

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


def test_a_folder_that_is_no_longer_shared_is_an_error_and_the_others_go_on(world: World) -> None:
    more = world.state.add_folder("More")
    world.restart(more)
    world.add("a.mp4")
    world.add("b.mp4", parent=more)
    world.look()
    cursor = world.tracker.get_cursor(cursor_name("drive"))
    world.state.hide(more)
    world.add("c.mp4")
    for _ in range(2):
        (problem,) = world.look().problems
        assert isinstance(problem, PermissionDeniedError)
        assert more in problem.message
        assert world.states() == dict.fromkeys(("a.mp4", "b.mp4", "c.mp4"), "pending")
    # Nor does a comparison of everything, or a start, make anything go.
    world.add("d.mp4")
    assert world.look(full=True).problems
    world.restart(more)
    world.add("e.mp4")
    assert world.look().problems
    assert world.tracker.get_cursor(cursor_name("drive")) == cursor
    world.state.share(more)
    world.state.trash(world.add("f.mp4", parent=more))
    assert world.look().problems == ()
    assert world.states() == {f"{name}.mp4": "pending" for name in "abcde"}


def test_files_of_a_folder_that_vanish_before_the_folder_itself_does_are_not_gone(world: World) -> None:
    world.add("a.mp4")
    world.look()
    # Drive takes its time to tell who sees what: here the folder's own change is not in the feed yet.
    world.state.hide(world.folder)
    world.state.drop_changes(world.folder)
    with pytest.raises(PermissionDeniedError):
        world.look()
    assert world.states() == {"a.mp4": "pending"}


def test_a_folder_that_stops_being_shared_in_the_middle_of_a_full_look_is_not_an_empty_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add("a.mp4")
    world.look()

    def nothing(*_: object) -> Iterator[Any]:
        world.state.hide(world.folder)
        return iter(())

    monkeypatch.setattr(DriveListing, "children", nothing)
    with pytest.raises(PermissionDeniedError):
        world.look(full=True)
    assert world.states() == {"a.mp4": "pending"}


def test_one_file_that_cannot_be_asked_about_does_not_hold_up_the_others(world: World) -> None:
    world.add("unfinished.mp4", with_checksums=False)
    world.look()
    world.add("a.mp4")
    world.state.faults.add(Answer(reason="backendError"), kind="drive.get", times=2)
    world.look()
    assert world.states() == {"unfinished.mp4": "discovered not_settled", "a.mp4": "pending"}


def test_everything_is_compared_again_after_some_hours_whatever_was_restarted_meanwhile(world: World) -> None:
    world.look()
    missed = world.add("a.mp4")
    world.state.drop_changes(missed)
    world.now += timedelta(hours=23)
    world.restart()
    assert (world.look().kind, world.states()) == ("incremental", {})
    world.now += timedelta(hours=1)
    world.restart()
    assert (world.look().kind, world.states()) == ("full", {"a.mp4": "pending"})
    assert world.look().kind == "incremental"


def test_a_comparison_that_failed_is_made_up_for_by_the_next_look(world: World) -> None:
    world.look()
    world.now += timedelta(hours=24)
    world.state.faults.add(Answer(reason="backendError"), kind="drive.list", times=2)
    with pytest.raises(TransientError):
        world.look()
    assert world.look().kind == "full"


def test_a_listing_that_drive_says_is_not_complete_makes_nothing_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add("a.mp4")
    world.look()
    with monkeypatch.context() as incomplete:
        incomplete.setattr(world.state, "incomplete_search", True)
        with pytest.raises(TransientError, match="not searched all of the folder"):
            world.look(full=True)
        # One that was due by itself does not hold up what is new.
        world.now += timedelta(hours=24)
        world.add("b.mp4")
        assert world.look().kind == "incremental"
    assert world.states() == {"a.mp4": "pending", "b.mp4": "pending"}
    assert world.look().kind == "full"


def test_what_another_process_found_during_a_listing_is_not_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.look()
    walk = DriveListing.walk

    def slow(*arguments: Any) -> Iterator[Any]:
        found = [*walk(*arguments)]
        monkeypatch.undo()
        world.add("a.mp4")
        # The other one.
        discover(world.restart(), world.tracker, world.settings, world.now)
        yield from found

    monkeypatch.setattr(DriveListing, "walk", slow)
    assert world.look(full=True).removed == 0
    assert world.states() == {"a.mp4": "pending"}


@pytest.mark.parametrize("folders", [1, 3])
def test_a_look_without_news_is_one_request_and_a_comparison_one_for_each_page(
    world: World, folders: int
) -> None:
    more = [world.state.add_folder(f"More {number}") for number in range(folders - 1)]
    for number in range(2500):
        world.add(f"{number}.mp4", with_checksums=False)
    world.settings = settings(mime_types=["nothing/*"])
    world.restart(*more)
    world.look()
    world.state.requests.reset()
    assert (world.look().kind, world.drive_requests()) == ("incremental", 1)
    world.state.requests.reset()
    result = world.look(full=True)
    # Each folder before and after, the feed's token, and the pages of a thousand.
    assert (result.seen, world.drive_requests()) == (2500, 2 * folders + 1 + 3 + len(more))


def local_look(folder: Path, tracker: Tracker, moment: datetime) -> DiscoveryResult:
    source = LocalSource(folder, settle_seconds=0, now=lambda: moment)
    return discover(source, tracker, settings(), moment)


def local_states(tracker: Tracker) -> dict[str, str]:
    return {row.source_id: row.status for row in tracker.listing().rows}


def test_files_in_a_local_folder_that_cannot_be_read_are_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.mp4", "team/b.mp4", "team/deep/c.mp4", "other/d.mp4"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    scandir = os.scandir

    def refusing(folder: Path) -> Any:
        if Path(folder).name == "team":
            raise OSError(errno.EIO, "Input/output error")
        return scandir(folder)

    with Tracker.open(str(tmp_path / "tracker.db"), now=NOW) as tracker:
        source = LocalSource(tmp_path / "in", settle_seconds=0, now=lambda: NOW)
        discover(source, tracker, settings(), NOW)
        (tmp_path / "in" / "other" / "d.mp4").unlink()
        monkeypatch.setattr(os, "scandir", refusing)
        for _ in range(2):
            discover(source, tracker, settings(), NOW)
        assert local_states(tracker) == {
            "a.mp4": "pending",
            "team/b.mp4": "pending",
            "team/deep/c.mp4": "pending",
            "other/d.mp4": "skipped",
        }
        warnings = [one for one in caplog.records if getattr(one, "event", "") == "folder.unseen"]
        assert [one.getMessage() for one in warnings] == ["team is left out: Input/output error"]
        monkeypatch.undo()
        shutil.rmtree(tmp_path / "in" / "team")
        assert discover(source, tracker, settings(), NOW).removed == 2


def test_a_missing_mount_is_an_error_and_not_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted, bare = tmp_path / "mounted", tmp_path / "bare"
    for folder in (mounted, bare):
        folder.mkdir()
    (mounted / "a.mp4").write_bytes(b"video")
    os.utime(mounted / "a.mp4", (NOW.timestamp(), NOW.timestamp()))
    place = tmp_path / "in"
    stat = Path.stat
    with Tracker.open(str(tmp_path / "tracker.db"), now=NOW) as tracker:
        mounted.rename(place)
        local_look(place, tracker, NOW)
        place.rename(mounted)
        bare.rename(place)
        with monkeypatch.context() as unmounted:
            unmounted.setattr(Path, "stat", lambda path, **options: _on(stat(path, **options), place, path))
            for _ in range(2):
                (problem,) = local_look(place, tracker, NOW).problems
                assert (problem.code, "Mount it" in problem.message) == ("source.not_mounted", True)
        assert local_states(tracker) == {"a.mp4": "pending"}
        # Empty on the same file system is empty.
        assert local_look(place, tracker, NOW).removed == 1


def _on(found: os.stat_result, place: Path, path: Path) -> os.stat_result:
    """What ``stat`` says, on another device for one place."""
    return os.stat_result([*found[:2], found[2] + 1, *found[3:]]) if path == place else found


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

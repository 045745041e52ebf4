"""Exactly once: what the service makes of recordings, and of objects that stand there already."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from audio_extract.emulator.faults import Answer, Delay, LoseAnswer, Stall
from audio_extract.exceptions import PermissionDeniedError, TransientError
from audio_extract.tracker import Claim, Owner, State, Tracker
from support.engine import make_recording, wait_until
from support.service import BUCKET, World, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("recording") / "meeting.mp4", ffmpeg, seconds=4)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("recording") / "longer.mp4", ffmpeg, seconds=6)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


DEAD = Owner("another-host", 1, "boot.namespace.1")
NAME = "Weekly Sync - 2025/02/28 10:00 UTC - Recording.mp4"
OBJECT = "dev/2025/02/Weekly Sync_2025-02-28_10-00_audio.mp3"


def test_a_recording_becomes_one_object_with_log_row_and_metadata(here: World, recording: Path) -> None:
    file_id = here.add(recording, NAME)
    with here.service() as service:
        report = service.run_once()
        row = service.tracker.find(file_id)
    assert (report.completed, report.failures, report.source_errors) == (1, [], [])
    assert here.objects() == [OBJECT]
    stored = here.storage.emulator.object(BUCKET, OBJECT)
    assert row is not None
    assert (row.status, row.crc32c, row.stored_size_bytes) == ("completed", stored.crc32c, stored.size)
    item = here.drive.emulator.item(file_id)
    assert item.checksums is not None
    assert stored.metadata["source-id"] == file_id
    assert stored.metadata["revision"] == item.checksums.md5
    assert stored.metadata["plan-id"] == row.plan_id
    assert abs(float(stored.metadata["duration-seconds"]) - 4.0) < 0.1
    log_name = "dev/metadata/processing-logs/2025/02/Weekly Sync_2025-02-28_10-00_audio.json"
    log = here.storage.emulator.object(BUCKET, log_name)
    assert log.content_encoding == "gzip"


def test_a_second_run_moves_nothing_and_neither_does_one_without_the_database(
    here: World, recording: Path
) -> None:
    here.add(recording, NAME)
    here.add(recording, "Other.mp4")
    with here.service() as service:
        assert service.run_once().completed == 2
    generations = [item.generation for item in here.storage.emulator.objects(BUCKET)]
    here.reset_counters()
    with here.service() as service:
        assert service.run_once().due == 0
    assert here.moved() == (0, 0)
    here.forget_everything()
    with here.service() as service:
        report = service.run_once()
        assert (report.adopted, report.completed) == (2, 0)
        assert service.tracker.stats().completed == 2
    assert here.moved() == (0, 0)
    assert [item.generation for item in here.storage.emulator.objects(BUCKET)] == generations


def test_recordings_of_one_name_and_time_get_names_of_their_own(here: World, recording: Path) -> None:
    for _ in range(3):
        here.add(recording, NAME)
    with here.service({"processing": {"max_parallel_downloads": 3}}) as service:
        assert service.run_once().completed == 3
    stem = OBJECT.removesuffix("_2025-02-28_10-00_audio.mp3")
    assert sorted(here.objects()) == sorted(
        f"{stem}{number}_2025-02-28_10-00_audio.mp3" for number in ("", "-2", "-3")
    )


def test_somebody_elses_object_of_that_name_is_left_alone(here: World, recording: Path) -> None:
    here.storage.emulator.put_object(BUCKET, OBJECT, b"not ours")
    here.add(recording, NAME)
    with here.service() as service:
        assert service.run_once().completed == 1
    assert here.storage.emulator.object(BUCKET, OBJECT).read() == b"not ours"
    assert len(here.objects()) == 2


def test_a_lost_last_answer_after_which_the_process_died_is_adopted(here: World, recording: Path) -> None:
    file_id = here.add(recording, NAME)
    with here.service() as service:
        service.run_once()
        stored = here.storage.emulator.object(BUCKET, OBJECT)
        service.tracker.forget([row.id for row in [service.tracker.find(file_id)] if row], here.now)
    here.reset_counters()
    with here.service() as service:
        assert service.run_once(full=True).adopted == 1
        row = service.tracker.find(file_id)
    assert row is not None
    assert (row.crc32c, row.generation) == (stored.crc32c, stored.generation)
    assert here.moved() == (0, 0)


def test_bad_media_is_quarantined_with_words_for_people_and_the_rest_goes_on(
    here: World, recording: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is not a video" * 100)
    bad = here.add(broken, "Broken.mp4")
    here.add(recording, NAME)
    with here.service() as service:
        report = service.run_once()
        assert (report.completed, len(report.failures)) == (1, 1)
        row = service.tracker.find(bad)
        here.now += timedelta(days=2)
        assert service.run_once().due == 0
    assert row is not None
    assert row.status == "quarantined"
    assert row.error_code == "media.unreadable"
    assert row.error_message is not None
    assert "Broken.mp4" in row.error_message


def test_a_passing_failure_is_retried_when_its_time_has_come(here: World, recording: Path) -> None:
    file_id = here.add(recording, NAME)
    quota = Answer(reason="downloadQuotaExceeded")
    here.drive.emulator.faults.add(quota, kind="drive.media")
    with here.service() as service:
        assert len(service.run_once().failures) == 1
        row = service.tracker.find(file_id)
        assert row is not None
        assert row.error_code == "source.quota_exceeded"
        assert row.next_attempt_at is not None
        assert row.next_attempt_at - here.now >= timedelta(hours=1)
        assert service.run_once().due == 0
        here.now = row.next_attempt_at
        assert service.run_once().completed == 1
    assert here.objects() == [OBJECT]


def test_a_folder_that_is_not_shared_is_not_an_empty_one(here: World, recording: Path) -> None:
    here.add(recording, NAME)
    here.drive.emulator.hide(here.folder)
    with here.service() as service:
        report = service.run_once()
    (error,) = report.source_errors
    assert isinstance(error, PermissionDeniedError)
    assert "google_drive.recordings_folder_id" in str(error)
    assert "Viewer" in str(error) or "share" in str(error)


def test_a_stop_gives_running_transfers_back(here: World, recording: Path) -> None:
    file_id = here.add(recording, NAME)
    here.drive.emulator.faults.add(Stall(), kind="drive.media", after=1, times=None)
    with here.service({"transfer": {"stall_timeout_seconds": 60}}) as service:
        service.start()
        assert wait_until(lambda: len(service.active) == 1, 20)
        assert service.stop(grace_seconds=0.1) is False
        row = service.tracker.find(file_id)
        assert row is not None
        assert (row.status, row.attempts) == ("pending", 0)
        assert service.tracker.counts()[State.PENDING] == 1
    here.drive.emulator.faults.clear()
    with here.service() as service:
        assert service.run_once().completed == 1


def test_a_running_service_finds_what_appears_later(here: World, recording: Path) -> None:
    drive = {"recordings_folder_id": here.folder, "days_to_look_back": 365, "check_interval_seconds": 1}
    overrides = {"google_drive": drive}
    with here.service(overrides) as service:
        service.start()
        file_id = here.add(recording, NAME)
        assert wait_until(lambda: here.objects() == [OBJECT], 30)
        assert wait_until(lambda: getattr(service.tracker.find(file_id), "status", None) == "completed", 10)
        assert service.stop(grace_seconds=10) is True


def test_a_local_destination_is_adopted_by_its_log_after_the_database_is_gone(
    here: World, recording: Path, tmp_path: Path
) -> None:
    target = tmp_path / "audio"
    overrides = {"storage": {"type": "local", "local": {"path": str(target)}}}
    here.add(recording, NAME)
    with here.service(overrides) as service:
        assert service.run_once().completed == 1
    path = target / OBJECT.removeprefix("dev/")
    before = path.stat()
    log = target / "metadata/processing-logs/2025/02/Weekly Sync_2025-02-28_10-00_audio.json"
    assert json.loads(log.read_text())["stored"]["size_bytes"] == before.st_size
    here.forget_everything()
    here.reset_counters()
    with here.service(overrides) as service:
        assert service.run_once().adopted == 1
    assert here.moved() == (0, 0)
    assert path.stat().st_ino == before.st_ino


def test_two_services_at_once_make_one_object_of_each(here: World, recording: Path) -> None:
    for number in range(4):
        here.add(recording, f"Meeting {number}.mp4")
    here.storage.emulator.faults.add(Delay(seconds=0.2), kind="storage.upload_chunk", times=None)
    reports = []
    with here.service() as one, here.service() as two:
        threads = [threading.Thread(target=lambda s=s: reports.append(s.run_once())) for s in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sum(report.completed for report in reports) == 4
    assert len(here.objects()) == 4


def test_the_answer_to_the_last_chunk_lost_for_ever_still_ends_in_one_object(
    here: World, recording: Path
) -> None:
    file_id = here.add(recording, NAME)
    here.storage.emulator.faults.add(LoseAnswer(), kind="storage.upload_chunk")
    here.storage.emulator.faults.add(Answer(reason="uploadGone"), kind="storage.upload_status")
    with here.service() as service:
        assert len(service.run_once().failures) == 1
        row = service.tracker.find(file_id)
        assert row is not None
        assert row.next_attempt_at is not None
        here.now = row.next_attempt_at
        report = service.run_once()
        assert (report.adopted, report.completed) == (1, 0)
    assert here.objects() == [OBJECT]


@pytest.mark.parametrize("destination", ["bucket", "folder"])
@pytest.mark.parametrize(
    ("policy", "objects"), [("never", ["old"]), ("new_object", ["new", "old"]), ("replace", ["new"])]
)
def test_new_content_of_a_stored_recording_follows_the_setting(
    here: World,
    recording: Path,
    longer: Path,
    tmp_path: Path,
    destination: str,
    policy: str,
    objects: list[str],
) -> None:
    settings = {"behavior": {"new_revisions": policy}}
    if destination == "folder":
        settings["storage"] = {"type": "local", "local": {"path": str(tmp_path / "audio")}}

    def stored() -> dict[str, bytes]:
        if destination == "bucket":
            return {name: here.storage.emulator.object(BUCKET, name).read() for name in here.objects()}
        found = (tmp_path / "audio").rglob("*.mp3")
        return {path.relative_to(tmp_path / "audio").as_posix(): path.read_bytes() for path in found}

    file_id = here.add(recording, NAME)
    with here.service(settings) as service:
        assert service.run_once().completed == 1
    (old,) = stored().values()
    here.drive.emulator.update_content(file_id, longer)
    with here.service(settings) as service:
        report = service.run_once()
        row = service.tracker.find(file_id)
    assert (report.completed, report.failures) == (int(policy != "never"), [])
    assert row is not None
    assert row.status == "completed"
    after = stored()
    assert sorted("old" if content == old else "new" for content in after.values()) == objects
    now = after[row.storage_path or ""]
    assert (now == old) == (policy == "never")
    assert row.stored_size_bytes == len(now)
    with here.service(settings) as service:
        assert service.run_once(full=True).due == 0


def test_a_rename_names_what_is_not_stored_yet_and_leaves_what_is(here: World, recording: Path) -> None:
    stored, waiting = here.add(recording, NAME), here.add(recording, NAME.replace("Sync", "Talk"))
    with here.service() as service:
        service.discover()
        here.drive.emulator.edit(waiting, name=NAME.replace("Sync", "Chat"))
        assert service.run_once().completed == 2
        here.drive.emulator.edit(stored, name=NAME.replace("Sync", "Renamed"))
        assert service.run_once().due == 0
        row = service.tracker.find(stored)
    assert row is not None
    assert ("Renamed" in row.name, row.storage_path) == (True, OBJECT)
    assert here.objects() == sorted([OBJECT, OBJECT.replace("Sync", "Chat")])


def test_new_content_leaves_what_was_there_in_the_audit(here: World, recording: Path, longer: Path) -> None:
    file_id = here.add(recording, NAME)
    with here.service({"behavior": {"new_revisions": "new_object"}}) as service:
        service.run_once()
        before = service.tracker.find(file_id)
        here.drive.emulator.update_content(file_id, longer)
        service.run_once()
        after = service.tracker.find(file_id)
        assert before is not None
        assert after is not None
        events = service.tracker.audit(after.id)
    assert after.storage_path != before.storage_path
    assert sorted(here.objects()) == sorted([str(before.storage_path), str(after.storage_path)])
    told = json.dumps([event.detail for event in events], default=str)
    assert str(before.storage_path) in told
    assert str(after.storage_path) in told


def test_somebody_elses_object_is_not_replaced_by_new_content(here: World, recording: Path) -> None:
    file_id = here.add(recording, NAME)
    settings = {"behavior": {"new_revisions": "replace"}}
    with here.service(settings) as service:
        service.run_once()
        here.storage.emulator.put_object(BUCKET, OBJECT, b"not ours")
        here.drive.emulator.change_revision(file_id)
        service.run_once()
    assert here.storage.emulator.object(BUCKET, OBJECT).read() == b"not ours"


def test_what_a_dead_worker_had_stored_is_completed_even_if_the_recording_is_gone_by_then(
    here: World, recording: Path
) -> None:
    file_id = here.add(recording, NAME)
    with here.service() as service:
        service.run_once()
    here.forget_everything()
    with here.service() as service:
        service.discover()
        (claim,) = service.tracker.claim(DEAD, here.now, lease_seconds=60)
        assert service.tracker.assign_object_name(claim, OBJECT, here.now)
        here.drive.emulator.trash(file_id)
        here.now += timedelta(seconds=61)
        here.reset_counters()
        assert service.run_once().due == 0
        row = service.tracker.find(file_id)
    assert row is not None
    assert (row.status, row.storage_path) == ("completed", OBJECT)
    assert here.moved() == (0, 0)


def test_a_dead_worker_that_had_stored_nothing_leaves_a_recording_that_is_due(
    here: World, recording: Path
) -> None:
    file_id = here.add(recording, NAME)
    with here.service() as service:
        service.discover()
        (claim,) = service.tracker.claim(DEAD, here.now, lease_seconds=60)
        assert service.tracker.assign_object_name(claim, OBJECT, here.now)
        here.now += timedelta(seconds=61)
        assert service.run_once().completed == 1
        row = service.tracker.find(file_id)
    assert row is not None
    assert (row.status, row.crashes) == ("completed", 1)
    assert here.objects() == [OBJECT]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audio"


def to(folder: Path) -> dict[str, Any]:
    return {"storage": {"type": "local", "local": {"path": str(folder)}}}


def test_a_file_of_somebody_else_is_never_named_as_ours_not_even_for_a_moment(
    here: World, recording: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who died right after naming it would have taken it for his own unfinished one.
    theirs = folder / OBJECT.removeprefix("dev/")
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"somebody else's")
    here.add(recording, NAME)
    named: list[str] = []
    assign = Tracker.assign_object_name

    def watched(tracker: Tracker, claim: Claim, name: str, now: datetime) -> bool:
        named.append(name)
        return assign(tracker, claim, name, now)

    monkeypatch.setattr(Tracker, "assign_object_name", watched)
    with here.service(to(folder)) as service:
        assert service.run_once().completed == 1
    assert len(named) == 1
    assert named != [theirs.relative_to(folder).as_posix()]
    assert theirs.read_bytes() == b"somebody else's"


def test_half_a_file_of_a_recording_that_nobody_wants_any_more_is_removed(
    here: World, recording: Path, folder: Path
) -> None:
    file_id = here.add(recording, NAME)
    name = OBJECT.removeprefix("dev/")
    with here.service(to(folder)) as service:
        service.discover()
        (claim,) = service.tracker.claim(DEAD, here.now, lease_seconds=60)
        assert service.tracker.assign_object_name(claim, name, here.now)
        # As a killed writer leaves it on gcsfuse.
        half = folder / name
        half.parent.mkdir(parents=True)
        half.write_bytes(b"ID3 and then")
        mine = half.with_name("holiday.mp3")
        mine.write_bytes(b"mine")
        here.drive.emulator.trash(file_id)
        here.now += timedelta(seconds=61)
        service.run_once()
        # It was not yet known to be gone when the round began.
        service.run_once()
        row = service.tracker.find(file_id)
    assert row is not None
    assert row.status == "skipped"
    assert not half.exists()
    assert mine.exists()


def test_a_round_ends_only_after_its_last_transfer_was_counted(
    here: World, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.add(recording, NAME)
    told = threading.Event()

    def slow(_outcome: object) -> None:
        # What tells people may take its time.
        told.wait(0.3)
        told.set()

    with here.service() as service:
        monkeypatch.setattr(service.pool, "_on_outcome", slow)
        report = service.run_once()
    assert told.is_set()
    assert report.completed == 1


def test_a_database_that_goes_away_after_a_transfer_ends_no_thread_in_an_error(
    here: World, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.add(recording, NAME)
    with here.service() as service:
        service.discover()
        claim, asked = service.tracker.claim, []

        def refused_later(*words: Any, **values: Any) -> list[Claim]:
            asked.append(words)
            if len(asked) > 1:
                raise TransientError("the database is away", code="database.unavailable")
            return claim(*words, **values)

        monkeypatch.setattr(service.tracker, "claim", refused_later)
        # An exception that nobody catches in a thread fails the test.
        assert service.pool.dispatch() == 1
        assert wait_until(service.pool.paused, 30)
        assert [row.status for row in service.tracker.listing().rows] == ["completed"]

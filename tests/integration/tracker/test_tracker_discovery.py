from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

import pytest

from audio_extract.sources.base import Recording
from audio_extract.tracker import Claim, Owner, Recorded, RecordingRow, RetryPolicy, State, SyncRun, Tracker
from support.recordings import HOSTILE_NAMES, NOW, after, recording, stored

ME = Owner("here", 1, "boot.namespace.1")


class No:
    def __init__(self, reason: str, *, later: bool = False) -> None:
        self.reason = reason
        self.later = later


class Rules:
    """Selection rules whose answer a test changes."""

    def __init__(self, answer: No | None = None) -> None:
        self.answer = answer

    def __call__(self, _item: Recording) -> No | None:
        return self.answer


def see(tracker: Tracker, source_id: str = "one") -> RecordingRow:
    row = tracker.find(source_id)
    assert row is not None
    return row


def claim(tracker: Tracker, now: datetime = NOW) -> Claim:
    (found,) = tracker.claim(ME, now)
    return found


def complete(tracker: Tracker) -> Claim:
    held = claim(tracker)
    assert tracker.assign_object_name(held, stored().storage_path, NOW)
    tracker.complete(held, stored(), NOW)
    return held


def drive_files(tracker: Tracker) -> dict[str, dict[str, Any]]:
    from sqlalchemy import select

    from audio_extract.tracker.models import drive_files as table

    with tracker._database.read() as connection:
        return {row["file_id"]: dict(row) for row in connection.execute(select(table)).mappings()}


def test_what_is_known_as_it_is_costs_no_write(tracker: Tracker) -> None:
    found = [recording(f"{number:04}") for number in range(1200)]
    assert tracker.record(found, NOW) == Recorded(new=1200)
    before = tracker.audit(limit=10_000)
    # Nobody else may write while this transaction is open; reading and recording nothing go on.
    with tracker._database.write():
        assert tracker.record(found, after(1)) == Recorded(known=1200)
    assert tracker.audit(limit=10_000) == before
    assert len(before) == 1200


def test_one_that_a_listing_names_twice_is_recorded_once(tracker: Tracker) -> None:
    assert tracker.record([recording(name="a.mp4"), recording(name="b.mp4")], NOW) == Recorded(new=1)
    assert see(tracker).name == "b.mp4"


def test_the_same_id_in_two_sources_is_two_recordings(tracker: Tracker) -> None:
    assert tracker.record([recording(), recording(source="local")], NOW).new == 2
    assert see(tracker, "drive://one").source == "drive"
    assert len(tracker.known_ids("local")) == 1


@pytest.mark.parametrize("text", HOSTILE_NAMES, ids=lambda text: ascii(text)[:30])
def test_a_hostile_name_or_id_comes_back_unchanged(tracker: Tracker, text: str) -> None:
    source_id = f"folder/{text[:400]}"
    tracker.record([recording(source_id, source="local", name=text, web_link=text, folder_id=text)], NOW)
    tracker.record([recording(f"id{text[:400]}", name=text)], NOW)
    row = see(tracker, source_id)
    assert (row.name, row.source_id, row.file_path) == (text, source_id, source_id)
    assert row.metadata["web_link"] == text
    held = {item.source: item for item in tracker.claim(ME, NOW, limit=2)}
    assert held["local"].name == text
    assert tracker.assign_object_name(held["local"], f"dev/{text[:400]}_audio.mp3", NOW)
    tracker.complete(held["local"], stored(f"dev/{text[:400]}_audio.mp3"), NOW, report={"name": text})
    assert tracker.attempts_of(row.id)[0]["report"] == {"name": text}
    tracker.fail(
        held["drive"], NOW, code="bad", kind="media", message=text, ffmpeg_tail=text, policy=RetryPolicy()
    )
    (failed,) = tracker.failed(limit=2).rows
    assert (failed.error_message, failed.ffmpeg_tail) == (text, text)
    assert drive_files(tracker)[f"id{text[:400]}"]["name"] == text
    assert tracker.forget([row.id], NOW) == [row.id]
    assert tracker.audit(row.id)[-1].detail["name"] == text


def test_an_id_too_long_for_an_index_is_refused_and_the_others_are_recorded(tracker: Tracker) -> None:
    long = "ü" * 1001
    found = [recording("one"), recording(long, source="local"), recording("ü" * 1000, source="local")]
    assert tracker.record(found, NOW) == Recorded(new=2, refused=(long,))


def test_a_file_that_is_still_being_written_waits_until_it_is_settled(tracker: Tracker) -> None:
    tracker.record([recording(settled=False, size_bytes=10)], NOW)
    assert tracker.claim(ME, NOW) == []
    assert (see(tracker).status, see(tracker).state_reason) == ("discovered", "not_settled")
    tracker.record([recording(settled=False, size_bytes=20, revision="r2")], after(1))
    assert see(tracker).status == "discovered"
    tracker.record([recording(size_bytes=30, revision="r3")], after(2))
    assert claim(tracker, after(2)).size_bytes == 30


def test_what_the_rules_want_later_is_not_remembered_as_skipped(tracker: Tracker) -> None:
    rules = Rules(No("incomplete", later=True))
    tracker.record([recording(md5=None)], NOW, unwanted=rules)
    assert (see(tracker).status, see(tracker).state_reason) == ("discovered", "incomplete")
    rules.answer = None
    tracker.record([recording()], after(1), unwanted=rules)
    assert see(tracker).status == "pending"


def test_a_skipped_recording_comes_back_when_the_rules_change(tracker: Tracker) -> None:
    rules = Rules(No("name"))
    assert tracker.record([recording()], NOW, unwanted=rules) == Recorded(new=1, skipped=1)
    assert tracker.record([recording()], after(1), unwanted=rules) == Recorded(known=1)
    rules.answer = No("too_large")
    tracker.record([recording()], after(2), unwanted=rules)
    assert (see(tracker).status, see(tracker).state_reason) == ("skipped", "too_large")
    # Who does not know the rules changes nothing.
    tracker.record([recording()], after(3))
    assert see(tracker).status == "skipped"
    rules.answer = None
    tracker.record([recording()], after(4), unwanted=rules)
    assert see(tracker).status == "pending"


def test_rules_that_changed_drop_what_waits_but_age_alone_does_not(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    tracker.record([recording()], after(1), unwanted=Rules(No("too_old")))
    assert see(tracker).status == "pending"
    tracker.record([recording()], after(2), unwanted=Rules(No("name")))
    assert (see(tracker).status, see(tracker).state_reason) == ("skipped", "name")


def test_a_completed_recording_is_never_touched_by_rules_or_removal(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    complete(tracker)
    tracker.record([recording()], after(1), unwanted=Rules(No("name")))
    assert not tracker.skip("drive", "one", "name", after(2))
    assert tracker.remove("drive", ["one"], after(3)) == 0
    assert see(tracker).status == "completed"


def test_a_renamed_recording_keeps_its_state_and_its_object_name(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    complete(tracker)
    tracker.record([recording(name="renamed.mp4")], after(1))
    row = see(tracker)
    assert (row.status, row.name, row.object_name) == ("completed", "renamed.mp4", stored().storage_path)
    entry = tracker.audit(row.id)[-1]
    assert (entry.event, entry.detail["name"]) == ("updated", {"before": "one.mp4", "after": "renamed.mp4"})


def test_a_new_revision_of_a_failed_recording_gets_all_its_attempts(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    tracker.fail(claim(tracker), NOW, code="media.no_audio", kind="media", message="no", policy=RetryPolicy())
    assert see(tracker).status == "quarantined"
    assert tracker.record([recording(revision="r2")], after(1)) == Recorded(changed=1)
    assert see(tracker).error_code is None
    assert claim(tracker, after(1)).attempt == 1


@pytest.mark.parametrize(
    ("policy", "state", "name"),
    [
        ("never", "completed", stored().storage_path),
        ("replace", "pending", stored().storage_path),
        ("new_object", "pending", None),
    ],
)
def test_a_new_revision_of_a_completed_recording_follows_the_policy(
    tracker: Tracker, policy: Literal["never", "replace", "new_object"], state: str, name: str | None
) -> None:
    tracker.record([recording()], NOW)
    complete(tracker)
    changed = tracker.record([recording(revision="r2")], after(1), new_revisions=policy)
    assert changed == Recorded(changed=1)
    row = see(tracker)
    assert (row.status, row.object_name) == (state, name)
    # What is shown of a completed recording is the revision that is stored.
    assert row.revision == ("r1" if state == "completed" else "r2")
    # Seen again as it is now: nothing more happens.
    assert tracker.record([recording(revision="r2")], after(2), new_revisions=policy) == Recorded(known=1)


def test_a_revision_left_alone_is_taken_when_the_policy_changes(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    complete(tracker)
    tracker.record([recording(revision="r2")], after(1))
    tracker.record([recording(revision="r2")], after(2), new_revisions="replace")
    assert claim(tracker, after(2)).revision == "r2"


def test_a_revision_that_appears_during_a_transfer_leaves_the_holder_alone(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    held = claim(tracker)
    assert tracker.record([recording(revision="r2", size_bytes=7)], after(1)).changed == 1
    assert tracker.renew(held, after(2))
    state = tracker.fail(
        held, after(3), code="source.changed", kind="source_changed", message="changed", policy=RetryPolicy()
    )
    assert state is State.PENDING
    again = claim(tracker, after(3))
    assert (again.revision, again.size_bytes, again.attempt) == ("r2", 7, 1)


def test_what_is_gone_is_skipped_and_what_comes_back_is_wanted(tracker: Tracker) -> None:
    tracker.record([recording("one"), recording("two")], NOW)
    assert tracker.remove("drive", ["one", "never seen"], after(1)) == 1
    assert (see(tracker).status, see(tracker).state_reason) == ("skipped", "gone")
    assert drive_files(tracker)["one"]["removed_at"] == after(1)
    assert tracker.known_ids("drive") == {"two"}
    tracker.record([recording("one"), recording("two")], after(2))
    assert see(tracker).status == "pending"
    assert drive_files(tracker)["one"]["removed_at"] is None
    assert drive_files(tracker)["one"]["first_seen_at"] == NOW


def test_a_completed_file_that_was_trashed_and_restored_is_there_again(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    complete(tracker)
    tracker.remove("drive", ["one"], after(1))
    assert drive_files(tracker)["one"]["removed_at"] == after(1)
    tracker.record([recording()], after(2))
    assert drive_files(tracker)["one"]["removed_at"] is None
    assert see(tracker).status == "completed"


def test_a_cursor_is_remembered_replaced_and_forgotten(tracker: Tracker) -> None:
    assert tracker.get_cursor("drive:folder") is None
    tracker.set_cursor("drive:folder", "1", NOW)
    tracker.set_cursor("drive:folder", "2", after(1))
    tracker.set_cursor("drive:other", "9", after(1))
    assert tracker.get_cursor("drive:folder") == "2"
    tracker.set_cursor("drive:folder", None, after(2))
    assert tracker.get_cursor("drive:folder") is None
    assert tracker.get_cursor("drive:other") == "9"


def test_runs_of_discovery_are_kept_and_cleaned_up(tracker: Tracker) -> None:
    runs = [
        SyncRun(
            source="drive",
            kind="full",
            started_at=NOW + timedelta(days=day),
            ended_at=NOW + timedelta(days=day, seconds=1),
            seen=day,
        )
        for day in range(3)
    ]
    assert tracker.last_sync("drive") is None
    for run in runs:
        tracker.add_sync(run)
    assert tracker.last_sync("drive") == runs[-1]
    assert tracker.cleanup(0, NOW + timedelta(days=1000)) == 0
    assert tracker.cleanup(1, NOW + timedelta(days=3)) == 2
    assert tracker.last_sync("drive") == runs[-1]


def test_clean_up_never_forgets_what_would_be_processed_again(tracker: Tracker) -> None:
    tracker.record([recording(), recording("two")], NOW)
    first = tracker.claim(ME, NOW, limit=2)
    for held in first:
        tracker.release(held, after(1))
    for held in tracker.claim(ME, after(2), limit=2):
        if held.source_id == "one":
            tracker.complete(held, stored(), after(3))
    # The released attempts go; the last one of each recording stays.
    assert tracker.cleanup(90, NOW + timedelta(days=1000)) == 2
    row = see(tracker)
    assert (row.status, row.elapsed_seconds) == ("completed", 1.0)
    assert tracker.record([recording()], NOW + timedelta(days=1000)) == Recorded(known=1)

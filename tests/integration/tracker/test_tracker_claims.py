from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from audio_extract.tracker import (
    Claim,
    LeaseLostError,
    Owner,
    RetryPolicy,
    State,
    StoredChunk,
    Tracker,
)
from support.recordings import HOSTILE_NAMES, NOW, after, recording, stored

ME = Owner("here", 1, "boot.namespace.1")
OTHER = Owner("there", 2, "boot.namespace.2")
POLICY = RetryPolicy(jitter=lambda: 0)

#: A process that claims at each line it is sent, and answers with the ids.
CLAIMER = """
import sys
from datetime import datetime
from audio_extract.tracker import Owner, Tracker
now = datetime.fromisoformat(sys.argv[2])
with Tracker.open(sys.argv[1]) as tracker:
    print("ready", flush=True)
    for _ in sys.stdin:
        claims = tracker.claim(Owner.current(), now, limit=int(sys.argv[3]))
        print(*(claim.id for claim in claims), flush=True)
"""


class Claimer:
    """Another process that claims."""

    def __init__(self, url: str, limit: int) -> None:
        command = [sys.executable, "-c", CLAIMER, url, NOW.isoformat(), str(limit)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.answer() == ["ready"]

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def answer(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def one(tracker: Tracker, seconds: float = 0, owner: Owner = ME) -> Claim:
    (claim,) = tracker.claim(owner, after(seconds))
    return claim


def fail(
    tracker: Tracker, claim: Claim, kind: str = "transient", seconds: float = 0, **more: object
) -> State:
    values = {"code": "source.network", "message": "no network", "policy": POLICY, **more}
    return tracker.fail(claim, after(seconds), kind=kind, **values)  # type: ignore[arg-type]


def status(tracker: Tracker, recording_id: str) -> str:
    row = tracker.recording(recording_id)
    assert row is not None
    return row.status


@pytest.mark.parametrize("limit", [1, 7])
def test_processes_that_claim_at_once_share_the_recordings(url: str, tracker: Tracker, limit: int) -> None:
    tracker.record([recording(f"{number:03}") for number in range(21 * limit)], NOW)
    claimers = [Claimer(url, limit) for _ in range(3)]
    claimed: list[str] = []
    for _ in range(7):
        for claimer in claimers:
            claimer.go()
        for claimer in claimers:
            answer = claimer.answer()
            assert len(answer) == limit
            claimed += answer
    assert len(set(claimed)) == len(claimed) == 21 * limit
    assert tracker.counts()[State.IN_PROGRESS] == 21 * limit
    for claimer in claimers:
        claimer.go()
        assert claimer.answer() == []
        claimer.kill()


def test_threads_that_claim_and_complete_at_once_make_each_recording_once(tracker: Tracker) -> None:
    tracker.record([recording(f"{number:03}") for number in range(60)], NOW)

    def work(number: int) -> int:
        owner = Owner("here", number, f"boot.namespace.{number}")
        done = 0
        while claims := tracker.claim(owner, NOW, limit=2):
            for claim in claims:
                assert tracker.assign_object_name(claim, f"dev/{claim.source_id}.mp3", NOW)
                assert tracker.renew(claim, NOW)
                tracker.complete(claim, stored(f"dev/{claim.source_id}.mp3"), NOW)
                done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 60
    assert tracker.stats().completed == 60
    completions = Counter(entry.recording_id for entry in tracker.audit() if entry.event == "completed")
    assert set(completions.values()) == {1}


def test_of_two_that_want_an_object_name_one_gets_it(tracker: Tracker) -> None:
    tracker.record([recording("one"), recording("two")], NOW)
    claims = tracker.claim(ME, NOW, limit=2)
    start = threading.Barrier(2)

    def name(claim: Claim) -> bool:
        start.wait()
        return tracker.assign_object_name(claim, "dev/same_audio.mp3", NOW)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(name, claims)) == [False, True]
    # Whoever lost still holds its recording and takes the next name.
    for claim in claims:
        assert tracker.assign_object_name(claim, f"dev/{claim.source_id}_2.mp3", NOW)
    # Both gave up the first name, so it is free.
    assert tracker.assign_object_name(claims[0], "dev/same_audio.mp3", NOW)


def test_a_name_once_decided_is_in_the_next_claim(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    claim = one(tracker)
    assert claim.object_name is None
    assert tracker.assign_object_name(claim, "dev/a.mp3", NOW)
    assert tracker.assign_object_name(claim, "dev/a.mp3", NOW)
    tracker.release(claim, NOW)
    assert one(tracker).object_name == "dev/a.mp3"


def test_what_waits_longest_is_claimed_first_after_what_a_person_asked_for(tracker: Tracker) -> None:
    tracker.record([recording("old")], NOW)
    tracker.record([recording("new")], after(1))
    tracker.record([recording("asked")], after(2))
    row = tracker.find("asked")
    assert row is not None
    assert tracker.retry([row.id], after(3)) == [row.id]
    assert [claim.source_id for claim in tracker.claim(ME, after(4), limit=9)] == ["asked", "old", "new"]


def test_nothing_is_claimed_before_it_is_due(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    assert tracker.next_due_at() == NOW
    assert fail(tracker, one(tracker)) is State.FAILED
    assert tracker.next_due_at() == after(300)
    assert tracker.due(after(299)) == 0
    assert tracker.claim(ME, after(299)) == []
    assert tracker.due(after(300)) == 1
    assert one(tracker, 300).attempt == 2
    assert tracker.next_due_at() is None


def test_a_claim_carries_what_the_source_said(tracker: Tracker) -> None:
    said = recording(
        "one",
        name=HOSTILE_NAMES[2],
        modified_at=after(-10),
        folder_id="folder",
        sha256="f" * 64,
        web_link="https://drive.example/one",
        size_bytes=5_000_000_000,
    )
    tracker.record([said], NOW)
    claim = one(tracker)
    assert type(said)(**claim.recording_fields()) == said
    assert (claim.attempt, claim.token, claim.owner) == (1, 1, ME.name)
    assert claim.expires_at == after(60)


def test_a_holder_that_lost_its_lease_changes_nothing_and_hears_of_it(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    old = one(tracker)
    assert tracker.recover(after(60)).pending == (old.id,)
    new = one(tracker, 60, OTHER)
    assert new.token > old.token
    before = tracker.audit()
    assert not tracker.renew(old, after(61))
    assert not tracker.release(old, after(61))
    attempts: list[Callable[[], object]] = [
        lambda: tracker.complete(old, stored(), after(61)),
        lambda: fail(tracker, old),
        lambda: tracker.assign_object_name(old, "dev/a.mp3", after(61)),
    ]
    for attempt in attempts:
        with pytest.raises(LeaseLostError, match=r"one\.mp4: the lease was lost") as caught:
            attempt()
        assert (caught.value.code, caught.value.kind) == ("tracker.lease_lost", "cancelled")
    assert tracker.audit() == before
    assert status(tracker, new.id) == "in_progress"
    tracker.complete(new, stored(), after(62))
    assert status(tracker, new.id) == "completed"
    with pytest.raises(LeaseLostError):
        tracker.complete(new, stored(), after(63))


def test_a_lease_that_is_renewed_is_not_taken_over(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    claim = one(tracker)
    assert tracker.renew(claim, after(50))
    assert tracker.recover(after(109)).pending == ()
    assert tracker.recover(after(110)).pending == (claim.id,)


def test_a_lease_that_expired_but_that_nobody_took_is_still_good(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    claim = one(tracker)
    tracker.complete(claim, stored(), after(3600))
    assert status(tracker, claim.id) == "completed"


def test_claims_of_a_killed_process_of_this_host_are_taken_over_at_once(url: str, tracker: Tracker) -> None:
    tracker.record([recording("one"), recording("two")], NOW)
    claimer = Claimer(url, 2)
    claimer.go()
    claimed = claimer.answer()
    assert len(claimed) == 2
    # It lives: its claims are its own.
    assert tracker.recover(after(1)).pending == ()
    claimer.kill()
    assert tracker.recover(after(2)).pending == tuple(claimed)
    for recording_id in claimed:
        row = tracker.recording(recording_id)
        assert row is not None
        assert (row.status, row.state_reason, row.attempts, row.crashes) == ("pending", "owner_died", 0, 1)
        (attempt,) = tracker.attempts_of(recording_id)
        assert attempt["outcome"] == "crashed"


def test_claims_of_another_host_wait_for_their_lease_to_expire(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    claim = one(tracker, 0, OTHER)
    assert tracker.recover(after(59), is_alive=lambda _: False).pending == ()
    assert tracker.recover(after(60), is_alive=lambda _: True).pending == (claim.id,)


def test_too_many_crashes_are_quarantined_with_a_reason_and_spend_no_attempt(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    for crash in range(1, 21):
        claim = one(tracker, crash * 60)
        assert claim.attempt == 1
        recovered = tracker.recover(after(crash * 60 + 60))
        assert (recovered.pending, recovered.quarantined) == (
            ((claim.id,), ()) if crash < 20 else ((), (claim.id,))
        )
    row = tracker.recording(claim.id)
    assert row is not None
    assert (row.status, row.state_reason, row.error_code) == (
        "quarantined",
        "crash_limit",
        "tracker.crash_limit",
    )
    assert "20 processes" in (row.error_message or "")
    assert tracker.claim(ME, after(100_000)) == []
    # A person asks: it has all its chances again.
    assert tracker.retry([row.id], after(100_000)) == [row.id]
    assert one(tracker, 100_000).attempt == 1


def test_attempts_are_used_up_and_the_error_is_kept(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    seconds = 0.0
    states = []
    for _ in range(3):
        due = tracker.next_due_at()
        assert due is not None
        seconds = (due - NOW).total_seconds()
        states.append(fail(tracker, one(tracker, seconds), seconds=seconds, ffmpeg_tail="tail \x00"))
    assert states == [State.FAILED, State.FAILED, State.QUARANTINED]
    (row,) = tracker.failed(limit=9).rows
    assert (row.attempts, row.state_reason) == (3, "attempts_used_up")
    assert (row.error_code, row.error_kind, row.error_message, row.ffmpeg_tail) == (
        "source.network", "transient", "no network", "tail \x00"
    )  # fmt: skip
    assert [attempt["attempt"] for attempt in tracker.attempts_of(row.id)] == [1, 2, 3]


def test_waiting_for_quota_spends_no_attempt(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    for number in range(5):
        seconds = number * 30_000
        claim = one(tracker, seconds)
        assert claim.attempt == 1
        assert fail(tracker, claim, "quota", seconds, code="source.quota_exceeded") is State.FAILED
        assert tracker.next_due_at() == after(seconds + 6 * 3600)


def test_what_the_server_asked_for_is_waited_for(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    fail(tracker, one(tracker), "transient", retry_after_seconds=7200)
    assert tracker.next_due_at() == after(7200)


def test_cancelling_gives_the_recording_back_unharmed(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    assert fail(tracker, one(tracker), "cancelled") is State.PENDING
    claim = one(tracker)
    assert claim.attempt == 1
    row = tracker.recording(claim.id)
    assert row is not None
    assert row.error_code is None
    assert [attempt["outcome"] for attempt in tracker.attempts_of(claim.id)] == ["released", None]


def test_a_release_can_keep_a_recording_back_for_a_while(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    tracker.release(one(tracker), NOW, reason="storage_down", delay_seconds=60)
    assert tracker.claim(ME, after(59)) == []
    assert one(tracker, 60).attempt == 1


def test_a_completed_recording_has_its_row_as_the_earlier_service_had_it(tracker: Tracker, url: str) -> None:
    tracker.record([recording(), recording("x/y.mp4", source="local")], NOW)
    drive, local = sorted(tracker.claim(ME, NOW, limit=2), key=lambda claim: claim.source)
    report = {"strategy": "parallel", "fetched_bytes": 123, "stages": [{"name": "upload"}]}
    tracker.complete(drive, stored(), after(5), plan_id="p", report=report, trace_id="t" * 32)
    path = "/data/x/y_audio.mp3"
    tracker.complete(local, stored(path, storage_type="local", storage_url=f"file://{path}"), after(6))
    rows = {row["file_path"]: row for row in processed_videos(tracker)}
    row = rows["drive://one"]
    assert (row["file_hash"], row["status"], row["processed_at"]) == ("one", "completed", after(5))
    assert row["gcs_path"] == "dev/2026/01/one_audio.mp3"
    assert row["gcs_url"] == "gs://bucket/dev/2026/01/one_audio.mp3"
    assert row["upload_timestamp"] == after(5)
    assert row["metadata"]["file_name"] == "one.mp4"
    row = rows["x/y.mp4"]
    assert (row["file_hash"], row["gcs_url"], row["gcs_path"], row["upload_timestamp"]) == (
        "r1",
        None,
        None,
        None,
    )
    assert (row["storage_type"], row["storage_path"]) == ("local", path)
    seen = tracker.recording(drive.id)
    assert seen is not None
    assert (seen.strategy, seen.fetched_bytes, seen.trace_id, seen.elapsed_seconds) == (
        "parallel", 123, "t" * 32, 5.0
    )  # fmt: skip
    (attempt,) = tracker.attempts_of(drive.id)
    assert attempt["report"] == report
    assert attempt["outcome"] == "completed"


def test_a_failure_after_a_completion_does_not_unmake_what_is_stored(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    tracker.complete(one(tracker), stored(), NOW)
    tracker.record([recording(revision="r2")], after(1), new_revisions="replace")
    assert fail(tracker, one(tracker, 2), "media", 2) is State.QUARANTINED
    (row,) = processed_videos(tracker)
    assert (row["status"], row["processed_at"]) == ("completed", NOW)


def test_a_failed_recording_is_failed_for_readers_of_the_earlier_table_too(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    fail(tracker, one(tracker))
    (row,) = processed_videos(tracker)
    assert (row["status"], row["error_message"]) == ("failed", "no network")
    tracker.complete(one(tracker, 400), stored(), after(400))
    (row,) = processed_videos(tracker)
    assert (row["status"], row["error_message"]) == ("completed", None)


def test_chunks_are_replaced_by_those_of_the_next_completion(tracker: Tracker) -> None:
    def chunk(index: int) -> StoredChunk:
        return StoredChunk(
            index=index,
            object_name=f"dev/one_audio/chunk-{index:03}.mp3",
            start_seconds=index * 900.0,
            end_seconds=index * 900.0 + 900,
            size_bytes=10,
            crc32c="AAAAAA==",
            silence_cut=index == 1,
        )

    tracker.record([recording()], NOW)
    claim = one(tracker)
    tracker.complete(claim, stored(), NOW, chunks=[chunk(1), chunk(0), chunk(2)])
    assert tracker.chunks_of(claim.id) == [chunk(0), chunk(1), chunk(2)]
    tracker.retry([claim.id], NOW, completed=True)
    tracker.complete(one(tracker), stored(), NOW, chunks=[chunk(0)])
    assert tracker.chunks_of(claim.id) == [chunk(0)]


def test_a_transaction_that_is_cut_off_leaves_nothing(url: str, tracker: Tracker) -> None:
    """The process dies between the update and the commit: neither the state nor the audit row is there."""
    tracker.record([recording()], NOW)
    claim = one(tracker)
    program = (
        "import os, sys\n"
        "from audio_extract.tracker import Tracker, claims, Stored\n"
        "import pickle\n"
        "claim, stored, now = pickle.loads(bytes.fromhex(sys.argv[2]))\n"
        "claims.note_outcome = lambda *_: os._exit(9)\n"
        "Tracker.open(sys.argv[1]).complete(claim, stored, now)\n"
    )
    import pickle

    argument = pickle.dumps((claim, stored(), NOW)).hex()
    ended = subprocess.run([sys.executable, "-c", program, url, argument], check=False, env={**os.environ})
    assert ended.returncode == 9
    assert status(tracker, claim.id) == "in_progress"
    assert tracker.audit()[-1].event == "claimed"
    (attempt,) = tracker.attempts_of(claim.id)
    assert attempt["outcome"] is None
    tracker.complete(claim, stored(), after(1))
    assert status(tracker, claim.id) == "completed"


def test_a_database_that_stops_answering_is_a_temporary_error(tmp_path: Path) -> None:
    from audio_extract.exceptions import TransientError

    with pytest.raises(TransientError, match="does not answer") as caught:
        Tracker.open("postgresql://user:secret@127.0.0.1:1/db", now=NOW)
    assert caught.value.code == "database.unavailable"
    assert "secret" not in str(caught.value)


def processed_videos(tracker: Tracker) -> list[dict[str, object]]:
    from sqlalchemy import select

    from audio_extract.tracker.models import processed_videos as table

    with tracker._database.read() as connection:
        return [dict(row) for row in connection.execute(select(table).order_by(table.c.id)).mappings()]


def test_on_sqlite_only_a_lease_may_be_lost_in_a_power_cut(tmp_path: Path) -> None:
    from sqlalchemy import event

    synced: list[int] = []

    def look(connection: Any) -> None:
        raw = connection.connection.driver_connection
        synced.append(raw.execute("PRAGMA synchronous").fetchone()[0])

    with Tracker.open(str(tmp_path / "tracker.db"), now=NOW) as tracker:
        tracker.record([recording("a"), recording("b")], NOW)
        event.listen(tracker._database.engine, "commit", look)
        first, second = tracker.claim(ME, NOW, limit=2)
        tracker.renew(first, NOW)
        assert synced == [1, 1]
        # The next one brings the leases to the disk too: what was written is there in order.
        tracker.assign_object_name(first, "a.mp3", NOW)
        tracker.complete(first, stored(), NOW)
        tracker.release(second, NOW)
        with pytest.raises(ZeroDivisionError), tracker._database.write(survives_power_cut=False):
            raise ZeroDivisionError
        tracker.forget([second.id], NOW)
    assert synced == [1, 1, 2, 2, 2, 2]

"""Taking over what the earlier service processed, from its file, into a database that is in use."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from audio_extract.exceptions import ConfigurationError, TransientError
from audio_extract.tracker import Owner, RetryPolicy, State, Tracker
from audio_extract.tracker.legacy import TakenOver, newest, read_file
from support.recordings import NOW, after, recording, stored

KILLED_WHILE_WRITING = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.execute("DELETE FROM processed_videos")
for number in range(3000):
    values = (f"drive://half {number} {'x' * 500}", "half")
    connection.execute(
        "INSERT INTO processed_videos (file_path, file_hash, status) VALUES (?, ?, 'completed')", values
    )
os._exit(9)
"""

ME = Owner("here", 1, "boot.namespace.1")


def take(tracker: Tracker, file: Path, seconds: float = 0) -> TakenOver:
    return tracker.import_rows(read_file(file), after(seconds))


def status(tracker: Tracker, name: str) -> str:
    row = tracker.find(name)
    assert row is not None
    return row.status


def test_what_was_processed_is_known_and_not_processed_again(tracker: Tracker, legacy: Path) -> None:
    content = legacy.read_bytes()
    assert take(tracker, legacy) == TakenOver(added=4)
    assert tracker.record([recording(name) for name in "AD"], after(1)).new == 0
    (claim,) = tracker.claim(ME, after(2), limit=10)
    assert claim.source_id == "B"
    row = tracker.find("drive://A")
    assert row is not None
    assert (row.status, row.storage_path) == ("completed", "dev/2025/01/a_audio.mp3")
    assert legacy.read_bytes() == content


def test_a_second_import_changes_nothing(tracker: Tracker, legacy: Path) -> None:
    take(tracker, legacy)
    before = tracker.audit()
    assert take(tracker, legacy, 60) == TakenOver(known=4)
    assert tracker.audit() == before


@pytest.mark.parametrize("state", ["pending", "failed", "quarantined", "skipped", "discovered"])
def test_what_waits_here_and_was_completed_there_is_completed(
    tracker: Tracker, legacy: Path, state: str
) -> None:
    tracker.record([recording("A", settled=state != "discovered")], NOW)
    if state in {"failed", "quarantined"}:
        (claim,) = tracker.claim(ME, NOW)
        kind = "media" if state == "quarantined" else "transient"
        tracker.fail(claim, NOW, code="x.y", kind=kind, message="no", policy=RetryPolicy())
    if state == "skipped":
        tracker.skip("drive", "A", "name", NOW)
    assert status(tracker, "A") == state
    assert take(tracker, legacy, 1) == TakenOver(added=3, completed=1)
    assert status(tracker, "A") == "completed"
    entry = tracker.audit(tracker.find("A").id)[-1]  # type: ignore[union-attr]
    assert (entry.event, entry.from_state, entry.to_state) == ("adopted", state, "completed")
    assert [claim.source_id for claim in tracker.claim(ME, after(9_999_999), limit=10)] == ["B"]


def test_what_runs_or_is_completed_here_is_left_alone(tracker: Tracker, legacy: Path) -> None:
    tracker.record([recording("A"), recording("D")], NOW)
    first, second = tracker.claim(ME, NOW, limit=2)
    tracker.complete(first, stored("mine.mp3"), NOW)
    assert take(tracker, legacy, 1) == TakenOver(added=2, known=2)
    row = tracker.recording(first.id)
    assert row is not None
    assert row.storage_path == "mine.mp3"
    # Its holder still is.
    tracker.complete(second, stored("other.mp3"), after(2))


def test_rows_that_only_a_write_ahead_log_holds_are_read_too(
    tracker: Tracker, legacy: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(legacy)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute(
            "INSERT INTO processed_videos (file_path, file_hash, status) "
            "VALUES ('drive://E', 'E', 'completed')"
        )
        writer.commit()
        copy = tmp_path / "copy.db"
        for suffix in ("", "-wal"):
            shutil.copy(f"{legacy}{suffix}", f"{copy}{suffix}")
        assert len(newest(read_file(copy))) == 5
    assert take(tracker, copy) == TakenOver(added=5)


def test_a_transaction_that_a_killed_service_left_unfinished_is_not_taken_over(
    tracker: Tracker, legacy: Path
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, legacy], check=False)
    assert killed.returncode == 9
    journal = legacy.with_name(f"{legacy.name}-journal")
    before = {path: path.read_bytes() for path in (legacy, journal)}
    assert take(tracker, legacy) == TakenOver(added=4)
    assert {path: path.read_bytes() for path in (legacy, journal)} == before
    assert sorted(path.name for path in legacy.parent.iterdir() if path.name.startswith("processed")) == [
        legacy.name,
        journal.name,
    ]


def test_a_file_that_its_service_has_locked_can_be_tried_again(
    legacy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    with closing(connect(legacy, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        # Without SQLite's own five seconds of patience.
        monkeypatch.setattr(sqlite3, "connect", lambda *a, **v: connect(*a, **v, timeout=0))
        with pytest.raises(TransientError, match=r"processed_videos\.db is locked"):
            read_file(legacy)
        writer.execute("ROLLBACK")
    assert len(read_file(legacy)) == 5


def test_many_rows_are_taken_over_in_a_moment(tracker: Tracker, legacy: Path) -> None:
    with closing(sqlite3.connect(legacy)) as connection:
        connection.executemany(
            "INSERT INTO processed_videos (file_path, file_hash, status) VALUES (?, ?, ?)",
            [(f"drive://x{n}", f"x{n}", "failed" if n % 7 == 0 else "completed") for n in range(2100)],
        )
        connection.commit()
    tracker.record([recording("x1"), recording("x2099"), recording("x7")], NOW)
    statements: list[str] = []
    event.listen(
        tracker._database.engine,
        "before_cursor_execute",
        lambda _c, _u, statement, *_rest: statements.append(statement),
    )
    assert take(tracker, legacy, 1) == TakenOver(added=2101, completed=2, known=1)
    # A few for each batch, not for each row.
    assert len(statements) < 60
    stats = tracker.stats()
    assert (stats.total, stats.completed, stats.failed) == (2104, 1803, 300)
    assert len(tracker.audit(limit=9999)) == 3 + 2 + 2101


@pytest.mark.parametrize("what", ["absent", "folder", "text", "truncated", "empty", "other tables", "ours"])
def test_a_file_that_is_no_such_database_is_refused_by_name(legacy: Path, tmp_path: Path, what: str) -> None:
    file = tmp_path / "old.db"
    match what:
        case "folder":
            file.mkdir()
        case "text":
            file.write_text("this is not a database, " * 100)
        case "truncated":
            file.write_bytes(legacy.read_bytes()[:5000])
        case "empty":
            file.touch()
        case "other tables":
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("CREATE TABLE songs (title TEXT)")
        case "ours":
            Tracker.open(str(file), now=NOW).close()
    with pytest.raises(ConfigurationError, match=r"old\.db") as caught:
        read_file(file)
    assert caught.value.code == "database.import"
    assert ("monitoring.database_path" in str(caught.value)) == (what == "ours")


def test_the_states_that_an_import_ends_are_those_that_wait() -> None:
    from audio_extract.tracker.legacy import _WAITING

    assert set(State) - _WAITING == {State.IN_PROGRESS, State.COMPLETED}

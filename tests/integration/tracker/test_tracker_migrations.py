from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from audio_extract.exceptions import ConfigurationError
from audio_extract.tracker import Owner, Recorded, Tracker, migrate
from audio_extract.tracker.models import metadata
from support.recordings import NOW, after, recording, stored

ME = Owner("here", 1, "boot.namespace.1")


def tables(tracker: Tracker) -> set[str]:
    with tracker._database.read() as connection:
        return set(inspect(connection).get_table_names())


def test_the_newest_migration_makes_exactly_the_tables_of_the_models(empty_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with Tracker.open(empty_url, now=NOW) as tracker, tracker._database.write() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
        # Alembic does not compare these.
        for table in metadata.sorted_tables:
            made = {found["name"] for found in inspect(connection).get_check_constraints(table.name)}
            meant = {
                constraint.name
                for constraint in table.constraints
                if type(constraint).__name__ == "CheckConstraint"
            }
            assert made == {str(name) for name in meant}


def test_the_list_of_migrations_is_that_of_the_files(empty_url: str) -> None:
    from alembic.script import ScriptDirectory

    with Tracker.open(empty_url, upgrade=False) as tracker, tracker._database.read() as connection:
        scripts = ScriptDirectory.from_config(migrate._alembic(connection))
        assert scripts.get_heads() == [migrate.HEAD]
        assert [script.revision for script in scripts.walk_revisions()][::-1] == list(migrate.REVISIONS)


def test_migrations_go_up_down_and_up_again(empty_url: str) -> None:
    with Tracker.open(empty_url, upgrade=False) as tracker:
        status = tracker.status()
        assert (status.revision, status.needs_upgrade, status.legacy) == (None, True, False)
        upgraded = tracker.upgrade(NOW)
        assert (upgraded.before, upgraded.after, upgraded.backup) == (None, migrate.HEAD, None)
        assert tables(tracker) == {*metadata.tables, "alembic_version"}
        assert not tracker.status().needs_upgrade
        migrate.downgrade(tracker._database, "base")
        assert tables(tracker) == {"alembic_version"}
        tracker.upgrade(after(1))
        assert tracker.record([recording()], NOW).new == 1


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(url: str, tmp_path: Path) -> None:
    with Tracker.open(url, now=NOW) as tracker:
        before = sorted(tmp_path.glob("*.backup*"))
        upgraded = tracker.upgrade(NOW)
        assert (upgraded.before, upgraded.after, upgraded.backup, upgraded.adopted) == (
            migrate.HEAD, migrate.HEAD, None, 0
        )  # fmt: skip
    assert sorted(tmp_path.glob("*.backup*")) == before == []


def test_processes_that_open_a_new_database_at_once_make_it_once(empty_url: str) -> None:
    program = (
        "import sys\n"
        "from audio_extract.tracker import Tracker\n"
        "import alembic.command\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "with Tracker.open(sys.argv[1]) as tracker: assert not tracker.status().needs_upgrade\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs = [process.communicate("go\n", timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs


def test_a_database_of_a_newer_program_is_refused_and_left_alone(url: str) -> None:
    with Tracker.open(url, now=NOW) as tracker, tracker._database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="a newer version made it") as caught:
        Tracker.open(url, now=NOW)
    assert caught.value.code == "database.too_new"
    with Tracker.open(url, upgrade=False) as tracker:
        assert tracker.status().revision == "9999"


def test_tables_of_somebody_else_are_refused_and_left_alone(empty_url: str) -> None:
    with Tracker.open(empty_url, upgrade=False) as tracker, tracker._database.write() as connection:
        connection.execute(text("CREATE TABLE recordings (band TEXT, title TEXT)"))
    with pytest.raises(ConfigurationError, match="not ours"):
        Tracker.open(empty_url, now=NOW)
    with Tracker.open(empty_url, upgrade=False) as tracker:
        assert tables(tracker) == {"recordings"}


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Tracker.open(empty_url, upgrade=False) as tracker:
        with tracker._database.write() as connection:
            # In the way of the last table, when the others are made already.
            connection.execute(text("CREATE TABLE transfers (id INTEGER)"))
        with pytest.raises(Exception, match="transfers"):
            tracker.upgrade(NOW)
        assert tables(tracker) == {"transfers"}


def dump(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.iterdump())


def test_the_earlier_services_database_is_adopted_after_a_copy(legacy: Path) -> None:
    before = dump(legacy)
    legacy.chmod(0o640)
    with Tracker.open(str(legacy), upgrade=False) as tracker:
        status = tracker.status()
        assert (status.legacy, status.needs_upgrade) == (True, True)
        assert tables(tracker) == {"processed_videos", "drive_files", "sync_history", "db_version"}
        upgraded = tracker.upgrade(NOW)
        assert upgraded.adopted == 4
        assert upgraded.backup == legacy.with_name("processed_videos.db.backup-20260129T100000Z-1")
        assert dump(upgraded.backup) == before
        assert upgraded.backup.stat().st_mode & 0o777 == 0o640
        assert not list(legacy.parent.glob("*.partial"))
        stats = tracker.stats()
        assert (stats.total, stats.completed, stats.failed) == (4, 3, 1)
        row = tracker.find("drive://A")
        assert row is not None
        assert (row.status, row.name, row.storage_type) == ("completed", "Weekly.mp4", "gcs")
        assert row.storage_path == "dev/2025/01/a_audio.mp3"
        assert row.processed_at is not None
        assert row.processed_at.isoformat() == "2025-01-29T10:00:00+00:00"
        with tracker._database.read() as connection:
            kept = connection.execute(text("SELECT count(*) FROM legacy_processed_videos")).scalar()
        assert kept == 5


def test_nothing_of_the_earlier_service_is_processed_again_but_what_failed(legacy: Path) -> None:
    with Tracker.open(str(legacy), now=NOW) as tracker:
        found = [recording(name) for name in "ABD"]
        assert tracker.record(found, after(1), new_revisions="replace") == Recorded(known=3)
        # What the source says is known now, and the second listing changes nothing.
        (claim,) = tracker.claim(ME, after(2), limit=10)
        assert (claim.source_id, claim.revision, claim.attempt) == ("B", "r1", 1)
        tracker.complete(claim, stored(), after(3))
        assert tracker.record(found, after(4), new_revisions="replace") == Recorded(known=3)
        assert tracker.claim(ME, after(5), limit=10) == []
        assert tracker.stats().completed == 4


def test_what_failed_in_the_earlier_service_is_due_at_once_without_discovery(legacy: Path) -> None:
    with Tracker.open(str(legacy), now=NOW) as tracker:
        (claim,) = tracker.claim(ME, NOW, limit=10)
        assert (claim.source_id, claim.revision, claim.created_at) == ("B", None, None)
        tracker.complete(claim, stored(), after(1), revision="r7")
        row = tracker.recording(claim.id)
        assert row is not None
        assert (row.status, row.revision) == ("completed", "r7")


def test_an_adopted_database_is_adopted_once(legacy: Path) -> None:
    Tracker.open(str(legacy), now=NOW).close()
    with Tracker.open(str(legacy), now=after(60)) as tracker:
        assert not tracker.status().legacy
        assert tracker.stats().total == 4
    assert len(list(legacy.parent.glob("*.backup-*"))) == 1


def test_the_earlier_services_database_that_is_damaged_is_refused_and_left_as_it_was(legacy: Path) -> None:
    with closing(sqlite3.connect(legacy)) as connection:
        connection.executemany(
            "INSERT INTO processed_videos (file_path, file_hash, status) VALUES (?, 'x', 'completed')",
            [(f"drive://{number} {'x' * 400}",) for number in range(100)],
        )
        connection.commit()
    content = bytearray(legacy.read_bytes())
    # All but the list of tables.
    content[8192:] = b"\xff" * (len(content) - 8192)
    legacy.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is damaged") as caught:
        Tracker.open(str(legacy), now=NOW)
    assert caught.value.code == "database.damaged"
    with Tracker.open(str(legacy), upgrade=False) as tracker:
        assert tracker.status().legacy
        assert tables(tracker) == {"processed_videos", "drive_files", "sync_history", "db_version"}


def test_the_earlier_tables_are_there_after_all_of_ours_are_taken_away_again(legacy: Path) -> None:
    with Tracker.open(str(legacy), now=NOW) as tracker:
        migrate.downgrade(tracker._database, "base")
        kept = {
            f"legacy_{name}" for name in ("processed_videos", "drive_files", "sync_history", "db_version")
        }
        assert tables(tracker) == {*kept, "alembic_version"}
        # And they are taken over once more, so that nothing is processed again.
        assert tracker.upgrade(after(1)).adopted == 4
        assert tracker.stats().completed == 3


def test_the_first_schema_of_the_earlier_service_is_adopted_too(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            "CREATE TABLE processed_videos (file_path TEXT, file_hash TEXT, status TEXT, processed_at REAL);"
            "INSERT INTO processed_videos VALUES ('drive://A', 'A', 'completed', 1738145000.5);"
        )
    with Tracker.open(str(file), now=NOW) as tracker:
        row = tracker.find("drive://A")
        assert row is not None
        assert (row.status, row.name, row.storage_type) == ("completed", "A", None)


def test_sqlite_keeps_a_write_ahead_log_waits_for_writers_and_syncs_each_commit(tmp_path: Path) -> None:
    with (
        Tracker.open(str(tmp_path / "tracker.db"), now=NOW) as tracker,
        tracker._database.read() as connection,
    ):
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}

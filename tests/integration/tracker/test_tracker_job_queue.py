"""Jobs for workers: one for each recording that is due, in tables that several processes make at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from procrastinate.schema import SchemaManager

from audio_extract.exceptions import ConfigurationError
from audio_extract.tracker import Owner, RetryPolicy, State, Tracker
from audio_extract.tracker.job_queue import JobQueue
from support.databases import run_sql
from support.recordings import NOW, after, recording, stored

_SERIAL = itertools.count()


@pytest.fixture
def url(postgresql: str, migrated: Callable[[str, str], None]) -> Iterator[str]:
    """A PostgreSQL database with the tracker's tables, and without Procrastinate's."""
    name = f"jobs_{next(_SERIAL)}"
    migrated("postgresql", f"{postgresql}#{name}")
    yield postgresql.replace("/postgres?", f"/{name}?")
    run_sql(postgresql, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def tracker(url: str) -> Iterator[Tracker]:
    with Tracker.open(url, now=NOW) as opened:
        yield opened


@pytest.fixture
def queue(tracker: Tracker) -> JobQueue:
    made = tracker.job_queue()
    assert made.prepare() is True
    return made


def jobs(url: str, columns: str = "queueing_lock") -> list[Any]:
    with psycopg.connect(url) as connection:
        query = f"SELECT {columns} FROM procrastinate_jobs ORDER BY id"  # noqa: S608 - of this file
        rows = connection.execute(query.encode()).fetchall()
    return [row[0] if len(row) == 1 else row for row in rows]


def record(tracker: Tracker, *names: str) -> list[str]:
    tracker.record([recording(name) for name in names], NOW)
    found = [tracker.find(name) for name in names]
    return [row.id for row in found if row is not None]


def test_every_recording_that_is_due_gets_one_job_and_not_a_second_while_that_waits(
    tracker: Tracker, queue: JobQueue, url: str
) -> None:
    ids = record(tracker, "one", "two", "three")
    assert queue.defer_due(after(1)) == 3
    assert queue.defer_due(after(2)) == 0
    assert jobs(url, "queueing_lock, task_name, args->>'recording_id'") == [
        (f"recording:{number}", "audio_extract.look_at", number) for number in sorted(ids)
    ]


def test_what_is_not_due_gets_no_job_until_its_time_has_come(
    tracker: Tracker, queue: JobQueue, url: str
) -> None:
    [done, failed, held] = record(tracker, "done", "failed", "held")
    claims = {claim.id: claim for claim in tracker.claim(Owner.current(), after(1), limit=3)}
    tracker.complete(claims[done], stored(), after(2))
    policy = RetryPolicy(first_delay_seconds=100, jitter=lambda: 0)
    tracker.fail(claims[failed], after(2), code="x.y", kind="transient", message="later", policy=policy)
    assert queue.defer_due(after(3)) == 0
    assert queue.defer_due(after(103)) == 1
    assert jobs(url) == [f"recording:{failed}"]
    assert tracker.counts()[State.IN_PROGRESS] == 1
    assert tracker.claim_one(held, Owner.current(), after(104)) is None


def test_jobs_that_are_lost_are_put_in_again(tracker: Tracker, queue: JobQueue, url: str) -> None:
    record(tracker, "one", "two")
    assert queue.defer_due(after(1)) == 2
    run_sql(url, "DELETE FROM procrastinate_jobs")
    assert queue.defer_due(after(2)) == 2


def test_what_a_person_asks_for_goes_before_all_others(tracker: Tracker, queue: JobQueue, url: str) -> None:
    [*_, last] = record(tracker, "one", "two", "three")
    assert tracker.retry([last], after(1)) == [last]
    assert queue.defer_due(after(2)) == 3
    assert dict(jobs(url, "queueing_lock, priority"))[f"recording:{last}"] == 1


def test_more_than_one_batch_is_put_in_at_once(tracker: Tracker, queue: JobQueue, url: str) -> None:
    tracker.record([recording(f"{number:04}") for number in range(2_100)], NOW)
    assert queue.defer_due(after(1)) == 2_100
    assert len(set(jobs(url))) == 2_100


def test_the_jobs_that_wait_are_read_once_a_batch_and_not_once_a_recording(
    tracker: Tracker, queue: JobQueue, url: str
) -> None:
    tracker.record([recording(f"{number:04}") for number in range(2_100)], NOW)
    assert queue.defer_due(after(1)) == 2_100
    # Sessions count what they read for all to see when they end.
    tracker.close()
    query = (
        "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables "
        "WHERE relname = 'procrastinate_jobs' AND n_tup_ins = 2100"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(500):
            row = connection.execute(query).fetchone()
            if row is not None:
                break
            threading.Event().wait(0.02)
    assert row is not None
    assert row[0] < 20_000


def test_a_job_that_somebody_else_put_in_at_that_moment_is_no_error(
    tracker: Tracker, queue: JobQueue, url: str
) -> None:
    [first, _] = record(tracker, "one", "two")
    with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
        other.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock) "
            "VALUES ('recordings', 'x', %s)",
            (f"recording:{first}",),
        )
        # Not committed: it cannot be seen, and its lock is waited for.
        deferring = pool.submit(queue.defer_due, after(1))
        wait_for_a_blocked_session(url)
        other.commit()
        assert deferring.result(30) == 1
    assert len(jobs(url)) == 2


def wait_for_a_blocked_session(url: str) -> None:
    query = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(500):
            row = connection.execute(query).fetchone()
            if row is not None and row[0]:
                return
            threading.Event().wait(0.02)
    pytest.fail("nobody waits for a lock")


def test_two_processes_that_put_jobs_in_at_once_put_one_in_for_each(
    tracker: Tracker, queue: JobQueue, url: str
) -> None:
    tracker.record([recording(f"{number:04}") for number in range(300)], NOW)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: queue.defer_due(after(1)), range(8)))
    assert sum(done) == 300
    assert len(jobs(url)) == 300


@pytest.mark.parametrize("_round", range(5))
def test_many_processes_that_make_the_tables_at_once_make_them_once(tracker: Tracker, _round: int) -> None:
    trackers = [Tracker(tracker._database.__class__(url_of(tracker))) for _ in range(8)]
    try:
        queues = [one.job_queue() for one in trackers]
        barrier = threading.Barrier(len(queues))

        def prepare(queue: JobQueue) -> bool:
            queue.has_tables()
            barrier.wait(30)
            return queue.prepare()

        with ThreadPoolExecutor(len(queues)) as pool:
            assert sum(pool.map(prepare, queues)) == 1
        assert all(queue.has_tables() for queue in queues)
    finally:
        for one in trackers:
            one.close()


def url_of(tracker: Tracker) -> str:
    return tracker._database.engine.url.render_as_string(hide_password=False)


def test_tables_of_an_earlier_procrastinate_get_the_migrations_since_then(
    queue: JobQueue, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("03.04.00_50_post_known.sql", "99.01.00_01_pre_two.sql", "99.00.00_01_pre_one.sql"):
        number = name[:2] + name[3:5]
        (tmp_path / name).write_text(f"CREATE TABLE added_{number} (at int); -- 100 %")
    run_sql(url, "COMMENT ON TABLE procrastinate_jobs IS 'audio-extract: 03.04.00_50_post_known.sql'")
    monkeypatch.setattr(SchemaManager, "get_migrations_path", lambda: str(tmp_path))
    assert queue.has_tables() is False
    assert queue.prepare() is True
    assert queue.prepare() is False
    run_sql(url, "SELECT * FROM added_9900", "SELECT * FROM added_9901")
    with pytest.raises(psycopg.errors.UndefinedTable):
        run_sql(url, "SELECT * FROM added_0304")


def test_procrastinates_tables_of_another_program_are_left_alone(tracker: Tracker, url: str) -> None:
    run_sql(url, SchemaManager.get_schema())
    with pytest.raises(ConfigurationError) as caught:
        tracker.job_queue().prepare()
    assert caught.value.code == "database.foreign"


def test_a_queue_needs_postgresql(tmp_path: Path) -> None:
    with (
        Tracker.open(str(tmp_path / "tracker.db"), now=NOW) as opened,
        pytest.raises(ConfigurationError, match="PostgreSQL") as caught,
    ):
        opened.job_queue()
    assert caught.value.code == "execution.needs_postgresql"


def test_jobs_of_workers_without_a_heartbeat_are_removed_and_those_of_live_ones_stay(
    queue: JobQueue, url: str
) -> None:
    run_sql(
        url,
        "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now()), (now() - interval '31 s')",
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id, queueing_lock) VALUES "
        "('recordings', 'x', 'doing', 1, 'live'), ('recordings', 'x', 'doing', 2, 'dead'), "
        "('recordings', 'x', 'doing', NULL, 'pruned'), ('recordings', 'x', 'todo', NULL, 'waiting'), "
        "('other', 'x', 'doing', NULL, 'not ours')",
    )
    assert queue.recover_stalled() == 2
    assert jobs(url) == ["live", "waiting", "not ours"]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT id FROM procrastinate_workers").fetchall() == [(1,)]


def test_one_process_at_a_time_looks_for_recordings_until_it_ends_or_the_database_was_away(
    tracker: Tracker, url: str
) -> None:
    one, two = tracker.discoverer(), tracker.discoverer()
    assert [one.is_this(), two.is_this(), one.is_this()] == [True, False, True]
    one.release()
    assert [two.is_this(), one.is_this()] == [True, False]
    run_sql(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    assert [one.is_this(), two.is_this()] == [True, False]
    one.release()
    two.release()


def test_of_many_that_take_one_recording_at_once_one_gets_it(tracker: Tracker) -> None:
    [number] = record(tracker, "one")
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: tracker.claim_one(number, Owner.current(), after(1)), range(16)))
    assert len([claim for claim in claims if claim is not None]) == 1
    assert tracker.claim_one("999", Owner.current(), after(1)) is None
    assert tracker.claim_one("not a number", Owner.current(), after(1)) is None

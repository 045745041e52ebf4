"""Many processes, one database: what `execution.backend: procrastinate` promises."""

from __future__ import annotations

import itertools
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from audio_extract.cli.serving import Stop
from audio_extract.emulator.faults import Answer, Delay, Stall
from audio_extract.exceptions import InternalError
from audio_extract.jobs import Service
from audio_extract.jobs.queue_worker import QueueWorker
from audio_extract.tracker.job_queue import JobQueue
from chaos.scale import Plan, play
from support.cli import environment, run_cli
from support.databases import Postgresql, restartable_postgresql, run_sql
from support.engine import make_recording, wait_until
from support.service import BUCKET, World, world

_SERIAL = itertools.count()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("recording") / "meeting.mp4", ffmpeg, seconds=2)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    with restartable_postgresql() as server:
        yield server


@pytest.fixture
def url(postgresql: Postgresql) -> Iterator[str]:
    name = f"scale_{next(_SERIAL)}"
    run_sql(postgresql.url, f"CREATE DATABASE {name}")
    yield postgresql.url.replace("/postgres?", f"/{name}?")
    run_sql(postgresql.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


def shared(url: str, **changes: Any) -> dict[str, Any]:
    return {
        "monitoring": {"database_path": url},
        "execution": {"backend": "procrastinate", **changes.pop("execution", {})},
        **changes,
    }


@contextmanager
def member(here: World, url: str, **changes: Any) -> Iterator[Service]:
    """A service that shares its database with others."""
    with here.service(shared(url, **changes)) as service:
        yield service


def jobs(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [
            row[0] for row in connection.execute("SELECT status::text FROM procrastinate_jobs ORDER BY id")
        ]


def test_two_workers_store_each_recording_once_although_one_of_them_is_killed(
    tmp_path: Path, ffmpeg: Path
) -> None:
    plan = Plan(recordings=20, services=1, workers=2, worker_kills=1, limit_seconds=90)
    result = play(plan, tmp_path, ffmpeg)
    assert result.problems == []
    assert (result.objects, result.generations) == (20, 20)
    assert result.events["kill worker"] == 1
    assert result.owners >= 2


def test_one_round_leaves_what_is_due_to_workers_and_a_second_one_asks_for_nothing(
    here: World, recording: Path, url: str
) -> None:
    here.add(recording, "One.mp4")
    here.add(recording, "Two.mp4")
    with member(here, url) as service:
        report = service.run_once()
        assert (report.found, report.deferred, report.due, here.moved()) == (2, 2, 2, (0, 0))
        assert service.run_once().deferred == 0
    assert jobs(url) == ["todo", "todo"]


def test_a_worker_transfers_what_it_is_asked_to_and_leaves_no_job(
    here: World, recording: Path, url: str
) -> None:
    for name in ("One.mp4", "Two.mp4", "Three.mp4"):
        here.add(recording, name)
    with member(here, url) as service, member(here, url) as worker:
        service.run_once()
        worker.start(only_take_jobs=True)
        assert wait_until(lambda: len(here.objects()) == 3, 30)
        assert wait_until(lambda: jobs(url) == [], 10)
        assert worker.stop(grace_seconds=10) is True
        assert service.tracker.stats().completed == 3


def test_a_job_that_comes_while_a_worker_waits_is_taken_at_once(
    here: World, recording: Path, url: str
) -> None:
    with member(here, url) as service, member(here, url) as worker:
        service.run_once()
        worker.start(only_take_jobs=True)
        # It has looked, found nothing, and listens.
        assert wait_until(lambda: listeners(url) == 1, 20)
        here.add(recording, "One.mp4")
        service.run_once()
        assert wait_until(lambda: here.objects() != [], 30)


def listeners(url: str) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen %'"
    )
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else 0


def test_a_job_for_something_that_is_done_or_gone_does_nothing(
    here: World, recording: Path, url: str
) -> None:
    file_id = here.add(recording, "One.mp4")
    with member(here, url) as service:
        service.run_once()
        row = service.tracker.find(file_id)
        assert row is not None
        outcome = service.take(row.id)
        assert outcome is not None
        assert outcome.state == "completed"
        here.reset_counters()
        assert service.take(row.id) is None
        service.tracker.forget([row.id], here.now)
        assert service.take(row.id) is None
    assert here.moved() == (0, 0)


def test_a_failure_gets_its_next_job_when_the_retry_policy_says_so(
    here: World, recording: Path, url: str
) -> None:
    file_id = here.add(recording, "One.mp4")
    here.drive.emulator.faults.add(Answer(reason="downloadQuotaExceeded"), kind="drive.media")
    with member(here, url) as service:
        service.run_once()
        run_sql(url, "DELETE FROM procrastinate_jobs")
        row = service.tracker.find(file_id)
        assert row is not None
        outcome = service.take(row.id)
        assert outcome is not None
        assert outcome.state == "failed"
        assert service.run_once().deferred == 0
        row = service.tracker.find(file_id)
        assert row is not None
        assert row.next_attempt_at is not None
        here.now = row.next_attempt_at
        assert service.run_once().deferred == 1


def test_a_stopped_worker_gives_back_what_did_not_finish_and_keeps_no_job(
    here: World, recording: Path, url: str
) -> None:
    file_id = here.add(recording, "One.mp4")
    here.drive.emulator.faults.add(Stall(), kind="drive.media", after=1, times=None)
    with (
        member(here, url) as service,
        member(here, url, transfer={"stall_timeout_seconds": 60}) as worker,
    ):
        service.run_once()
        worker.start(only_take_jobs=True)
        assert wait_until(lambda: len(worker.active) == 1, 20)
        assert worker.stop(grace_seconds=0.1) is False
        row = service.tracker.find(file_id)
        assert row is not None
        assert (row.status, row.attempts) == ("pending", 0)
        assert jobs(url) == []
        assert service.run_once().deferred == 1


def test_only_one_of_several_services_looks_for_recordings_and_the_next_one_when_it_has_ended(
    here: World, recording: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "audio_extract.jobs")
    here.add(recording, "One.mp4")
    with member(here, url) as one, member(here, url) as two:
        assert one.run_once().found == 1
        here.add(recording, "Two.mp4")
        report = two.run_once()
        assert (report.found, report.discoverer_elsewhere) == (0, True)
        [said] = [line for line in caplog.records if getattr(line, "event", "") == "discovery.elsewhere"]
        assert said.levelno == logging.DEBUG
        # Its page and its metrics say what there is to do all the same.
        assert b'queue_depth{state="pending"} 1.0' in two.metrics.render()[0]
        one.stop()
        assert two.run_once().found == 1


def test_a_service_takes_jobs_itself_only_where_the_settings_say_so(
    here: World, recording: Path, url: str
) -> None:
    here.add(recording, "One.mp4")
    with member(here, url) as service:
        service.start()
        assert wait_until(lambda: jobs(url) == ["todo"], 20)
        assert service.stop() is True
    assert here.objects() == []
    with member(here, url, execution={"run_takes_jobs": True}) as service:
        service.start()
        assert wait_until(lambda: len(here.objects()) == 1, 30)


def test_what_runs_goes_on_while_the_database_is_away_and_jobs_are_taken_again_afterwards(
    here: World, url: str, postgresql: Postgresql
) -> None:
    with member(here, url) as service:
        queue = service.tracker.job_queue()
        queue.prepare()
        begun, done, go_on = [], [], threading.Event()

        def look_at(recording_id: str) -> None:
            begun.append(recording_id)
            assert go_on.wait(60)
            done.append(recording_id)

        worker = QueueWorker(queue, look_at, places=2)
        put_in(url, "1")
        worker.start()
        try:
            assert wait_until(lambda: begun == ["1"], 20)
            postgresql.stop()
            postgresql.start()
            put_in(url, "2")
            # One of two places is free, although the first was taken through a connection that is no more.
            assert wait_until(lambda: begun == ["1", "2"], 60)
            assert done == []
        finally:
            go_on.set()
            worker.stop()
            assert worker.join(30) is True
        assert sorted(done) == ["1", "2"]


def test_a_database_that_is_back_after_a_moment_does_not_hold_up_a_worker_for_a_minute(
    here: World, recording: Path, url: str, postgresql: Postgresql
) -> None:
    here.add(recording, "One.mp4")
    here.storage.emulator.faults.add(Delay(seconds=2), kind="storage.upload_chunk", times=1)
    with member(here, url) as service, member(here, url) as worker:
        service.run_once()
        worker.start(only_take_jobs=True)
        assert wait_until(lambda: here.moved()[1] == 1, 20)
        postgresql.stop()
        # Stored, and not written down: that is found out later, from the object.
        assert wait_until(lambda: len(worker.active) == 0, 40)
        assert len(here.objects()) == 1
        postgresql.start()
        here.add(recording, "Two.mp4")
        assert service.run_once().found == 1
        assert wait_until(lambda: len(here.objects()) == 2, 40)


def test_a_worker_that_cannot_take_jobs_any_more_ends_instead_of_waiting_for_ever(
    here: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connector(_queue: JobQueue, *, connections: int) -> Any:
        raise ZeroDivisionError(connections)

    with member(here, url) as worker:
        monkeypatch.setattr(JobQueue, "connector", connector)
        worker.start(only_take_jobs=True)
        with pytest.raises(InternalError, match="ZeroDivisionError") as caught:
            Stop(worker).wait()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert caught.value.exit_code == 70


def put_in(url: str, recording_id: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args) "
            "VALUES ('recordings', 'audio_extract.look_at', jsonb_build_object('recording_id', %s::text))",
            (recording_id,),
        )


def configure(here: World, url: str, folder: Path, backend: str = "procrastinate") -> dict[str, str]:
    document = {
        "google_drive": {"recordings_folder_id": here.folder, "days_to_look_back": 0},
        "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
        "monitoring": {"database_path": url, "dashboard_port": 0, "health_port": 0},
        "execution": {"backend": backend},
    }
    (folder / "audio_extract_config.yaml").write_text(yaml.safe_dump(document))
    return {"DRIVE_EMULATOR_HOST": here.drive.url, "STORAGE_EMULATOR_HOST": here.storage.url}


def test_db_upgrade_makes_the_tables_of_the_queue_and_says_so(here: World, url: str, tmp_path: Path) -> None:
    env = configure(here, url, tmp_path)
    words = []
    for arguments in (["--dry-run"], [], []):
        done = run_cli("db", "upgrade", "--yes", *arguments, cwd=tmp_path, env=env)
        assert done.code == 0, done.err
        [line] = [line for line in done.out.splitlines() if line.startswith("the tables of the queue")]
        words.append(line.partition(": ")[2])
    assert words == ["`audio-extract db upgrade` makes or upgrades them", "made or upgraded", "up to date"]


def test_once_says_what_it_left_to_workers(here: World, recording: Path, url: str, tmp_path: Path) -> None:
    here.add(recording, "One.mp4")
    env = configure(here, url, tmp_path)
    done = run_cli("once", cwd=tmp_path, env=env)
    assert (done.code, done.out) == (0, "1 new · 0 stored · 0 adopted · 0 failed · 1 left to workers\n")


def test_a_worker_process_serves_its_health_and_ends_with_0_after_sigterm(
    here: World, recording: Path, url: str, tmp_path: Path
) -> None:
    here.add(recording, "One.mp4")
    env = configure(here, url, tmp_path)
    assert run_cli("once", cwd=tmp_path, env=env).code == 0
    log = tmp_path / "worker.txt"
    with log.open("w") as err:
        child = subprocess.Popen(
            [sys.executable, "-m", "audio_extract", "worker"], cwd=tmp_path, env=environment(env), stderr=err
        )
    try:
        assert wait_until(lambda: len(here.objects()) == 1, 60), log.read_text()
        [address] = [line for line in log.read_text().splitlines() if line.startswith("health: ")]
        assert httpx.get(address.removeprefix("health: ") + "live", timeout=10).json()["alive"] is True
        assert "dashboard:" not in log.read_text()
        child.send_signal(signal.SIGTERM)
        assert child.wait(40) == 0
    finally:
        child.kill()
        child.wait()


def test_a_worker_without_a_queue_says_which_setting_to_change(here: World, url: str, tmp_path: Path) -> None:
    env = configure(here, url, tmp_path, backend="local")
    done = run_cli("worker", cwd=tmp_path, env=env)
    assert done.code == 2
    assert "execution.backend" in done.err
    assert "Traceback" not in done.err

"""What people see while a part is away: the page is there, says what and what to do, and it recovers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from audio_extract.cli.serving import web_server
from audio_extract.emulator.faults import Answer, Stall
from audio_extract.jobs import Service, pool
from support.databases import restartable_postgresql
from support.engine import make_recording, wait_until
from support.redis import redis_server
from support.service import World, world


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("recording") / "meeting.mp4", ffmpeg, seconds=4)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute without new transfers would make each test a minute longer."""
    monkeypatch.setattr(pool, "_PAUSE_SECONDS", 3.0)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        found.now, found.real_time = datetime.now(UTC), True
        yield found


@dataclass
class Seen:
    """The running service as its page and its probes show it."""

    service: Service
    page: httpx.Client
    probe: httpx.Client

    def component(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.page.get("/api/health").json()["components"][name]
        return found

    def becomes(self, name: str, status: str) -> dict[str, Any]:
        """Wait until a component is as named; the page is there all the time, and names it."""
        assert wait_until(lambda: self.component(name)["status"] == status, 40), self.component(name)
        found = self.component(name)
        answer = self.page.get("/")
        assert answer.status_code == 200
        if status == "healthy":
            assert found["meaning"] is None
        else:
            assert f"{name.replace('_', ' ')} is {status}" in answer.text
            assert found["meaning"]
            assert found["meaning"].split(";")[0] in answer.text
        assert self.probe.get("/live").status_code == 200
        return found

    def stored(self) -> int:
        return int(self.page.get("/api/stats").json()["completed"])


@contextmanager
def seen(here: World, overrides: dict[str, Any] | None = None) -> Iterator[Seen]:
    settings = {**(overrides or {})}
    settings["monitoring"] = {"dashboard_port": 0, "health_port": 0, **settings.get("monitoring", {})}
    settings.setdefault("google_drive", {})
    settings["google_drive"] = {"check_interval_seconds": 10, **settings["google_drive"]}
    with here.service(settings) as service, web_server(service, health_seconds=0.5) as web:
        service.start()
        addresses = [f"http://127.0.0.1:{web.ports[name]}" for name in ("dashboard", "health")]
        with httpx.Client(base_url=addresses[0]) as page, httpx.Client(base_url=addresses[1]) as probe:
            yield Seen(service, page, probe)


def test_a_database_that_stops_is_named_and_everything_goes_on_when_it_is_back(
    here: World, recording: Path
) -> None:
    with restartable_postgresql() as server:
        here.add(recording, "First.mp4")
        with seen(here, {"monitoring": {"database_path": server.url}}) as service:
            assert wait_until(lambda: service.stored() == 1, 30)
            server.stop()
            service.becomes("database", "unhealthy")
            assert "The database does not answer" in service.page.get("/").text
            answer = service.page.get("/api/recent")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["title"] == "Service Unavailable"
            assert service.page.get("/recordings", headers={"Accept": "text/html"}).status_code == 503
            assert service.probe.get("/ready").status_code == 503
            server.start()
            here.add(recording, "Second.mp4")
            service.becomes("database", "healthy")
            assert wait_until(lambda: service.stored() == 2, 60)
            assert service.probe.get("/ready").status_code == 200


class Crowd:
    """Many who look at once."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(120)
        # No connection is used again: httpcore closes some that another thread has just been given
        # (https://github.com/encode/httpcore/issues/1110), and that thread reads from a closed socket.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.Client(limits=limits, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        self._client.close()

    def ask(self, address: str, times: int) -> list[Future[httpx.Response]]:
        """Ask at once, and do not wait for the answers."""
        return [self._threads.submit(self._client.get, address) for _ in range(times)]

    def in_time(self, address: str, times: int) -> set[int]:
        """The statuses of answers, each of which has to come within a second of its question."""
        found = list(self._threads.map(self._one, [address] * times))
        assert max(took for _, took in found) < 1, f"{address} took {max(took for _, took in found):.2f} s"
        return {status for status, _ in found}

    def _one(self, address: str) -> tuple[int, float]:
        began = time.monotonic()
        return self._client.get(address).status_code, time.monotonic() - began


def test_probes_and_page_answer_within_a_second_while_database_bucket_and_drive_hang(
    here: World, recording: Path
) -> None:
    with restartable_postgresql() as server, Crowd() as many:
        here.add(recording, "First.mp4")
        with seen(here, {"monitoring": {"database_path": server.url}}) as service:
            assert wait_until(lambda: service.stored() == 1, 30)
            page, probe = str(service.page.base_url), str(service.probe.base_url)
            here.drive.emulator.faults.add(Stall(seconds=20), times=None)
            here.storage.emulator.faults.add(Stall(seconds=20), times=None)
            with server.stalled():
                # Nobody knows yet: every question hangs, and there are more of them than threads.
                hang = many.ask(f"{page}/api/recent", 60)
                for path in ("/live", "/ready", "/health", "/metrics"):
                    statuses = many.in_time(f"{probe}{path}", 50)
                    assert statuses <= ({200} if path in {"/live", "/metrics"} else {200, 503})
                assert many.in_time(f"{page}/api/active", 20) == {200}
                assert many.in_time(f"{page}/static/style.css", 20) == {200}
                service.becomes("database", "unhealthy")
                service.becomes("storage", "unhealthy")
                for path in ("/live", "/ready", "/health", "/metrics"):
                    statuses = many.in_time(f"{probe}{path}", 50)
                    assert statuses == ({200} if path in {"/live", "/metrics"} else {503})
                assert many.in_time(f"{page}/", 20) == {200}
                assert many.in_time(f"{page}/api/recent", 20) == {503}
                assert {one.result().status_code for one in hang} == {503}
            here.drive.emulator.faults.clear()
            here.storage.emulator.faults.clear()
            service.becomes("database", "healthy")
            service.becomes("storage", "healthy")
            assert service.page.get("/api/recent").status_code == 200


def test_a_database_file_that_was_taken_away_is_noticed(here: World) -> None:
    with seen(here) as service:
        service.becomes("database", "healthy")
        file = here.directory / "audio.db"
        file.rename(here.directory / "away.db")
        found = service.becomes("database", "unhealthy")
        assert str(file) in found["message"]
        (here.directory / "away.db").rename(file)
        service.becomes("database", "healthy")


def test_a_bucket_that_cannot_be_reached_loses_no_attempt_and_recordings_are_stored_when_it_is_back(
    here: World, recording: Path
) -> None:
    with seen(here) as service:
        service.becomes("storage", "healthy")
        here.storage.stop()
        found = service.becomes("storage", "unhealthy")
        assert found["message"]
        file_id = here.add(recording, "First.mp4")
        service.service.discover()
        here.storage.start()
        service.becomes("storage", "healthy")
        assert wait_until(lambda: service.stored() == 1, 90)
        row = service.service.tracker.find(file_id)
        assert row is not None
        assert row.attempts == 1


@pytest.mark.parametrize("status", [401, 403, 500])
def test_drive_that_refuses_is_named_with_what_to_do(here: World, recording: Path, status: int) -> None:
    with seen(here) as service:
        service.becomes("drive", "healthy")
        here.drive.emulator.faults.add(Answer(status=status), times=None)
        service.service.discover()
        found = service.becomes("drive", "unhealthy")
        assert found["remedy"] or "share" in found["message"]
        here.drive.emulator.faults.clear()
        here.add(recording, "First.mp4")
        service.becomes("drive", "healthy")
        assert wait_until(lambda: service.stored() == 1, 60)


def test_a_folder_that_is_no_longer_shared_is_named_and_read_again_when_it_is(
    here: World, recording: Path
) -> None:
    with seen(here) as service:
        service.becomes("drive", "healthy")
        here.drive.emulator.hide(here.folder)
        service.service.discover()
        assert "share the folder" in service.becomes("drive", "unhealthy")["message"]
        here.drive.emulator.share(here.folder)
        here.add(recording, "First.mp4")
        service.becomes("drive", "healthy")
        assert wait_until(lambda: service.stored() == 1, 60)


@pytest.mark.parametrize("way", ["stop", "stall"])
def test_redis_that_is_away_is_named_and_recordings_are_stored_meanwhile(
    here: World, recording: Path, way: str
) -> None:
    with redis_server() as redis, seen(here, {"redis": {"url": redis.url}}) as service:
        service.becomes("redis", "healthy")
        getattr(redis, way)()
        found = service.becomes("redis", "unhealthy")
        assert "Nothing stops" in found["meaning"]
        assert "redis.url" in found["remedy"]
        assert service.page.get("/api/health").json()["status"] == "degraded"
        assert service.probe.get("/ready").status_code == 200
        here.add(recording, "First.mp4")
        service.service.discover()
        service.service.dispatch_soon()
        assert wait_until(lambda: service.stored() == 1, 60)
        redis.stop()
        redis.start()
        service.becomes("redis", "healthy")


def test_an_ffmpeg_that_is_removed_is_named_and_used_again_when_it_is_back(
    here: World, recording: Path, tmp_path: Path, ffmpeg: Path
) -> None:
    program = tmp_path / "ffmpeg"
    program.symlink_to(ffmpeg.resolve())
    with seen(here, {"processing": {"ffmpeg": {"path": str(program)}}}) as service:
        service.becomes("ffmpeg", "healthy")
        program.unlink()
        found = service.becomes("ffmpeg", "unhealthy")
        assert "processing.ffmpeg.path" in found["message"]
        here.add(recording, "First.mp4")
        service.service.discover()
        service.service.dispatch_soon()
        assert wait_until(lambda: len(service.service.active) == 0, 10)
        program.symlink_to(ffmpeg.resolve())
        service.becomes("ffmpeg", "healthy")
        service.service.tracker.retry_failed(datetime.now(UTC))
        assert wait_until(lambda: service.stored() == 1, 90)


def full(folder: Path) -> Callable[[], None]:
    """Fill a small file system; returns what makes room again."""
    ballast = folder / "ballast"
    with ballast.open("wb") as stream:
        try:
            while True:
                stream.write(bytes(65_536))
                stream.flush()
        except OSError:
            pass
    return ballast.unlink


def test_a_destination_folder_that_is_full_is_named_and_filled_when_there_is_room(
    here: World, recording: Path, small_disk: Path
) -> None:
    target = small_disk / "audio"
    target.mkdir()
    make_room = full(small_disk)
    with seen(here, {"storage": {"type": "local", "local": {"path": str(target)}}}) as service:
        here.add(recording, "First.mp4")
        service.service.discover()
        service.service.dispatch_soon()
        found = service.becomes("scheduler", "degraded")
        assert "no new transfers until" in found["message"]
        assert [path for path in target.rglob("*") if path.is_file()] == []
        make_room()
        # It would be tried again in a minute; who made room need not wait.
        ids = [row.id for row in service.service.tracker.listing().rows]
        assert service.page.post("/api/retry", json={"ids": ids}).json()["ids"] == ids
        assert wait_until(lambda: service.stored() == 1, 60)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB. It takes the right to mount; without it the test is skipped by name."""
    import subprocess

    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    done = None
    if mount is not None:
        words = [mount, "-t", "tmpfs", "-o", "size=4m", "audio-extract-test", str(folder)]
        done = subprocess.run(words, check=False, capture_output=True)
    if done is None or done.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)

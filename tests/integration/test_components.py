"""The checks behind the probes, against real parts that are there or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audio_extract.exceptions import AudioExtractError, TransientError
from audio_extract.jobs.health import schedule_health
from audio_extract.sources.factory import listing_cache
from audio_extract.tracker.values import SyncRun
from audio_extract.web.components import component_checks
from audio_extract.web.health import HealthMonitor, Status, overall
from support.redis import redis_server
from support.service import World, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


def test_a_service_that_works_is_healthy_and_the_checks_cost_no_drive_request(here: World) -> None:
    with here.service() as service:
        service.discover()
        here.reset_counters()
        monitor = HealthMonitor(
            component_checks(service.settings, service.tracker, service.storage, now=lambda: here.now)
        )
        monitor.refresh()
        components = monitor.components()
    assert overall(components) == Status.HEALTHY
    assert components.keys() == {"database", "ffmpeg", "storage", "temp_storage", "drive"}
    assert here.drive.emulator.requests.counts() == {}
    assert here.moved() == (0, 0)


def test_each_part_that_is_away_is_named_with_what_it_says(here: World, tmp_path: Path) -> None:
    changes = {
        "processing": {"ffmpeg": {"path": str(tmp_path / "none")}, "temp_directory": str(tmp_path / "gone")},
    }
    with here.service(changes) as service:
        monitor = HealthMonitor(component_checks(service.settings, service.tracker, service.storage))
        here.storage.emulator.deny("storage.objects.get")
        monitor.refresh()
        components = monitor.components()
    assert overall(components) == Status.UNHEALTHY
    for name, text in {
        "ffmpeg": "processing.ffmpeg.path",
        "temp_storage": "gone",
        "storage": "audio",
    }.items():
        assert components[name].status == Status.UNHEALTHY, name
        assert text in components[name].message
    assert components["database"].status == Status.HEALTHY


@pytest.mark.parametrize(
    ("age_seconds", "error", "status"),
    [(10, None, Status.HEALTHY), (3600, None, Status.DEGRADED), (10, "source.network", Status.UNHEALTHY)],
)
def test_drive_is_judged_by_the_last_look_at_the_folder(
    here: World, age_seconds: int, error: str | None, status: Status
) -> None:
    with here.service() as service:
        clock = [here.now]
        checks = component_checks(service.settings, service.tracker, service.storage, now=lambda: clock[0])
        ended = here.now + timedelta(seconds=1)
        service.tracker.add_sync(
            SyncRun(
                source="drive",
                kind="full",
                started_at=here.now,
                ended_at=ended,
                error_code=error,
                error_message="the network is gone" if error else None,
            )
        )
        clock[0] = ended + timedelta(seconds=age_seconds)
        assert checks["drive"]().status == status


def test_drive_that_was_never_looked_at_becomes_unhealthy_with_time(here: World) -> None:
    with here.service() as service:
        clock = [here.now]
        checks = component_checks(service.settings, service.tracker, service.storage, now=lambda: clock[0])
        assert checks["drive"]().status == Status.HEALTHY
        clock[0] += timedelta(hours=2)
        assert checks["drive"]().status == Status.UNHEALTHY


def test_a_discovery_that_fails_is_seen_by_the_health_check(here: World) -> None:
    with here.service() as service:
        here.drive.emulator.hide(here.folder)
        report = service.discover()
        assert [isinstance(error, AudioExtractError) for error in report.source_errors] == [True]
        checks = component_checks(
            service.settings, service.tracker, service.storage, now=lambda: here.now - timedelta(seconds=1)
        )
        health = checks["drive"]()
    assert health.status == Status.UNHEALTHY
    assert "share the folder" in health.message


def test_redis_is_a_component_where_it_is_configured(here: World) -> None:
    with redis_server() as redis, here.service({"redis": {"url": redis.url}}) as service:
        cache = listing_cache(service.settings)
        assert cache is not None
        checks = component_checks(
            service.settings, service.tracker, service.storage, redis_version=cache.version
        )
        monitor = HealthMonitor(checks)
        monitor.refresh()
        assert monitor.components()["redis"].status == Status.HEALTHY
        redis.stop()
        monitor.refresh()
        components = monitor.components()
    assert components["redis"].status == Status.UNHEALTHY
    assert "does not answer" in components["redis"].message
    # Slower is not broken.
    assert components["database"].status == Status.HEALTHY


def test_a_worker_leaves_looking_to_others_and_says_when_nobody_does(here: World) -> None:
    with here.service() as service:
        clock = [here.now]
        checks = component_checks(
            service.settings, service.tracker, service.storage, looks=False, now=lambda: clock[0]
        )
        found = checks["drive"]()
        assert (found.status, found.remedy is None) == (Status.DEGRADED, False)
        # Another process looked, long before this one began.
        service.tracker.add_sync(
            SyncRun(source="drive", kind="full", started_at=here.now, ended_at=here.now, seen=3)
        )
        clock[0] += timedelta(seconds=30)
        assert checks["drive"]().status == Status.HEALTHY
        clock[0] += timedelta(hours=2)
        assert checks["drive"]().status == Status.DEGRADED


def test_the_schedule_tells_what_failed_last_why_it_pauses_and_that_it_is_well(here: World) -> None:
    with here.service() as service:
        assert schedule_health(service).message == "starts"
        job = service.schedule.guarded(service.tracker.counts, "queue-depth")
        job()
        service.schedule.open()
        service.schedule.start()
        assert schedule_health(service).status == Status.HEALTHY

        def fails() -> None:
            raise TransientError("the database does not answer", code="database.unavailable")

        service.schedule.guarded(fails, "queue-depth")()
        found = schedule_health(service)
        assert found.status == Status.DEGRADED
        assert "queue-depth failed" in found.message
        assert "the database does not answer" in found.message
        job()
        assert schedule_health(service).status == Status.HEALTHY
        began, go_on = threading.Event(), threading.Event()
        slow = threading.Thread(
            target=service.schedule.guarded(lambda: began.set() or go_on.wait(10), "discovery")
        )
        slow.start()
        assert began.wait(10)
        assert schedule_health(service).status == Status.HEALTHY
        assert "has run since" in schedule_health(service, datetime.now(UTC) + timedelta(hours=1)).message
        go_on.set()
        slow.join()
        service.pool._pause(TransientError("the key was refused"))
        found = schedule_health(service)
        assert (found.status, "the key was refused" in found.message) == (Status.DEGRADED, True)

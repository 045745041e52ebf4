from __future__ import annotations

import threading

import pytest

from audio_extract.exceptions import TransientError
from audio_extract.web.health import ComponentHealth, HealthMonitor, Status, overall

GOOD = ComponentHealth(Status.HEALTHY, "fine")
WEAK = ComponentHealth(Status.DEGRADED, "slow")
BAD = ComponentHealth(Status.UNHEALTHY, "gone")


def test_a_component_that_was_never_checked_is_not_called_healthy() -> None:
    monitor = HealthMonitor({"database": lambda: GOOD})
    assert monitor.components()["database"].status == Status.UNHEALTHY
    monitor.refresh()
    assert monitor.components() == {"database": GOOD}


def test_a_check_that_hangs_is_unhealthy_and_the_others_answer() -> None:
    release = threading.Event()

    def hangs() -> ComponentHealth:
        release.wait(60)
        return GOOD

    monitor = HealthMonitor({"drive": hangs, "database": lambda: GOOD}, timeout_seconds=0.05)
    monitor.refresh()
    assert monitor.components()["database"] == GOOD
    drive = monitor.components()["drive"]
    assert (drive.status, drive.message) == (Status.UNHEALTHY, "no answer within 0.05 s")
    assert drive.remedy is not None
    monitor.refresh()
    assert monitor.components()["drive"].status == Status.UNHEALTHY
    release.set()
    while monitor.components()["drive"] != GOOD:
        monitor.refresh()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TransientError("the bucket does not answer"), "the bucket does not answer"),
        (RuntimeError("see https://u:canary@h/"), "RuntimeError: see https://u:[redacted]@h/"),
    ],
)
def test_a_check_that_raises_says_why_without_secrets(error: Exception, message: str) -> None:
    def fails() -> ComponentHealth:
        raise error

    monitor = HealthMonitor({"storage": fails})
    monitor.refresh()
    found = monitor.components()["storage"]
    assert (found.status, found.message) == (Status.UNHEALTHY, message)
    assert (found.remedy is not None) == isinstance(error, TransientError)


@pytest.mark.parametrize(
    ("components", "status"),
    [
        ({"database": GOOD, "drive": GOOD}, Status.HEALTHY),
        ({"database": GOOD, "drive": BAD}, Status.DEGRADED),
        ({"database": WEAK, "drive": GOOD}, Status.DEGRADED),
        ({"database": BAD, "drive": GOOD}, Status.UNHEALTHY),
        ({"ffmpeg": BAD, "storage": WEAK}, Status.UNHEALTHY),
    ],
)
def test_the_service_is_unhealthy_only_when_nothing_can_be_stored(
    components: dict[str, ComponentHealth], status: Status
) -> None:
    assert overall(components) == status


def test_the_background_thread_ends_when_it_is_told_to() -> None:
    checked = threading.Event()

    def check() -> ComponentHealth:
        checked.set()
        return GOOD

    monitor = HealthMonitor({"database": check}, interval_seconds=3600)
    monitor.start()
    assert monitor.components(wait_seconds=10) == {"database": GOOD}
    monitor.stop()
    assert not any(thread.name == "health" for thread in threading.enumerate())

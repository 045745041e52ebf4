"""The checks behind ``/health`` and the dashboard: cheap enough to run every half minute.

``audio-extract check`` looks deeper; these spend no Drive quota and write nothing.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from audio_extract.failure_texts import remedy
from audio_extract.web.health import ComponentHealth, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.settings import Settings
    from audio_extract.storage.base import StorageAdapter
    from audio_extract.tracker.tracker import Tracker

#: Below this, a recording that has to be spilled to disk will not fit.
_LITTLE_SPACE_BYTES: Final = 1_000_000_000
#: Discovery that is late by so many intervals is stuck.
_LATE_INTERVALS: Final = 3
_LOOK_REMEDY: Final = "start audio-extract run beside the workers: it looks for recordings"


#: What no longer works while a component does not.
MEANINGS: Final = {
    "ffmpeg": "No sound can be extracted; recordings wait until FFmpeg is back.",
    "database": "Nothing new is started, and no list can be shown; what is stored stays stored.",
    "storage": "No audio can be stored or played; recordings wait, and none loses an attempt.",
    "temp_storage": "Recordings that FFmpeg cannot read as a stream cannot be extracted; all others can.",
    "drive": "New recordings are not found; what is known already goes on.",
    "redis": "Nothing stops; looking at folders costs more requests.",
    "scheduler": "New transfers, or what runs by the clock, may be late.",
}


def component_checks(
    settings: Settings,
    tracker: Tracker,
    storage: StorageAdapter,
    *,
    redis_version: Callable[[], str] | None = None,
    scheduler: Callable[[], ComponentHealth] | None = None,
    looks: bool = True,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, Callable[[], ComponentHealth]]:
    """Return the check of each component.

    Args:
        settings: The settings.
        tracker: The database.
        storage: The destination.
        redis_version: Asks Redis for its version, where one is configured.
        scheduler: Tells how the schedule of this process is, where it has one.
        looks: Whether this process itself looks for recordings.
        now: The clock.
    """
    started = now()

    def database() -> ComponentHealth:
        tracker.require_present()
        tracker.newest_change()
        return _healthy(f"{tracker.location} answers")

    def ffmpeg() -> ComponentHealth:
        from audio_extract.ffmpeg import find_ffmpeg

        found = find_ffmpeg(settings.processing.ffmpeg.path)
        return _healthy(f"FFmpeg {found.version} at {found.path}")

    def destination() -> ComponentHealth:
        # A name that is never used: reading it proves network, credentials and bucket, and writes nothing.
        storage.exists(".audio-extract-health")
        return _healthy(f"{storage.storage_type} destination answers")

    def temp_storage() -> ComponentHealth:
        folder = settings.temp_directory
        if not os.access(folder, os.W_OK):
            return ComponentHealth(Status.UNHEALTHY, f"{folder} is not there or cannot be written")
        free = shutil.disk_usage(folder).free
        text = f"{free / 1e9:.1f} GB free in {folder}"
        return ComponentHealth(Status.DEGRADED if free < _LITTLE_SPACE_BYTES else Status.HEALTHY, text)

    def drive() -> ComponentHealth:
        return _last_look(settings, tracker, None if not looks else started, now())

    checks = {
        "database": database,
        "ffmpeg": ffmpeg,
        "storage": destination,
        "temp_storage": temp_storage,
    }
    if settings.google_drive.recordings_folder_id:
        checks["drive"] = drive
    if redis_version is not None:
        checks["redis"] = lambda: _healthy(f"Redis {redis_version()} answers")
    if scheduler is not None:
        checks["scheduler"] = scheduler
    return checks


def _last_look(
    settings: Settings, tracker: Tracker, started: datetime | None, now: datetime
) -> ComponentHealth:
    """Judge Drive by what the last discovery said, so that looking costs no request.

    Args:
        settings: The settings.
        tracker: The database.
        started: When this process began to look; None: it leaves that to others.
        now: The time.
    """
    run = tracker.last_sync("drive")
    limit = timedelta(seconds=_LATE_INTERVALS * settings.google_drive.check_interval_seconds + 60)
    if run is None or (started is not None and run.ended_at < started):
        if started is None:
            return ComponentHealth(Status.DEGRADED, "no process has looked at the folder yet", _LOOK_REMEDY)
        late = now - started > limit
        return ComponentHealth(Status.UNHEALTHY if late else Status.HEALTHY, "no look at the folder yet")
    if run.error_code is not None:
        return ComponentHealth(Status.UNHEALTHY, run.error_message or run.error_code, remedy(run.error_code))
    if now - run.ended_at > limit:
        text = f"last look at the folder: {run.ended_at:%Y-%m-%d %H:%M} UTC"
        return ComponentHealth(Status.DEGRADED, text, _LOOK_REMEDY if started is None else None)
    return _healthy(f"folder seen at {run.ended_at:%H:%M:%S} UTC, {run.seen} recordings named")


def _healthy(message: str) -> ComponentHealth:
    return ComponentHealth(Status.HEALTHY, message)

"""The whole service between two emulators: what its tests share."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from audio_extract.emulator import DriveEmulator, EmulatorServer, StorageEmulator
from audio_extract.ffmpeg import find_ffmpeg
from audio_extract.jobs import Service
from audio_extract.settings import load_settings
from audio_extract.sources.factory import build_sources
from audio_extract.storage import StorageFactory
from audio_extract.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from audio_extract.jobs import Outcome
    from audio_extract.telemetry.traces import Traces
    from audio_extract.tracker import RecordingRow

BUCKET = "audio"


@dataclass
class World:
    """Drive, Cloud Storage, and a folder for the database."""

    drive: EmulatorServer[DriveEmulator]
    storage: EmulatorServer[StorageEmulator]
    folder: str
    directory: Path
    now: datetime = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
    real_time: bool = False
    """Whether the service's clock goes on by itself; else it stands at `now`."""

    def settings(self, overrides: dict[str, Any] | None = None) -> Any:
        """Settings that lead to the emulators."""
        document: dict[str, Any] = {
            "google_drive": {"recordings_folder_id": self.folder, "days_to_look_back": 365},
            "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
            "monitoring": {"database_path": str(self.directory / "audio.db")},
            "processing": {"audio_format": {"sample_rate": 48_000, "channels": 2}},
            "transfer": {"stall_timeout_seconds": 2},
        }
        for section, values in (overrides or {}).items():
            document[section] = {**document.get(section, {}), **values}
        environ = {"DRIVE_EMULATOR_HOST": self.drive.url, "STORAGE_EMULATOR_HOST": self.storage.url}
        return load_settings(overrides=document, environ=environ)

    @contextmanager
    def service(
        self,
        overrides: dict[str, Any] | None = None,
        *,
        traces: Traces | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> Iterator[Service]:
        """The service, as the program builds it."""
        settings = self.settings(overrides)
        with Tracker.open(settings, now=self.now) as tracker:
            queue = tracker.job_queue() if settings.execution.backend == "procrastinate" else None
            if queue is not None:
                queue.prepare()
            service = Service(
                settings,
                tracker=tracker,
                sources=build_sources(settings),
                storage=StorageFactory.create(settings),
                ffmpeg=lambda: find_ffmpeg(settings.processing.ffmpeg.path),
                queue=queue,
                traces=traces,
                on_outcome=on_outcome,
                now=lambda: datetime.now(UTC) if self.real_time else self.now,
            )
            try:
                yield service
            finally:
                service.stop(grace_seconds=5)
                service.close()

    def add(self, path: Path, name: str, **values: Any) -> str:
        """Put a recording into the watched folder; returns its id."""
        values.setdefault("created_time", self.now - timedelta(days=1))
        return self.drive.emulator.add_file(path, name=name, parent=self.folder, **values)

    def objects(self) -> list[str]:
        """Names of the audio in the bucket."""
        found = self.storage.emulator.objects(BUCKET)
        return [item.name for item in found if "/metadata/" not in f"/{item.name}"]

    def moved(self) -> tuple[int, int]:
        """Media downloads and started uploads since the counters were reset."""
        storage = self.storage.emulator.requests
        started = storage.count("storage.upload_start") + storage.count("storage.upload")
        return self.drive.emulator.requests.count("drive.media"), started

    def forget_everything(self) -> None:
        """Lose the database."""
        for left in self.directory.glob("audio.db*"):
            left.unlink()

    def reset_counters(self) -> None:
        """Count from zero."""
        self.drive.emulator.requests.reset()
        self.storage.emulator.requests.reset()


def only_row(service: Service) -> RecordingRow:
    """The one recording that is known."""
    (row,) = service.tracker.listing().rows
    return row


@contextmanager
def world(directory: Path) -> Iterator[World]:
    """Both emulators with a folder and a bucket."""
    with EmulatorServer(DriveEmulator()) as drive, EmulatorServer(StorageEmulator()) as storage:
        storage.emulator.create_bucket(BUCKET)
        folder = drive.emulator.add_folder("Meet Recordings")
        yield World(drive, storage, folder, directory)

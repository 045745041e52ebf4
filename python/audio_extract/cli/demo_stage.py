"""The stage of the demo: emulators of Drive and Cloud Storage with sample recordings, and their settings."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from audio_extract.cli.verification import Expected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audio_extract.emulator import DriveEmulator, EmulatorServer, StorageEmulator
    from audio_extract.settings import Settings

BUCKET: Final = "demo-audio"
PREFIX: Final = "dev"


@dataclass(slots=True)
class Stage:
    """What stands on it.

    Attributes:
        folder: Everything of the demo on disk is below it.
        drive: The emulated Drive.
        storage: The emulated Cloud Storage.
        settings: Settings of a service between the two.
        expected: What must become of each recording.
    """

    folder: Path
    drive: EmulatorServer[DriveEmulator]
    storage: EmulatorServer[StorageEmulator]
    settings: Settings
    expected: list[Expected]

    @property
    def good(self) -> list[Expected]:
        """The recordings that can be stored."""
        return [one for one in self.expected if one.error_code is None]

    @property
    def bad(self) -> list[Expected]:
        """The recordings that cannot."""
        return [one for one in self.expected if one.error_code is not None]

    def reset_counters(self) -> None:
        """Count requests from zero."""
        self.drive.emulator.requests.reset()
        self.storage.emulator.requests.reset()

    def downloads_of(self, expected: list[Expected]) -> int:
        """Return how many media downloads of these recordings the emulated Drive has seen."""
        ids = [one.source_id for one in expected]
        records = self.drive.emulator.requests.records("drive.media")
        return sum(any(source_id in record.target for source_id in ids) for record in records)

    def uploads(self) -> int:
        """Return how many uploads were started at the emulated Cloud Storage."""
        requests = self.storage.emulator.requests
        return requests.count("storage.upload_start") + requests.count("storage.upload")

    def bucket(self) -> Any:
        """Return the bucket as Google's own client sees it."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage  # type: ignore[import-untyped]

        client = storage.Client(
            project="demo",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self.storage.url},
        )
        return client.bucket(BUCKET)


@contextmanager
def open_stage(
    folder: Path,
    *,
    ffmpeg: Path,
    seconds: float,
    hours: float = 0,
    dashboard_port: int = 0,
    health_port: int = 0,
    log_to_console: bool = False,
) -> Iterator[Stage]:
    """Build the stage and take it down at the end.

    Args:
        folder: For samples, database and settings.
        ffmpeg: Makes the samples.
        seconds: Length of each sample.
        hours: Length of one more, long recording; 0 makes none.
        dashboard_port: For the settings; 0 takes a free one.
        health_port: The same.
        log_to_console: Whether the service's log goes to stderr, beside its file.
    """
    from audio_extract.emulator import DriveEmulator, EmulatorServer, StorageEmulator
    from audio_extract.emulator.samples import generate, generate_long
    from audio_extract.settings import load_settings

    with ExitStack() as stack:
        contents = folder / "emulated"
        contents.mkdir(exist_ok=True)
        drive = stack.enter_context(EmulatorServer(DriveEmulator(directory=contents)))
        storage = stack.enter_context(EmulatorServer(StorageEmulator(directory=contents)))
        storage.emulator.create_bucket(BUCKET)
        folder_id = drive.emulator.add_folder("Meet Recordings")
        expected = []
        for made in generate(folder / "samples", ffmpeg, seconds=seconds):
            source_id = drive.emulator.add_file(
                made.path,
                name=made.name,
                parent=folder_id,
                mime_type=made.sample.mime_type,
                created_time=made.created_time,
            )
            expected.append(Expected(source_id, made.name, made.sample.error, made.path))
        if hours:
            path = generate_long(folder / "samples", ffmpeg, hours=hours)
            name = f"All Hands ({hours:g} h).mp4"
            source_id = drive.emulator.add_file(path, name=name, parent=folder_id, mime_type="video/mp4")
            expected.append(Expected(source_id, name, None, path))
        config = folder / "audio_extract_config.yaml"
        values = {
            "environment": "development",
            "google_drive": {"recordings_folder_id": folder_id, "check_interval_seconds": 5},
            "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
            "monitoring": {
                "dashboard_port": dashboard_port,
                "health_port": health_port,
                "database_path": str(folder / "audio-extract.db"),
                "log_file": str(folder / "audio-extract.log"),
                "log_to_console": log_to_console,
            },
        }
        config.write_text(f"# The emulators are named by the environment.\n{yaml.safe_dump(values)}")
        environ = {"DRIVE_EMULATOR_HOST": drive.url, "STORAGE_EMULATOR_HOST": storage.url}
        yield Stage(folder, drive, storage, load_settings(config, environ=environ), expected)

"""A folder with a settings file between emulators, for tests of the service's commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from support.cli import Outcome, run_cli
from support.service import BUCKET, World


class Site:
    """Runs commands in such a folder."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.env = {"DRIVE_EMULATOR_HOST": world.drive.url, "STORAGE_EMULATOR_HOST": world.storage.url}
        self.configure({})

    def configure(self, changes: dict[str, Any]) -> None:
        """Write settings: a Drive folder, a bucket, and these beside them or instead."""
        values: dict[str, Any] = {
            "google_drive": {"recordings_folder_id": self.world.folder, "days_to_look_back": 0},
            "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
            "monitoring": {"database_path": "audio.db", "dashboard_port": 0, "health_port": 0},
        }
        for section, inner in changes.items():
            values[section] = {**values.get(section, {}), **inner}
        (self.folder / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))

    def run(self, *words: str, env: dict[str, str] | None = None) -> Outcome:
        """Run a command to its end."""
        return run_cli(*words, cwd=self.folder, env={**self.env, **(env or {})})

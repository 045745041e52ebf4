"""``audio-extract audit``: what differs between tracker and destination is named, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from audio_extract.tracker import Tracker
from support.cli import Outcome, run_cli
from support.engine import make_recording
from support.service import BUCKET, World, world


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("recording") / "meeting.mp4", ffmpeg, seconds=2)


class Site:
    """Four stored recordings, and a fifth that waits."""

    def __init__(self, here: World, recording: Path, destination: str) -> None:
        self.here = here
        self.folder = here.directory / "audio"
        self.destination = destination
        storage: dict[str, Any] = (
            {"type": "gcs", "gcs": {"bucket_name": BUCKET}}
            if destination == "bucket"
            else {"type": "local", "local": {"path": str(self.folder)}}
        )
        self.settings = {"storage": storage}
        document = {
            "google_drive": {"recordings_folder_id": here.folder, "days_to_look_back": 0},
            "monitoring": {"database_path": str(here.directory / "audio.db")},
            **self.settings,
        }
        (here.directory / "audio_extract_config.yaml").write_text(yaml.safe_dump(document))
        self.ids = {name: here.add(recording, f"{name}.mp4") for name in ("Alpha", "Beta", "Gamma", "Delta")}
        with here.service(self.settings) as service:
            assert service.run_once().completed == 4
            self.rows = {
                name: row for name, file_id in self.ids.items() if (row := service.tracker.find(file_id))
            }

    def name(self, recording: str) -> str:
        return self.rows[recording].storage_path or ""

    def remove(self, name: str) -> None:
        if self.destination == "bucket":
            self.here.storage.emulator.delete_object(BUCKET, name)
        else:
            (self.folder / name).unlink()

    def put(self, name: str, content: bytes) -> None:
        if self.destination == "bucket":
            self.here.storage.emulator.put_object(BUCKET, name, content)
        else:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def audit(self, *words: str) -> Outcome:
        env = {"DRIVE_EMULATOR_HOST": self.here.drive.url, "STORAGE_EMULATOR_HOST": self.here.storage.url}
        return run_cli("audit", *words, cwd=self.here.directory, env=env)


@pytest.fixture(params=["bucket", "folder"])
def site(request: pytest.FixtureRequest, tmp_path: Path, recording: Path) -> Iterator[Site]:
    with world(tmp_path) as here:
        yield Site(here, recording, request.param)


def found(outcome: Outcome) -> dict[str, str]:
    values = [json.loads(line) for line in outcome.out.splitlines()]
    return {value["name"]: value["kind"] for value in values}


def test_what_is_as_it_should_be_is_said_in_two_words(site: Site) -> None:
    outcome = site.audit()
    assert (outcome.code, outcome.out) == (0, "nothing differs\n")
    assert site.audit("--json", "--checksums").out == ""


def test_each_kind_of_difference_is_named_and_only_what_is_missing_is_made_again(site: Site) -> None:
    prefix = site.name("Alpha").partition("2025/")[0]
    site.remove(site.name("Alpha"))
    site.put(site.name("Beta"), b"other content")
    site.put(f"{prefix}2025/02/holiday.mp3", b"somebody else's")
    with Tracker.open(str(site.here.directory / "audio.db"), upgrade=False) as tracker:
        tracker.retry([site.rows["Gamma"].id], site.here.now, completed=True)
    outcome = site.audit("--json")
    assert outcome.code == 1
    assert found(outcome) == {
        site.name("Alpha"): "missing",
        site.name("Beta"): "different",
        site.name("Gamma"): "unfinished",
        f"{prefix}2025/02/holiday.mp3": "extra",
    }
    told = site.audit("--repair", "--dry-run")
    assert told.out.endswith(f"would be due: {site.rows['Alpha'].id}\n")
    assert "1 missing" in told.out
    refused = site.audit("--repair")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert site.audit("--repair", "--yes").out.endswith(f"due now: {site.rows['Alpha'].id}\n")
    with site.here.service(site.settings) as service:
        service.run_once()
    assert site.name("Alpha") not in found(site.audit("--json"))


def test_bytes_that_changed_under_the_same_length_are_seen_where_checksums_are(site: Site) -> None:
    if site.destination == "bucket":
        content = bytearray(site.here.storage.emulator.object(BUCKET, site.name("Delta")).read())
    else:
        content = bytearray((site.folder / site.name("Delta")).read_bytes())
    content[-1] ^= 1
    site.put(site.name("Delta"), bytes(content))
    # A bucket knows the checksum, a folder has to be read.
    assert site.audit().code == (1 if site.destination == "bucket" else 0)
    outcome = site.audit("--checksums", "--json")
    assert found(outcome) == {site.name("Delta"): "different"}
    assert "CRC32C" in outcome.out


def test_a_destination_that_cannot_be_listed_is_an_error_and_not_a_difference(
    tmp_path: Path, recording: Path
) -> None:
    with world(tmp_path) as here:
        site = Site(here, recording, "bucket")
        here.storage.emulator.deny("storage.objects.list")
        outcome = site.audit()
    assert outcome.code == 3
    assert "missing" not in outcome.out

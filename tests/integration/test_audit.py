"""``audio-extract audit``: what differs between tracker and destination is named, and nothing else."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from audio_extract.jobs.audit import Audit
from audio_extract.settings import load_settings
from audio_extract.storage import StorageFactory, StoredFile
from audio_extract.tracker import Tracker
from audio_extract.tracker.legacy import read_file
from support.cli import Outcome, run_cli
from support.engine import make_recording
from support.legacy import make_legacy
from support.recordings import NOW
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
        self.recording = recording
        self.configure()
        self.ids = {name: here.add(recording, f"{name}.mp4") for name in ("Alpha", "Beta", "Gamma", "Delta")}
        with here.service(self.settings) as service:
            assert service.run_once().completed == 4
            self.rows = {
                name: row for name, file_id in self.ids.items() if (row := service.tracker.find(file_id))
            }

    def configure(self) -> None:
        document = {
            "google_drive": {"recordings_folder_id": self.here.folder, "days_to_look_back": 0},
            "monitoring": {"database_path": str(self.here.directory / "audio.db")},
            **self.settings,
        }
        (self.here.directory / "audio_extract_config.yaml").write_text(yaml.safe_dump(document))

    def name(self, recording: str) -> str:
        return self.rows[recording].storage_path or ""

    def tracker(self) -> Tracker:
        return Tracker.open(str(self.here.directory / "audio.db"), upgrade=False)

    def content(self) -> dict[str, bytes]:
        """All audio at the destination."""
        if self.destination == "bucket":
            emulator = self.here.storage.emulator
            return {name: emulator.object(BUCKET, name).read() for name in self.here.objects()}
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes() for path in self.folder.rglob("*.mp3")
        }

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
        # The program goes by the clock on the wall; what it makes due must be so for the service afterwards.
        self.here.now = max(self.here.now, datetime.now(UTC) + timedelta(minutes=1))
        env = {"DRIVE_EMULATOR_HOST": self.here.drive.url, "STORAGE_EMULATOR_HOST": self.here.storage.url}
        return run_cli("audit", *words, cwd=self.here.directory, env=env)


@pytest.fixture(params=["bucket", "folder"])
def site(request: pytest.FixtureRequest, tmp_path: Path, recording: Path) -> Iterator[Site]:
    with world(tmp_path) as here:
        yield Site(here, recording, request.param)


def found(outcome: Outcome) -> dict[str, tuple[str, str]]:
    values = [json.loads(line) for line in outcome.out.splitlines()]
    assert values[-1]["kind"] == "summary"
    return {value["name"]: (value["kind"], value["reason"]) for value in values[:-1]}


def test_what_is_as_it_should_be_is_said_in_two_words(site: Site) -> None:
    outcome = site.audit()
    assert outcome.code == 0
    assert "4 stored recordings and 4 objects compared: nothing differs" in outcome.out
    assert found(site.audit("--json", "--checksums")) == {}


def test_each_kind_of_difference_is_named_and_only_what_is_missing_or_different_is_made_again(
    site: Site,
) -> None:
    prefix = site.name("Alpha").partition("2025/")[0]
    site.remove(site.name("Alpha"))
    site.put(site.name("Beta"), b"other content")
    site.put(f"{prefix}2025/02/holiday.mp3", b"somebody else's")
    with site.tracker() as tracker:
        # It is about to be looked at: no difference.
        tracker.retry([site.rows["Gamma"].id], site.here.now, completed=True)
        tracker.forget([site.rows["Delta"].id], site.here.now)
    outcome = site.audit("--json")
    assert outcome.code == 1
    assert found(outcome) == {
        site.name("Alpha"): ("missing", "gone"),
        site.name("Beta"): ("different", "size"),
        site.name("Delta"): ("extra", "forgotten"),
        f"{prefix}2025/02/holiday.mp3": ("extra", "foreign"),
    }
    assert f"{prefix}2025/02/holiday.mp3" not in found(site.audit("--json", "--only-ours"))
    before = site.content()
    told = site.audit("--repair", "--dry-run")
    assert (told.code, "2 recordings would be due again" in told.err) == (1, True)
    assert "1 missing, 1 different, 2 extra" in told.out
    refused = site.audit("--repair")
    assert refused.code == 2
    assert "--yes" in refused.err
    with site.tracker() as tracker:
        assert tracker.stats().pending == 1
    done = site.audit("--repair", "--yes")
    # What is extra stays, and stays a difference.
    assert (done.code, "due now: 2 recordings" in done.err) == (1, True)
    assert site.content() == before
    with site.here.service(site.settings) as service:
        report = service.run_once(full=True)
        assert report.failures == []
        row = service.tracker.recording(site.rows["Alpha"].id)
        assert row is not None
        assert row.storage_path == site.name("Alpha")
    site.put(f"{prefix}2025/02/holiday.mp3", b"somebody else's")
    # Beta's own name is taken by what is not ours: in a bucket it stays there, beside the new audio.
    left = {f"{prefix}2025/02/holiday.mp3": ("extra", "foreign")}
    if site.destination == "bucket":
        left[site.name("Beta")] = ("extra", "foreign")
    assert found(site.audit("--json", "--checksums")) == left


def test_an_object_that_was_replaced_under_our_metadata_is_not_adopted_as_ours_when_it_is_repaired(
    tmp_path: Path, recording: Path
) -> None:
    with world(tmp_path) as here:
        site = Site(here, recording, "bucket")
        stored = here.storage.emulator.object(BUCKET, site.name("Beta"))
        content = stored.read()
        here.storage.emulator.put_object(
            BUCKET, site.name("Beta"), content[:-100], metadata=dict(stored.metadata)
        )
        assert site.audit("--repair", "--yes").code == 0
        with here.service(site.settings) as service:
            report = service.run_once()
            assert (report.completed, report.adopted) == (1, 0)
            row = service.tracker.recording(site.rows["Beta"].id)
        assert row is not None
        assert row.storage_path is not None
        assert row.storage_path != site.name("Beta")
        assert here.storage.emulator.object(BUCKET, row.storage_path).read() == content
        assert here.storage.emulator.object(BUCKET, site.name("Beta")).read() == content[:-100]
        assert found(site.audit("--json")) == {site.name("Beta"): ("extra", "duplicate")}


def test_bytes_that_changed_under_the_same_length_are_seen_where_checksums_are(site: Site) -> None:
    name = site.name("Delta")
    content = bytearray(site.content()[name])
    content[-1] ^= 1
    site.put(name, bytes(content))
    # A bucket knows the checksum, a folder has to be read.
    quick = site.audit()
    assert quick.code == (1 if site.destination == "bucket" else 0)
    if site.destination == "folder":
        assert "4 were compared without a checksum" in quick.out
    outcome = site.audit("--checksums", "--json")
    assert found(outcome) == {name: ("different", "crc32c")}


def test_an_object_that_was_written_anew_with_the_same_content_is_recorded_again_without_a_transfer(
    tmp_path: Path, recording: Path
) -> None:
    with world(tmp_path) as here:
        site = Site(here, recording, "bucket")
        name = site.name("Gamma")
        stored = here.storage.emulator.object(BUCKET, name)
        here.storage.emulator.put_object(BUCKET, name, stored.read(), metadata=dict(stored.metadata))
        assert found(site.audit("--json", "--repair", "--yes")) == {name: ("different", "generation")}
        with here.service(site.settings) as service:
            assert service.run_once().adopted == 1
        assert site.audit().code == 0


def test_earlier_content_of_a_recording_is_no_difference(tmp_path: Path, recording: Path) -> None:
    with world(tmp_path) as here:
        site = Site(here, recording, "bucket")
        site.settings["behavior"] = {"new_revisions": "new_object"}
        longer = tmp_path / "longer.mp4"
        longer.write_bytes(recording.read_bytes() + b"\0\0\0\x08free")
        here.drive.emulator.update_content(site.ids["Alpha"], longer)
        with here.service(site.settings) as service:
            assert service.run_once(full=True).completed == 1
        outcome = site.audit()
    assert outcome.code == 0, outcome.out
    assert "1 objects hold earlier content" in outcome.out


def test_what_the_earlier_service_stored_is_looked_for_where_its_rows_say(
    tmp_path: Path, recording: Path
) -> None:
    with world(tmp_path) as here:
        site = Site(here, recording, "bucket")
        old = make_legacy(tmp_path / "old.db")
        with site.tracker() as tracker:
            tracker.import_rows(read_file(old), here.now)
        missing = {"dev/2025/01/a_audio.mp3": ("missing", "gone")}
        assert found(site.audit("--json")) == missing
        site.put("dev/2025/01/a_audio.mp3", b"stored long ago")
        outcome = site.audit()
        assert outcome.code == 0
        assert "2 recordings of the earlier service do not say where they are stored" in outcome.out
        # Another prefix now: what is below the earlier one is still found, and nothing there is extra.
        site.settings["storage"] = {**site.settings["storage"], "gcs": {"bucket_name": BUCKET, "prefix": "n"}}
        site.configure()
        assert site.audit().code == 0


def test_what_is_stored_while_the_listing_is_read_is_no_difference(site: Site) -> None:
    class Slow:
        """Says what it lists after what is there has changed."""

        def __init__(self, storage: Any) -> None:
            self._storage = storage

        def __getattr__(self, name: str) -> Any:
            return getattr(self._storage, name)

        def list_files(self, prefix: str = "") -> Iterator[Any]:
            files = list(self._storage.list_files(prefix))
            with site.here.service(site.settings) as service:
                service.tracker.retry([row.id for row in site.rows.values()], site.here.now, completed=True)
                for name in ("Alpha", "Beta"):
                    site.remove(site.name(name))
                site.here.add(site.recording, "Epsilon.mp4")
                report = service.run_once(full=True)
                assert (report.completed, report.adopted, report.failures) == (3, 2, [])
            return iter(files)

    settings = site.here.settings(site.settings)
    storage = StorageFactory.create(settings)
    with site.tracker() as tracker:
        audit = Audit(tracker, Slow(storage), settings, now=site.here.now)  # type: ignore[arg-type]
        assert list(audit.findings()) == []
        assert audit.summary.matching == 5
    storage.close()


def test_a_folder_that_is_not_there_is_an_error_and_not_an_empty_one(tmp_path: Path, recording: Path) -> None:
    with world(tmp_path) as here:
        site = Site(here, recording, "folder")
        site.folder.rename(tmp_path / "unmounted")
        outcome = site.audit("--repair", "--yes")
        assert (outcome.code, "storage.local.path" in outcome.err) == (2, True)
        with site.tracker() as tracker:
            assert tracker.stats().completed == 4


def test_a_destination_that_cannot_be_listed_is_an_error_and_not_a_difference(
    tmp_path: Path, recording: Path
) -> None:
    with world(tmp_path) as here:
        site = Site(here, recording, "bucket")
        here.storage.emulator.deny("storage.objects.list")
        outcome = site.audit()
    assert outcome.code == 3
    assert "missing" not in outcome.out


def test_many_objects_are_compared_in_little_memory(tmp_path: Path) -> None:
    class Full:
        """A bucket of so many objects, and nothing else."""

        storage_type = "gcs"

        def __init__(self, count: int) -> None:
            self.count = count

        def require_readable(self) -> None:
            pass

        def list_files(self, prefix: str = "") -> Iterator[StoredFile]:
            for number in range(self.count):
                metadata = {"source-id": f"id{number}", "revision": "r1"}
                yield StoredFile(
                    name=f"{prefix}{number:09}.mp3", size_bytes=1, crc32c="AAAAAA==", metadata=metadata
                )

    def peak(count: int) -> int:
        settings = load_settings(
            overrides={"storage": {"type": "gcs", "gcs": {"bucket_name": "full"}}}, environ={}
        )
        with Tracker.open(str(tmp_path / f"{count}.db"), now=NOW) as tracker:
            found = 0
            tracemalloc.start()
            audit = Audit(tracker, Full(count), settings, now=NOW)  # type: ignore[arg-type]
            for finding in audit.findings():
                assert finding.reason == "forgotten"
                found += 1
            assert found == audit.summary.extra == count
            measured = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return measured

    peak(10)
    assert peak(4000) < 1.5 * peak(2000)

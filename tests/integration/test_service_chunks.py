"""Chunks of the service: stored exactly once beside their audio, wherever an attempt died."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_extract.exceptions import ConfigurationError
from audio_extract.plan import plan_id
from support.service import BUCKET, World, world

CHUNKS: dict[str, Any] = {"processing": {"chunks": {"duration_seconds": 15, "at_silence": True}}}
AUDIO = "dev/2025/02/Weekly_2025-02-28_12-00_audio"
NAMES = [f"{AUDIO}.mp3", *(f"{AUDIO}/chunk-00{number}.mp3" for number in range(3)), f"{AUDIO}/chunks.json"]


@pytest.fixture(scope="module")
def meeting(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    path = tmp_path_factory.mktemp("meeting") / "meeting.mp4"
    sound = "aevalsrc='0.4*sin(2*PI*300*t)*gt(mod(t,7),1)':s=48000:d=40"
    command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", sound, "-c:a", "aac", path]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def here(tmp_path: Path, meeting: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        found.add(meeting, "Weekly.mp4")
        yield found


def document(here: World) -> dict[str, Any]:
    found = here.storage.emulator.find(BUCKET, f"{AUDIO}/chunks.json")
    assert found is not None
    content: dict[str, Any] = json.loads(gzip.decompress(found.read()))
    return content


def test_chunks_are_stored_recorded_and_not_made_again(here: World) -> None:
    with here.service(CHUNKS) as service:
        assert service.run_once().completed == 1
        row = service.tracker.listing().rows[0]
        recorded = service.tracker.chunks_of(row.id)
        report = service.tracker.attempts_of(row.id)[-1]["report"]
    assert sorted(here.objects()) == sorted(NAMES)
    stored = {item.name: item for item in here.storage.emulator.objects(BUCKET)}
    for chunk, written in zip(recorded, document(here)["chunks"], strict=True):
        item = stored[chunk.object_name]
        assert (chunk.size_bytes, chunk.crc32c) == (item.size, item.crc32c)
        assert (written["file"], written["crc32c"]) == (chunk.object_name.rpartition("/")[2], chunk.crc32c)
        assert item.metadata["plan-id"] == plan_id(here.settings(CHUNKS))
    assert [chunk.silence_cut for chunk in recorded] == [True, True, False]
    assert report["chunks"] is None
    assert report["sound"]["loudness"]["integrated_lufs"] is not None
    here.reset_counters()
    with here.service(CHUNKS) as service:
        assert service.run_once().due == 0
    assert here.moved() == (0, 0)


def test_a_lost_database_adopts_audio_with_its_chunks(here: World, tmp_path: Path) -> None:
    with here.service(CHUNKS) as service:
        service.run_once()
    here.forget_everything()
    here.reset_counters()
    with here.service(CHUNKS) as service:
        assert service.run_once().adopted == 1
        row = service.tracker.listing().rows[0]
        assert [chunk.index for chunk in service.tracker.chunks_of(row.id)] == [0, 1, 2]
    assert here.moved() == (0, 0)


def test_audio_whose_chunks_were_not_complete_is_made_again_in_its_place(here: World, tmp_path: Path) -> None:
    with here.service(CHUNKS) as service:
        service.run_once()
    here.forget_everything()
    # As if its holder had died before the index was written.
    here.storage.emulator.delete_object(BUCKET, f"{AUDIO}/chunks.json")
    here.storage.emulator.delete_object(BUCKET, f"{AUDIO}/chunk-001.mp3")
    with here.service(CHUNKS) as service:
        report = service.run_once()
        assert (report.completed, report.failures) == (1, [])
    assert sorted(here.objects()) == sorted(NAMES)


def test_what_an_attempt_left_is_replaced_and_what_is_beyond_it_goes(here: World) -> None:
    settings = here.settings(CHUNKS)
    recording = next(item for item in here.drive.emulator.items() if item.name == "Weekly.mp4")
    metadata = {"source-id": recording.id, "revision": "earlier", "plan-id": plan_id(settings)}
    for number in (0, 7):
        here.storage.emulator.put_object(BUCKET, f"{AUDIO}/chunk-00{number}.mp3", b"half", metadata=metadata)
    with here.service(CHUNKS) as service:
        assert service.run_once().completed == 1
    assert sorted(here.objects()) == sorted(NAMES)


def test_somebody_elses_chunks_stay_and_the_next_name_is_taken(here: World) -> None:
    here.storage.emulator.put_object(BUCKET, f"{AUDIO}/chunk-000.mp3", b"mine")
    with here.service(CHUNKS) as service:
        assert service.run_once().completed == 1
    other = AUDIO.replace("Weekly", "Weekly-2")
    names = [name.replace(AUDIO, other) for name in NAMES]
    assert sorted(here.objects()) == sorted([*names, f"{AUDIO}/chunk-000.mp3"])
    assert here.storage.emulator.object(BUCKET, f"{AUDIO}/chunk-000.mp3").size == 4


def test_a_folder_gets_them_too(here: World, tmp_path: Path) -> None:
    settings = {**CHUNKS, "storage": {"type": "local", "local": {"path": str(tmp_path / "audio")}}}
    with here.service(settings) as service:
        assert service.run_once().completed == 1
    below = AUDIO.removeprefix("dev/")
    index = tmp_path / "audio" / below / "chunks.json"
    assert len(json.loads(index.read_text())["chunks"]) == 3
    assert len(list(index.parent.iterdir())) == 4
    here.forget_everything()
    with here.service(settings) as service:
        assert service.run_once().adopted == 1


def test_chunks_change_the_plan_and_no_chunks_do_not(here: World) -> None:
    plain = plan_id(here.settings())
    assert plan_id(here.settings({"processing": {"chunks": {"overlap_seconds": 1}}})) == plain
    assert plan_id(here.settings(CHUNKS)) != plain


@pytest.mark.parametrize(
    ("processing", "said"),
    [
        ({"chunks": {"duration_seconds": 60}, "audio_format": {"codec": "opus"}}, "only mp3, flac and wav"),
        ({"chunks": {"duration_seconds": 10, "overlap_seconds": 6}}, "at most half"),
        ({"chunks": {"max_size_mb": 24, "at_silence": True}, "measure": False}, "measure: true"),
        ({"chunks": {"max_size_mb": 0.1}}, "max_size_mb"),
    ],
)
def test_settings_that_cannot_work_are_refused(processing: dict[str, Any], said: str, here: World) -> None:
    with pytest.raises(ConfigurationError, match=said):
        here.settings({"processing": processing})

"""What a recording says of itself: title, time and chapters, from an MP4's index and through FFmpeg."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.cli import run_cli
from support.service import BUCKET, world

METADATA = """;FFMETADATA1
title=Weekly: Größe & <b>
[CHAPTER]
TIMEBASE=1/1000
START=0
END=2500
title=Hello
[CHAPTER]
TIMEBASE=1/1000
START=2500
END=6000
title=Budget — 2025
"""
ABOUT = {
    "title": "Weekly: Größe & <b>",
    "created_unix_seconds": 1_738_144_800,
    "chapters": [
        {"start_seconds": 0.0, "title": "Hello"},
        {"start_seconds": 2.5, "title": "Budget — 2025"},
    ],
}


def recording(path: Path, ffmpeg: Path, *words: str) -> Path:
    metadata = path.with_suffix(".txt")
    metadata.write_text(METADATA, "utf-8")
    sound = ("-f", "lavfi", "-i", "sine=440:r=48000:d=6", "-i", metadata, "-map", "0:a", "-map_metadata", "1")
    when = ("-metadata", "creation_time=2025-01-29T10:00:00Z", "-c:a", "aac")
    subprocess.run([ffmpeg, "-v", "error", *sound, *when, *words, path], check=True)
    return path


def about(path: Path) -> Any:
    done = run_cli("probe", path, "--json", cwd=path.parent)
    assert done.code == 0, done.err
    return json.loads(done.out)["about"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("first.mp4", ("-movflags", "+faststart")),
        ("last.mp4", ()),
        ("matroska.mkv", ()),
    ],
)
def test_title_time_and_chapters_are_told(
    tmp_path: Path, ffmpeg: Path, name: str, words: tuple[str, ...]
) -> None:
    path = recording(tmp_path / name, ffmpeg, *words)
    assert about(path) == ABOUT
    text = run_cli("probe", path, cwd=tmp_path).out
    assert "title: Weekly: Größe & <b>" in text
    assert "made: 2025-01-29 10:00:00 UTC" in text
    assert "Budget — 2025" in text


def test_a_recording_that_says_nothing_is_no_error(tmp_path: Path, ffmpeg: Path) -> None:
    path = tmp_path / "plain.mp4"
    sound = ("-f", "lavfi", "-i", "sine=440:d=1", "-c:a", "aac")
    subprocess.run([ffmpeg, "-v", "error", *sound, path], check=True)
    assert about(path) == {"title": None, "created_unix_seconds": None, "chapters": []}


def test_a_list_of_chapters_that_is_cut_off_gives_those_that_are_whole(tmp_path: Path, ffmpeg: Path) -> None:
    path = recording(tmp_path / "damaged.mp4", ffmpeg)
    content = bytearray(path.read_bytes())
    at = content.index(b"chpl")
    # It says that there are 200, in a box that holds two.
    assert content[at + 12] == 2
    content[at + 12] = 200
    path.write_bytes(content)
    assert about(path)["chapters"] == ABOUT["chapters"]


def test_the_service_keeps_it_in_the_processing_log(tmp_path: Path, ffmpeg: Path) -> None:
    with world(tmp_path) as here:
        here.add(recording(tmp_path / "meeting.mp4", ffmpeg), "Weekly.mp4")
        with here.service() as service:
            assert service.run_once().completed == 1
            (row,) = service.tracker.listing().rows
            assert service.tracker.attempts_of(row.id)[-1]["report"]["about"] == ABOUT
        (log,) = (one for one in here.storage.emulator.objects(BUCKET) if "/metadata/" in f"/{one.name}")
        assert json.loads(gzip.decompress(log.read()))["about"] == ABOUT

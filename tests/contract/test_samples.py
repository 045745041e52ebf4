"""The sample recordings are what their table says, whichever FFmpeg made them."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audio_extract.emulator.samples import SAMPLES, Recording, SampleError, generate, generate_long

NOW = datetime(2026, 3, 14, 10, 0, tzinfo=UTC)
SECONDS = 3.0


def wheel_ffmpeg() -> Path:
    import imageio_ffmpeg

    return Path(imageio_ffmpeg.get_ffmpeg_exe())


@pytest.fixture(scope="module", params=["installed", "wheel"])
def recordings(
    request: pytest.FixtureRequest, ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Recording]:
    binary = ffmpeg if request.param == "installed" else wheel_ffmpeg()
    made = generate(tmp_path_factory.mktemp("samples"), binary, seconds=SECONDS, now=NOW)
    return {recording.sample.key: recording for recording in made}


def probe(ffprobe: Path, path: Path) -> dict[str, Any]:
    command = [ffprobe, "-v", "error", "-show_streams", "-show_format", "-of", "json", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    document: dict[str, Any] = json.loads(done.stdout or "{}")
    return document


def boxes(path: Path) -> list[str]:
    """Types of the top-level boxes of an MP4 file (ISO/IEC 14496-12, 4.2)."""
    found = []
    data = path.read_bytes()
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : at + 8].decode("latin-1"))
        if size < 8:
            break
        at += size
    return found


#: (sample, audio tracks with their codec)
SOUND = [
    ("moov_first", ["aac"]),
    ("moov_last", ["aac"]),
    ("fragmented", ["aac"]),
    ("webm", ["opus"]),
    ("mkv", ["aac"]),
    ("two_tracks", ["aac", "aac"]),
    ("no_audio", []),
]


@pytest.mark.parametrize(("key", "codecs"), SOUND)
def test_a_sample_has_a_picture_and_its_sound(
    recordings: dict[str, Recording], ffprobe: Path, key: str, codecs: list[str]
) -> None:
    found = probe(ffprobe, recordings[key].path)
    streams = [(stream["codec_type"], stream["codec_name"]) for stream in found["streams"]]
    assert [name for kind, name in streams if kind == "audio"] == codecs
    assert [name for kind, name in streams if kind == "video"] == ["vp8" if key == "webm" else "h264"]
    assert float(found["format"]["duration"]) == pytest.approx(SECONDS, abs=0.1)


def test_the_index_stands_where_the_table_says(recordings: dict[str, Recording]) -> None:
    first = boxes(recordings["moov_first"].path)
    last = boxes(recordings["moov_last"].path)
    assert first.index("moov") < first.index("mdat")
    assert last.index("moov") > last.index("mdat")
    assert boxes(recordings["fragmented"].path).count("moof") >= 2
    assert "moov" in boxes(recordings["truncated"].path)
    assert "moov" not in boxes(recordings["no_index"].path)


@pytest.mark.parametrize("key", [sample.key for sample in SAMPLES if sample.error is None])
def test_ffmpeg_decodes_every_good_sample_without_complaint(
    recordings: dict[str, Recording], ffmpeg: Path, key: str
) -> None:
    command = [ffmpeg, "-v", "error", "-xerror", "-i", recordings[key].path, "-map", "0:a", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_and_dates_are_those_of_meet(recordings: dict[str, Recording]) -> None:
    assert recordings["moov_first"].name == "Weekly Sync - 2026/03/13 09:30 UTC - Recording.mp4"
    assert recordings["fragmented"].name == "hqx-knzr-vcm (2026-03-12 at 08:00 GMT).mp4"
    assert recordings["webm"].sample.mime_type == "video/webm"
    for recording in recordings.values():
        assert timedelta(0) < NOW - recording.created_time < timedelta(days=7)
        assert re.search(r"2026[/-]03[/-]\d\d", recording.name)


def test_every_bad_sample_has_its_error_and_every_good_one_its_length(
    recordings: dict[str, Recording],
) -> None:
    bad = {key: recording.sample.error for key, recording in recordings.items() if recording.sample.error}
    assert bad == {
        "no_audio": "media.no_audio",
        "truncated": "media.unreadable",
        "no_index": "media.unreadable",
        "not_a_video": "media.unreadable",
        "empty": "media.unreadable",
    }
    assert {recording.seconds for key, recording in recordings.items() if key not in bad} == {SECONDS}
    assert recordings["empty"].path.stat().st_size == 0


def test_some_samples_can_be_chosen(ffmpeg: Path, tmp_path: Path) -> None:
    made = generate(tmp_path / "new", ffmpeg, seconds=1, now=NOW, keys=frozenset({"moov_last", "empty"}))
    assert [recording.sample.key for recording in made] == ["moov_last", "empty"]
    assert len(list((tmp_path / "new").iterdir())) == 2


@pytest.mark.parametrize("moov_first", [False, True])
def test_a_long_recording_is_made_by_copying(
    ffmpeg: Path, ffprobe: Path, tmp_path: Path, moov_first: bool
) -> None:
    path = generate_long(
        tmp_path, ffmpeg, hours=0.1, moov_first=moov_first, megabytes_per_hour=400, size=(640, 360)
    )
    order = boxes(path)
    assert (order.index("moov") < order.index("mdat")) is moov_first
    found = probe(ffprobe, path)
    assert float(found["format"]["duration"]) == pytest.approx(360, abs=0.5)
    assert 30_000_000 < path.stat().st_size < 50_000_000
    command = [ffmpeg, "-v", "error", "-i", path, "-map", "0:a", "-c", "copy", "-f", "null", "-"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0


def chunk_counts(path: Path) -> list[int]:
    """Number of chunks of each track (ISO/IEC 14496-12, 8.7.5)."""
    data = path.read_bytes()
    index = data[data.rindex(b"moov") :]
    return [int.from_bytes(index[at.end() + 4 : at.end() + 8], "big") for at in re.finditer(b"stco", index)]


def test_picture_and_sound_can_take_turns_as_in_meets_recordings(ffprobe: Path, tmp_path: Path) -> None:
    binary = wheel_ffmpeg()
    usual = generate_long(tmp_path, binary, hours=0.05, size=(320, 180), megabytes_per_hour=200)
    assert min(chunk_counts(usual)) > 2000
    made = generate_long(
        tmp_path, binary, hours=0.05, size=(320, 180), megabytes_per_hour=200, interleave_seconds=1
    )
    assert all(150 < count < 300 for count in chunk_counts(made))
    assert "moof" not in boxes(made)
    assert float(probe(ffprobe, made)["format"]["duration"]) == pytest.approx(180, abs=0.5)
    with pytest.raises(ValueError, match="index first"):
        generate_long(tmp_path, binary, moov_first=True, interleave_seconds=1)


def test_an_ffmpeg_that_fails_is_an_error_that_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho 'no codecs today' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SampleError, match="no codecs today"):
        generate(tmp_path / "out", broken, seconds=1)


def test_an_ffmpeg_without_video_encoders_is_named(tmp_path: Path) -> None:
    minimal = tmp_path / "ffmpeg"
    minimal.write_text("#!/bin/sh\necho ' A....D aac   AAC'\n")
    minimal.chmod(0o755)
    with pytest.raises(SampleError, match="libx264, libopenh264, mpeg4"):
        generate_long(tmp_path / "out", minimal)

"""Several outputs of one recording that differ: in track, in length, in how they are cut."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_extract import _engine
from audio_extract.exceptions import SourceChangedError
from support.engine import BUCKET, Stage, serve

RATE = 48_000
#: Of the two tracks.
SECONDS = (14, 24)


@pytest.fixture(scope="module", params=["mp4", "mkv"])
def meeting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    """Two tracks of noise, the second longer than the first. An MP4's index is at its end, behind 1 MiB."""
    path = tmp_path_factory.mktemp("meeting") / f"meeting.{request.param}"
    sounds = [
        word
        for seconds in SECONDS
        for word in ("-f", "lavfi", "-i", f"anoisesrc=r={RATE}:a=0.2:d={seconds}:seed={seconds}")
    ]
    maps = ("-map", "0", "-map", "1", "-ac", "2", "-c:a", "aac", "-b:a", "320k")
    subprocess.run([ffmpeg, "-v", "error", *sounds, *maps, path], check=True)
    if path.suffix == ".mp4":
        assert path.read_bytes().index(b"moov") > 1024 * 1024
    return path


@pytest.fixture
def stage(meeting: Path, ffmpeg: Path) -> Iterator[Stage]:
    yield from serve(meeting, ffmpeg)


def clip(start: float, end: float) -> dict[str, Any]:
    return {"clip": (int(start * RATE), int(end * RATE)), "sample_rate_hz": RATE}


def samples(path: Path, ffmpeg: Path, track: int = 0) -> bytes:
    words = ("-map", f"0:a:{track}", "-f", "s16le", "-ac", "1", "-ar", str(RATE))
    command = [ffmpeg, "-v", "error", "-i", path, *words, "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def stored(stage: Stage, name: str, folder: Path) -> Path:
    """An object of the bucket as a file."""
    path = folder / name.replace("/", "-")
    path.write_bytes(stage.storage.emulator.object(BUCKET, name).read())
    return path


def noted_seconds(stage: Stage, name: str) -> float | None:
    """The length that an object says in its metadata."""
    noted = stage.storage.emulator.object(BUCKET, name).metadata.get("duration-seconds")
    return None if noted is None else float(noted)


def to_bucket(stage: Stage, *audios: dict[str, Any], rules: tuple[float, ...] = ()) -> Any:
    """A request for the outputs `o0`, `o1` …, cut into chunks of so many seconds in `c0`, `c1` …"""
    request: Any = stage.request()
    request["ffmpeg"]["encoders"] = 1
    outputs: list[Any] = []
    for number, audio in enumerate(audios):
        output = {"sink": {**request["sink"], "object": f"o{number}"}, "audio": audio}
        if rules:
            sink = {**request["sink"], "object": f"c{number}"}
            output["chunks"] = {"rule": {"duration_seconds": rules[number]}, "sink": sink}
        outputs.append(output)
    return {**request, **outputs[0], "outputs": outputs[1:]}


def to_folder(meeting: Path, ffmpeg: Path, folder: Path, *rules: float) -> Any:
    """A request for the MP3s `o0`, `o1` …, cut into chunks of so many seconds in `c0`, `c1` …"""
    outputs = [
        {
            "sink": {"kind": "file", "path": str(folder / f"o{number}")},
            "audio": {"codec": "mp3", "sample_rate_hz": RATE},
            "chunks": {
                "rule": {"duration_seconds": seconds},
                "sink": {"kind": "file", "path": str(folder / f"c{number}")},
            },
        }
        for number, seconds in enumerate(rules)
    ]
    source = {"kind": "file", "path": str(meeting)}
    return {"source": source, "ffmpeg": {"path": str(ffmpeg)}, **outputs[0], "outputs": outputs[1:]}


def test_a_track_that_is_copied_beside_another_is_stored_as_it_is(
    stage: Stage, meeting: Path, tmp_path: Path, ffmpeg: Path
) -> None:
    copy = {"codec": "copy", "track": 1}
    stage.transfer(to_bucket(stage, {"codec": "mp3", "sample_rate_hz": RATE}, copy))
    made, original = samples(stored(stage, "o1", tmp_path), ffmpeg), samples(meeting, ffmpeg, track=1)
    # Of a fragmented MP4 FFmpeg plays the encoder's delay too: 1,024 samples of 2 bytes.
    assert made.endswith(original)
    assert len(made) - len(original) in {0, 1_024 * 2}


@pytest.mark.parametrize(
    ("main", "beside"),
    [
        ({"codec": "mp3", **clip(2, 5)}, {"codec": "mp3", "sample_rate_hz": RATE}),
        ({"codec": "flac", **clip(2, 5)}, {"codec": "opus"}),
        ({"codec": "mp3", "sample_rate_hz": 44_100}, {"codec": "flac", **clip(2, 5)}),
        ({"codec": "wav", "sample_rate_hz": 16_000}, {"codec": "opus", **clip(2, 5)}),
        ({"codec": "mp3"}, {"codec": "flac", "track": 1}),
        ({"codec": "opus", "track": 1}, {"codec": "flac", "sample_rate_hz": 16_000}),
        ({"codec": "mp3", "track": 1, **clip(1, 15)}, {"codec": "flac", "mixed_tracks": 2}),
    ],
)
def test_the_length_of_each_output_is_its_own(
    stage: Stage, tmp_path: Path, ffmpeg: Path, main: dict[str, Any], beside: dict[str, Any]
) -> None:
    report = stage.transfer(to_bucket(stage, main, beside))
    for number, said in enumerate([report["audio_seconds"], report["outputs"][0]["audio_seconds"]]):
        heard = len(samples(stored(stage, f"o{number}", tmp_path), ffmpeg)) / 2 / RATE
        assert said == pytest.approx(heard, abs=0.1)
        noted = noted_seconds(stage, f"o{number}")
        # Only the index of an MP4 tells before the upload begins.
        assert noted is None or noted == pytest.approx(heard, abs=0.1)


@pytest.mark.parametrize("meeting", ["mp4"], indirect=True)
@pytest.mark.parametrize(
    ("main", "beside", "lengths"),
    [
        ({"codec": "copy"}, {"codec": "copy", "track": 1}, SECONDS),
        ({"codec": "copy", "track": 1}, {"codec": "flac", **clip(2, 5)}, (SECONDS[1], 3)),
        ({"codec": "mp3", **clip(2, 5)}, {"codec": "copy"}, (3, SECONDS[0])),
    ],
)
def test_the_length_of_a_copy_is_what_the_index_says_of_its_track(
    stage: Stage, main: dict[str, Any], beside: dict[str, Any], lengths: tuple[int, int]
) -> None:
    report = stage.transfer(to_bucket(stage, main, beside))
    said = (report["audio_seconds"], report["outputs"][0]["audio_seconds"])
    assert said == pytest.approx(lengths, abs=0.1)
    assert [noted_seconds(stage, name) for name in ("o0", "o1")] == pytest.approx(lengths, abs=0.1)


@pytest.mark.parametrize("meeting", ["mp4"], indirect=True)
def test_the_length_of_the_first_fragment_is_not_taken_for_the_recordings(
    meeting: Path, tmp_path: Path, ffmpeg: Path
) -> None:
    fragmented = tmp_path / "fragmented.mp4"
    cut = ("-movflags", "frag_keyframe", "-frag_duration", "2000000")
    command = [ffmpeg, "-v", "error", "-i", meeting, "-map", "0:0", "-c", "copy", *cut, fragmented]
    subprocess.run(command, check=True)
    for stage in serve(fragmented, ffmpeg):
        copy = {"codec": "copy"}
        report = stage.transfer(to_bucket(stage, copy, copy))
        said = (report["audio_seconds"], report["outputs"][0]["audio_seconds"])
        assert said == pytest.approx((SECONDS[0], SECONDS[0]), abs=0.1)
        assert noted_seconds(stage, "o0") is None


@pytest.mark.parametrize("meeting", ["mp4"], indirect=True)
def test_outputs_that_are_made_again_replace_their_own_chunks(
    stage: Stage, tmp_path: Path, ffmpeg: Path
) -> None:
    # More is promised than there is, and when that shows the heads have left: each is made again.
    audio = {"codec": "mp3", "bitrate_bps": 320_000, **clip(0, 99)}
    report = stage.transfer(to_bucket(stage, audio, {**audio, "channels": 1}, rules=(3, 5)))
    events = [event["name"] for part in report["stages"] for event in part["events"]]
    assert events.count("wrong_length") == 2
    for number, chunks in enumerate([report["chunks"], report["outputs"][0]["chunks"]]):
        assert chunks is not None
        objects = stage.storage.emulator.objects(BUCKET, f"c{number}/")
        assert [(item.name, item.crc32c) for item in objects] == [
            (f"c{number}/{chunk['file']}", chunk["crc32c"]) for chunk in chunks
        ]
        joined = b"".join(samples(stored(stage, item.name, tmp_path), ffmpeg) for item in objects)
        assert joined == samples(stored(stage, f"o{number}", tmp_path), ffmpeg)
        assert noted_seconds(stage, f"o{number}") == pytest.approx(SECONDS[0], abs=0.1)


@pytest.mark.parametrize("meeting", ["mp4"], indirect=True)
def test_a_transfer_that_fails_at_its_end_removes_its_own_chunks_and_no_others(
    meeting: Path, tmp_path: Path, ffmpeg: Path
) -> None:
    def changed() -> None:
        raise SourceChangedError("another revision")

    foreign = tmp_path / "c1" / "chunk-003.mp3"
    foreign.parent.mkdir()
    foreign.write_text("somebody else's")
    with pytest.raises(SourceChangedError):
        _engine.transfer(to_folder(meeting, ffmpeg, tmp_path, 3, 9), before_commit=changed)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [foreign]
    assert foreign.read_text() == "somebody else's"

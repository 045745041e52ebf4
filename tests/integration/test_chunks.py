"""Chunks, presets and measures as people ask for them: real processes, real FFmpeg, an emulated bucket."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_extract import _engine
from audio_extract.chunker import AudioChunker
from audio_extract.exceptions import ConfigurationError, DestinationExistsError, MediaError
from support.cli import environment, run_cli
from support.engine import wait_until
from support.service import BUCKET, World, world

#: Speech-like: a tone with a pause of a second every seven.
TALK = "aevalsrc='0.4*sin(2*PI*300*t)*gt(mod(t,7),1)':s=44100:d={seconds}"


def made(path: Path, ffmpeg: Path, *arguments: str, seconds: int = 40, picture: bool = False) -> Path:
    video = ("-f", "lavfi", "-i", f"testsrc2=size=64x36:rate=5:duration={seconds}") if picture else ()
    command = [ffmpeg, "-v", "error", "-y", *video, "-f", "lavfi", "-i", TALK.format(seconds=seconds)]
    subprocess.run([*command, *arguments, path], check=True)
    return path


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return made(tmp_path_factory.mktemp("talk") / "talk.mp3", ffmpeg, "-b:a", "128k")


@pytest.fixture(scope="module")
def meeting(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    path = tmp_path_factory.mktemp("meeting") / "meeting.mp4"
    return made(path, ffmpeg, "-c:v", "mpeg4", "-c:a", "aac", "-ac", "2", picture=True)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


def samples(path: Path, ffmpeg: Path) -> bytes:
    command = [ffmpeg, "-v", "error", "-i", path, "-f", "f32le", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def joined(index: Path, ffmpeg: Path) -> bytes:
    document = json.loads(index.read_text())
    return b"".join(samples(index.parent / chunk["file"], ffmpeg) for chunk in document["chunks"])


def test_a_file_becomes_chunks_beside_it_that_join_to_the_whole(
    talk: Path, tmp_path: Path, ffmpeg: Path
) -> None:
    file = tmp_path / "talk.mp3"
    file.write_bytes(talk.read_bytes())
    done = run_cli("chunk", "talk.mp3", "--duration", "15s", "--silence", cwd=tmp_path)
    assert (done.code, done.out) == (0, "talk/chunks.json\n"), done.err
    assert "0:40 in 3 chunks" in done.err
    assert "2 of 2 cuts in silence" in done.err
    document = json.loads((tmp_path / "talk/chunks.json").read_text())
    assert set(document) == {"source", "duration", "chunks"}
    assert (document["source"], round(document["duration"])) == ("talk.mp3", 40)
    fields = {"index", "file", "start", "end", "bytes", "crc32c", "silence_cut"}
    assert all(set(chunk) == fields for chunk in document["chunks"])
    for chunk in document["chunks"]:
        path = tmp_path / "talk" / chunk["file"]
        assert _engine.crc32c_file(str(path)) == (chunk["crc32c"], chunk["bytes"])
    names = sorted(path.name for path in (tmp_path / "talk").iterdir())
    assert names == ["chunk-000.mp3", "chunk-001.mp3", "chunk-002.mp3", "chunks.json"]
    assert joined(tmp_path / "talk/chunks.json", ffmpeg) == samples(file, ffmpeg)


def test_sizes_are_kept_and_the_defaults_are_those_of_speech_services(talk: Path, tmp_path: Path) -> None:
    done = run_cli("chunk", talk, "-o", "small", "--size", "300kB", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    chunks = json.loads(done.out)["chunks"]
    assert len(chunks) == 3
    assert all(chunk["bytes"] < 300_000 for chunk in chunks)
    assert AudioChunker().rule["duration_seconds"] == 900
    for words in (("--by", "size"), ("--by", "duration"), ()):
        whole = run_cli("chunk", talk, "-o", "whole", *words, "--overwrite", cwd=tmp_path)
        assert "in 1 chunk," in whole.err, whole.err


def test_a_recording_with_a_picture_is_encoded_on_the_way(
    meeting: Path, tmp_path: Path, ffmpeg: Path
) -> None:
    done = run_cli("chunk", meeting, "-o", "out", "--duration", "15s", "--codec", "flac", cwd=tmp_path)
    assert done.code == 0, done.err
    assert run_cli("extract", meeting, "-o", "whole.flac", "--codec", "flac", cwd=tmp_path).code == 0
    assert joined(tmp_path / "out/chunks.json", ffmpeg) == samples(tmp_path / "whole.flac", ffmpeg)
    as_mp3 = AudioChunker(duration_seconds=15, at_silence=True).chunk(meeting, tmp_path / "mp3")
    assert [chunk.path.suffix for chunk in as_mp3.chunks] == [".mp3"] * 3
    assert [chunk.silence_cut for chunk in as_mp3.chunks] == [True, True, False]


def test_what_is_there_stays_until_all_of_the_new_is_there(talk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    chunker = AudioChunker(duration_seconds=10)
    before = chunker.chunk(talk, folder)
    with pytest.raises(DestinationExistsError, match="holds chunks already"):
        chunker.chunk(talk, folder)
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"no sound at all" * 100)
    with pytest.raises(MediaError):
        chunker.chunk(broken, folder, overwrite=True)
    with pytest.raises(ConfigurationError, match="overlap by 9"):
        AudioChunker(duration_seconds=10, overlap_seconds=9).chunk(talk, folder, overwrite=True)
    assert json.loads(before.index.read_text())["source"] == "talk.mp3"
    assert len(list(folder.iterdir())) == len(before.chunks) + 1
    after = AudioChunker(duration_seconds=30).chunk(talk, folder, overwrite=True)
    assert len(list(folder.iterdir())) == len(after.chunks) + 1 == 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("talk.mp3", "--duration", "soon"), 2, "expected a length such as 15m"),
        (("talk.mp3", "--size", "1kB"), 2, "256 KiB"),
        (("talk.mp3", "--silence", "--silence-threshold", "3"), 2, "-90 to -10"),
        (("nothing.mp3",), 1, "nothing.mp3"),
        ((".",), 2, "is a folder"),
        (("empty.mp3",), 1, "is empty"),
        (("text.mp3",), 1, "text.mp3"),
        (("talk.mp3", "-o", "text.mp3"), 2, "not a folder"),
    ],
)
def test_what_cannot_be_cut_is_said_with_its_exit_code(
    words: tuple[str, ...], code: int, said: str, talk: Path, tmp_path: Path
) -> None:
    (tmp_path / "talk.mp3").write_bytes(talk.read_bytes())
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("this is no sound " * 1000)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run_cli("chunk", *words, cwd=tmp_path)
    assert done.code == code, done.err
    assert said in done.err
    assert (
        sorted(path.name for path in tmp_path.iterdir() if path.name not in {"talk", "empty", "text"})
        == before
    )
    assert not list(tmp_path.rglob("chunk*"))


def test_ctrl_c_leaves_no_chunk(tmp_path: Path, ffmpeg: Path) -> None:
    file = made(tmp_path / "long.mp4", ffmpeg, "-c:v", "mpeg4", "-c:a", "aac", seconds=900, picture=True)
    command = [sys.executable, "-m", "audio_extract", "chunk", file, "--duration", "10s"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE) as process:
        assert wait_until(lambda: any(tmp_path.rglob("chunk-001.mp3")), 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["long.mp4"]


def test_presets_make_several_results_of_one_reading(meeting: Path, tmp_path: Path, ffprobe: Path) -> None:
    words = ("--preset", "podcast", "--preset", "speech", "--preset", "speech-small", "--preset", "archive")
    done = run_cli("extract", meeting, "-o", "out/", *words, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    # Once, and the index that says where everything is.
    assert report["fetched_bytes"] <= meeting.stat().st_size + 128 * 1024
    expected = {
        "meeting.mp3": ("mp3", "44100", "2"),
        "meeting_speech.flac": ("flac", "16000", "1"),
        "meeting_speech-small.opus": ("opus", "48000", "1"),
        "meeting_archive.m4a": ("aac", "44100", "2"),
    }
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(expected)
    for name, kind in expected.items():
        command = [ffprobe, "-v", "error", "-show_entries", "stream=codec_name,sample_rate,channels"]
        said = subprocess.run(
            [*command, "-of", "csv=p=0", tmp_path / "out" / name], capture_output=True, text=True, check=True
        )
        assert tuple(said.stdout.strip().split(",")) == kind, name
    refused = run_cli("extract", meeting, "--preset", "speech", "--codec", "mp3", cwd=tmp_path)
    assert refused.code == 2


def noise_ratio(signal_bytes: bytes, other: bytes) -> float:
    """How far two runs of 16-bit samples are apart, in dB below the first."""
    from array import array
    from math import inf, log10

    one, two = array("h", signal_bytes), array("h", other)
    assert len(one) == len(two)
    power = sum(sample * sample for sample in one)
    noise = sum((a - b) ** 2 for a, b in zip(one, two, strict=True))
    return inf if noise == 0 else 10 * log10(power / noise)


def test_speech_is_resampled_as_well_as_ffmpeg_does_it(meeting: Path, tmp_path: Path, ffmpeg: Path) -> None:
    assert run_cli("extract", meeting, "-o", "a.flac", "--preset", "speech", cwd=tmp_path).code == 0
    command = [ffmpeg, "-v", "error", "-i"]
    as_pcm = ("-f", "s16le", "-")
    ours = subprocess.run([*command, tmp_path / "a.flac", *as_pcm], capture_output=True, check=True).stdout
    theirs = subprocess.run(
        [*command, meeting, "-ac", "1", "-ar", "16000", *as_pcm], capture_output=True, check=True
    ).stdout
    assert noise_ratio(theirs, ours) > 90


def test_chunks_of_a_transfer_are_objects_with_checksums_and_an_index(
    meeting: Path, here: World, tmp_path: Path
) -> None:
    cloud = {"DRIVE_EMULATOR_HOST": here.drive.url, "STORAGE_EMULATOR_HOST": here.storage.url}
    words = ("extract", meeting, "-o", f"gs://{BUCKET}/x/", "--chunk-duration", "15s", "--chunk-silence")
    done = run_cli(*words, cwd=tmp_path, env=cloud)
    assert done.code == 0, done.err
    assert done.out == f"gs://{BUCKET}/x/meeting.mp3\ngs://{BUCKET}/x/meeting/chunks.json\n"
    objects = {item.name: item for item in here.storage.emulator.objects(BUCKET)}
    names = [f"x/meeting/chunk-00{number}.mp3" for number in range(3)]
    assert sorted(objects) == sorted(["x/meeting.mp3", "x/meeting/chunks.json", *names])
    document: dict[str, Any] = json.loads(gzip.decompress(objects["x/meeting/chunks.json"].read()))
    for chunk in document["chunks"]:
        stored = objects[f"x/meeting/{chunk['file']}"]
        assert (stored.size, stored.crc32c) == (chunk["bytes"], chunk["crc32c"])
    again = run_cli(*words, cwd=tmp_path, env=cloud)
    assert again.code == 1, again.err
    replaced = run_cli(*words, "--overwrite", cwd=tmp_path, env=cloud)
    assert replaced.code == 0, replaced.err
    assert len(here.storage.emulator.objects(BUCKET)) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--codec", "opus", "--sample-rate", "44100"), "opus knows 8000"),
        (("--track", "7"), "no audio track 7"),
        (("--preset", "speech", "--track", "7"), "no audio track 7"),
        (("--codec", "opus", "--chunk-duration", "15m"), "--codec mp3"),
        (("--chunk-duration", "0.1s"), "1 to 86,400"),
    ],
)
def test_bad_requests_fail_before_media_is_fetched(
    words: tuple[str, ...], said: str, meeting: Path, here: World, tmp_path: Path
) -> None:
    file_id = here.add(meeting, "Weekly.mp4")
    cloud = {"DRIVE_EMULATOR_HOST": here.drive.url, "STORAGE_EMULATOR_HOST": here.storage.url}
    here.reset_counters()
    done = run_cli("extract", f"drive:{file_id}", "-o", f"gs://{BUCKET}/x/", *words, cwd=tmp_path, env=cloud)
    assert done.code in {1, 2}
    assert said in done.err
    downloads, uploads = here.moved()
    # The index of the recording says which tracks there are.
    assert downloads <= 2
    assert uploads == 0
    assert here.storage.emulator.objects(BUCKET) == []


def test_probe_draws_the_waveform_and_says_how_loud_it_is(meeting: Path, tmp_path: Path) -> None:
    done = run_cli("probe", meeting, "--waveform", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "LUFS" in done.out
    assert "█" in done.out
    assert "1.0 s before the first sound" in done.out
    report = json.loads(run_cli("probe", meeting, "--waveform", "--json", cwd=tmp_path).out)
    waveform = report["sound"]["waveform"]
    assert (waveform["version"], waveform["bits"], len(waveform["data"])) == (2, 8, 2 * waveform["length"])
    assert "sound" not in json.loads(run_cli("probe", meeting, "--json", cwd=tmp_path).out)


def test_the_service_measures_what_it_stores_and_shows_it(meeting: Path, here: World) -> None:
    here.add(meeting, "Weekly.mp4")
    with here.service() as service:
        assert service.run_once().completed == 1
        row = service.tracker.listing(states=(), limit=5).rows[0]
        report = service.tracker.attempts_of(row.id)[-1]["report"]
        log = service.storage.get_log(
            "dev/metadata/processing-logs/"
            + row.storage_path.removeprefix("dev/").rsplit(".", 1)[0]
            + ".json"
        )
    assert log is not None
    assert log["sound"]["loudness"] == report["sound"]["loudness"]
    assert -25 < report["sound"]["loudness"]["integrated_lufs"] < -5
    assert report["sound"]["waveform"]["length"] <= 200 < log["sound"]["waveform"]["length"]
    here.now = here.now.replace(day=2)
    here.add(meeting, "Quiet.mp4")
    with here.service({"processing": {"measure": False}}) as service:
        assert service.run_once().completed == 1
        rows = service.tracker.listing(states=(), limit=5).rows
        reports = [service.tracker.attempts_of(one.id)[-1]["report"] for one in rows if one.id != row.id]
    assert [one["sound"] for one in reports] == [None]


def test_chunks_whose_heads_have_left_before_their_end_join_to_the_whole(
    here: World, tmp_path: Path, ffmpeg: Path
) -> None:
    # Pieces of an upload are 1 MiB: of chunks of 3 MB nothing can be set right at the end.
    recording = made(tmp_path / "long.mp4", ffmpeg, "-c:a", "aac", seconds=130)
    cloud = {"DRIVE_EMULATOR_HOST": here.drive.url, "STORAGE_EMULATOR_HOST": here.storage.url}
    words = ("extract", recording, "-o", f"gs://{BUCKET}/", "--bitrate", "320k", "--chunk-duration", "75s")
    done = run_cli(*words, cwd=tmp_path, env=cloud)
    assert done.code == 0, done.err
    for item in here.storage.emulator.objects(BUCKET):
        path = tmp_path / "got" / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.read())
    got = tmp_path / "got/long"
    chunks = b"".join(samples(path, ffmpeg) for path in sorted(got.glob("*.mp3")))
    assert len(list(got.glob("*.mp3"))) == 2
    assert chunks == samples(tmp_path / "got/long.mp3", ffmpeg)

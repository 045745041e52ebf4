"""Which sound is taken: by number, by language, every track, all in one; and without silence at its ends."""

from __future__ import annotations

import json
import subprocess
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from support.cli import run_cli
from support.service import BUCKET, World, world

#: What each track sounds like, in Hz.
TRACKS = {"eng": 300, "deu": 900}
CONTAINERS = ("mp4", "mkv")


@pytest.fixture(params=CONTAINERS)
def meeting(request: pytest.FixtureRequest, tmp_path: Path, ffmpeg: Path) -> Path:
    path = tmp_path / f"meeting.{request.param}"
    sounds = [
        word for hertz in TRACKS.values() for word in ("-f", "lavfi", "-i", f"sine={hertz}:r=48000:d=6")
    ]
    languages = [
        word for number, name in enumerate(TRACKS) for word in (f"-metadata:s:a:{number}", f"language={name}")
    ]
    maps = [word for number in range(len(TRACKS)) for word in ("-map", str(number))]
    subprocess.run([ffmpeg, "-v", "error", *sounds, *maps, *languages, "-c:a", "aac", path], check=True)
    return path


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


def level(path: Path, hertz: int, ffmpeg: Path) -> float:
    """How loud a file is around a frequency, in dB."""
    band = f"bandpass=f={hertz}:width_type=h:w=40,bandpass=f={hertz}:width_type=h:w=40,astats=metadata=0"
    command = [ffmpeg, "-hide_banner", "-i", path, "-af", band, "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, check=True).stderr.decode()
    line = next(line for line in reversed(said.splitlines()) if "RMS level dB" in line)
    return float(line.rpartition(":")[2])


def heard(path: Path, ffmpeg: Path) -> set[str]:
    return {name for name, hertz in TRACKS.items() if level(path, hertz, ffmpeg) > -45}


@pytest.mark.parametrize(
    ("track", "files"),
    [
        ("1", {"out.mp3": {"deu"}}),
        ("deu", {"out.mp3": {"deu"}}),
        ("ENG", {"out.mp3": {"eng"}}),
        ("mix", {"out.mp3": {"eng", "deu"}}),
        ("all", {"out.mp3": {"eng"}, "out_track-1.mp3": {"deu"}}),
    ],
)
def test_the_tracks_that_are_asked_for_are_heard(
    meeting: Path, tmp_path: Path, ffmpeg: Path, track: str, files: dict[str, set[str]]
) -> None:
    done = run_cli("extract", meeting, "-o", "out.mp3", "--track", track, cwd=tmp_path)
    assert done.code == 0, done.err
    made = {path.name: heard(path, ffmpeg) for path in tmp_path.glob("out*")}
    assert made == files


def test_tracks_that_are_mixed_are_each_half_as_loud_so_that_nothing_is_cut_off(
    meeting: Path, tmp_path: Path, ffmpeg: Path
) -> None:
    for track, name in (("0", "one.wav"), ("mix", "mix.wav")):
        run_cli("extract", meeting, "-o", name, "--codec", "wav", "--track", track, cwd=tmp_path)
    difference = level(tmp_path / "one.wav", 300, ffmpeg) - level(tmp_path / "mix.wav", 300, ffmpeg)
    assert difference == pytest.approx(6.0, abs=0.3)


@pytest.mark.parametrize(
    ("track", "said"),
    [
        ("fra", "the languages of its tracks are: eng, deu"),
        ("2", "track 2"),
        ("64", "from 0 to 63"),
        ("english", "a language such as eng"),
        ("-1", "from 0 to 63"),
    ],
)
def test_a_track_that_is_not_there_is_said(meeting: Path, tmp_path: Path, track: str, said: str) -> None:
    done = run_cli("extract", meeting, "-o", "out.mp3", f"--track={track}", cwd=tmp_path)
    assert done.code in {1, 2}
    assert said in " ".join(done.err.split()) or (track == "2" and "number 2" in done.err), done.err
    assert not list(tmp_path.glob("out*"))


def test_copies_of_all_tracks_are_what_the_recording_holds(tmp_path: Path, ffmpeg: Path) -> None:
    meeting = tmp_path / "meeting.mp4"
    sounds = [
        word for seed in (1, 2) for word in ("-f", "lavfi", "-i", f"anoisesrc=r=48000:d=30:seed={seed}")
    ]
    encoded = ("-map", "0", "-map", "1", "-c:a", "aac", "-b:a", "256k")
    subprocess.run([ffmpeg, "-v", "error", *sounds, *encoded, meeting], check=True)
    assert meeting.read_bytes().index(b"moov") > 1024 * 1024
    words = ("--codec", "copy", "--track", "all")
    done = run_cli("extract", meeting, "-o", "out.m4a", *words, cwd=tmp_path)
    assert done.code == 0, done.err

    def decoded(path: Path, track: int) -> bytes:
        command = [ffmpeg, "-v", "error", "-i", path, "-map", f"0:a:{track}", "-f", "f32le", "-"]
        return subprocess.run(command, capture_output=True, check=True).stdout

    for track, name in enumerate(("out.m4a", "out_track-1.m4a")):
        copy, original = decoded(tmp_path / name, 0), decoded(meeting, track)
        # Of a fragmented MP4 FFmpeg plays the encoder's delay, a frame, and from version 9 its padding too.
        frame = 1_024 * 4
        assert copy[frame:].startswith(original), name
        assert len(copy) - len(original) < 2 * frame, name


def test_a_copy_is_neither_mixed_nor_trimmed(meeting: Path, tmp_path: Path) -> None:
    for words in (("--track", "mix"), ("--trim-silence",)):
        done = run_cli("extract", meeting, "--codec", "copy", *words, cwd=tmp_path)
        assert done.code == 2
        assert "a copy takes the sound as it is" in " ".join(done.err.split())


def quiet_ends(path: Path, ffmpeg: Path) -> Path:
    """Three seconds of silence, five of sound with a pause, four of silence."""
    sound = "aevalsrc='0.3*sin(2*PI*300*t)*between(t,3,8)*(1-between(t,5,6))':s=44100:d=12"
    subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", sound, "-c:a", "aac", path], check=True)
    return path


def samples_of(path: Path, ffmpeg: Path) -> int:
    command = [ffmpeg, "-v", "error", "-i", path, "-f", "s16le", "-ac", "1", "-"]
    return len(subprocess.run(command, capture_output=True, check=True).stdout) // 2


@pytest.mark.parametrize("codec", ["mp3", "flac", "opus", "wav"])
def test_silence_at_both_ends_is_left_out_and_the_pause_stays(
    tmp_path: Path, ffmpeg: Path, codec: str
) -> None:
    path = quiet_ends(tmp_path / "meeting.mp4", ffmpeg)
    out = tmp_path / f"out.{codec}"
    words = ("--codec", codec, "--trim-silence", "--json")
    done = run_cli("extract", path, "-o", out, *words, cwd=tmp_path)
    assert done.code == 0, done.err
    assert json.loads(done.out)["audio_seconds"] == pytest.approx(5.4, abs=0.1)
    command = [ffmpeg, "-v", "error", "-i", out, "-f", "s16le", "-ac", "1", "-ar", "1000", "-"]
    values = array("h", subprocess.run(command, capture_output=True, check=True).stdout)
    loud = [number for number, value in enumerate(values) if abs(value) > 1_000]
    assert loud[0] / 1000 == pytest.approx(0.2, abs=0.05)
    assert (len(values) - loud[-1]) / 1000 == pytest.approx(0.2, abs=0.05)
    # The pause in the middle is still there.
    assert max(after - before for before, after in pairwise(loud)) / 1000 == pytest.approx(1, abs=0.05)


def test_a_long_recording_is_trimmed_alike_by_one_encoder_and_by_several(
    tmp_path: Path, ffmpeg: Path
) -> None:
    long = tmp_path / "long.mp4"
    sound = "aevalsrc='0.3*sin(2*PI*(200+t)*t)*between(t,30,700)':s=44100:d=720"
    subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", sound, "-c:a", "aac", long], check=True)
    from audio_extract import _engine

    made = []
    for encoders in (1, 2):
        out = tmp_path / f"{encoders}.mp3"
        report = _engine.transfer(
            {
                "source": {"kind": "file", "path": str(long)},
                "sink": {"kind": "file", "path": str(out)},
                "audio": {"codec": "mp3", "sample_rate_hz": 44_100, "clip": (29 * 44_100, 701 * 44_100)},
                "ffmpeg": {"path": str(ffmpeg), "encoders": encoders},
            }
        )
        assert len(report["ffmpeg_arguments"]) == encoders
        assert samples_of(out, ffmpeg) == 672 * 44_100
        made.append(out.read_bytes())
    assert made[0] == made[1]


def test_what_is_silent_from_end_to_end_stays_as_it_is(tmp_path: Path, ffmpeg: Path) -> None:
    path = tmp_path / "nothing.mp4"
    silence = ("-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono", "-t", "3", "-c:a", "aac")
    subprocess.run([ffmpeg, "-v", "error", *silence, path], check=True)
    done = run_cli("extract", path, "-o", "out.flac", "--codec", "flac", "--trim-silence", cwd=tmp_path)
    assert done.code == 0
    assert "nothing is heard" in done.err
    assert samples_of(tmp_path / "out.flac", ffmpeg) == pytest.approx(3 * 48_000, abs=2_048)


@pytest.mark.parametrize(
    ("audio", "files"),
    [
        ({"track": "mix"}, {"": {"eng", "deu"}}),
        ({"track": "all"}, {"": {"eng"}, "_track-1": {"deu"}}),
        ({"track": "deu", "trim_silence": True, "normalize": -20}, {"": {"deu"}}),
    ],
)
def test_the_service_takes_them_too_and_not_again(
    here: World,
    meeting: Path,
    tmp_path: Path,
    ffmpeg: Path,
    audio: dict[str, Any],
    files: dict[str, set[str]],
) -> None:
    here.add(meeting, meeting.name.replace("meeting", "Weekly"), mime_type="video/mp4")
    settings = {"processing": {"audio_format": {"sample_rate": 44_100, **audio}}}
    with here.service(settings) as service:
        assert service.run_once().completed == 1
    made = {}
    for item in here.storage.emulator.objects(BUCKET):
        if item.name.endswith(".mp3"):
            path = tmp_path / "made.mp3"
            path.write_bytes(item.read())
            made[item.name.partition("_audio")[2].removesuffix(".mp3")] = heard(path, ffmpeg)
    assert made == files
    here.forget_everything()
    here.reset_counters()
    with here.service(settings) as service:
        assert service.run_once().adopted == 1
    assert here.moved()[1] == 0

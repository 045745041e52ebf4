"""``extract --normalize`` as people call it, and the gain it comes from."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_extract.plan.loudness import linear_gain
from support.cli import run_cli
from support.service import World, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


def recording(path: Path, ffmpeg: Path, level: str) -> Path:
    sound = f"aevalsrc='{level}*sin(2*PI*300*t)*(0.4+0.6*lt(mod(t,8),4))':s=48000:d=40"
    subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", sound, "-c:a", "aac", path], check=True)
    return path


def measured(path: Path, cwd: Path) -> dict[str, Any]:
    done = run_cli("probe", path, "--waveform", "--json", cwd=cwd)
    loudness: dict[str, Any] = json.loads(done.out)["sound"]["loudness"]
    return loudness


def test_a_local_file_becomes_as_loud_as_asked_by_one_gain(tmp_path: Path, ffmpeg: Path) -> None:
    quiet = recording(tmp_path / "quiet.m4a", ffmpeg, "0.02")
    before = measured(quiet, tmp_path)
    words = ("--normalize", "-16", "--preset", "speech", "--preset", "podcast")
    done = run_cli("extract", quiet, "-o", "out/", *words, cwd=tmp_path)
    assert done.code == 0, done.err
    after = measured(tmp_path / "out/quiet.flac", tmp_path)
    assert after["integrated_lufs"] == pytest.approx(-16, abs=0.2)
    assert after["range_lu"] == pytest.approx(before["range_lu"], abs=0.2)
    # LAME itself takes up to half a decibel off.
    as_mp3 = measured(tmp_path / "out/quiet_podcast.mp3", tmp_path)
    assert as_mp3["integrated_lufs"] == pytest.approx(-16, abs=0.6)


def test_no_peak_is_cut_off_for_it(tmp_path: Path, ffmpeg: Path) -> None:
    loud = recording(tmp_path / "loud.m4a", ffmpeg, "0.5")
    done = run_cli("extract", loud, "-o", "out.flac", "--codec", "flac", "--normalize", "-5", cwd=tmp_path)
    assert done.code == 0, done.err
    assert measured(tmp_path / "out.flac", tmp_path)["true_peak_dbtp"] == pytest.approx(-1, abs=0.1)


def test_what_comes_over_the_network_is_read_once(here: World, tmp_path: Path, ffmpeg: Path) -> None:
    file_id = here.add(recording(tmp_path / "far.m4a", ffmpeg, "0.02"), "far.m4a")
    env = {"DRIVE_EMULATOR_HOST": here.drive.url, "STORAGE_EMULATOR_HOST": here.storage.url}
    words = ("extract", f"drive:{file_id}", "-o", "out.mp3", "--normalize", "-16", "--json")
    done = run_cli(*words, cwd=tmp_path, env=env)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["fetched_bytes"] < 2 * report["source_size_bytes"]
    after = measured(tmp_path / "out.mp3", tmp_path)
    assert after["integrated_lufs"] == pytest.approx(-16, abs=2)
    assert after["true_peak_dbtp"] <= 0


def test_a_copy_stays_as_loud_as_it_is(tmp_path: Path) -> None:
    done = run_cli("extract", "a.mp4", "--codec", "copy", "--normalize", "-16", cwd=tmp_path)
    assert done.code == 2
    assert "a copy is as loud as it is" in done.err


@pytest.mark.parametrize(
    ("integrated", "peak", "gain"),
    [(-20.0, -10.0, 4.0), (-20.0, -3.0, 2.0), (-10.0, 0.5, -6.0), (-69.0, -68.0, 53.0), (None, None, None)],
)
def test_the_gain_is_what_loudness_wants_and_the_peak_allows(
    integrated: float | None, peak: float | None, gain: float | None
) -> None:
    measured_loudness: Any = {"integrated_lufs": integrated, "range_lu": None, "true_peak_dbtp": peak}
    assert linear_gain(measured_loudness, -16) == gain

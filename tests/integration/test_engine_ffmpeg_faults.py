"""An FFmpeg that fails, a full disk, media that cannot be read: one clear error, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from audio_extract.emulator.faults import Delay
from audio_extract.exceptions import AudioExtractError, ConfigurationError, MediaError, TransientError
from support.engine import Stage, children, make_recording, serve, wait_until

MEDIA = "drive.media"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("recording") / "meeting.mp4", ffmpeg)


@pytest.fixture
def stage(recording: Path, ffmpeg: Path) -> Iterator[Stage]:
    yield from serve(recording, ffmpeg)


def test_ffmpeg_killed_is_a_transient_error_and_leaves_nothing(stage: Stage) -> None:
    stage.drive.emulator.faults.add(Delay(seconds=0.5), kind=MEDIA, after=6, times=1)

    def kill() -> None:
        found = []

        def look() -> bool:
            found[:] = _ffmpeg_pids()
            return bool(found)

        assert wait_until(look)
        os.kill(found[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(TransientError) as caught:
        stage.transfer(stage.request(codec="wav"))
    thread.join()
    assert caught.value.code == "ffmpeg.killed"
    stage.assert_nothing_left()


def _ffmpeg_pids() -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "pipe:0"], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exec sleep 100", "ffmpeg.stalled"),
        ("cat >/dev/null; exec sleep 100", "ffmpeg.stalled"),
        ("cat >/dev/null; echo '[fatal] out of luck' >&2; exit 3", "media.unreadable"),
        ("cat >/dev/null", "media.unreadable"),
        ("exit 0", "media.unreadable"),
        ("head -c 100000; exit 1", "media.unreadable"),
        ("kill -9 $$", "ffmpeg.killed"),
    ],
)
def test_an_ffmpeg_that_misbehaves_is_told_apart_and_leaves_nothing(
    stage: Stage, tmp_path: Path, script: str, code: str
) -> None:
    fake = tmp_path / "ffmpeg"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    request = stage.request(codec="wav")
    request["ffmpeg"] = {"path": str(fake), "stall_timeout_seconds": 1.0}
    with pytest.raises(AudioExtractError) as caught:
        stage.transfer(request)
    assert caught.value.code == code
    if "luck" in script:
        assert "out of luck" in (caught.value.ffmpeg_tail or "")
    stage.assert_nothing_left()


def test_a_missing_ffmpeg_names_the_setting(stage: Stage) -> None:
    request = stage.request(codec="mp3")
    request["ffmpeg"]["path"] = "/nowhere/ffmpeg"
    with pytest.raises(ConfigurationError, match=r"/nowhere/ffmpeg.*processing\.ffmpeg\.path"):
        stage.transfer(request)
    stage.assert_nothing_left()


def test_a_full_disk_is_told_as_such_and_leaves_nothing(stage: Stage, tmp_path: Path) -> None:
    request = stage.request(codec="wav")
    request["sink"] = {"kind": "file", "path": "/dev/full", "overwrite": True, "direct": True}
    with pytest.raises(AudioExtractError) as caught:
        stage.transfer(request)
    assert caught.value.code == "destination.no_space"
    assert children() == []


def test_damaged_media_is_never_retried(tmp_path: Path, ffmpeg: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video at all" * 1000)
    for stage in serve(broken, ffmpeg):
        with pytest.raises(MediaError, match=r"Weekly Sync\.mp4"):
            stage.transfer(stage.request(codec="mp3"))
        assert stage.drive.emulator.requests.count(MEDIA) < 6
        stage.assert_nothing_left()

"""A folder that is watched: its files are taken without waiting for the next sweep."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audio_extract import mounts
from audio_extract.ffmpeg import find_ffmpeg
from audio_extract.jobs import Service
from audio_extract.settings import load_settings
from audio_extract.sources.factory import build_sources
from audio_extract.sources.folder_watch import FolderWatch
from audio_extract.storage import StorageFactory
from audio_extract.tracker import Tracker
from support.engine import make_recording, wait_until


@contextmanager
def running(tmp_path: Path) -> Iterator[Tracker]:
    """A service that watches ``in`` and sweeps once a day."""
    settings = load_settings(
        overrides={
            "sources": {"local": {"path": str(tmp_path / "in"), "settle_seconds": 0.5}},
            "google_drive": {"check_interval_seconds": 86_400},
            "storage": {"type": "local", "local": {"path": str(tmp_path / "out")}},
            "monitoring": {"database_path": str(tmp_path / "audio.db")},
        },
        environ={},
    )
    with Tracker.open(settings) as tracker:
        service = Service(
            settings,
            tracker=tracker,
            sources=build_sources(settings),
            storage=StorageFactory.create(settings),
            ffmpeg=lambda: find_ffmpeg(settings.processing.ffmpeg.path),
        )
        service.start()
        try:
            assert wait_until(lambda: tracker.last_sync("local") is not None)
            yield tracker
        finally:
            service.stop(grace_seconds=5)
            service.close()


def test_a_file_that_appears_is_stored_long_before_the_next_sweep(tmp_path: Path, ffmpeg: Path) -> None:
    recording = make_recording(tmp_path / "made.mp4", ffmpeg, seconds=2)
    (tmp_path / "in" / "team").mkdir(parents=True)
    with running(tmp_path) as tracker:
        shutil.copy(recording, tmp_path / "in" / "team" / "Weekly Sync.mp4")
        assert wait_until(lambda: tracker.stats().completed == 1, seconds=30)
    assert not [thread for thread in threading.enumerate() if thread.name == "folder-watch"]


def test_a_file_that_is_written_all_the_time_does_not_keep_others_waiting(
    tmp_path: Path, ffmpeg: Path
) -> None:
    recording = make_recording(tmp_path / "made.mp4", ffmpeg, seconds=2)
    (tmp_path / "in").mkdir()
    ended = threading.Event()

    def record() -> None:
        with (tmp_path / "in" / "live.mp4").open("ab", buffering=0) as live:
            while not ended.wait(0.1):
                live.write(b"more")

    writer = threading.Thread(target=record)
    with running(tmp_path) as tracker:
        writer.start()
        try:
            shutil.copy(recording, tmp_path / "in" / "Weekly Sync.mp4")
            assert wait_until(lambda: tracker.stats().completed == 1, seconds=40)
        finally:
            ended.set()
            writer.join()


def test_a_limit_of_watches_that_is_reached_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    program = """
import logging, sys, threading
from pathlib import Path
from audio_extract.sources.folder_watch import FolderWatch

logging.basicConfig(format="%(event)s %(message)s")
watch = FolderWatch(Path(sys.argv[1]), recursive=True, on_change=lambda: None)
watch.join(20)
"""
    # The limit is a namespace's own: nobody else is bound by it.
    limited = 'echo 1 > /proc/sys/user/max_inotify_watches && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", limited, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine allows no user namespaces, in which the limit could be set")
    done = subprocess.run(
        [*command, sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith("watch.failed")
    assert "limit" in line


def test_a_mount_that_does_not_tell_what_others_change_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "_MOUNTINFO", tmp_path / "mountinfo")
    (tmp_path / "mountinfo").write_text(f"36 35 0:45 / {tmp_path.resolve()} rw - nfs4 server:/share rw\n")
    with caplog.at_level(logging.WARNING):
        FolderWatch(tmp_path, recursive=True, on_change=lambda: None).close()
    (record,) = caplog.records
    assert record.event == "watch.failed"  # type: ignore[attr-defined]
    assert "a nfs4 mount" in record.message


def test_a_folder_that_cannot_be_watched_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        watch = FolderWatch(tmp_path / "absent", recursive=True, on_change=lambda: None)
        assert wait_until(lambda: bool(caplog.records))
        watch.close()
    (record,) = caplog.records
    assert record.event == "watch.failed"  # type: ignore[attr-defined]
    assert "check_interval_seconds" in record.message

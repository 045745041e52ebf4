"""A folder that is watched: its files are taken without waiting for the next sweep."""

from __future__ import annotations

import logging
import shutil
import threading
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


def test_a_file_that_appears_is_stored_long_before_the_next_sweep(tmp_path: Path, ffmpeg: Path) -> None:
    recording = make_recording(tmp_path / "made.mp4", ffmpeg, seconds=2)
    inbox = tmp_path / "in"
    (inbox / "team").mkdir(parents=True)
    settings = load_settings(
        overrides={
            "sources": {"local": {"path": str(inbox), "settle_seconds": 0.5}},
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
            shutil.copy(recording, inbox / "team" / "Weekly Sync.mp4")
            assert wait_until(lambda: tracker.stats().completed == 1, seconds=30)
        finally:
            service.stop(grace_seconds=5)
            service.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "folder-watch"]


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

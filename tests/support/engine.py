"""The engine between two emulators: what its tests share."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from audio_extract import _engine
from audio_extract.emulator import DriveEmulator, EmulatorServer, StorageEmulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from audio_extract.engine_types import Audio, Fetch, TransferReport, TransferRequest

BUCKET = "audio"
OBJECT = "dev/2025/01/meeting_audio.mp3"

#: Small, so that a recording of some seconds is many ranges and many chunks.
RANGE_BYTES = 128 * 1024
CHUNK_BYTES = 256 * 1024


@dataclass
class Stage:
    """Drive, the engine, Cloud Storage."""

    drive: EmulatorServer[DriveEmulator]
    storage: EmulatorServer[StorageEmulator]
    ffmpeg: str
    file_id: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)

    def request(
        self, *, codec: str = "copy", audio: Audio | None = None, fetch: Fetch | None = None
    ) -> TransferRequest:
        """A request that carries the recording into the bucket."""
        item = self.drive.emulator.item(self.file_id)
        assert item.checksums is not None
        return {
            "source": {
                "kind": "http",
                "url": f"{self.drive.url}/drive/v3/files/{self.file_id}?alt=media",
                "authenticated": "source_token" in self.overrides,
                "name": item.name,
                "size_bytes": item.content.size if item.content else None,
                "md5": item.checksums.md5,
            },
            "sink": {
                "kind": "gcs",
                "endpoint": self.storage.url,
                "bucket": BUCKET,
                "object": OBJECT,
                "authenticated": "sink_token" in self.overrides,
                "content_type": "audio/mpeg",
                "metadata": {"source-id": self.file_id},
                "chunk_size_bytes": CHUNK_BYTES,
            },
            "audio": {"codec": codec, **(audio or {})},  # type: ignore[typeddict-item]
            # A busy machine may keep a child waiting for a second: who tests stalls of FFmpeg says so.
            "ffmpeg": {"path": self.ffmpeg, "stall_timeout_seconds": 30.0},
            "fetch": {
                "range_size_bytes": RANGE_BYTES,
                "max_ranges": 4,
                "stall_timeout_seconds": 1.0,
                **(fetch or {}),
            },
            "retry": {"max_attempts": 4, "base_seconds": 0.01, "max_seconds": 0.02},
        }

    def transfer(self, request: TransferRequest | None = None, **callbacks: Any) -> TransferReport:
        """Carry the recording over."""
        return _engine.transfer(request or self.request(), **{**self.overrides, **callbacks})

    def stored(self) -> bytes | None:
        """What stands in the bucket under the final name."""
        found = self.storage.emulator.find(BUCKET, OBJECT)
        return None if found is None else found.read()

    def assert_nothing_left(self) -> None:
        """No object, no open upload session, no FFmpeg."""
        assert self.storage.emulator.objects(BUCKET) == []
        self.assert_nothing_open()

    def assert_nothing_open(self) -> None:
        """No open upload session, no FFmpeg."""
        assert self.storage.emulator.uploads.open_sessions() == []
        assert children() == []


def children() -> list[str]:
    """Command lines of this process's children that still run."""
    found = subprocess.run(
        ["ps", "-o", "stat=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    lines = [line for line in found.stdout.splitlines() if "ps -o" not in line]
    # In brackets: it was killed, its memory is gone, and only a busy machine still shows it.
    return [
        line for line in lines if "ffmpeg" in line and "[ffmpeg]" not in line and not line.startswith("Z")
    ]


def make_recording(path: Path, ffmpeg: Path | str, *, seconds: int = 40, faststart: bool = True) -> Path:
    """A recording whose audio alone is about 24 KB a second."""
    flags = ("-movflags", "+faststart") if faststart else ()
    subprocess.run(
        [
            *(str(ffmpeg), "-v", "error", "-y"),
            *("-f", "lavfi", "-i", f"testsrc2=size=160x90:rate=10:duration={seconds}"),
            *("-f", "lavfi", "-i", f"anoisesrc=r=48000:a=0.2:d={seconds}:seed=7"),
            *("-c:v", "mpeg4", "-b:v", "200k", "-c:a", "aac", "-b:a", "192k", "-ac", "2", "-shortest"),
            *flags,
            str(path),
        ],
        check=True,
    )
    return path


def serve(recording: Path, ffmpeg: Path) -> Iterator[Stage]:
    """The emulators with one recording and an empty bucket."""
    with EmulatorServer(DriveEmulator()) as drive, EmulatorServer(StorageEmulator()) as storage:
        storage.emulator.create_bucket(BUCKET)
        stage = Stage(drive, storage, str(ffmpeg))
        stage.file_id = drive.emulator.add_file(recording, name="Weekly Sync.mp4")
        yield stage


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Poll a condition that another thread brings about."""
    pause = threading.Event()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        pause.wait(0.005)
    return condition()

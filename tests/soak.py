"""The service for a long time: recordings keep coming, and nothing may grow but what is stored.

`make soak` runs it. The program runs in a process of its own between emulators. Every few seconds a recording
comes; its memory, open files and threads are read from the kernel. At the end everything must be stored once,
and what was used in the last third must be what was used in the second.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from audio_extract.emulator.samples import generate
from audio_extract.ffmpeg import find_ffmpeg
from support.cli import environment
from support.service import BUCKET, World, world

#: How much more memory the last third may use than the second: what an allocator keeps, not what leaks.
_MEMORY_GROWTH = 1.15
_MEMORY_SLACK_BYTES = 8 * 1024 * 1024
_FILES_SLACK = 4
_LEAST_SAMPLES = 12


@dataclass(frozen=True)
class Use:
    """What the process uses at one moment."""

    memory_bytes: int
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Use:
        """Read it."""
        process = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return cls(
            memory_bytes=int(status["VmRSS"].split()[0]) * 1024,
            files=len(list((process / "fd").iterdir())),
            threads=int(status["Threads"]),
        )


def problems_of(uses: list[Use]) -> list[str]:
    """What grew from the second third to the last one."""
    third = len(uses) // 3
    if third < _LEAST_SAMPLES // 3:
        return [f"only {len(uses)} measurements: it did not run for long enough"]
    second, last = uses[third : 2 * third], uses[2 * third :]

    def middle(which: str, part: list[Use]) -> float:
        return statistics.median(getattr(use, which) for use in part)

    found = []
    before, after = middle("memory_bytes", second), middle("memory_bytes", last)
    if after > before * _MEMORY_GROWTH + _MEMORY_SLACK_BYTES:
        found.append(f"memory grew from {before / 1e6:.0f} to {after / 1e6:.0f} MB")
    for which in ("files", "threads"):
        before, after = middle(which, second), middle(which, last)
        if after > before + _FILES_SLACK:
            found.append(f"{which} grew from {before:.0f} to {after:.0f}")
    return found


def soak(folder: Path, minutes: float, every_seconds: float) -> list[str]:
    """Run the service, and return what was wrong."""
    ffmpeg = find_ffmpeg().path
    [made] = generate(folder / "samples", ffmpeg, seconds=20, keys=frozenset({"moov_last"}))
    with world(folder) as site:
        values = {
            "google_drive": {
                "recordings_folder_id": site.folder,
                "days_to_look_back": 0,
                "check_interval_seconds": 5,
            },
            "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
            "monitoring": {"database_path": "audio.db", "dashboard_port": 0, "health_port": 0},
        }
        (folder / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))
        env = {"DRIVE_EMULATOR_HOST": site.drive.url, "STORAGE_EMULATOR_HOST": site.storage.url}
        with (folder / "err.txt").open("w") as err:
            child = subprocess.Popen(
                [sys.executable, "-m", "audio_extract", "run"], cwd=folder, env=environment(env), stderr=err
            )
        try:
            added, uses, died = _watch(site, child, made.path, minutes, every_seconds)
            if died:
                return [
                    f"it ended by itself with {child.returncode}: {(folder / 'err.txt').read_text()[-500:]}"
                ]
            _wait_for(site, added)
            child.send_signal(signal.SIGTERM)
            code = child.wait(60)
        finally:
            child.kill()
            child.wait()
        found = problems_of(uses)
        stored = len(site.objects())
        if stored != added:
            found.append(f"{added} recordings came, {stored} are stored")
        if code != 0:
            found.append(f"it ended with {code}")
        first, last = uses[0], uses[-1]
        print(
            f"{added} recordings in {minutes:g} min, {stored} stored; "
            f"memory {first.memory_bytes / 1e6:.0f} → {last.memory_bytes / 1e6:.0f} MB, "
            f"files {first.files} → {last.files}, threads {first.threads} → {last.threads}"
        )
        return found


def _watch(
    site: World, child: subprocess.Popen[bytes], recording: Path, minutes: float, every_seconds: float
) -> tuple[int, list[Use], bool]:
    added, uses = 0, []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        site.add(recording, f"Weekly {added:05}.mp4", created_time=None)
        added += 1
        time.sleep(every_seconds)
        if child.poll() is not None:
            return added, uses, True
        uses.append(Use.of(child.pid))
    return added, uses, False


def _wait_for(site: World, count: int) -> None:
    end = time.monotonic() + 120
    while len(site.objects()) < count and time.monotonic() < end:
        time.sleep(0.5)


def main() -> None:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every-seconds", type=float, default=2)
    options = parser.parse_args()
    # Temporary files of the service are below it too.
    with tempfile.TemporaryDirectory(prefix="audio-extract-soak-") as made:
        os.environ["TMPDIR"] = made
        found = soak(Path(made), options.minutes, options.every_seconds)
    for problem in found:
        print(f"WRONG  {problem}", file=sys.stderr)
    print("soak: nothing grew" if not found else f"soak: {len(found)} problems")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

"""What looking for recordings costs when a hundred thousand are known.

The Drive emulator with as many files runs in a process of its own, whose CPU is shown beside; where `seconds`
is much more than both CPU times together, the machine was busy with something else. Each look is a
process too: the first one, which records them all; an incremental one when nothing has changed; a reconcile.
Ends with 1 when a bound is missed: 1 request and 100 ms for the incremental look; 110 requests, 20 s and
200 MiB for the reconcile.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

NOW = datetime(2026, 1, 29, 10, 0, tzinfo=UTC)
UNITS = {"requests": "", "seconds": "s", "cpu": "s", "peak_mib": "MiB", "emulator_cpu": "s"}


def serve(files: int) -> None:
    """Be the emulator until stdin ends."""
    from audio_extract.emulator import DriveEmulator, EmulatorServer

    with EmulatorServer(DriveEmulator()) as server:
        folder = server.emulator.add_folder("Meet Recordings")
        for number in range(files):
            name = f"Weekly Sync {number} (2026-01-29 at 10:00 GMT).mp4"
            created = NOW - timedelta(minutes=number + 1)
            server.emulator.add_file(b"a recording", name=name, parent=folder, created_time=created)
        print(json.dumps({"url": server.url, "folder": folder}), flush=True)
        sys.stdin.read()


def look(kind: str, url: str, folder: str, database: str) -> None:
    """Look once, and say what it took."""
    from audio_extract.discover import discover
    from audio_extract.settings import load_settings
    from audio_extract.sources.factory import build_sources
    from audio_extract.tracker import Tracker

    settings = load_settings(
        overrides={
            "google_drive": {"recordings_folder_id": folder, "days_to_look_back": 0},
            "monitoring": {"database_path": database},
        },
        environ={"DRIVE_EMULATOR_HOST": url},
    )
    with Tracker.open(settings, now=NOW) as tracker:
        (source,) = build_sources(settings)
        if kind == "incremental":
            # The first one of a process reads the discovery document and connects; a service did so long ago.
            discover(source, tracker, settings, NOW)
        before = _requests(url)
        cpu = time.process_time()
        began = time.perf_counter()
        result = discover(source, tracker, settings, NOW, full=kind == "full")
        seconds = time.perf_counter() - began
        cpu = time.process_time() - cpu
        source.close()
    answer = {
        "seen": result.seen,
        "new": result.new,
        "requests": _requests(url) - before,
        "seconds": seconds,
        "cpu": cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(answer))


def _requests(url: str) -> int:
    with urllib.request.urlopen(f"{url}/_emulator/requests") as answer:  # noqa: S310 - our own emulator
        found: dict[str, Any] = json.load(answer)
    return sum(count for kind, count in found["counts"].items() if kind.startswith("drive."))


def main() -> int:
    """Measure; 1 when a bound is missed."""
    parser = argparse.ArgumentParser(prog="benches/discovery.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    options = parser.parse_args()
    missed = 0
    this = str(Path(__file__).resolve())
    with tempfile.TemporaryDirectory(prefix="bench-discovery-") as scratch:
        command = [sys.executable, this, "--serve", str(options.files)]
        emulator = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert emulator.stdin is not None
        assert emulator.stdout is not None
        place = json.loads(emulator.stdout.readline())
        bounds: dict[str, dict[str, float]] = {
            "first": {},
            "incremental": {"requests": 1, "seconds": 0.1},
            "full": {"requests": 110, "seconds": 20, "peak_mib": 200},
        }
        for kind, bound in bounds.items():
            cpu = _cpu_seconds(emulator.pid)
            arguments = [kind, place["url"], place["folder"], f"{scratch}/tracker.db"]
            done = subprocess.run(
                [sys.executable, this, "--look", *arguments], stdout=subprocess.PIPE, text=True, check=True
            )
            figures = {**json.loads(done.stdout), "emulator_cpu": _cpu_seconds(emulator.pid) - cpu}
            print(f"{kind}: {figures['seen']:,} seen, {figures['new']:,} new")
            for name, unit in UNITS.items():
                is_missed = name in bound and figures[name] > bound[name]
                missed += is_missed
                limit = f"≤ {bound[name]:g} {unit}" if name in bound else ""
                verdict = "MISSED" if is_missed else ""
                print(f"  {name:13}{figures[name]:10.3f} {unit:4}{limit:12}{verdict}", flush=True)
        emulator.stdin.close()
        emulator.wait(10)
    print(f"{missed} figures missed their bound" if missed else "every figure is within its bound")
    return 1 if missed else 0


def _cpu_seconds(process_id: int) -> float:
    # proc(5): fields 14 and 15 are the ticks in user and kernel mode; the name before may hold spaces.
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve", files]:
            serve(int(files))
        case ["--look", kind, url, folder, database]:
            look(kind, url, folder, database)
        case _:
            sys.exit(main())

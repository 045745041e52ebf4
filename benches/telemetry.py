"""What telemetry costs: CPU seconds of the same round with and without it, in pairs.

With: traces and metrics are sent, and logs are written as JSON lines to a file. Without: nothing of that.

Emulators and the receiver run in a process of their own, which is not measured. Each side is a new
process: the service in it stores one recording to warm up, then the measured ones. What is compared is the
process's own CPU, as a share of all with FFmpeg, which does the same either way. The order
within a pair alternates. Ends with 1 when the median of the ratios is above the bound.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BOUND = 1.02
BUCKET = "audio"


def serve(recording: Path, count: int) -> None:
    """Be the emulators and the receiver until stdin ends."""
    from audio_extract.emulator import DriveEmulator, EmulatorServer, StorageEmulator
    from support.otlp import receiver

    with (
        EmulatorServer(DriveEmulator()) as drive,
        EmulatorServer(StorageEmulator()) as storage,
        receiver() as traces,
    ):
        storage.emulator.create_bucket(BUCKET)
        folders = []
        for files in (1, count):
            folder = drive.emulator.add_folder("Meet Recordings")
            for number in range(files):
                created = datetime.now(UTC) - timedelta(hours=number + 1)
                name = f"Meeting {folder} {number}.mp4"
                drive.emulator.add_file(recording, name=name, parent=folder, created_time=created)
            folders.append(folder)
        line = {"drive": drive.url, "storage": storage.url, "traces": traces.url, "folders": folders}
        print(json.dumps(line), flush=True)
        sys.stdin.read()


def cpu_seconds(who: int) -> float:
    """CPU of this process, or of the FFmpegs that ended."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def side(where: dict[str, Any], *, traced: bool, scratch: str) -> None:
    """Run one warm-up and one measured round; say what the latter took."""
    from audio_extract.cli.assembly import open_service, open_traces
    from audio_extract.settings import load_settings
    from audio_extract.telemetry.logs import configure_logs

    receiver = where["traces"] if traced else None
    environ = {"DRIVE_EMULATOR_HOST": where["drive"], "STORAGE_EMULATOR_HOST": where["storage"]}
    took = (0.0, 0.0)
    for number, folder in enumerate(where["folders"]):
        settings = load_settings(
            overrides={
                "google_drive": {"recordings_folder_id": folder, "days_to_look_back": 0},
                # A prefix of its own: nothing stands there already.
                "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET, "prefix": Path(scratch).name}},
                "monitoring": {"database_path": f"{scratch}/{number}.db"},
                "telemetry": {"otlp_endpoint": receiver, "otlp_metrics_endpoint": receiver},
            },
            environ=environ,
        )
        before = cpu_seconds(resource.RUSAGE_SELF), cpu_seconds(resource.RUSAGE_CHILDREN)
        if traced:
            configure_logs(console=None, file=Path(scratch) / "audio-extract.log")
        traces = open_traces(settings)
        with open_service(settings, traces=traces) as service:
            report = service.run_once()
        traces.close()
        after = cpu_seconds(resource.RUSAGE_SELF), cpu_seconds(resource.RUSAGE_CHILDREN)
        took = after[0] - before[0], after[1] - before[1]
        if report.failures or not report.completed or traces.enabled != traced:
            sys.exit(f"not stored as wanted: {report}")
    print(*took)


def interval(ratios: list[float]) -> tuple[float, float]:
    """The median's confidence interval by order statistics, about 95 % (binomial)."""
    ordered, n = sorted(ratios), len(ratios)
    skip = max(0, int(n / 2 - 0.98 * n**0.5))
    return ordered[max(0, skip - 1)], ordered[min(n - 1, n - skip)]


def main() -> None:
    """Measure, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--recordings", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=600, help="length of each")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.recordings)
        return
    if options.side:
        side(json.loads(options.side[0]), traced=options.side[1] == "on", scratch=options.side[2])
        return
    sys.exit(measure(options.pairs, options.recordings, options.seconds))


def measure(pairs: int, recordings: int, seconds: int) -> int:
    """Return the exit code."""
    from support.engine import make_recording

    program = [sys.executable, __file__]
    ratios: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench-telemetry-") as name:
        recording = make_recording(Path(name) / "meeting.mp4", "ffmpeg", seconds=seconds)
        with subprocess.Popen(
            [*program, "--serve", recording, "--recordings", str(recordings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout is not None
            where = server.stdout.readline()
            for number in range(pairs):
                took = {}
                for which in ("on", "off") if number % 2 else ("off", "on"):
                    scratch = Path(name) / f"{number}-{which}"
                    scratch.mkdir()
                    answer = subprocess.run(
                        [*program, "--side", where, which, scratch],
                        check=True,
                        capture_output=True,
                        text=True,
                    )
                    own, children = map(float, answer.stdout.split()[-2:])
                    took[which] = (own, own + children)
                # FFmpeg knows nothing of traces, and its seconds vary most.
                ratios.append(1 + (took["on"][0] - took["off"][0]) / took["off"][1])
                (off, whole), (on, _) = took["off"], took["on"]
                print(f"  {number + 1:2}/{pairs}: off {off:.2f} s of {whole:.2f} s CPU, on {on:.2f} s")
            assert server.stdin is not None
            server.stdin.close()
    low, high = interval(ratios)
    median = statistics.median(ratios)
    cost = f"{(median - 1) * 100:+.2f} % ({(low - 1) * 100:+.2f} … {(high - 1) * 100:+.2f} %)"
    print(f"telemetry: {cost} of CPU seconds, {pairs} pairs; wanted: below {(BOUND - 1) * 100:.0f} %")
    return int(median >= BOUND)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()

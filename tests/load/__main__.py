"""A hundred people look at the dashboard while four transfers run: do they wait, and do the transfers?

A database with a million recordings, the service as a process of its own between the emulators, four new
recordings a round. Half of the rounds run while Locust's users look, half while nobody does; first quiet
ones, then those under load, then quiet ones again, so that a machine that changes meanwhile is seen. Ends
with 1 when somebody got an error, waited longer than promised, or the transfers did.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which

import httpx
import yaml
from sqlalchemy import text

from audio_extract.tracker import Tracker
from support.cli import environment
from support.engine import make_recording, wait_until
from support.service import BUCKET, World, world
from tracker import fill

#: Milliseconds that 95 of 100 answers take at most, and how much longer transfers may take.
_P95_MILLISECONDS = 150.0
_WALL_RATIO = 1.05
_TOGETHER = 4


@dataclass(frozen=True)
class Round:
    """Four transfers at a time.

    Attributes:
        wall_seconds: From the first claim to the last record.
        encoder_cpu_seconds: What FFmpeg used.
    """

    wall_seconds: float
    encoder_cpu_seconds: float


@dataclass(frozen=True)
class Shares:
    """What else than encoders took of one core while users looked, 1 being all of it.

    Attributes:
        service: The service itself, transfers and answers.
        users: Locust, which elsewhere would be on other machines.
    """

    service: float
    users: float


def main() -> int:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="recordings that are known before")
    parser.add_argument("--rounds", type=int, default=10, help="rounds under load, and quiet ones")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=120, help="how long the users look at least")
    parser.add_argument("--minutes", type=float, default=10, help="length of each recording")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audio-extract-load-")))
        here = stack.enter_context(world(folder))
        here.now = datetime.now(UTC)
        ffmpeg = Path(which("ffmpeg") or sys.exit("ffmpeg is not installed"))
        recording = make_recording(folder / "meeting.mp4", ffmpeg, seconds=options.minutes * 60)
        tracker = stack.enter_context(Tracker.open(str(folder / "audio.db")))
        prepare(tracker, options.rows)
        print(f"{options.rows:,} recordings known; {os.cpu_count()} cores", flush=True)
        service = RunningService(here, folder)
        url = stack.enter_context(service)
        before = [one_round(here, tracker, recording) for _ in range(options.rounds // 2 + 1)][1:]
        pid, began = service.pid, (cpu_seconds(service.pid), time.monotonic())
        one_round(here, tracker, recording)
        alone = (cpu_seconds(pid) - began[0]) / (time.monotonic() - began[1])
        loaded, answers, shares = under_load(here, tracker, recording, url, folder, options, pid)
        after = [one_round(here, tracker, recording) for _ in range(options.rounds - len(before))]
    print(
        f"service itself {alone:.3f} of a core while nobody looks, {shares.service:.3f} while users do; ",
        end="",
    )
    print(f"Locust {shares.users:.3f}, on the same {os.cpu_count()} cores")
    return judge(before + after, loaded, answers)


def cpu_seconds(pid: int) -> float:
    """Return what a process has used so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prepare(tracker: Tracker, rows: int) -> None:
    """Fill the database; what is due there never becomes due here."""
    fill(tracker, rows)
    never = "UPDATE recordings SET next_attempt_at = '2999-01-01 00:00:00.000000' WHERE next_attempt_at > ''"
    with tracker._database.write() as connection:
        connection.execute(text(never))


class RunningService:
    """The service as a process of its own; gives the dashboard's address."""

    def __init__(self, here: World, folder: Path) -> None:
        self._here, self._folder = here, folder

    def __enter__(self) -> str:
        config = self._folder / "config.yaml"
        values = {
            "google_drive": {"recordings_folder_id": self._here.folder, "check_interval_seconds": 1},
            "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
            "processing": {"max_parallel_downloads": _TOGETHER},
            "monitoring": {
                "database_path": str(self._folder / "audio.db"),
                "dashboard_port": 0,
                "health_port": 0,
            },
        }
        config.write_text(yaml.safe_dump(values))
        hosts = {
            "DRIVE_EMULATOR_HOST": self._here.drive.url,
            "STORAGE_EMULATOR_HOST": self._here.storage.url,
        }
        words = [sys.executable, "-m", "audio_extract", "run", "--config", str(config)]
        self._said = (self._folder / "service.log").open("w")
        self._process = subprocess.Popen(words, env=environment(hosts), stderr=self._said)
        log = self._folder / "service.log"
        if not wait_until(lambda: "dashboard: http" in log.read_text(), 60):
            sys.exit(f"the service does not start:\n{log.read_text()}")
        line = next(line for line in log.read_text().splitlines() if line.startswith("dashboard: "))
        return line.removeprefix("dashboard: ").rstrip("/")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        self._said.close()
        if code:
            sys.exit(f"the service ended with {code}:\n{(self._folder / 'service.log').read_text()[-3000:]}")


def one_round(here: World, tracker: Tracker, recording: Path) -> Round:
    """Let four new recordings be transferred side by side."""
    stamp = time.monotonic_ns()
    ids = [
        here.add(
            recording, f"Meeting {stamp} {number}.mp4", created_time=datetime.now(UTC) - timedelta(hours=1)
        )
        for number in range(_TOGETHER)
    ]

    def done() -> bool:
        # Looking takes as little as possible of what is measured.
        time.sleep(0.1)
        rows = [tracker.find(f"drive://{one}") for one in ids]
        return all(row is not None and row.status == "completed" for row in rows)

    if not wait_until(done, 600):
        sys.exit("the transfers did not end")
    attempts = [tracker.attempts_of(row.id)[-1] for one in ids if (row := tracker.find(f"drive://{one}"))]
    began, ended = min(one["started_at"] for one in attempts), max(one["ended_at"] for one in attempts)
    cpu = sum(one["report"]["ffmpeg_cpu_seconds"] or 0 for one in attempts)
    return Round((ended - began).total_seconds(), cpu)


def under_load(
    here: World,
    tracker: Tracker,
    recording: Path,
    url: str,
    folder: Path,
    options: argparse.Namespace,
    service: int,
) -> tuple[list[Round], dict[str, dict[str, str]], Shares]:
    """The same while users look; returns Locust's figures too, and who took how much of the machine."""
    users = Path(__file__).with_name("load_tests.py")
    # Who looks does so from another machine: here the users take what service and encoders leave.
    words = [
        "nice", "-n", "10", sys.executable, "-m", "locust", "--headless", "--locustfile", str(users),
        "--host", url, "--users", str(options.users), "--spawn-rate", "10", "--csv", str(folder / "load"),
        "--only-summary", "--reset-stats", "--loglevel", "WARNING",
    ]  # fmt: skip
    looking = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    rounds: list[Round] = []
    try:
        time.sleep(options.users / 10 + 2)
        began = time.monotonic()
        used = cpu_seconds(service), cpu_seconds(looking.pid)
        while len(rounds) < options.rounds or time.monotonic() - began < options.seconds:
            rounds.append(one_round(here, tracker, recording))
        seconds = time.monotonic() - began
        shares = Shares(
            (cpu_seconds(service) - used[0]) / seconds, (cpu_seconds(looking.pid) - used[1]) / seconds
        )
        httpx.get(f"{url}/api/health").raise_for_status()
    finally:
        # Where this runs in the background, SIGINT is ignored.
        looking.send_signal(signal.SIGTERM)
        looking.wait(60)
    with (folder / "load_stats.csv").open() as stream:
        return rounds, {row["Name"]: row for row in csv.DictReader(stream)}, shares


def judge(quiet: list[Round], loaded: list[Round], answers: dict[str, dict[str, str]]) -> int:
    """Print the figures, and what was promised."""
    missed = 0
    for name, row in answers.items():
        print(
            f"  {name:<28} {int(row['Request Count']):>6} requests, {int(row['Failure Count'])} failed, "
            f"median {float(row['50%']):>4.0f} ms, p95 {float(row['95%']):>4.0f} ms"
        )
    whole = answers["Aggregated"]
    missed += shown("failed requests", float(whole["Failure Count"]), 0)
    missed += shown("p95 of all answers, ms", float(whole["95%"]), _P95_MILLISECONDS)
    print(f"  quiet  {' '.join(f'{one.wall_seconds:.2f}' for one in quiet)} s")
    print(f"  loaded {' '.join(f'{one.wall_seconds:.2f}' for one in loaded)} s")
    for name, values, most in (
        ("wall of four transfers", lambda one: one.wall_seconds, _WALL_RATIO),
        ("CPU of their encoders", lambda one: one.encoder_cpu_seconds, _WALL_RATIO),
    ):
        ratio, low, high = ratio_of_medians([values(one) for one in loaded], [values(one) for one in quiet])
        missed += shown(f"{name}, loaded over quiet (95 %: {low:.3f} to {high:.3f})", ratio, most)
    return 1 if missed else 0


def ratio_of_medians(some: list[float], others: list[float]) -> tuple[float, float, float]:
    """Return the ratio of two medians with its 95 % interval (bootstrap)."""
    chance = random.Random(1)  # noqa: S311 - not a secret

    def median_again(values: list[float]) -> float:
        return statistics.median(chance.choices(values, k=len(values)))

    ratios = sorted(median_again(some) / median_again(others) for _ in range(4000))
    return statistics.median(some) / statistics.median(others), ratios[100], ratios[-101]


def shown(name: str, value: float, most: float) -> int:
    """Print a figure beside its bound; 1 when it missed it."""
    missed = value > most
    print(f"{name:<80} {value:8.3f}  ≤ {most:g}{'  MISSED' if missed else ''}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

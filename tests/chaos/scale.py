"""Several services and workers on one PostgreSQL, while processes are killed and servers go away.

`make chaos-scale` plays it with 500 recordings and prints what came of it; the exit code is 1 unless there is
one object for each recording, each made once. What was made is counted by the bucket: every generation it
ever gave, not what our database believes.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import yaml

from audio_extract.emulator import DriveEmulator, EmulatorServer
from audio_extract.emulator.faults import Delay
from audio_extract.exceptions import TransientError
from audio_extract.tracker import State, Tracker
from chaos.watched import WatchedStorage
from support.cli import environment
from support.databases import Postgresql, restartable_postgresql
from support.engine import make_recording, wait_until
from support.redis import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "audio"
#: What a supervisor (systemd, Kubernetes) answers with a new start.
EXIT_TEMPORARY = 5
_END_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens.

    Attributes:
        recordings: How many; half of them appear while the others are transferred.
        services: Processes of `run`.
        workers: Processes of `worker`.
        worker_kills: How often a worker gets SIGKILL; another is started in its place.
        service_kills: The same of services.
        worker_stops: How often a worker gets SIGTERM, and has to end with 0.
        database_restarts: How often PostgreSQL stops for some seconds.
        redis_stops: The same of Redis, which forgets everything.
        seed: Of everything that is left to chance.
        limit_seconds: After this long without an end it has failed.
    """

    recordings: int
    services: int = 2
    workers: int = 4
    worker_kills: int = 0
    service_kills: int = 0
    worker_stops: int = 0
    database_restarts: int = 0
    redis_stops: int = 0
    seed: int = 1
    limit_seconds: float = 1_500


@dataclass
class Result:
    """What came of it; `problems` is empty when everything held."""

    seconds: float = 0.0
    objects: int = 0
    generations: int = 0
    events: Counter[str] = field(default_factory=Counter)
    transfers: Counter[str] = field(default_factory=Counter)
    owners: int = 0
    problems: list[str] = field(default_factory=list)


class Fleet:
    """The processes, each with a log of its own."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._folder = folder
        self._env = environment(env)
        self._running: dict[str, list[tuple[subprocess.Popen[bytes], TextIO]]] = {"run": [], "worker": []}
        self._serial = 0
        self.restarted = 0

    def start(self, role: str) -> None:
        """Start one more."""
        self._serial += 1
        log = (self._folder / f"{role}-{self._serial}.log").open("w")
        words = [sys.executable, "-m", "audio_extract", role]
        child = subprocess.Popen(words, cwd=self._folder, env=self._env, stdout=log, stderr=log)
        self._running[role].append((child, log))

    def end(self, role: str, number: signal.Signals, choice: random.Random) -> int:
        """Send a signal to one of a role, and wait for its end; returns its exit code."""
        child, log = self._running[role].pop(choice.randrange(len(self._running[role])))
        if number is signal.SIGTERM:
            _wait_ready(child, log)
        child.send_signal(number)
        return _wait(child, log)

    def end_all(self, number: signal.Signals) -> list[int]:
        """The same to all of them at once."""
        running = [pair for role in self._running.values() for pair in role]
        for role in self._running.values():
            role.clear()
        for child, log in running:
            if number is signal.SIGTERM:
                _wait_ready(child, log)
            child.send_signal(number)
        return [_wait(child, log) for child, log in running]

    def fallen(self) -> list[str]:
        """What ended without being asked to; who says "temporary, try again" is started again."""
        found = []
        for role, pairs in self._running.items():
            for child, log in list(pairs):
                code = child.poll()
                if code == EXIT_TEMPORARY:
                    pairs.remove((child, log))
                    log.close()
                    self.restarted += 1
                    self.start(role)
                elif code is not None:
                    found.append(f"a process of {role} ended with {code}")
        return found


def _wait_ready(child: subprocess.Popen[bytes], log: TextIO) -> None:
    """Until it serves its health page; before that nothing would be drained, and a signal just ends it."""
    wait_until(lambda: child.poll() is not None or "health: http" in Path(log.name).read_text(), _END_SECONDS)


def _wait(child: subprocess.Popen[bytes], log: TextIO) -> int:
    try:
        return child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return -signal.SIGKILL
    finally:
        log.close()


def play(plan: Plan, folder: Path, ffmpeg: Path | str) -> Result:
    """Play a plan in an empty folder."""
    result = Result()
    with ExitStack() as stack:
        drive = stack.enter_context(EmulatorServer(DriveEmulator()))
        storage = stack.enter_context(EmulatorServer(WatchedStorage()))
        server = stack.enter_context(restartable_postgresql())
        redis = stack.enter_context(redis_server())
        storage.emulator.create_bucket(BUCKET)
        # So that something is under way whenever a process is killed.
        storage.emulator.faults.add(Delay(seconds=0.1), kind="storage.upload_chunk", times=None)
        parent = drive.emulator.add_folder("Meet Recordings")
        path = make_recording(folder / "meeting.mp4", ffmpeg, seconds=1)

        def appear(number: int) -> None:
            drive.emulator.add_file(path, name=f"Meeting {number}.mp4", parent=parent)

        (folder / "audio_extract_config.yaml").write_text(
            yaml.safe_dump(_settings(server.url, redis.url, parent))
        )
        env = {"DRIVE_EMULATOR_HOST": drive.url, "STORAGE_EMULATOR_HOST": storage.url}
        fleet = Fleet(folder, env)
        stack.callback(fleet.end_all, signal.SIGKILL)
        began = time.monotonic()
        half = plan.recordings // 2
        for number in range(half):
            appear(number)
        for role, count in (("run", plan.services), ("worker", plan.workers)):
            for _ in range(count):
                fleet.start(role)
        tracker = stack.enter_context(_tracker(server.url))
        _disturb(plan, result, fleet, {"database": server, "redis": redis}, storage.emulator, appear)
        left = plan.limit_seconds - (time.monotonic() - began)
        if not wait_until(lambda: bool(fleet.fallen()) or _completed(tracker) == plan.recordings, left):
            result.problems.append(f"not done after {plan.limit_seconds:.0f} s: {tracker.counts()}")
        result.seconds = time.monotonic() - began
        result.problems += fleet.fallen()
        if fleet.restarted:
            result.events["started again after exit code 5"] = fleet.restarted
        # What they were doing besides: a job's end, another look at something that is done.
        codes = fleet.end_all(signal.SIGTERM)
        if any(codes):
            result.problems.append(f"after SIGTERM they ended with {codes}, not all with 0")
        _count(result, storage.emulator, server.url)
        _judge(plan, result, storage.emulator, tracker)
    return result


def _settings(url: str, redis_url: str, parent: str) -> dict[str, Any]:
    return {
        "google_drive": {
            "recordings_folder_id": parent, "days_to_look_back": 0, "check_interval_seconds": 2
        },
        "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
        "processing": {"max_parallel_downloads": 2, "ffmpeg": {"encoders": 1}},
        "monitoring": {"database_path": url, "dashboard_port": 0, "health_port": 0},
        "execution": {"backend": "procrastinate"},
        "redis": {"url": redis_url},
        # A fault is not the recording's: here nothing may end for want of attempts.
        "behavior": {"retry_attempts": 100, "retry_delay_seconds": 1},
    }  # fmt: skip


def _tracker(url: str) -> Tracker:
    """The database, as soon as one of the services has made it what it should be."""
    return Tracker.open(url, now=datetime.now(UTC))


def _completed(tracker: Tracker) -> int:
    threading.Event().wait(0.2)
    try:
        return tracker.counts()[State.COMPLETED]
    except TransientError:
        return -1


def _disturb(
    plan: Plan,
    result: Result,
    fleet: Fleet,
    servers: dict[str, Postgresql | RedisServer],
    bucket: WatchedStorage,
    appear: Any,
) -> None:
    """Let everything happen that the plan names, in an order left to chance, spread over the transfers."""
    choice = random.Random(plan.seed)  # noqa: S311 - the same events again, not secrets
    events = [
        *["kill worker"] * plan.worker_kills,
        *["kill run"] * plan.service_kills,
        *["stop worker"] * plan.worker_stops,
        *["restart database"] * plan.database_restarts,
        *["restart redis"] * plan.redis_stops,
    ]
    choice.shuffle(events)
    half = plan.recordings // 2
    later = iter(range(half, plan.recordings))
    for number, event in enumerate(events, 1):
        # At so many objects it happens: in the middle of work, whatever the machine's speed.
        wanted = plan.recordings * 9 // 10 * number // (len(events) + 1)
        _add(later, appear, until=min(plan.recordings, half + wanted))
        if not _wait_for_objects(bucket, wanted, fleet, plan.limit_seconds):
            result.problems.append(f"only {len(_made(bucket))} objects after {plan.limit_seconds:.0f} s")
            return
        result.events[event] += 1
        match event.split():
            case ["kill", role]:
                fleet.end(role, signal.SIGKILL, choice)
                fleet.start(role)
            case ["stop", role]:
                if code := fleet.end(role, signal.SIGTERM, choice):
                    result.problems.append(f"a {role} ended with {code} after SIGTERM")
                fleet.start(role)
            case [_, name]:
                servers[name].stop()
                threading.Event().wait(choice.uniform(1, 4))
                servers[name].start()
    _add(later, appear, until=plan.recordings)


def _wait_for_objects(bucket: WatchedStorage, wanted: int, fleet: Fleet, seconds: float) -> bool:
    wait_until(lambda: bool(fleet.fallen()) or len(_made(bucket)) >= wanted, seconds)
    return len(_made(bucket)) >= wanted


def _made(bucket: WatchedStorage) -> list[str]:
    """The name of each generation that was ever made of audio."""
    return [name for name, _ in bucket.generations if "/metadata/" not in f"/{name}"]


def _add(later: Iterator[int], appear: Any, *, until: int) -> None:
    for number in later:
        appear(number)
        if number + 1 >= until:
            return


def _judge(plan: Plan, result: Result, bucket: WatchedStorage, tracker: Tracker) -> None:
    live = [item for item in bucket.objects(BUCKET) if "/metadata/" not in f"/{item.name}"]
    result.objects, result.generations = len(live), len(_made(bucket))
    twice = [name for name, count in Counter(_made(bucket)).items() if count > 1]
    if twice:
        result.problems.append(f"objects of which there were several generations: {twice}")
    sources = Counter(item.metadata["source-id"] for item in live)
    if several := [source for source, count in sources.items() if count > 1]:
        result.problems.append(f"recordings with several objects: {several}")
    if {len(live), len(sources), result.generations} != {plan.recordings}:
        result.problems.append(
            f"{len(live)} objects of {len(sources)} recordings in {result.generations} generations, "
            f"not {plan.recordings} of each"
        )
    if result.problems:
        return
    generations = {item.generation: item for item in live}
    for row in _rows(tracker):
        item = generations.get(row.generation or 0)
        if item is None or (item.name, item.crc32c, item.metadata["source-id"]) != (
            row.storage_path, row.crc32c, row.source_id
        ):  # fmt: skip
            result.problems.append(f"{row.name}: the database says {row.storage_path}, the bucket {item}")


def _count(result: Result, bucket: WatchedStorage, url: str) -> None:
    import psycopg

    if sessions := bucket.uploads.open_sessions():
        # A killed process leaves its session, which a bucket forgets after a week; a live one does not.
        result.events["upload sessions left by kills"] = len(sessions)
    with psycopg.connect(url) as connection:
        for outcome, count in connection.execute("SELECT outcome, count(*) FROM transfers GROUP BY outcome"):
            result.transfers[str(outcome)] = count
        [result.owners] = connection.execute("SELECT count(DISTINCT owner) FROM transfers").fetchone() or (0,)
        [adopted] = connection.execute("SELECT count(*) FROM transfers WHERE adopted").fetchone() or (0,)
        result.transfers["adopted"] = adopted
        statuses = connection.execute("SELECT status, count(*) FROM procrastinate_jobs GROUP BY status")
        result.events |= Counter({f"jobs left {status}": count for status, count in statuses})


def _rows(tracker: Tracker) -> Iterator[Any]:
    cursor = None
    while True:
        page = tracker.listing(limit=500, cursor=cursor)
        yield from page.rows
        cursor = page.next_cursor
        if cursor is None:
            return


def main() -> int:
    """Play the plan of the command line; 0 when everything held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=500)
    parser.add_argument("--services", type=int, default=2)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--worker-kills", type=int, default=12)
    parser.add_argument("--service-kills", type=int, default=2)
    parser.add_argument("--worker-stops", type=int, default=2)
    parser.add_argument("--database-restarts", type=int, default=1)
    parser.add_argument("--redis-stops", type=int, default=1)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, help="Keep the logs here.")
    values = vars(parser.parse_args())
    keep = values.pop("keep")
    plan = Plan(**values)
    print(plan)
    # Nobody's settings, and no metadata server.
    os.environ["XDG_CONFIG_HOME"] = f"{os.devnull}/no-settings"
    os.environ["NO_GCE_CHECK"] = "true"
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        result = play(plan, Path(folder), shutil.which("ffmpeg") or "ffmpeg")
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            for log in Path(folder).glob("*.log"):
                shutil.copy(log, keep)
    print(f"{result.objects} objects, {result.generations} generations ever, in {result.seconds:.0f} s")
    print(f"events: {dict(result.events)}")
    print(f"transfers: {dict(result.transfers)}, by {result.owners} processes")
    for problem in result.problems:
        print(f"PROBLEM: {problem}")
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())

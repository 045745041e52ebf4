"""The other end of `victim.py`: starts lives, kills them, hears how they ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_KILL = 9
#: A life that takes longer hangs.
LIFE_SECONDS = 60.0


class Victims:
    """The process that forks lives."""

    def __init__(self) -> None:
        tests = Path(__file__).parents[1]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.victim"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            cwd=tests,
            text=True,
        )

    def begin(self, job: dict[str, Any]) -> int:
        """Start a life; returns its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._read()["pid"])

    def end(self) -> dict[str, Any]:
        """Wait for the life's end; says whether it was killed, and its report."""
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            message = "the process that forks lives has ended"
            raise RuntimeError(message)
        found: dict[str, Any] = json.loads(line)
        return found


class Killer:
    """Kills one life when it is told of a point, by any thread, even before the life is known."""

    def __init__(self, point: str | None) -> None:
        self._point = point
        self._known = threading.Event()
        self._process_id = 0
        self._timers: list[threading.Timer] = []

    def begin(self, process_id: int, after_seconds: float | None) -> None:
        """The life runs; it is killed after some time, if so, and in any case when it hangs."""
        self._process_id = process_id
        self._known.set()
        times = [LIFE_SECONDS] if after_seconds is None else [LIFE_SECONDS, after_seconds]
        self._timers = [threading.Timer(seconds, self._kill) for seconds in times]
        for timer in self._timers:
            timer.start()

    def reached(self, point: str) -> None:
        """A service is at this point."""
        if point == self._point:
            self._kill()

    def end(self) -> None:
        """The life is over."""
        self._point = None
        for timer in self._timers:
            timer.cancel()

    def _kill(self) -> None:
        if self._known.wait(5):
            try:
                os.kill(self._process_id, _KILL)
            except ProcessLookupError:
                return


def processes_of(life: str) -> list[str]:
    """Command lines of the processes of a life, which handed its name on to its children."""
    mark = f"CHAOS_LIFE={life}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def left_after(life: str, seconds: float = 5) -> list[str]:
    """The processes of a life that have not ended after some time."""
    end = time.monotonic() + seconds
    while (found := processes_of(life)) and time.monotonic() < end:
        time.sleep(0.02)
    return found

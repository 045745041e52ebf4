"""One run of a command, pinned to cores and watched from outside: wall time, CPU, memory.

CPU is what the kernel billed the command and its reaped children, read from ``/proc/PID/stat`` while the
ended process has not been waited for. Memory is sampled: the command's own peak is the kernel's high-water
mark, that of its FFmpeg children the sum of their proportional set sizes (PSS: shared pages are divided, not
counted twice).
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LOOK_SECONDS = 0.02
_LOOK_AT_CHILDREN_SECONDS = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")


class RunFailedError(Exception):
    """A command did not end with 0."""


@dataclass(frozen=True)
class Usage:
    """What one run took.

    Attributes:
        own_cpu_seconds: CPU of the process itself.
        children_cpu_seconds: CPU of its children; of this program, those are FFmpeg.
        peak_mib: Largest resident set of the process itself.
        children_rss_mib: Largest resident set of one child.
        children_pss_mib: Largest sum of all children's proportional set sizes.
    """

    seconds: float
    own_cpu_seconds: float
    children_cpu_seconds: float
    peak_mib: float
    children_rss_mib: float
    children_pss_mib: float
    stdout: str

    @property
    def cpu_seconds(self) -> float:
        """CPU of the process and its children."""
        return self.own_cpu_seconds + self.children_cpu_seconds


def cpu_times(pid: int) -> tuple[float, float]:
    """CPU seconds of a process and of its reaped children (proc(5), fields 14 to 17 of ``stat``)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own, children = (int(fields[at]) + int(fields[at + 1]) for at in (11, 13))
    return own / _TICKS, children / _TICKS


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Let what is started inside run on these cores; children inherit their parent's affinity."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run(command: Sequence[str], environment: Mapping[str, str], cores: frozenset[int]) -> Usage:
    """Run a command to its end.

    Raises:
        RunFailedError: It failed; the message has the end of what it said.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        with pinned(cores):
            # In a session of its own, so that all of a pipe can be ended together.
            process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        watch = _Watch(process.pid)
        ended = select.poll()
        descriptor = os.pidfd_open(process.pid)
        try:
            ended.register(descriptor, select.POLLIN)
            while not ended.poll(_LOOK_SECONDS * 1000):
                watch.look()
            seconds = time.perf_counter() - start
            own, children = cpu_times(process.pid)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        finally:
            os.close(descriptor)
            process.wait()
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            said = err.read().decode(errors="replace")[-2000:]
            raise RunFailedError(f"{shlex.join(command)} ended with {process.returncode}:\n{said}")
        return Usage(
            seconds,
            own,
            children,
            watch.own,
            watch.child,
            watch.children,
            out.read().decode(errors="replace"),
        )


class _Watch:
    """Peaks of a process and its children, in MiB."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        self._next = 0.0
        self.own = self.child = self.children = 0.0

    def look(self) -> None:
        self.own = max(self.own, _mib(self._process / "status", "VmHWM:"))
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOOK_AT_CHILDREN_SECONDS
            children = list(self._children())
            self.child = max([self.child, *(_mib(child / "status", "VmHWM:") for child in children)])
            self.children = max(
                self.children, sum(_mib(child / "smaps_rollup", "Pss:") for child in children)
            )

    def _children(self) -> Iterator[Path]:
        # Each thread lists the children it started itself.
        for listing in self._process.glob("task/*/children"):
            for pid in _read(listing).split():
                yield Path("/proc", pid)


def _mib(path: Path, key: str) -> float:
    line = next((line for line in _read(path).splitlines() if line.startswith(key)), "")
    return int(line.split()[1]) / 1024 if line else 0.0


def _read(path: Path) -> str:
    """A file of ``/proc``; empty when its process has just ended."""
    try:
        return path.read_text()
    except OSError:
        return ""

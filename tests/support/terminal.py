"""A program in a terminal of its own: what it draws, the keys it gets, and how it leaves the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[()=>][0-9A-Z]?")
_HOME = "\x1b[H"
#: Makes the terminal the one of the program, so that Ctrl-C and Ctrl-Z reach it.
_LAUNCHER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A terminal with a program in it."""

    def __init__(self, master: int, slave: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self._slave = slave
        self.process = process
        self.before = termios.tcgetattr(slave)
        self.raw = ""

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def shown(self) -> str:
        """Return the last picture that was drawn to its end, as text; of a shell, everything it wrote."""
        pictures = self.raw.split(_HOME)
        return _ESCAPES.sub("", pictures[-2] if len(pictures) > 2 else pictures[-1])

    def wait_for(self, text: str, seconds: float = 30) -> str:
        """Return the picture that has ``text`` in it."""
        end = time.monotonic() + seconds
        while text not in self.shown():
            assert time.monotonic() < end, f"{text!r} was not shown: {self.shown()}"
            assert self._read(0.2) or self.process.poll() is None, f"ended without {text!r}: {self.raw}"
        return self.shown()

    def wait_for_lines(self, lines: int, seconds: float = 30) -> None:
        """Return when a picture of so many lines was drawn."""
        end = time.monotonic() + seconds
        while len(self.shown().splitlines()) != lines:
            assert time.monotonic() < end, f"not {lines} lines: {self.shown()}"
            self._read(0.2)

    def drain(self) -> None:
        """Take in what was drawn."""
        while self._read(0):
            pass

    def wait(self, seconds: float = 30) -> int:
        """Return the exit code."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, f"does not end: {self.shown()}"
            self._read(0.1)
        self.drain()
        return self.process.returncode

    def settings(self) -> list[object]:
        """Return how the terminal is set: echo, line by line, and so on."""
        return list(termios.tcgetattr(self._slave))

    def resize(self, columns: int, lines: int) -> None:
        """Give it another size."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self, seconds: float) -> bool:
        readable, _, _ = select.select([self._master], [], [], seconds)
        if not readable:
            return False
        self.raw += os.read(self._master, 65536).decode(errors="replace")
        return True


@contextmanager
def terminal(
    *words: str | Path,
    columns: int = 100,
    lines: int = 40,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Terminal]:
    """Run a program in a terminal; what still runs at the end is ended."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environ = {**os.environ, "TERM": "xterm-256color", "PYTHONUTF8": "1", **(env or {})}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environ.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER, *map(str, words)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cwd,
        env=environ,
        start_new_session=True,
    )
    try:
        yield Terminal(master, slave, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def audio_extract(*words: str | Path) -> list[str]:
    """Return the command line of our program."""
    return [sys.executable, "-m", "audio_extract", *map(str, words)]

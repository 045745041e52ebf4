"""The shaped server: what lies between both sides and their Drive and bucket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.process import cpu_times, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Network:
    """Latency of each answer, and bandwidth in each direction; None: as fast as the loopback."""

    latency_ms: float = 0.0
    connection_mb_s: float | None = None
    all_mb_s: float | None = None

    def __str__(self) -> str:
        parts = [f"{self.latency_ms:g} ms"]
        if self.connection_mb_s is not None:
            parts.append(f"{self.connection_mb_s:g} MB/s a connection")
        if self.all_mb_s is not None:
            parts.append(f"{self.all_mb_s:g} MB/s in all")
        return ", ".join(parts) if self != LOOPBACK else "unshaped loopback"

    def flags(self) -> list[str]:
        """The shaped server's words for it."""
        pairs = (
            ("--latency-ms", self.latency_ms),
            ("--connection-mb-s", self.connection_mb_s),
            ("--all-mb-s", self.all_mb_s),
        )
        return [word for name, value in pairs if value is not None for word in (name, str(value))]


LOOPBACK = Network()
NEAR = Network(50, 25)
FAR = Network(100, 25, 100)
NARROW = Network(50, None, 10)


def build() -> Path:
    """Build the server and return its path."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    subprocess.run(
        ["cargo", "build", "--quiet", "--release", "--locked", "-p", "shaped-server"], cwd=ROOT, check=True
    )
    return target / "release" / "shaped-server"


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    pid: int

    def counts(self) -> dict[str, Any]:
        """Requests, downloads and uploads so far."""
        counts: dict[str, Any] = self._get("counts")
        return counts

    def cpu_seconds(self) -> float:
        """CPU it has used so far."""
        return cpu_times(self.pid)[0]

    def warm(self, file_id: str) -> None:
        """Let it make a recording's checksum, which Drive has at hand, and the kernel read the file."""
        self._get(f"drive/v3/files/{file_id}")

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=300) as answer:  # noqa: S310 - our own
            return json.load(answer)


@contextmanager
def serving(program: Path, folder: Path, network: Network, cores: frozenset[int]) -> Iterator[Server]:
    """Run a server on a free port of the loopback and on the given cores."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    command = [str(program), "0", str(folder), now, *network.flags()]
    with pinned(cores):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().rsplit(" ", 1)[-1].strip()
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)

"""A real Jaeger on loopback that keeps traces in memory, asked through its query API."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from support.engine import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVICE = "audio-extract"
#: As its own default, without receivers, ports and metrics that nobody asks for.
_CONFIG = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines: {{traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}}}
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
extensions:
  jaeger_storage: {{backends: {{memory: {{memory: {{max_traces: 1000}}}}}}}}
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "127.0.0.1:{query}"}}
    grpc: {{endpoint: "127.0.0.1:{grpc}"}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}"}}}}}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
"""


def jaeger_program() -> Path:
    """Where `make jaeger` keeps it; the test is skipped by name where that was not built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    tools = Path(os.environ.get("TOOLS_DIR") or cache / "audio-extract-ci" / "tools")
    found = sorted((tools / "bin").glob("jaeger-v*"))
    if not found:
        pytest.skip("Jaeger is not built (make test-jaeger builds it; needs Go)")
    return found[-1]


@dataclass(frozen=True)
class Jaeger:
    """One that runs."""

    otlp: str
    query: str

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace as Jaeger has them."""
        (trace,) = self._ask(f"traces/{trace_id}")
        spans: list[dict[str, Any]] = trace["spans"]
        return spans

    def trace_ids(self, operation: str) -> list[str]:
        """The traces that have a span of that name."""
        found = self._ask(f"traces?service={_SERVICE}&operation={operation}&limit=100")
        return [trace["traceID"] for trace in found]

    def answers(self) -> bool:
        """Whether it can be asked."""
        try:
            self._ask("services")
        except URLError:
            return False
        return True

    def _ask(self, what: str) -> list[Any]:
        with urlopen(f"{self.query}/api/{what}") as answer:  # noqa: S310 - our own Jaeger
            found: list[Any] = json.load(answer)["data"] or []
            return found


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def jaeger(folder: Path) -> Iterator[Jaeger]:
    """A Jaeger that runs while the block does."""
    program = jaeger_program()
    query, grpc, otlp = _free_ports(3)
    config = folder / "jaeger.yaml"
    config.write_text(_CONFIG.format(query=query, grpc=grpc, otlp=otlp))
    said = folder / "jaeger.log"
    with (
        said.open("wb") as log,
        subprocess.Popen([program, "--config", config], stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            made = Jaeger(otlp=f"http://127.0.0.1:{otlp}", query=f"http://127.0.0.1:{query}")
            wait_until(lambda: process.poll() is not None or made.answers(), seconds=30)
            assert process.poll() is None, said.read_text()
            yield made
        finally:
            process.terminate()

"""A receiver of traces and metrics (OTLP over HTTP) that keeps what it gets."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message


class Receiver(ThreadingHTTPServer):
    """Listens on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, bytes]] = []
        self.headers: list[Message] = []
        #: Status of each answer in order; when there are no more: 200.
        self.answers: list[int] = []
        #: Whether answers wait for `go_on`.
        self.hangs = False
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        """What ``OTEL_EXPORTER_OTLP_ENDPOINT`` takes."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[Any]:
        """Every span that arrived."""
        return [
            span
            for path, body in self.requests
            if path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self) -> list[dict[str, Any]]:
        """Every export of metrics that arrived: by name."""
        return [
            {
                metric.name: metric
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            }
            for path, body in self.requests
            if path == "/v1/metrics"
        ]

    def resources(self, signal: str = "traces") -> list[dict[str, str]]:
        """Who sent, for each batch that arrived."""
        found = []
        for path, body in self.requests:
            if path != f"/v1/{signal}":
                continue
            if signal == "traces":
                found += ExportTraceServiceRequest.FromString(body).resource_spans
            else:
                found += ExportMetricsServiceRequest.FromString(body).resource_metrics
        return [
            {
                item.key: item.value.string_value or str(item.value.int_value)
                for item in one.resource.attributes
            }
            for one in found
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, body))
        self.server.headers.append(self.headers)
        if self.server.hangs:
            self.server.go_on.wait()
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that listens while the block runs."""
    with Receiver() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()

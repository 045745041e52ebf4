"""What OpenTelemetry's SDK leaves to its users of traces: ids, tokens, and saying what is wrong only once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import requests
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from audio_extract.telemetry.traces import root_span_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from audio_extract.telemetry.receiver import Receiver


class LinkableIds(RandomIdGenerator):
    """The span that a trace begins with gets the id that `root_span_id` tells."""

    def __init__(self) -> None:
        self._new = threading.local()

    def generate_trace_id(self) -> int:
        """Return a new trace's id, and remember it for its first span."""
        trace_id: int = super().generate_trace_id()
        self._new.root = root_span_id(trace_id)
        return trace_id

    def generate_span_id(self) -> int:
        """Return a new span's id. The SDK asks right after a new trace's id, in the same thread."""
        root: int = self._new.__dict__.pop("root", 0)
        return root or super().generate_span_id()


class SayingOnce(SpanExporter):
    """An exporter with one warning for each time that the receiver is away, in our own words.

    Args:
        exporter: Sends.
        receiver: Who is sent to.
    """

    def __init__(self, exporter: SpanExporter, receiver: Receiver) -> None:
        self._exporter = exporter
        self._receiver = receiver

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; says when that begins to fail and when it works again."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said, and no transfer minds
            self._receiver.refused(f"{type(error).__name__}: {error}")
            return SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._receiver.took()
        else:
            self._receiver.refused()
        return result

    def shutdown(self) -> None:
        """Stop sending."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what the exporter itself holds."""
        return self._exporter.force_flush(timeout_millis)


class _Token(requests.auth.AuthBase):
    def __init__(self, token: Callable[[], tuple[str, float]]) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token()[0]}"
        return request


def signed_session(token: Callable[[], tuple[str, float]]) -> requests.Session:
    """Return a session that signs each request with a token that is valid then."""
    session = requests.Session()
    session.auth = _Token(token)
    return session

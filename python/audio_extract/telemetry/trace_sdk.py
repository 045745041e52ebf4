"""What OpenTelemetry's SDK leaves to its users: ids, tokens, and saying what is wrong only once."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import requests
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from audio_extract.telemetry.redaction import redact
from audio_extract.telemetry.traces import root_span_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

#: These say the same with each batch, each retry, and each span that finds the queue full.
SDK_LOGGERS = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "opentelemetry.sdk.trace")

_log = logging.getLogger(__name__)


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
        where: Where to, for the warning.
        listeners: Told of each export whether it went well; may be added to later.
    """

    def __init__(
        self, exporter: SpanExporter, where: str, listeners: Sequence[Callable[[bool], None]] = ()
    ) -> None:
        self._exporter = exporter
        self._listeners = listeners
        self._where = redact(where)
        self._is_away = False
        for name in SDK_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; says when that begins to fail and when it works again."""
        result = self._sent(spans)
        for told in self._listeners:
            told(result is SpanExportResult.SUCCESS)
        return result

    def _sent(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said, and no transfer minds
            self._away(f"{type(error).__name__}: {error}")
            return SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self._away("it does not answer, or refuses them")
        elif self._is_away:
            self._is_away = False
            _log.info("traces are sent to %s again", self._where, extra={"event": "traces.sent_again"})
        return result

    def _away(self, why: str) -> None:
        if not self._is_away:
            self._is_away = True
            _log.warning(
                "traces cannot be sent to %s (%s): they are dropped until it answers; nothing else waits",
                self._where,
                redact(why),
                extra={"event": "traces.not_sent"},
            )

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

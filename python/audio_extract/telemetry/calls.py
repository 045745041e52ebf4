"""Spans for calls to Google and to the database, made below the span that runs.

A few lines of our own instead of OpenTelemetry's instrumentation packages (one for each library, each with
wrapt): these make a span only inside one of ours, so that heartbeats and pages make no traces, and only so
many for each trace. What is called is said; queries' values, URLs' parameters and headers are not.
"""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.trace import Span

#: Of calls of one trace: a look at a hundred thousand recordings makes thousands.
MOST_CALLS = 128
_LONGEST_QUERY = 300
_SERVER_ERROR, _CLIENT_ERROR = 500, 400


class Calls:
    """Watches the libraries while traces are on; one at a time in a process.

    Args:
        tracer: Makes the spans.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._seen = threading.local()
        self._undo: list[Callable[[], None]] = []

    def watch(self) -> Callable[[], None]:
        """Begin; returns what ends it."""
        import httplib2
        import requests

        self._wrap(httplib2.Http, "request", lambda _self, uri, method="GET", *_, **__: (method, uri))
        self._wrap(requests.Session, "send", lambda _self, request, **_: (request.method, request.url))
        self._watch_database()
        return self._stop

    def _stop(self) -> None:
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def _wrap(self, owner: type, name: str, what: Callable[..., tuple[str, str]]) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def call(*words: Any, **named: Any) -> Any:
            method, url = what(*words, **named)
            with self._request(str(method), str(url)) as span:
                answer = original(*words, **named)
                if span is not None:
                    # httplib2 gives the answer's head and its body, requests one object.
                    head = answer[0] if isinstance(answer, tuple) else answer
                    _note_status(span, int(getattr(head, "status_code", 0) or getattr(head, "status", 0)))
                return answer

        setattr(owner, name, call)
        self._undo.append(lambda: setattr(owner, name, original))

    @contextmanager
    def _request(self, method: str, url: str) -> Iterator[Span | None]:
        if not self._is_wanted():
            yield None
            return
        parts = urlsplit(url)
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "server.address": parts.hostname or "",
            "server.port": parts.port or (80 if parts.scheme == "http" else 443),
            # Parameters can be secrets, and queries name people's folders.
            "url.full": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}",
        }
        with self._tracer.start_as_current_span(
            method,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", type(error).__qualname__)
                raise

    def _watch_database(self) -> None:
        from sqlalchemy import Engine, event

        def before(_c: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool) -> None:
            context.audio_extract_span = self._begin_query(statement, context) if self._is_wanted() else None

        def after(_c: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
            span = context.__dict__.pop("audio_extract_span", None)
            if span is not None:
                span.end()

        def failed(failure: Any) -> None:
            context = failure.execution_context
            span = None if context is None else context.__dict__.pop("audio_extract_span", None)
            if span is not None:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", type(failure.original_exception).__qualname__)
                span.end()

        for name, listener in (
            ("before_cursor_execute", before),
            ("after_cursor_execute", after),
            ("handle_error", failed),
        ):
            event.listen(Engine, name, listener)
            self._undo.append(functools.partial(event.remove, Engine, name, listener))

    def _begin_query(self, statement: str, context: Any) -> Span:
        operation = statement.split(None, 1)[0].upper() if statement.strip() else "QUERY"
        return self._tracer.start_span(
            operation,
            kind=SpanKind.CLIENT,
            attributes={
                "db.system.name": context.dialect.name,
                "db.operation.name": operation,
                # With placeholders: values are sent beside it.
                "db.query.text": " ".join(statement.split())[:_LONGEST_QUERY],
            },
        )

    def _is_wanted(self) -> bool:
        """Whether one of our spans runs, and has not made too many of these yet."""
        span = trace.get_current_span()
        if not span.is_recording():
            return False
        trace_id = span.get_span_context().trace_id
        known, count = getattr(self._seen, "calls", (0, 0))
        count = count + 1 if known == trace_id else 1
        self._seen.calls = (trace_id, count)
        return count <= MOST_CALLS


def _note_status(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= _CLIENT_ERROR:
        span.set_attribute("error.type", str(status))
    if status >= _SERVER_ERROR:
        span.set_status(Status(StatusCode.ERROR))

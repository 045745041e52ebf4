"""A span for each request to the dashboard, as a part of the caller's trace where the caller has one.

What is asked all the time or lasts for hours is left out: static files, metrics, and the stream of events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from audio_extract.telemetry.traces import Traces

_LEFT_OUT = ("/static/", "/metrics", "/api/events")
_SERVER_ERROR = 500


class TracedRequests:
    """ASGI middleware.

    Args:
        app: Answers.
        traces: Where spans go.
    """

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(_LEFT_OUT):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._traces.span(
            scope["method"],
            {
                "http.request.method": scope["method"],
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
            },
            kind=SpanKind.SERVER,
            context=TraceContextTextMapPropagator().extract(headers),
        ) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= _SERVER_ERROR:
                        span.set_status(Status(StatusCode.ERROR))
                        span.set_attribute("error.type", str(message["status"]))
                await send(message)

            await self._app(scope, receive, noting)

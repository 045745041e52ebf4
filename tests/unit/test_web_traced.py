"""Requests to the dashboard as spans."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from audio_extract.telemetry.trace_export import configure_traces
from audio_extract.web.traced import TracedRequests

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


class Client:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def client(exporter: InMemorySpanExporter) -> Client:
    def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse("", status_code=int(request.query_params.get("status", "200")))

    routes = [Route("/api/status", answer), Route("/metrics", answer), Route("/api/events", answer)]
    traces = configure_traces(processor=SimpleSpanProcessor(exporter))
    return Client(TracedRequests(Starlette(routes=routes), traces))


def test_a_request_is_a_span_of_its_callers_trace_without_its_parameters(
    client: Client, exporter: InMemorySpanExporter
) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    client.get("/api/status?status=503&token=canary", headers={"traceparent": parent})
    (span,) = exporter.get_finished_spans()
    assert span.context.trace_id == int("a" * 32, 16)
    assert span.parent.span_id == int("b" * 16, 16)
    assert span.attributes["url.path"] == "/api/status"
    assert span.attributes["http.response.status_code"] == 503
    assert not span.status.is_ok
    assert "canary" not in span.to_json()


def test_what_is_asked_all_the_time_makes_no_spans(client: Client, exporter: InMemorySpanExporter) -> None:
    for path in ("/metrics", "/api/events"):
        assert client.get(path).status_code == 200
    assert exporter.get_finished_spans() == ()
    client.get("/api/status")
    assert len(exporter.get_finished_spans()) == 1

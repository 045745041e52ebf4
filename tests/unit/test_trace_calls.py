"""Calls to Google and to the database as spans, only inside one of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httplib2
import pytest
import requests
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from audio_extract.telemetry.calls import MOST_CALLS, Calls
from audio_extract.telemetry.trace_export import configure_traces
from support.otlp import receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audio_extract.telemetry.traces import Traces


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> Iterator[Traces]:
    traces = configure_traces(processor=SimpleSpanProcessor(exporter))
    stop = Calls(traces._tracer).watch()
    yield traces
    stop()


def spans(exporter: InMemorySpanExporter, name: str) -> list[Any]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def test_a_call_to_google_is_a_child_with_its_answer_and_no_parameter(
    traces: Traces, exporter: InMemorySpanExporter
) -> None:
    with receiver() as server:
        server.answers = [200, 503]
        with traces.span("discovery") as discovery:
            httplib2.Http().request(f"{server.url}/drive?token=canary", "POST", body="{}")
            requests.post(f"{server.url}/storage?token=canary", data="{}", timeout=5).close()
    ok, failed = spans(exporter, "POST")
    assert ok.parent.span_id == failed.parent.span_id == discovery.get_span_context().span_id
    assert ok.attributes["url.full"] == f"{server.url}/drive"
    assert ok.attributes["http.response.status_code"] == 200
    assert (failed.attributes["error.type"], failed.status.is_ok) == ("503", False)
    assert all("canary" not in span.to_json() for span in exporter.get_finished_spans())


def test_a_call_that_finds_nobody_is_marked(traces: Traces, exporter: InMemorySpanExporter) -> None:
    with traces.span("discovery"), pytest.raises(requests.ConnectionError):
        requests.get("http://127.0.0.1:1/", timeout=5)
    (call,) = spans(exporter, "GET")
    assert call.attributes["error.type"] == "ConnectionError"


def test_a_query_is_a_child_without_its_values(traces: Traces, exporter: InMemorySpanExporter) -> None:
    engine = create_engine("sqlite://")
    with traces.span("record") as record, engine.connect() as connection:
        connection.execute(text("SELECT :secret"), {"secret": "canary"})
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT x FROM nowhere"))
    engine.dispose()
    good, bad = spans(exporter, "SELECT")
    assert good.parent.span_id == record.get_span_context().span_id
    assert good.attributes["db.system.name"] == "sqlite"
    assert good.attributes["db.query.text"] == "SELECT ?"
    assert bad.attributes["error.type"] == "OperationalError"


def test_what_no_span_of_ours_asks_for_makes_none_and_a_trace_has_only_so_many(
    traces: Traces, exporter: InMemorySpanExporter
) -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        assert spans(exporter, "SELECT") == []
        with traces.span("discovery"):
            for _ in range(MOST_CALLS + 10):
                connection.execute(text("SELECT 1"))
    engine.dispose()
    assert len(spans(exporter, "SELECT")) == MOST_CALLS


def test_the_libraries_are_as_they_were_when_traces_end() -> None:
    before = (httplib2.Http.request, requests.Session.send)
    with receiver() as server:
        traces = configure_traces(endpoint=server.url)
        assert (httplib2.Http.request, requests.Session.send) != before
        traces.close()
    assert (httplib2.Http.request, requests.Session.send) == before

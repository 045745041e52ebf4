from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from audio_extract.exceptions import ConfigurationError, TransientError
from audio_extract.telemetry.traces import Traces, configure_traces, traces_wanted
from support.otlp import receiver
from support.reports import SECOND, transfer_report


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> Traces:
    return configure_traces(version="1", environment="development", processor=SimpleSpanProcessor(exporter))


def spans(exporter: InMemorySpanExporter) -> dict[str, Any]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_transfer_is_a_root_span_with_the_engines_stages_at_their_own_times(
    traces: Traces, exporter: InMemorySpanExporter
) -> None:
    with traces.span("discovery") as discovery:
        found_in = discovery.get_span_context()
        with traces.transfer(attributes={"recording.id": "abc"}, discovered_in=found_in) as transfer:
            transfer.add_report(transfer_report())
            with transfer.stage("record"):
                pass
    found = spans(exporter)
    root = found["transfer"]
    assert root.parent is None
    assert root.links[0].context.span_id == found_in.span_id
    assert root.attributes["recording.id"] == "abc"
    assert root.attributes["bytes.fetched"] == 40
    assert f"{root.context.trace_id:032x}" == transfer.trace_id
    fetch = found["fetch.ranges"]
    assert (fetch.start_time, fetch.end_time) == (10 * SECOND, 12 * SECOND)
    assert [(event.name, event.timestamp) for event in fetch.events] == [("retry", 11 * SECOND)]
    for name in ("fetch.ranges", "upload", "record"):
        assert found[name].parent.span_id == root.context.span_id


def test_no_secret_leaves_in_a_span(traces: Traces, exporter: InMemorySpanExporter) -> None:
    def fails() -> None:
        with traces.transfer(attributes={"recording.id": "abc"}) as transfer:
            transfer.add_report(transfer_report())
            raise TransientError("PUT https://h/o?upload_id=canary failed", code="destination.network")

    with pytest.raises(TransientError):
        fails()
    for span in exporter.get_finished_spans():
        assert "canary" not in span.to_json()
    assert spans(exporter)["transfer"].attributes["error.type"] == "destination.network"
    assert not spans(exporter)["transfer"].status.is_ok


def test_traces_are_off_unless_something_says_where_to(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = configure_traces()
    with traces.transfer(attributes={}) as transfer:
        assert transfer.trace_id is None
        assert transfer.traceparent is None
    assert not traces.enabled
    assert traces_wanted("http://localhost:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    assert traces_wanted(None)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not traces_wanted(None)


def test_a_protocol_we_do_not_have_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigurationError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL=grpc.*4318"):
        configure_traces(endpoint="http://localhost:4318")


def test_spans_arrive_at_an_otlp_receiver_when_they_are_flushed() -> None:
    with receiver() as made:
        traces = configure_traces(endpoint=made.url, version="1")
        with traces.transfer(attributes={"recording.id": "abc"}):
            pass
        traces.flush()
        traces.close()
    assert [path for path, _ in made.requests] == ["/v1/traces"]
    assert [span.name for span in made.spans()] == ["transfer"]

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from audio_extract.exceptions import ConfigurationError, TransientError
from audio_extract.telemetry.metrics import Metrics
from audio_extract.telemetry.receiver import SDK_LOGGERS
from audio_extract.telemetry.trace_export import configure_traces, traces_wanted
from audio_extract.telemetry.traces import Traces, trace_id_of
from support.otlp import receiver
from support.reports import SECOND, transfer_report

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def sdk_loggers() -> Iterator[None]:
    yield
    for name in SDK_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


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
        with traces.transfer(
            attributes={"recording.id": "abc"}, discovered_in=trace_id_of(discovery), earlier=["e" * 32]
        ) as transfer:
            transfer.add_report(transfer_report())
            with transfer.stage("record"):
                pass
    found = spans(exporter)
    root = found["transfer"]
    assert root.parent is None
    discovered, earlier = root.links
    assert (discovered.context.trace_id, discovered.context.span_id) == (found_in.trace_id, found_in.span_id)
    assert (discovered.attributes["relation"], earlier.attributes["relation"]) == (
        "discovery",
        "earlier attempt",
    )
    assert earlier.context.trace_id == int("e" * 32, 16)
    assert root.attributes["recording.id"] == "abc"
    assert root.attributes["bytes.fetched"] == 40
    assert f"{root.context.trace_id:032x}" == transfer.trace_id
    fetch = found["fetch.ranges"]
    assert (fetch.start_time, fetch.end_time) == (10 * SECOND, 12 * SECOND)
    assert [(event.name, event.timestamp) for event in fetch.events] == [("retry", 11 * SECOND)]
    for name in ("fetch.ranges", "upload", "record"):
        assert found[name].parent.span_id == root.context.span_id


def test_a_part_of_a_stage_is_inside_it(traces: Traces, exporter: InMemorySpanExporter) -> None:
    report = transfer_report()
    whole = report["stages"][1]
    report["stages"].append({**whole, "name": "upload.chunk", "end_unix_nanos": 12 * SECOND})
    with traces.transfer(attributes={}) as transfer:
        transfer.add_report(report)
    found = spans(exporter)
    assert found["upload.chunk"].parent.span_id == found["upload"].context.span_id
    assert found["upload"].parent.span_id == found["transfer"].context.span_id


def test_what_the_engine_asks_in_a_thread_of_its_own_belongs_to_the_transfer(
    traces: Traces, exporter: InMemorySpanExporter
) -> None:
    def ask() -> None:
        with traces.span("asked"):
            pass

    with traces.transfer(attributes={}) as transfer:
        thread = threading.Thread(target=transfer.bound(ask))
        thread.start()
        thread.join()
    found = spans(exporter)
    assert found["asked"].parent.span_id == found["transfer"].context.span_id


def test_no_secret_leaves_in_a_span(traces: Traces, exporter: InMemorySpanExporter) -> None:
    def fails() -> None:
        with traces.transfer(attributes={"recording.id": "abc"}) as transfer:
            transfer.add_report(transfer_report())
            with transfer.stage("record"):
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
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert not traces_wanted("http://localhost:4318")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert traces_wanted(None)


def test_an_exporter_we_do_not_have_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(ConfigurationError, match=r"OTEL_TRACES_EXPORTER=zipkin.*otlp, console, none"):
        configure_traces()


def test_spans_can_be_read_on_the_console_while_stdout_stays_clean(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    traces = configure_traces()
    with traces.transfer(attributes={"recording.id": "abc"}):
        pass
    traces.close()
    said = capfd.readouterr()
    assert '"recording.id": "abc"' in said.err
    assert said.out == ""


def test_the_environment_names_the_service_samples_and_adds_attributes_and_headers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=abroad,team=sound")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ears")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=7")
    with receiver() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        traces = configure_traces(endpoint="http://127.0.0.1:1", environment="development", version="1")
        with traces.transfer(attributes={}):
            pass
        traces.close()
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
        unsampled = configure_traces()
        with unsampled.transfer(attributes={}) as transfer:
            assert transfer.traceparent is not None
            assert transfer.traceparent.endswith("-00")
            # What nobody keeps no number leads to.
            assert not transfer.is_sampled
        unsampled.close()
    (sent,) = made.resources()
    assert (sent["service.name"], sent["deployment.environment.name"]) == ("ears", "abroad")
    assert (sent["team"], sent["service.version"]) == ("sound", "1")
    assert sent["service.instance.id"]
    assert sent["host.name"]
    assert made.headers[0]["x-tenant"] == "7"
    assert len(made.requests) == 1


def test_a_share_of_the_traces_is_sampled_and_each_of_them_is_whole(
    monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    traces = configure_traces(processor=SimpleSpanProcessor(exporter))
    sampled = set()
    for _ in range(200):
        with traces.transfer(attributes={}) as transfer:
            transfer.add_report(transfer_report())
        if transfer.is_sampled:
            sampled.add(transfer.trace_id)
    assert 50 < len(sampled) < 150
    kept = [f"{span.context.trace_id:032x}" for span in exporter.get_finished_spans()]
    assert {trace_id: kept.count(trace_id) for trace_id in kept} == dict.fromkeys(sampled, 3)


def test_spans_go_to_cloud_trace_with_a_token_and_the_project_that_pays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiver() as made, receiver() as other:
        traces = configure_traces(
            cloud_project="payer", cloud_token=lambda: ("token-1", 0.0), cloud_url=f"{made.url}/v1/traces"
        )
        with traces.transfer(attributes={}):
            pass
        traces.close()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", other.url)
        traces = configure_traces(cloud_project="payer", cloud_token=lambda: ("token-1", 0.0))
        with traces.transfer(attributes={}):
            pass
        traces.close()
    assert made.headers[0]["Authorization"] == "Bearer token-1"
    assert made.headers[0]["x-goog-user-project"] == "payer"
    assert made.resources()[0]["gcp.project_id"] == "payer"
    # Who else receives spans gets no token of Google's.
    assert "Authorization" not in other.headers[0]


def test_a_receiver_that_refuses_is_said_once_and_so_is_that_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with receiver() as made:
        made.answers = [403, 403, 200]
        traces = configure_traces(endpoint=made.url)
        metrics = Metrics()
        traces.on_export(lambda well: metrics.exported("traces", well=well))
        for _ in range(3):
            with traces.transfer(attributes={}):
                pass
            traces.flush()
        traces.close()
    assert [record.event for record in caplog.records] == ["telemetry.not_sent", "telemetry.sent_again"]
    counted = [
        line for line in metrics.render()[0].decode().splitlines() if "telemetry_exports_total{" in line
    ]
    assert sorted(line.rsplit(" ", 1)[1] for line in counted if 'signal="traces"' in line) == ["1.0", "2.0"]


def test_a_receiver_that_hangs_holds_up_neither_transfers_nor_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_extract.telemetry.traces.FLUSH_SECONDS", 0.3)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    with receiver() as made:
        made.hangs = True
        traces = configure_traces(endpoint=made.url)
        began = time.monotonic()
        for _ in range(2_000):
            with traces.transfer(attributes={"recording.id": "abc"}):
                pass
        made_in = time.monotonic() - began
        traces.flush()
        traces.close()
        ended_in = time.monotonic() - began - made_in
        made.go_on.set()
    assert made_in < 5
    assert ended_in < 2
    assert len(caplog.records) <= 1


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

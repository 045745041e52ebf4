"""The metrics of `/metrics`, sent to a receiver when that is asked for."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from audio_extract.exceptions import ConfigurationError
from audio_extract.telemetry.metric_export import export_metrics, metrics_wanted
from audio_extract.telemetry.metrics import Metrics
from audio_extract.telemetry.receiver import SDK_LOGGERS
from support.engine import wait_until
from support.otlp import receiver
from support.reports import transfer_report

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE_ID = "ab" * 8 + "cd" * 8


@pytest.fixture(autouse=True)
def sdk_loggers() -> Iterator[None]:
    yield
    for name in SDK_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


def one_transfer(metrics: Metrics) -> None:
    metrics.transfer_started()
    metrics.transfer_ended(
        status="completed",
        duration_seconds=3,
        report=transfer_report(),
        source_service="drive",
        destination_service="gcs",
        waited_seconds=90,
        trace_id=TRACE_ID,
    )


def series_of(metric: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """A metric that arrived as Prometheus would show it."""
    kind = metric.WhichOneof("data")
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for point in getattr(metric, kind).data_points:
        labels = tuple(sorted((item.key, item.value.string_value) for item in point.attributes))
        if kind != "histogram":
            found[metric.name, labels] = point.as_double if point.HasField("as_double") else point.as_int
            continue
        total = 0
        for end, count in zip([*point.explicit_bounds, float("inf")], point.bucket_counts, strict=True):
            total += count
            found[f"{metric.name}_bucket", (*labels, ("le", str(end).replace("inf", "+Inf")))] = total
        found[f"{metric.name}_count", labels] = point.count
        found[f"{metric.name}_sum", labels] = point.sum
    return found


def test_a_receiver_gets_every_series_of_the_page_with_its_name_labels_and_value() -> None:
    metrics = Metrics()
    metrics.set_build(version="1", engine="2")
    metrics.queue({"pending": 3})
    asked = []
    metrics.before_gathering(lambda: asked.append(metrics.health({"drive": True}, up=True)))
    with receiver() as made:
        end = export_metrics(metrics, endpoint=made.url, environment="test", version="1")
        one_transfer(metrics)
        metrics.retried("drive", "source.timeout")
        end()
        (sent,) = made.metrics()
        (sender,) = made.resources("metrics")
    assert asked, "what is measured when somebody asks was not measured"
    shown = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render()[0].decode())
        for sample in family.samples
    }
    arrived = {key: value for metric in sent.values() for key, value in series_of(metric).items()}
    # The export itself is counted after it was made.
    exports = ("audio_extract_telemetry_exports_total", (("result", "success"), ("signal", "metrics")))
    assert (arrived.pop(exports), shown.pop(exports)) == (0, 1)
    # Until something is observed, the SDK has no point of a histogram; here both were.
    assert arrived == shown
    assert (sender["service.name"], sender["deployment.environment.name"]) == ("audio-extract", "test")
    assert sender["service.instance.id"]
    duration = sent["audio_extract_processing_duration_seconds"]
    assert (duration.unit, sent["audio_extract_fetched_bytes_total"].unit) == ("s", "By")
    assert sent["audio_extract_fetched_bytes_total"].sum.is_monotonic
    assert duration.description == "How long a transfer took, from claim to record."
    (exemplar,) = duration.histogram.data_points[0].exemplars
    assert exemplar.trace_id.hex() == TRACE_ID


def test_metrics_are_sent_only_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not metrics_wanted(None)
    # Many receivers of traces take nothing else.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    assert not metrics_wanted(None)
    assert metrics_wanted("http://localhost:4318")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
    assert metrics_wanted(None)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not metrics_wanted("http://localhost:4318")
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    for elsewhere in ("none", "prometheus"):
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", elsewhere)
        assert not metrics_wanted("http://localhost:4318")
    monkeypatch.delenv("OTEL_METRICS_EXPORTER")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://localhost:4318/v1/metrics")
    assert metrics_wanted(None)


def test_the_environment_says_where_to_and_how_often_and_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{made.url}/v1/metrics")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-tenant=7")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
        end = export_metrics(Metrics(), endpoint="http://127.0.0.1:1")
        assert wait_until(lambda: len(made.requests) >= 3, 10)
        end()
    assert made.headers[0]["x-tenant"] == "7"


def test_what_we_do_not_have_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "statsd")
    with pytest.raises(ConfigurationError, match=r"OTEL_METRICS_EXPORTER=statsd.*otlp, console, prometheus"):
        export_metrics(Metrics())
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc")
    with pytest.raises(ConfigurationError, match=r"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=grpc: metrics.*4318"):
        export_metrics(Metrics())


def test_metrics_can_be_read_on_the_console_while_stdout_stays_clean(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "console")
    metrics = Metrics()
    end = export_metrics(metrics)
    one_transfer(metrics)
    end()
    said = capfd.readouterr()
    assert "audio_extract_files_processed_total" in said.err
    assert said.out == ""


def test_a_receiver_that_refuses_is_said_once_and_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    metrics = Metrics()
    with receiver() as made:
        made.answers = [403, 403]
        end = export_metrics(metrics, endpoint=made.url)
        assert wait_until(lambda: len(made.requests) >= 3, 10)
        end()
    ours = [record for record in caplog.records if record.name.startswith("audio_extract")]
    assert [record.__dict__["event"] for record in ours] == ["telemetry.not_sent", "telemetry.sent_again"]
    assert [record.__dict__["signal"] for record in ours] == ["metrics", "metrics"]
    assert caplog.records == ours
    exports = metrics.read("audio_extract_telemetry_exports_total")
    counted = {labels["result"]: value for labels, value in exports if labels["signal"] == "metrics"}
    assert counted["failure"] == 2
    assert counted["success"] >= 1


def test_a_receiver_that_hangs_holds_up_neither_what_is_counted_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("audio_extract.telemetry.metric_export.FLUSH_SECONDS", 0.3)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    metrics = Metrics()
    with receiver() as made:
        made.hangs = True
        end = export_metrics(metrics, endpoint=made.url)
        assert wait_until(lambda: bool(made.requests), 10)
        began = time.monotonic()
        for _ in range(1000):
            one_transfer(metrics)
        assert b"files_processed" in metrics.render()[0]
        end()
        took = time.monotonic() - began
        made.go_on.set()
    assert took < 3

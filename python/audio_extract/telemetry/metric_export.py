"""Where metrics go besides `/metrics`: to an OTLP receiver or the console, when somebody asks for that.

That is asked by ``OTEL_METRICS_EXPORTER``, ``OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`` or the settings. The
general ``OTEL_EXPORTER_OTLP_ENDPOINT`` alone does not ask for it: many receivers of traces take nothing else.

The registry of `metrics` stays what counts. Counters and gauges are read from it for each export; of
histograms the SDK has none that can be read, so it is told of each value. Each process says who it is
(``service.instance.id``), so that receivers keep replicas apart. Names are those of `/metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audio_extract.telemetry import otlp
from audio_extract.telemetry.traces import FLUSH_SECONDS, context_of, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
    from opentelemetry.sdk.metrics.export import MetricExporter

    from audio_extract.telemetry.metrics import Fact, Metrics


def metrics_wanted(endpoint: str | None) -> bool:
    """Tell whether settings or environment ask for metrics to be sent.

    Args:
        endpoint: The settings' endpoint.
    """
    if otlp.is_disabled():
        return False
    exporters = otlp.exporters("metrics")
    if exporters is not None:
        return bool({"otlp", "console"} & set(exporters)) and "none" not in exporters
    return bool(endpoint or otlp.own_endpoint("metrics"))


def export_metrics(
    metrics: Metrics, *, endpoint: str | None = None, environment: str | None = None, version: str = ""
) -> Callable[[], None]:
    """Send metrics at intervals (``OTEL_METRIC_EXPORT_INTERVAL``, a minute) when that is asked for.

    Args:
        metrics: What is counted.
        endpoint: Base URL of an OTLP/HTTP receiver, for example ``http://localhost:4318``; the environment's
            ``OTEL_*`` variables win.
        environment: ``deployment.environment.name`` of the metrics.
        version: ``service.version`` of the metrics.

    Returns:
        What ends it: sends what was counted since, and waits for that five seconds at most.

    Raises:
        ConfigurationError: A protocol or an exporter was asked for that this program does not have.
    """
    if not metrics_wanted(endpoint):
        return lambda: None
    otlp.require_http("metrics")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporters = [one for one in otlp.exporters("metrics") or ("otlp",) if one != "prometheus"]
    provider = MeterProvider(
        metric_readers=[
            PeriodicExportingMetricReader(_console() if name == "console" else _otlp(endpoint, metrics))
            for name in exporters
        ],
        resource=otlp.sender(version=version, environment=environment),
        # What is returned does it, and does not wait for ever.
        shutdown_on_exit=False,
    )
    _read(metrics, provider.get_meter("audio_extract"))
    return lambda: _end(provider)


def _end(provider: Any) -> None:
    within(FLUSH_SECONDS, provider.shutdown)


def _read(metrics: Metrics, meter: Meter) -> None:
    """Have each export read what is counted."""
    histograms: dict[str, Histogram] = {}
    for fact in metrics.facts:
        if fact.kind == "histogram":
            histograms[fact.name] = meter.create_histogram(
                fact.name, fact.unit, fact.text, explicit_bucket_boundaries_advisory=fact.buckets
            )
        elif fact.kind == "counter":
            meter.create_observable_counter(fact.name, [_reading(metrics, fact)], fact.unit, fact.text)
        else:
            meter.create_observable_gauge(fact.name, [_reading(metrics, fact)], fact.unit, fact.text)

    def record(name: str, value: float, trace_id: str | None) -> None:
        histograms[name].record(value, context=None if trace_id is None else context_of(trace_id))

    metrics.on_observation(record)


def _reading(metrics: Metrics, fact: Fact) -> Callable[[CallbackOptions], Iterable[Observation]]:
    from opentelemetry.metrics import Observation

    def read(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, labels) for labels, value in metrics.read(fact.name)]

    return read


def _console() -> MetricExporter:
    import sys

    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

    # stdout is for what a command answers.
    return ConsoleMetricExporter(out=sys.stderr)


def _otlp(endpoint: str | None, metrics: Metrics) -> MetricExporter:
    from audio_extract.telemetry.metric_sdk import SayingOnce
    from audio_extract.telemetry.receiver import Receiver

    elsewhere = otlp.environment_endpoint("metrics")
    receiver = Receiver(
        "metrics",
        elsewhere or endpoint or "localhost:4318",
        [lambda well: metrics.exported("metrics", well=well)],
    )
    url = None if elsewhere is not None or endpoint is None else f"{endpoint.rstrip('/')}/v1/metrics"
    return SayingOnce(receiver, endpoint=url)

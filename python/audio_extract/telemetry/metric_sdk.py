"""What OpenTelemetry's SDK leaves to its users of metrics: saying what is wrong only once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

    from audio_extract.telemetry.receiver import Receiver


class SayingOnce(OTLPMetricExporter):
    """An exporter with one warning for each time that the receiver is away, in our own words.

    Args:
        receiver: Who is sent to.
        endpoint: Where to; None: as the environment says.
    """

    def __init__(self, receiver: Receiver, *, endpoint: str | None) -> None:
        super().__init__(endpoint=endpoint)
        self._receiver = receiver

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Send them; says when that begins to fail and when it works again."""
        try:
            result = super().export(metrics_data, timeout_millis, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said, and no transfer minds
            self._receiver.refused(f"{type(error).__name__}: {error}")
            return MetricExportResult.FAILURE
        if result is MetricExportResult.SUCCESS:
            self._receiver.took()
        else:
            self._receiver.refused()
        return result

"""The service's metrics for Prometheus, by the names that alert rules and boards rely on.

One :class:`Metrics` belongs to one service (tests make their own); nothing is registered globally. Label sets
are closed: no label holds a name of a recording.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audio_extract.engine_types import TransferReport

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

#: A minute of video takes a second, an eight-hour one minutes.
_DURATION_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


# When a counter was made tells nobody anything, and doubles the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Counts what the service does. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._processed = Counter(
            "audio_extract_files_processed",
            "Recordings whose transfer ended, by how it ended.",
            ["status"],
            registry=self.registry,
        )
        self._duration = Histogram(
            "audio_extract_processing_duration_seconds",
            "How long a transfer took, from claim to record.",
            buckets=_DURATION_BUCKETS,
            registry=self.registry,
        )
        self._active = Gauge(
            "audio_extract_active_downloads", "Transfers that run now.", registry=self.registry
        )
        self._source_bytes = Counter(
            "audio_extract_source_bytes", "Size of the recordings that were stored.", registry=self.registry
        )
        self._fetched_bytes = Counter(
            "audio_extract_fetched_bytes", "Bytes fetched from sources.", registry=self.registry
        )
        self._stored_bytes = Counter(
            "audio_extract_stored_bytes", "Bytes of audio stored.", registry=self.registry
        )
        self._audio_seconds = Counter(
            "audio_extract_audio_seconds", "Length of the audio stored.", registry=self.registry
        )
        self._requests = Counter(
            "audio_extract_requests",
            "Requests to a service, by outcome.",
            ["service", "outcome"],
            registry=self.registry,
        )
        self._retries = Counter(
            "audio_extract_retries",
            "Requests tried again, by reason.",
            ["service", "reason"],
            registry=self.registry,
        )
        self._queue = Gauge(
            "audio_extract_queue_depth", "Recordings in each state.", ["state"], registry=self.registry
        )
        self._discovery = Gauge(
            "audio_extract_last_discovery_timestamp_seconds",
            "When the last discovery succeeded, Unix time.",
            registry=self.registry,
        )
        for status in ("completed", "failed"):
            self._processed.labels(status)

    def set_build(self, *, version: str, engine: str) -> None:
        """Say which build this is."""
        info = Info("audio_extract_build", "Versions of the program.", registry=self.registry)
        info.info({"version": version, "engine": engine, "python": platform.python_version()})

    def transfer_started(self) -> None:
        """A transfer begins."""
        self._active.inc()

    def transfer_ended(
        self,
        *,
        status: str,
        duration_seconds: float,
        report: TransferReport | None,
        source_service: str,
        destination_service: str,
    ) -> None:
        """A transfer ended, well or not.

        Args:
            status: The state the recording went to: ``completed``, ``failed``, ``quarantined`` …
            duration_seconds: From claim to record.
            report: The engine's report; None when the transfer failed.
            source_service: ``drive`` or ``local``.
            destination_service: ``gcs`` or ``local``.
        """
        self._active.dec()
        self._processed.labels(status).inc()
        self._duration.observe(duration_seconds)
        if report is None:
            return
        self._source_bytes.inc(report["source_size_bytes"] or 0)
        self._fetched_bytes.inc(report["fetched_bytes"])
        self._stored_bytes.inc(report["stored"]["size_bytes"])
        self._audio_seconds.inc(report["audio_seconds"] or 0)
        self.requests(source_service, report["source_requests"])
        self.requests(destination_service, report["sink_requests"])
        for stage in report["stages"]:
            service = destination_service if stage["name"] in {"upload", "verify"} else source_service
            for event in stage["events"]:
                if event["name"] == "retry":
                    self._retries.labels(service, str(event["attributes"].get("reason", "unknown"))).inc()

    def requests(self, service: str, outcomes: Mapping[str, int]) -> None:
        """Count requests that were made."""
        for outcome, number in outcomes.items():
            self._requests.labels(service, outcome).inc(number)

    def discovered(self, *, at_unix_seconds: float) -> None:
        """A discovery succeeded."""
        self._discovery.set(at_unix_seconds)

    def queue(self, depths: Mapping[str, int]) -> None:
        """Set how many recordings are in each state; a state that is not named has none."""
        self._queue.clear()
        for state, depth in depths.items():
            self._queue.labels(state).set(depth)

    def render(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self.registry)

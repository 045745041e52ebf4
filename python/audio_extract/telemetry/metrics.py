"""The service's metrics for Prometheus, by the names that alert rules and boards rely on.

One :class:`Metrics` belongs to one service (tests make their own); nothing is registered globally. Label sets
are closed, and every label value that is known beforehand has its series from the start: a counter that
appears with its first event hides that event from ``rate()``. No label holds a name of a recording.

Series of scope ``service`` are read from the database: every replica says the same, so rules take ``max``.
All others count in one process: rules take ``sum``.
"""

from __future__ import annotations

import platform
import threading
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from audio_extract.exceptions import ERROR_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prometheus_client.metrics import MetricWrapperBase

    from audio_extract.engine_types import PartialReport, TransferReport

Scope = Literal["process", "service"]

#: A minute of video takes a second, an eight-hour one minutes.
_DURATION_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
#: 600 is what the objective promises.
_STORED_BUCKETS: Final = (30, 60, 120, 300, 600, 900, 1800, 3600, 14400, 86400)

#: Label → the values it can have. A label that is not here (a version) has one value for each process.
LABELS: Final[dict[str, tuple[str, ...]]] = {
    "status": ("completed", "failed", "quarantined", "pending", "lost"),
    "kind": tuple(sorted(ERROR_KINDS)),
    "service": ("drive", "local", "gcs"),
    "outcome": ("ok", "retry", "error"),
    "result": ("success", "failure"),
    "source": ("drive", "local"),
    "probe": ("health", "ready", "live"),
    "signal": ("traces", "metrics"),
    "folder": ("temporary", "state"),
    "state": (
        "discovered", "pending", "in_progress", "completed", "failed", "quarantined", "skipped",
    ),
    "component": ("ffmpeg", "database", "storage", "temp_storage", "drive", "redis", "scheduler"),
}  # fmt: skip


_BUILD_TEXT: Final = "Versions of the program."
_UNITS: Final = {"_seconds": "s", "_bytes": "By"}

# When a counter was made tells nobody anything, and doubles the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Fact:
    """What the documentation, the board and the rules may say of a metric.

    Attributes:
        name: As Prometheus shows it; a histogram without its suffixes.
        kind: ``counter``, ``gauge``, ``histogram`` or ``info``.
        text: What it says.
        labels: Its labels.
        scope: ``process``: one process counted it. ``service``: every replica says the same.
        buckets: Of a histogram: upper ends.
    """

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]
    scope: Scope
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """The unit that the name ends with, as UCUM writes it; empty: things are counted."""
        stem = self.name.removesuffix("_total")
        return next((unit for ending, unit in _UNITS.items() if stem.endswith(ending)), "")


class Metrics:
    """Counts what the service does. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.facts: list[Fact] = []
        self._collectors: dict[str, MetricWrapperBase] = {}
        self._before: list[Callable[[], None]] = []
        self._listeners: list[Callable[[str, float, str | None], None]] = []
        self._gathering = threading.Lock()
        self._up = self._gauge(
            "up", "1 while recordings can be stored: database, FFmpeg and destination answer."
        )
        self._healthy = self._gauge(
            "component_healthy", "1 while a component is healthy, 0 while it is not.", "component"
        )
        self._probes = self._counter(
            "probes", "Probes that were answered, by what was said.", "probe", "result"
        )
        self._processed = self._counter(
            "files_processed", "Recordings whose transfer ended, by how it ended.", "status"
        )
        self._failures = self._counter(
            "failures", "Transfers that failed, by what has to be done about it.", "kind"
        )
        self._quarantined = self._counter(
            "quarantined", "Recordings that were given up, by what has to be done about it.", "kind"
        )
        self._duration = self._histogram(
            "processing_duration_seconds",
            "How long a transfer took, from claim to record.",
            _DURATION_BUCKETS,
        )
        self._time_to_stored = self._histogram(
            "time_to_stored_seconds",
            "From when a recording became available to when its audio was stored; at most one interval of "
            "discovery before it was seen. Without what a person asked for again.",
            _STORED_BUCKETS,
        )
        self._active = self._gauge("active_downloads", "Transfers that run now.")
        self._source_bytes = self._counter("source_bytes", "Size of the recordings that were stored.")
        self._fetched_bytes = self._counter("fetched_bytes", "Bytes fetched from sources.")
        self._stored_bytes = self._counter("stored_bytes", "Bytes of audio stored.")
        self._audio_seconds = self._counter("audio_seconds", "Length of the audio stored.")
        self._requests = self._counter("requests", "Requests to a service, by outcome.", "service", "outcome")
        # Reasons are the engine's error codes: a closed set, but few of them ever occur.
        self._retries = self._counter(
            "retries", "Requests tried again, by the error code of the reason.", "service", "reason"
        )
        self._discoveries = self._counter("discoveries", "Looks at a source.", "source", "result")
        self._found = self._counter("recordings_found", "Recordings that are new or changed.", "source")
        self._queue = self._gauge("queue_depth", "Recordings in each state.", "state", scope="service")
        self._discovery = self._gauge(
            "last_discovery_timestamp_seconds",
            "When the source that was looked at longest ago was last looked at with success, Unix time.",
            scope="service",
        )
        self._interval = self._gauge(
            "discovery_interval_seconds", "How often sources are looked at, as the settings say."
        )
        self._last_found = self._gauge(
            "last_found_timestamp_seconds",
            "When the newest recording was found, Unix time; 0: none was.",
            scope="service",
        )
        self._last_stored = self._gauge(
            "last_stored_timestamp_seconds",
            "When audio was last stored, Unix time; 0: none was.",
            scope="service",
        )
        self._disk_free = self._gauge("disk_free_bytes", "Space that is left.", "folder")
        self._disk_size = self._gauge("disk_size_bytes", "Space that there is.", "folder")
        self._exports = self._counter(
            "telemetry_exports", "Batches of traces or metrics sent to the receiver.", "signal", "result"
        )
        self._build = Info("audio_extract_build", _BUILD_TEXT, registry=self.registry)
        labels = ("version", "engine", "python")
        self._know(Fact("audio_extract_build_info", "info", _BUILD_TEXT, labels, "process"), self._build)
        for reason in ("source.rate_limited", "source.quota_exceeded"):
            self._retries.labels("drive", reason)
        self._retries.labels("gcs", "destination.rate_limited")

    def set_build(self, *, version: str, engine: str) -> None:
        """Say which build this is."""
        self._build.info({"version": version, "engine": engine, "python": platform.python_version()})

    def transfer_started(self) -> None:
        """A transfer begins."""
        self._active.inc()

    def transfer_ended(
        self,
        *,
        status: str,
        duration_seconds: float,
        report: TransferReport | None,
        engine: PartialReport | None = None,
        source_service: str,
        destination_service: str,
        error_kind: str | None = None,
        waited_seconds: float | None = None,
        trace_id: str | None = None,
    ) -> None:
        """A transfer ended, well or not.

        Args:
            status: The state the recording went to: ``completed``, ``failed``, ``quarantined`` …
            duration_seconds: From claim to record.
            report: The engine's report; None when the transfer failed.
            engine: What the engine did in any case; the report's, where there is one.
            source_service: ``drive`` or ``local``.
            destination_service: ``gcs`` or ``local``.
            error_kind: What has to be done about the failure, as the engine's kinds spell it.
            waited_seconds: From when it became available to when it was stored; None: that says nothing.
            trace_id: The transfer's trace, for those who want to see one of many.
        """
        exemplar = _exemplar(trace_id)
        self._active.dec()
        self._processed.labels(status).inc(exemplar=exemplar)
        self._observe(self._duration, "processing_duration_seconds", duration_seconds, trace_id)
        if error_kind is not None:
            self._failures.labels(error_kind).inc(exemplar=exemplar)
            if status == "quarantined":
                self._quarantined.labels(error_kind).inc(exemplar=exemplar)
        if waited_seconds is not None and status == "completed":
            self._observe(self._time_to_stored, "time_to_stored_seconds", max(0.0, waited_seconds), trace_id)
        if report is not None:
            self._source_bytes.inc(report["source_size_bytes"] or 0)
            stored = (report["stored"], *(one["stored"] for one in report["outputs"]))
            self._stored_bytes.inc(sum(one["size_bytes"] for one in stored))
            self._audio_seconds.inc(report["audio_seconds"] or 0)
        done = report or engine
        if done is None:
            return
        self._fetched_bytes.inc(done["fetched_bytes"])
        self.requests(source_service, done["source_requests"])
        self.requests(destination_service, done["sink_requests"])
        for reason, number in done["retries"].items():
            service = destination_service if reason.startswith("destination.") else source_service
            self.retried(service, reason, number)

    def requests(self, service: str, outcomes: Mapping[str, int]) -> None:
        """Count requests that were made."""
        for outcome, number in outcomes.items():
            self._requests.labels(service, outcome).inc(number)

    def counting(self, service: str) -> Callable[[str, str | None], None]:
        """Return what counts the requests that Python makes of a service; the engine's are in its reports."""

        def count(outcome: str, code: str | None) -> None:
            self._requests.labels(service, outcome).inc()
            if outcome == "retry" and code is not None:
                self.retried(service, code)

        return count

    def retried(self, service: str, reason: str, number: int = 1) -> None:
        """Count requests that were tried again, for the reason that an error code says."""
        self._retries.labels(service, reason).inc(number)

    def looked(self, source: str, *, well: bool, found: int = 0) -> None:
        """A source was looked at.

        Args:
            source: Its name.
            well: Whether all of it could be looked at.
            found: Recordings that were new or changed.
        """
        self._discoveries.labels(source, _result(well=well)).inc()
        self._found.labels(source).inc(found)

    def discovered(self, *, at_unix_seconds: float) -> None:
        """Every source was looked at with success, the one longest ago at this time."""
        self._discovery.set(at_unix_seconds)

    def queue(self, depths: Mapping[str, int]) -> None:
        """Set how many recordings are in each state; a state that is not named has none."""
        for state in {*LABELS["state"], *depths}:
            self._queue.labels(state).set(depths.get(state, 0))

    def milestones(self, *, found_unix_seconds: float | None, stored_unix_seconds: float | None) -> None:
        """Say when a recording was last found, and audio last stored; None: never."""
        self._last_found.set(found_unix_seconds or 0)
        self._last_stored.set(stored_unix_seconds or 0)

    def interval(self, seconds: float) -> None:
        """Say how often sources are looked at."""
        self._interval.set(seconds)

    def disk(self, folder: str, *, free_bytes: int, size_bytes: int) -> None:
        """Say how much space there is where a folder stands."""
        self._disk_free.labels(folder).set(free_bytes)
        self._disk_size.labels(folder).set(size_bytes)

    def health(self, healthy: Mapping[str, bool], *, up: bool) -> None:
        """Say which components are healthy, and whether recordings can be stored."""
        self._up.set(up)
        for component, is_healthy in healthy.items():
            self._healthy.labels(component).set(is_healthy)

    def probed(self, probe: str, *, well: bool) -> None:
        """A probe was answered."""
        self._probes.labels(probe, _result(well=well)).inc()

    def exported(self, signal: str, *, well: bool) -> None:
        """Traces or metrics were sent, or could not be."""
        self._exports.labels(signal, _result(well=well)).inc()

    def before_gathering(self, update: Callable[[], None]) -> None:
        """Have something brought up to date each time somebody asks; it must be quick and must not raise."""
        self._before.append(update)

    def on_observation(self, told: Callable[[str, float, str | None], None]) -> None:
        """Tell somebody of each value that a histogram takes.

        Args:
            told: Gets the histogram's name, the value, and the trace it belongs to; must be quick.
        """
        self._listeners.append(told)

    def read(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Return a counter's, a gauge's or an info's value for each set of labels, brought up to date."""
        self._update()
        return [
            (sample.labels, sample.value)
            for family in self._collectors[name].collect()
            for sample in family.samples
            if sample.name == name
        ]

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return everything in Prometheus's text format, or OpenMetrics with exemplars, and its content type.

        Args:
            accept: What the one who asks takes, as the header says.
        """
        encode, content_type = choose_encoder(accept)
        self._update()
        return encode(self.registry), content_type

    def _update(self) -> None:
        with self._gathering:
            for update in self._before:
                update()

    def _observe(self, histogram: Histogram, name: str, value: float, trace_id: str | None) -> None:
        histogram.observe(value, _exemplar(trace_id))
        for told in self._listeners:
            told(f"audio_extract_{name}", value, trace_id)

    def _know(self, fact: Fact, collector: MetricWrapperBase) -> None:
        self.facts.append(fact)
        self._collectors[fact.name] = collector

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        counter = Counter(f"audio_extract_{name}", text, labels, registry=self.registry)
        self._know(Fact(f"audio_extract_{name}_total", "counter", text, labels, "process"), counter)
        # From the start, so that the first event is seen as an increase.
        if labels and all(label in LABELS for label in labels):
            for values in product(*(LABELS[label] for label in labels)):
                counter.labels(*values)
        return counter

    def _gauge(self, name: str, text: str, *labels: str, scope: Scope = "process") -> Gauge:
        gauge = Gauge(f"audio_extract_{name}", text, labels, registry=self.registry)
        self._know(Fact(f"audio_extract_{name}", "gauge", text, labels, scope), gauge)
        return gauge

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(f"audio_extract_{name}", text, buckets=buckets, registry=self.registry)
        fact = Fact(f"audio_extract_{name}", "histogram", text, (), "process", buckets)
        self._know(fact, histogram)
        return histogram


def _exemplar(trace_id: str | None) -> dict[str, str] | None:
    return None if trace_id is None else {"trace_id": trace_id}


def _result(*, well: bool) -> str:
    return "success" if well else "failure"

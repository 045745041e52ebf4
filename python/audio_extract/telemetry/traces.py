"""Traces over OTLP/HTTP: one root span for each transfer, with the engine's stages inside.

Traces are on when the environment (``OTEL_EXPORTER_OTLP_ENDPOINT`` or the traces one) or the settings say
where to. Otherwise the API's no-op spans are used, which cost nothing and have no ids.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TraceFlags

from audio_extract.exceptions import ConfigurationError
from audio_extract.telemetry.redaction import redact_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import SpanContext

    from audio_extract.engine_types import TransferReport

_ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

Attributes = dict[str, str | int | float | bool]


class TransferSpan:
    """The span of one transfer that runs.

    Attributes:
        trace_id: 32 hex digits for logs and object metadata; None when traces are off.
        traceparent: The W3C header for requests to our own services; None when traces are off.
    """

    def __init__(self, tracer: trace.Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        context = span.get_span_context()
        self.trace_id: str | None = None
        self.traceparent: str | None = None
        if context.is_valid:
            self.trace_id = f"{context.trace_id:032x}"
            sampled = context.trace_flags & TraceFlags.SAMPLED
            self.traceparent = f"00-{self.trace_id}-{context.span_id:016x}-{sampled:02x}"

    def __enter__(self) -> Self:
        self._token = otel_context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        otel_context.detach(self._token)
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, str(redact_value("error", str(error)))))
            self._span.set_attribute("error.type", getattr(error, "code", type(error).__name__))
        self._span.end()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage that Python does itself, for example ``record``."""
        with self._tracer.start_as_current_span(name, context=trace.set_span_in_context(self._span)):
            yield

    def add_report(self, report: TransferReport) -> None:
        """Add what the engine did: a child for each stage, with the times the engine took."""
        self._span.set_attributes(
            {
                "strategy": report["strategy"],
                "bytes.source": report["source_size_bytes"] or 0,
                "bytes.fetched": report["fetched_bytes"],
                "bytes.stored": report["stored"]["size_bytes"],
            }
        )
        parent = trace.set_span_in_context(self._span)
        for stage in report["stages"]:
            child = self._tracer.start_span(
                stage["name"],
                context=parent,
                kind=SpanKind.CLIENT if stage["name"] in {"fetch.ranges", "upload"} else SpanKind.INTERNAL,
                start_time=stage["start_unix_nanos"],
                attributes=_safe(stage["attributes"]),
            )
            for event in stage["events"]:
                child.add_event(event["name"], _safe(event["attributes"]), timestamp=event["unix_nanos"])
            child.end(end_time=stage["end_unix_nanos"])


class Traces:
    """Makes spans, and sends them when traces are on."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        source: trace.TracerProvider = provider if provider is not None else trace.NoOpTracerProvider()
        self._tracer = source.get_tracer("audio_extract")

    @property
    def enabled(self) -> bool:
        """Whether spans go anywhere."""
        return self._provider is not None

    def transfer(self, *, attributes: Attributes, discovered_in: SpanContext | None = None) -> TransferSpan:
        """Start the root span of one attempt; use it as a context manager.

        Args:
            attributes: ``recording.id`` and what else is known.
            discovered_in: The discovery that found the recording.
        """
        links = [Link(discovered_in)] if discovered_in is not None and discovered_in.is_valid else None
        span = self._tracer.start_span(
            "transfer", context=otel_context.Context(), attributes=_safe(attributes), links=links
        )
        return TransferSpan(self._tracer, span)

    @contextmanager
    def span(self, name: str, attributes: Attributes | None = None) -> Iterator[Span]:
        """Time something else, for example ``discovery``; a child of the span that runs."""
        with self._tracer.start_as_current_span(name, attributes=_safe(attributes or {})) as span:
            yield span

    def flush(self) -> None:
        """Send what waits, for at most five seconds."""
        if self._provider is not None:
            self._provider.force_flush(5_000)

    def close(self) -> None:
        """Send what waits and stop the exporter's thread."""
        if self._provider is not None:
            self._provider.shutdown()


def traces_wanted(endpoint: str | None) -> bool:
    """Tell whether settings or environment say where traces go.

    Args:
        endpoint: The settings' endpoint.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return bool(endpoint) or any(os.environ.get(name) for name in _ENDPOINT_VARIABLES)


def configure_traces(
    *,
    endpoint: str | None = None,
    environment: str | None = None,
    version: str = "",
    processor: SpanProcessor | None = None,
) -> Traces:
    """Return the traces of this process; they go nowhere unless something says where to.

    Args:
        endpoint: Base URL of an OTLP/HTTP receiver, for example ``http://localhost:4318``; the environment's
            ``OTEL_*`` variables win.
        environment: ``deployment.environment.name`` of the spans.
        version: ``service.version`` of the spans.
        processor: Takes the spans instead of an exporter.

    Raises:
        ConfigurationError: A protocol was asked for that this program does not have.
    """
    if processor is None and not traces_wanted(endpoint):
        return Traces()
    for name in _PROTOCOL_VARIABLES:
        protocol = os.environ.get(name)
        if protocol and protocol != "http/protobuf":
            raise ConfigurationError(
                f"{name}={protocol}: traces are sent with http/protobuf only; "
                "unset it and use the receiver's HTTP port (usually 4318)",
                code="config.invalid",
            )
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    attributes = {
        SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "audio-extract"),
        SERVICE_VERSION: version,
    }
    if environment:
        attributes["deployment.environment.name"] = environment
    provider = TracerProvider(resource=Resource.create(attributes))
    if processor is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from_environment = any(os.environ.get(name) for name in _ENDPOINT_VARIABLES)
        url = None if from_environment or endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
        processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=url))
    provider.add_span_processor(processor)
    return Traces(provider)


def _safe(attributes: Mapping[str, Any]) -> Attributes:
    return {key: redact_value(key, value) for key, value in attributes.items() if value is not None}

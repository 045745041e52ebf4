"""Spans: one root for each transfer, with the engine's stages inside, and one for each look for recordings.

Where spans go is decided in `trace_export`. When they go nowhere, the API's no-op spans are used, which cost
nothing and have no ids.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from audio_extract.telemetry.redaction import redact_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import TracerProvider

    from audio_extract.engine_types import PartialReport, StageTiming, TransferReport

#: What `once` and the end of the process wait for a receiver that does not answer.
FLUSH_SECONDS = 5.0
#: Earlier attempts that a transfer is linked to; the newest.
_MOST_LINKS = 10
_CALLS = ("fetch.index", "fetch.ranges", "upload", "upload.chunk")

Attributes = dict[str, str | int | float | bool]


class TransferSpan:
    """The span of one transfer that runs.

    Attributes:
        trace_id: 32 hex digits for logs and object metadata; None when traces are off.
        traceparent: The W3C header for requests to our own services; None when traces are off.
        is_sampled: Whether the trace is kept, so that others may lead to it.
    """

    def __init__(self, tracer: trace.Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        context = span.get_span_context()
        self.trace_id: str | None = None
        self.traceparent: str | None = None
        self.is_sampled = context.trace_flags.sampled
        if context.is_valid:
            self.trace_id = trace_id_of(span)
            sampled = context.trace_flags & TraceFlags.SAMPLED
            self.traceparent = f"00-{self.trace_id}-{context.span_id:016x}-{sampled:02x}"

    def __enter__(self) -> Self:
        self._token = otel_context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        otel_context.detach(self._token)
        if error is not None:
            note_error(self._span, error)
        self._span.end()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage that Python does itself, for example ``record``."""
        with _timed(self._tracer, name, {}, trace.set_span_in_context(self._span)):
            yield

    def bound(self, act: Callable[[], None]) -> Callable[[], None]:
        """Return `act` for a thread of the engine: what it asks of Google belongs to this transfer."""

        def in_this_span() -> None:
            token = otel_context.attach(trace.set_span_in_context(self._span))
            try:
                act()
            finally:
                otel_context.detach(token)

        return in_this_span

    def add_report(self, report: TransferReport) -> None:
        """Add what the engine did: a child for each stage, with the times the engine took."""
        if not self._span.is_recording():
            return
        self._span.set_attributes(
            _safe(
                {
                    "strategy": report["strategy"],
                    "fallback_reason": report["fallback_reason"],
                    "bytes.stored": report["stored"]["size_bytes"],
                    "audio.seconds": report["audio_seconds"],
                }
            )
        )
        self.add_partial_report(report)

    def add_partial_report(self, report: PartialReport) -> None:
        """Add what the engine did until it failed."""
        if not self._span.is_recording():
            return
        self._span.set_attributes(
            {
                "bytes.source": report["source_size_bytes"] or 0,
                "bytes.fetched": report["fetched_bytes"],
                "retries": sum(report["retries"].values()),
            }
        )
        parents: list[tuple[StageTiming, Span]] = []
        made: list[tuple[StageTiming, Span]] = []
        # A part begins after its whole, and the engine lists them as they begin.
        for stage in report["stages"]:
            whole = self._whole(stage, parents)
            span = self._stage_span(stage, whole)
            made.append((stage, span))
            if whole is None:
                parents.append((stage, span))
        for stage, span in made:
            span.end(end_time=stage["end_unix_nanos"])

    @staticmethod
    def _whole(stage: StageTiming, parents: Sequence[tuple[StageTiming, Span]]) -> Span | None:
        """Return the span that a part such as ``extract.encode`` belongs to; None: to the transfer itself."""
        name = stage["name"].rpartition(".")[0]
        found = (span for parent, span in reversed(parents) if parent["name"] == name)
        return next(found, None)

    def _stage_span(self, stage: StageTiming, whole: Span | None) -> Span:
        span = self._tracer.start_span(
            stage["name"],
            context=trace.set_span_in_context(self._span if whole is None else whole),
            kind=SpanKind.CLIENT if stage["name"] in _CALLS else SpanKind.INTERNAL,
            start_time=stage["start_unix_nanos"],
            attributes=_safe(stage["attributes"]),
        )
        for event in stage["events"]:
            span.add_event(event["name"], _safe(event["attributes"]), timestamp=event["unix_nanos"])
        return span


class Traces:
    """Makes spans, and sends them when traces are on.

    Args:
        provider: Takes the spans; None: they go nowhere.
        undo: Called at the end, to take away what was put into other libraries.
        listeners: Where the exporter looks for who is told of each export.
    """

    def __init__(
        self,
        provider: TracerProvider | None = None,
        *,
        undo: Callable[[], None] | None = None,
        listeners: list[Callable[[bool], None]] | None = None,
    ) -> None:
        self._listeners = [] if listeners is None else listeners
        self._provider = provider
        self._undo = undo
        self._unsent = False
        source: trace.TracerProvider = provider if provider is not None else trace.NoOpTracerProvider()
        self._tracer = source.get_tracer("audio_extract")

    @property
    def enabled(self) -> bool:
        """Whether spans go anywhere."""
        return self._provider is not None

    def on_export(self, told: Callable[[bool], None]) -> None:
        """Tell somebody of each export, whether it went well; in the exporter's thread, must not raise."""
        self._listeners.append(told)

    def transfer(
        self, *, attributes: Attributes, discovered_in: str | None = None, earlier: Sequence[str] = ()
    ) -> TransferSpan:
        """Start the root span of one attempt; use it as a context manager.

        Args:
            attributes: ``recording.id`` and what else is known.
            discovered_in: Trace id of the discovery that found the recording.
            earlier: Trace ids of earlier attempts, oldest first.
        """
        links = [_link(one, "earlier attempt") for one in earlier[-_MOST_LINKS:]]
        if discovered_in is not None:
            links.insert(0, _link(discovered_in, "discovery"))
        span = self._tracer.start_span(
            "transfer", context=otel_context.Context(), attributes=_safe(attributes), links=links
        )
        return TransferSpan(self._tracer, span)

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        context: otel_context.Context | None = None,
    ) -> Iterator[Span]:
        """Time something else, for example ``discovery``; a child of what runs, or of `context`'s span."""
        with _timed(self._tracer, name, attributes or {}, context, kind) as span:
            yield span

    def flush(self) -> None:
        """Send what waits, for at most five seconds."""
        if self._provider is not None:
            self._unsent = not within(FLUSH_SECONDS, self._provider.force_flush)

    def close(self) -> None:
        """Send what waits, for at most five seconds, and stop the exporter's thread."""
        if self._undo is not None:
            self._undo()
        if self._provider is not None:
            # A receiver that kept `flush` waiting is not waited for twice.
            within(0.1 if self._unsent else FLUSH_SECONDS, self._provider.shutdown)


def trace_id_of(span: Span) -> str | None:
    """Return a span's trace id as 32 hex digits; None when traces are off."""
    context = span.get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def root_span_id(trace_id: int) -> int:
    """Return the id of the root span of one of our traces: the low half of the trace's id.

    So a trace id, which is what the database keeps, is enough to link to it.
    """
    return trace_id & (2**64 - 1)


def _link(trace_id: str, relation: str) -> Link:
    number = int(trace_id, 16)
    context = SpanContext(number, root_span_id(number), is_remote=True)
    return Link(context, {"relation": relation})


def context_of(trace_id: str) -> otel_context.Context:
    """Return a context below the root span of one of our traces that was sampled."""
    number = int(trace_id, 16)
    root = SpanContext(
        number, root_span_id(number), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return trace.set_span_in_context(NonRecordingSpan(root), otel_context.Context())


@contextmanager
def _timed(
    tracer: trace.Tracer,
    name: str,
    attributes: Attributes,
    context: otel_context.Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    # The SDK would add the error with its message and stack as they are; ours are redacted.
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=kind,
        attributes=_safe(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            note_error(span, error)
            raise


def note_error(span: Span, error: BaseException) -> None:
    """Mark a span as failed, in words that hold no secret."""
    span.set_status(Status(StatusCode.ERROR, str(redact_value("error", str(error)))))
    span.set_attribute("error.type", getattr(error, "code", type(error).__name__))


def within(seconds: float, act: Callable[[], object]) -> bool:
    """Wait for `act` no longer than that; False: it goes on in a thread that ends with the process.

    The SDK's own limits do not hold: `force_flush` ignores its argument.
    """
    thread = threading.Thread(target=act, name="traces-flush", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def _safe(attributes: Mapping[str, Any]) -> Attributes:
    return {key: redact_value(key, value) for key, value in attributes.items() if value is not None}

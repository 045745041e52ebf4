"""Where spans go: an OTLP receiver, Google Cloud Trace, the console, or nowhere.

Traces are on when the environment (``OTEL_EXPORTER_OTLP_ENDPOINT``, the traces one, ``OTEL_TRACES_EXPORTER``)
or the settings say where to; the environment wins. A receiver that is away is said once, and nothing waits
for it: the queue is bounded, and what does not fit is dropped. The SDK is imported only when it is used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from audio_extract.telemetry import otlp
from audio_extract.telemetry.traces import Traces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

#: Google's own OTLP receiver; it stores spans in Cloud Trace.
CLOUD_TRACE_URL = "https://telemetry.googleapis.com/v1/traces"

_LONGEST_ATTRIBUTE = 4096


def traces_wanted(endpoint: str | None) -> bool:
    """Tell whether settings or environment say where traces go.

    Args:
        endpoint: The settings' endpoint.
    """
    if otlp.is_disabled():
        return False
    exporters = otlp.exporters("traces")
    if exporters is not None:
        return "none" not in exporters
    return bool(endpoint or otlp.environment_endpoint("traces"))


def configure_traces(
    *,
    endpoint: str | None = None,
    cloud_project: str | None = None,
    cloud_token: Callable[[], tuple[str, float]] | None = None,
    cloud_url: str = CLOUD_TRACE_URL,
    environment: str | None = None,
    version: str = "",
    processor: SpanProcessor | None = None,
) -> Traces:
    """Return the traces of this process; they go nowhere unless something says where to.

    Args:
        endpoint: Base URL of an OTLP/HTTP receiver, for example ``http://localhost:4318``; the environment's
            ``OTEL_*`` variables win.
        cloud_project: Send to Cloud Trace instead, into this project, which is billed too.
        cloud_token: Gives tokens for it, and when they expire.
        cloud_url: Where Cloud Trace is.
        environment: ``deployment.environment.name`` of the spans.
        version: ``service.version`` of the spans.
        processor: Takes the spans instead of an exporter.

    Raises:
        ConfigurationError: A protocol or an exporter was asked for that this program does not have.
    """
    if processor is None and not traces_wanted(endpoint or cloud_project):
        return Traces()
    otlp.require_http("traces")
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from audio_extract.telemetry.trace_sdk import LinkableIds

    limited = any(name.endswith("ATTRIBUTE_VALUE_LENGTH_LIMIT") for name in os.environ)
    provider = TracerProvider(
        resource=otlp.sender(version=version, environment=environment, project=cloud_project),
        id_generator=LinkableIds(),
        span_limits=SpanLimits(max_attribute_length=None if limited else _LONGEST_ATTRIBUTE),
        # `Traces.close` does it, and does not wait for ever.
        shutdown_on_exit=False,
    )
    if processor is not None:
        provider.add_span_processor(processor)
        return Traces(provider)
    listeners: list[Callable[[bool], None]] = []
    for exporter in otlp.exporters("traces") or ("otlp",):
        made = (
            _console()
            if exporter == "console"
            else _otlp(
                endpoint,
                cloud_project=cloud_project,
                cloud_token=cloud_token,
                cloud_url=cloud_url,
                listeners=listeners,
            )
        )
        provider.add_span_processor(BatchSpanProcessor(made))
    from audio_extract.telemetry.calls import Calls

    return Traces(
        provider, undo=Calls(provider.get_tracer("audio_extract.calls")).watch(), listeners=listeners
    )


def _console() -> SpanExporter:
    import sys

    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    # stdout is for what a command answers.
    return ConsoleSpanExporter(out=sys.stderr)


def _otlp(
    endpoint: str | None,
    *,
    cloud_project: str | None,
    cloud_token: Callable[[], tuple[str, float]] | None,
    cloud_url: str,
    listeners: Sequence[Callable[[bool], None]],
) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from audio_extract.telemetry.receiver import Receiver
    from audio_extract.telemetry.trace_sdk import SayingOnce, signed_session

    elsewhere = otlp.environment_endpoint("traces")
    if cloud_project is not None and cloud_token is not None and elsewhere is None:
        # The token goes to Google and nowhere else: an endpoint of the environment gets none.
        exporter = OTLPSpanExporter(
            endpoint=cloud_url,
            session=signed_session(cloud_token),
            headers={"x-goog-user-project": cloud_project},
        )
        return SayingOnce(exporter, Receiver("traces", "Cloud Trace", listeners))
    url = None if elsewhere is not None or endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
    receiver = Receiver("traces", elsewhere or endpoint or "localhost:4318", listeners)
    return SayingOnce(OTLPSpanExporter(endpoint=url), receiver)

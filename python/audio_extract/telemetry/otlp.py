"""What traces and metrics read alike: the ``OTEL_*`` variables, which win over settings, and who sends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal

from audio_extract.exceptions import ConfigurationError
from audio_extract.telemetry.resource import resource_attributes

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

Signal = Literal["traces", "metrics"]

#: ``prometheus`` asks for what `/metrics` gives in any case.
_EXPORTERS: Final = {
    "traces": ("otlp", "console", "none"),
    "metrics": ("otlp", "console", "prometheus", "none"),
}


def is_disabled() -> bool:
    """Whether ``OTEL_SDK_DISABLED`` turns everything off."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def own_endpoint(signal: Signal) -> str | None:
    """Return what the variable for this signal alone says, ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``."""
    return os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT") or None


def environment_endpoint(signal: Signal) -> str | None:
    """Return where the environment wants this signal to go; None: it says nothing."""
    return own_endpoint(signal) or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None


def exporters(signal: Signal) -> tuple[str, ...] | None:
    """Return what ``OTEL_TRACES_EXPORTER`` or ``OTEL_METRICS_EXPORTER`` names; None when it is not set.

    Raises:
        ConfigurationError: It names one that this program does not have.
    """
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    names = [one.strip() for one in os.environ.get(variable, "").split(",") if one.strip()]
    unknown = [name for name in names if name not in _EXPORTERS[signal]]
    if unknown:
        known = ", ".join(_EXPORTERS[signal])
        raise ConfigurationError(f"{variable}={unknown[0]}: there are {known}", code="config.invalid")
    return tuple(names) or None


def require_http(signal: Signal) -> None:
    """Refuse protocols that this program does not speak.

    Raises:
        ConfigurationError: The environment asks for one.
    """
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(name)
        if protocol and protocol != "http/protobuf":
            raise ConfigurationError(
                f"{name}={protocol}: {signal} are sent with http/protobuf only; "
                "unset it and use the receiver's HTTP port (usually 4318)",
                code="config.invalid",
            )


def sender(*, version: str, environment: str | None, project: str | None = None) -> Resource:
    """Return who sends, as spans and metrics carry it; the same for both in one process.

    Args:
        version: ``service.version``.
        environment: ``deployment.environment.name``.
        project: Google Cloud project; where it is not set, the environment's.
    """
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    attributes = resource_attributes(version=version, environment=environment, project=project)
    attributes |= dict(OTELResourceDetector().detect().attributes)  # type: ignore[arg-type]
    return Resource.create(attributes)

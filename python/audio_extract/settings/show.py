"""Settings for people and tools: as they are (secrets masked), and their JSON schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audio_extract.settings.model import Settings
from audio_extract.telemetry.redaction import redact_value

if TYPE_CHECKING:
    from collections.abc import Mapping


def masked_dict(settings: Settings) -> dict[str, Any]:
    """Return all settings, nested as in the file, ready for YAML or JSON, without secrets."""
    return _masked(settings.model_dump(mode="json"))


def _masked(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _masked(value) if isinstance(value, dict) else redact_value(name, value)
        for name, value in values.items()
    }


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the file, for editors."""
    schema = Settings.model_json_schema()
    schema["title"] = "Settings of audio-extract"
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema

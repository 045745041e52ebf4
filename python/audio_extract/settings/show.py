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
    for section in (schema, *schema["$defs"].values()):
        properties = section.get("properties", {})
        for name, described in properties.items():
            properties[name] = _as_in_the_file(described)
    schema["title"] = "Settings of audio-extract"
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def _as_in_the_file(described: dict[str, Any]) -> dict[str, Any]:
    """Allow what a file may hold beside the value itself: nothing, or a ``${VAR}`` that becomes it."""
    about: dict[str, Any] = {
        name: described.pop(name) for name in ("description", "default") if name in described
    }
    described.pop("expected", None)
    described.pop("title", None)
    allowed = [described, {"type": "null"}]
    if "$ref" not in described:
        allowed.append({"type": "string", "pattern": r"\$\{"})
    return {**about, "anyOf": allowed}

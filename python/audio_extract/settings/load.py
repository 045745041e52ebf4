"""Puts settings together: flag over environment over file over default."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource

from audio_extract.settings.document import find_file, read_file, substituted
from audio_extract.settings.model import Settings, contradictions
from audio_extract.settings.problems import Problems, unknown_key
from audio_extract.telemetry.redaction import protect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from audio_extract.settings.document import Key

_PREFIX: Final = "AUDIO_EXTRACT__"

#: Variables of the container that win over the file, as all variables do.
_SHORT_VARIABLES: Final = {"AUDIO_EXTRACT_FOLDER_ID": ("google_drive", "recordings_folder_id")}
#: Variables that other programs of a host use too: they only fill what the file leaves open, so that a stray
#: ENVIRONMENT=production cannot move a development set-up's audio.
_FILLING_VARIABLES: Final = {
    "ENVIRONMENT": (("environment",),),
    "GCS_BUCKET_NAME": (("storage", "gcs", "bucket_name"), ("processing", "gcs", "bucket_name")),
    "GCS_CREDENTIALS_PATH": (
        ("storage", "gcs", "credentials_path"),
        ("processing", "gcs", "credentials_path"),
    ),
}
_ENVIRONMENT_WORDS: Final = frozenset({"dev", "development", "stage", "staging", "prod", "production"})


class _Environment(EnvSettingsSource):
    """Reads ``AUDIO_EXTRACT__SECTION__KEY`` from a given environment instead of the process's own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._given = environ
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # An empty variable is what `-e NAME=` and compose files leave for "not set".
        return {name.lower(): value for name, value in self._given.items() if value.strip()}


def load_settings(
    config: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings of this process.

    Args:
        config: The file; without it ``AUDIO_EXTRACT_CONFIG`` and the usual places are looked at. No file at
            all is fine.
        overrides: Flags, nested as in the file; None values count as not given.
        environ: The environment; the process's own by default.

    Raises:
        ConfigurationError: Something is wrong; the message names every setting, what was expected, and what
            to do, and shows no secret.
    """
    environ = os.environ if environ is None else environ
    path = find_file(config, environ)
    problems = Problems(file=path)
    file = substituted(read_file(path), environ, problems) if path else {}
    flags = _without_none(overrides or {})
    variables = _Environment(environ)()
    for where in (*_leaves(variables), *_leaves(flags)):
        problems.forget(where)
    variables = _from_environment(variables, environ, problems)
    _fill(file, variables, environ, problems)
    for where in _leaves(flags):
        problems.origins[where] = "given as a flag"
    drive = _emulator_host("DRIVE_EMULATOR_HOST", environ, problems)
    storage = _emulator_host("STORAGE_EMULATOR_HOST", environ, problems)
    merged = _merged(_merged(file, variables), flags)
    try:
        settings: Settings | None = Settings.model_validate(merged)
    except ValidationError as error:
        settings = None
        problems.add_validation(error.errors(include_url=False), Settings)
    for sentence in contradictions(settings) if settings else ():
        problems.add((), sentence)
    problems.raise_if_any()
    assert settings is not None  # noqa: S101 - a validation error is always a problem
    protect(_secret_texts(settings))
    protect(
        value
        for name in environ
        if name.startswith("OTEL_EXPORTER_OTLP") and name.endswith("HEADERS")
        for _, value in parse_qsl(environ[name].replace(",", "&"))
    )
    return settings.with_surroundings(
        drive_emulator_host=drive, storage_emulator_host=storage, config_path=path
    )


def _secret_texts(value: object) -> Iterator[str]:
    """Every value that is declared secret, wherever it stands in the settings."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from _secret_texts(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _secret_texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secret_texts(inner)


def _from_environment(
    values: dict[str, Any], environ: Mapping[str, str], problems: Problems
) -> dict[str, Any]:
    for name, value in environ.items():
        if not value.strip():
            continue
        if name.upper().startswith(_PREFIX):
            where: Key = tuple(name[len(_PREFIX) :].lower().split("__"))
            problems.origins[where] = f"from {name}"
            if where[0] not in Settings.model_fields:
                problems.origins[where[:1]] = f"from {name}"
                problems.add(where[:1], unknown_key(where[:1], Settings))
        elif name in _SHORT_VARIABLES:
            where = _SHORT_VARIABLES[name]
            if _at(values, where) is None:
                problems.origins[where] = f"from {name}"
                values = _merged(values, _nested(where, value))
    return values


def _fill(
    file: Mapping[str, Any], variables: dict[str, Any], environ: Mapping[str, str], problems: Problems
) -> None:
    for name, places in _FILLING_VARIABLES.items():
        value = environ.get(name, "").strip()
        if not value or any(_at(known, place) is not None for known in (file, variables) for place in places):
            continue
        if name == "ENVIRONMENT" and value not in _ENVIRONMENT_WORDS:
            continue
        problems.origins[places[0]] = f"from {name}"
        variables.update(_merged(variables, _nested(places[0], value)))


def _emulator_host(name: str, environ: Mapping[str, str], problems: Problems) -> str | None:
    value = environ.get(name, "").strip()
    if not value:
        return None
    url = value if "://" in value else f"http://{value}"
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        problems.add((name,), "expected http://host:port without a path; correct the variable or unset it")
        return None
    return url.rstrip("/")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for name, value in above.items():
        known = result.get(name)
        both = isinstance(known, dict) and isinstance(value, dict)
        result[name] = _merged(known, value) if both else value  # type: ignore[arg-type]
    return result


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


def _leaves(values: Mapping[str, Any], above: Key = ()) -> Iterator[Key]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name)


def _nested(where: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(where):
        value = {name: value}
    return dict(value)


def _at(values: Mapping[str, Any], where: tuple[str, ...]) -> Any:
    found: Any = values
    for name in where:
        found = found.get(name) if isinstance(found, dict) else None
    return found

"""The settings file: where it is looked for, how it is read, and ``${VAR}`` in it.

Owns the text; what the keys mean is not known here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from audio_extract.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audio_extract.settings.problems import Problems

FILE_NAME: Final = "audio_extract_config.yaml"
#: A settings file has a few kilobytes. This keeps `--config recording.mp4` from filling the memory.
_MAX_BYTES: Final = 1024 * 1024
_REFERENCE: Final = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)((?:[^{}]|\{[^{}]*\})*))?\}")

_QUOTED: Final = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"")

#: Where a value came from decides whether a message may show it.
Key = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would keep the last one and say nothing."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for name, _ in node.value:
        if isinstance(name, yaml.ScalarNode) and name.tag != "tag:yaml.org,2002:merge":
            if name.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {name.value} stands twice", problem_mark=name.start_mark
                )
            seen.add(name.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def find_file(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the settings file to read; None when nobody named one and the usual places have none.

    Args:
        config: What ``--config`` was given.
        environ: For ``AUDIO_EXTRACT_CONFIG``, ``XDG_CONFIG_HOME`` and ``HOME``.

    Raises:
        ConfigurationError: A file was named and does not exist.
    """
    named = config or (Path(environ["AUDIO_EXTRACT_CONFIG"]) if environ.get("AUDIO_EXTRACT_CONFIG") else None)
    if named is not None:
        path = named.expanduser()
        if not path.is_file():
            by = "--config" if config else "AUDIO_EXTRACT_CONFIG"
            what = "is a folder, not a file" if path.is_dir() else "does not exist"
            raise ConfigurationError(
                f"the settings file {path} ({by}) {what}; check the path, or make one with "
                f"`audio-extract config init {FILE_NAME}`",
                code="config.file_not_found",
            )
        return path
    return next((path for path in usual_places(environ) if path.is_file()), None)


def usual_places(environ: Mapping[str, str]) -> list[Path]:
    """Return where a settings file is looked for when none is named, in order."""
    places = [Path(FILE_NAME)]
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else None)
    if home:
        places.append(Path(home) / "audio-extract" / "config.yaml")
    return [*places, Path("/etc/audio-extract/config.yaml")]


def read_file(path: Path) -> dict[str, Any]:
    """Return the sections of a settings file, ``${VAR}`` still in them.

    Raises:
        ConfigurationError: It cannot be read or is no YAML mapping. The message shows none of its text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ConfigurationError(
                f"{path} has more than 1 MiB: this is not a settings file", code="config.unreadable"
            )
        document = yaml.load(data.decode("utf-8-sig"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigurationError(
            f"the settings file {path} cannot be read ({error.strerror}); check its permissions",
            code="config.unreadable",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the settings file {path} is not UTF-8 text; save it as UTF-8", code="config.unreadable"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # What stands in quotes is text of the file, perhaps half a password.
        problem = _QUOTED.sub("…", getattr(error, "problem", None) or "it is not YAML")
        raise ConfigurationError(
            f"the settings file {path}{place}: {problem}; correct that line (indentation is by spaces)",
            code="config.unreadable",
        ) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"the settings file {path} does not consist of sections such as google_drive: and storage:",
            code="config.unreadable",
        )
    return document


def substituted(value: Any, environ: Mapping[str, str], problems: Problems, where: Key = ()) -> Any:
    """Return ``value`` with ``${VAR}`` and ``${VAR:-default}`` replaced; ``$${`` stays as ``${``.

    A value that becomes empty by it counts as not set, as does a key without a value. Where ``VAR`` is not
    set and ``VAR_FILE`` is, the content of that file stands for it: that is how containers get secrets.

    Args:
        value: A section, list or value of the file.
        environ: Gives the variables.
        problems: Told about variables that are not set, and which keys came from variables.
        where: The keys above.
    """
    if isinstance(value, dict):
        inner = {
            name: substituted(item, environ, problems, (*where, str(name))) for name, item in value.items()
        }
        return {str(name): item for name, item in inner.items() if item is not None}
    if isinstance(value, list):
        items = [substituted(item, environ, problems, (*where, index)) for index, item in enumerate(value)]
        return [item for item in items if item is not None]
    if not isinstance(value, str) or "${" not in value:
        return value
    missing: list[str] = []

    def replace(match: re.Match[str]) -> str:
        escaped, name, operator, default = match.groups()
        if escaped:
            return match[0][1:]
        problems.from_variables.add(where)
        found = environ.get(name) if name in environ else _from_file(name, environ, problems, where)
        if found is None or (operator == ":-" and not found):
            if operator is None:
                missing.append(name)
                return ""
            return str(substituted(default, environ, problems, where) or "")
        return found

    text = _REFERENCE.sub(replace, value)
    for name in missing:
        if environ.get(f"{name}_FILE"):
            continue
        problems.add(
            where,
            f"the variable {name} is not set; set it, or write ${{{name}:-default}} in the file",
        )
    return None if missing or not text.strip() else text


def _from_file(name: str, environ: Mapping[str, str], problems: Problems, where: Key) -> str | None:
    """Return what stands in the file that ``NAME_FILE`` names, without the end of its line."""
    path = environ.get(f"{name}_FILE")
    if not path:
        return None
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) <= _MAX_BYTES:
            return data.decode("utf-8").rstrip("\r\n")
        reason = "has more than 1 MiB"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        reason = "is not UTF-8 text"
    problems.add(where, f"the file {path} ({name}_FILE) {reason}; correct the path or the file")
    return None

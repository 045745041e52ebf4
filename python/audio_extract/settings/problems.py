"""From what is wrong with settings to one message a person can act on.

Owns the words. A value is shown only where it cannot be secret: never one of a secret's key, never one that
came out of a variable.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, SecretStr

from audio_extract.exceptions import ConfigurationError
from audio_extract.settings.schema import fields_of, keys_of, section_at

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from audio_extract.settings.document import Key

_EXPECTED: Final = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text (in quotes, if it looks like a number)",
    "path_type": "a path",
    "list_type": "a list",
    "model_type": "a section with keys of its own",
    "model_attributes_type": "a section with keys of its own",
    "dict_type": "a section with keys of its own",
    "none_required": "nothing",
}
_SHOWN_VALUES: Final = frozenset(
    {"literal_error", "int_parsing", "float_parsing", "bool_parsing", "greater_than_equal", "less_than_equal"}
)


@dataclass(slots=True)
class Problems:
    """Collects what is wrong, so that one message can say all of it.

    Attributes:
        file: The settings file.
        origins: Keys that came from the environment or a flag → the name a person knows them by.
        from_variables: Keys whose value came out of ``${VAR}``.
    """

    file: Path | None = None
    origins: dict[Key, str] = field(default_factory=dict)
    from_variables: set[Key] = field(default_factory=set)
    _found: dict[Key, list[str]] = field(default_factory=dict)

    def add(self, where: Key, text: str) -> None:
        """Note what is wrong with one setting."""
        texts = self._found.setdefault(where, [])
        if text not in texts:
            texts.append(text)

    def forget(self, where: Key) -> None:
        """Drop what was noted about a value of the file that something else overrides."""
        self._found.pop(where, None)

    def add_validation(self, errors: list[ErrorDetails], root: type[BaseModel]) -> None:
        """Note what pydantic found, except what follows from a problem already noted."""
        for error in errors:
            where: Key = tuple(error["loc"])
            if any(where[: len(known)] == known for known in self._found if known):
                continue
            if error["type"] == "extra_forbidden":
                self.add(where, unknown_key(where, root))
            else:
                self.add(where, self._wrong_value(where, error, root))

    def raise_if_any(self) -> None:
        """End loading when there is a problem.

        Raises:
            ConfigurationError: There is; the message has one line for each.
        """
        lines = [self._line(where, text) for where, texts in self._found.items() for text in texts]
        if not lines:
            return
        place = f" in {self.file}" if self.file else ""
        if len(lines) == 1:
            raise ConfigurationError(f"settings{place}: {lines[0]}", code="config.invalid")
        listed = "".join(f"\n  - {line}" for line in lines)
        raise ConfigurationError(
            f"{len(lines)} problems with the settings{place}:{listed}", code="config.invalid"
        )

    def _line(self, where: Key, text: str) -> str:
        if not where:
            return text
        origin = next((name for key, name in self.origins.items() if key == where[: len(key)]), None)
        return f"{dotted(where)}{f' ({origin})' if origin else ''}: {text}"

    def _wrong_value(self, where: Key, error: ErrorDetails, root: type[BaseModel]) -> str:
        kind, context = error["type"], error.get("ctx", {})
        if kind == "value_error":
            text = str(context["error"])
            # Rules between keys are whole sentences; the other texts complete "expected …".
            return text if not where or ": " in text else f"expected {text}"
        expected = _EXPECTED.get(kind)
        match kind:
            case "literal_error":
                expected = f"one of {_choices(context['expected'])}"
            case "greater_than_equal":
                expected = f"a number from {context['ge']:g} on"
            case "greater_than":
                expected = f"a number above {context['gt']:g}"
            case "less_than_equal":
                expected = f"a number up to {context['le']:g}"
            case "multiple_of":
                expected = f"a multiple of {context['multiple_of']:g}"
        info = fields_of(section_at(root, where[:-1])).get(str(where[-1])) if where else None
        extra = info.json_schema_extra if info else None
        if isinstance(extra, dict) and "expected" in extra:
            expected = str(extra["expected"])
        shown = self._shown(where, error, root)
        remedy = f". {info.description}" if info and info.description else ""
        return f"expected {expected or 'another kind of value'}{shown}{remedy}".rstrip(".")

    def _shown(self, where: Key, error: ErrorDetails, root: type[BaseModel]) -> str:
        value = error.get("input")
        secret = where in self.from_variables or is_secret(root, where)
        if secret or error["type"] not in _SHOWN_VALUES or len(str(value)) > 30:
            return ""
        return f", not {value!r}" if isinstance(value, str) else f", not {value}"


def unknown_key(where: Key, root: type[BaseModel]) -> str:
    """Say that a key is not known and which one was probably meant."""
    name = str(where[-1])
    section = section_at(root, where[:-1])
    known = list(fields_of(section)) if section else []
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    if close:
        return f"unknown key; did you mean {dotted((*where[:-1], close[0]))}?"
    everywhere = {path.rsplit(".", 1)[-1]: path for path in reversed(keys_of(root))}
    elsewhere = difflib.get_close_matches(name.lower(), everywhere, n=1, cutoff=0.8)
    if elsewhere:
        return f"unknown key; did you mean {everywhere[elsewhere[0]]}?"
    nearest = max(
        known, key=lambda other: difflib.SequenceMatcher(None, name.lower(), other).ratio(), default=None
    )
    if nearest is None:
        return "unknown key; remove it"
    return f"unknown key; the nearest is {dotted((*where[:-1], nearest))}; remove it or correct it"


def is_secret(root: type[BaseModel], where: Key) -> bool:
    """Tell whether a key holds, or could hold, a secret."""
    names = [part for part in where if isinstance(part, str)]
    if not names:
        return True
    info = fields_of(section_at(root, tuple(names[:-1]))).get(names[-1])
    if info is None:
        return True
    return SecretStr.__name__ in str(info.annotation)


def dotted(where: Key) -> str:
    """Return ``storage.gcs.bucket_name``, ``sources.local.name_patterns[2]``."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _choices(expected: Any) -> str:
    return str(expected).replace("'", "").replace(" or ", ", ")

"""Looks into the settings models: which keys there are, what a key is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


def fields_of(section: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """Return the keys of a section, in order."""
    return dict(section.model_fields) if section else {}


def section_of(info: FieldInfo | None) -> type[BaseModel] | None:
    """Return the section a key opens; None when it holds a value."""
    annotation = info.annotation if info else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def section_at(root: type[BaseModel], where: tuple[Any, ...]) -> type[BaseModel] | None:
    """Return the section at a path of keys; None when there is none."""
    section: type[BaseModel] | None = root
    for name in where:
        section = section_of(fields_of(section).get(str(name)))
    return section


def keys_of(root: type[BaseModel], above: str = "") -> list[str]:
    """Return the dotted names of all keys that hold values, in the order of the file."""
    names: list[str] = []
    for name, info in root.model_fields.items():
        section = section_of(info)
        names.extend(keys_of(section, f"{above}{name}.") if section else [f"{above}{name}"])
    return names

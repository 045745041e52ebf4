"""Partial responses: the ``fields`` parameter of Google's APIs (``files(id,owners/me),nextPageToken``).

The grammar: https://developers.google.com/workspace/drive/api/guides/fields-parameter. Which fields there
are is read from the discovery document that Google's client carries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from audio_extract.emulator.errors import GoogleError

#: What a mask selects: field → what is selected below it; an empty mapping selects everything below.
Mask = dict[str, "Mask"]

_TOKEN = re.compile(r"\s*([A-Za-z0-9_.-]+|\*|[(),/])")


@cache
def discovery_schemas(api: str) -> dict[str, Any]:
    """The schemas of a discovery document, for example ``drive.v3``."""
    documents = files("googleapiclient.discovery_cache") / "documents"
    document = json.loads((documents / f"{api}.json").read_text(encoding="utf-8"))
    schemas: dict[str, Any] = document["schemas"]
    return schemas


@cache
def parse_mask(text: str, api: str, schema: str) -> Mask:
    """Read a mask and check it against a schema of the discovery document.

    Raises:
        GoogleError: 400 ``invalidParameter``, as Google's APIs refuse a mask.
    """
    tokens = _tokens(text)
    mask, rest = _parse_list(tokens, 0, text)
    if rest != len(tokens):
        raise _refused(text)
    _check(mask, discovery_schemas(api), {"$ref": schema}, text)
    return mask


def apply_mask(mask: Mask, value: Any) -> Any:
    """Keep what the mask selects. Lists are masked item by item."""
    if not mask or ("*" in mask and not mask["*"] and len(mask) == 1):
        return value
    if isinstance(value, list):
        return [apply_mask(mask, item) for item in value]
    if not isinstance(value, Mapping):
        return value
    chosen: dict[str, Any] = {}
    for name, item in value.items():
        below = mask.get(name, mask.get("*"))
        if below is not None:
            chosen[name] = apply_mask(below, item)
    return chosen


def masked(document: dict[str, Any], text: str, *, api: str, schema: str) -> dict[str, Any]:
    """Keep of a document what a mask's text selects.

    Raises:
        GoogleError: 400, the mask names a field that the schema does not have.
    """
    chosen: dict[str, Any] = apply_mask(parse_mask(text, api, schema), document)
    return chosen


def _refused(selection: str) -> GoogleError:
    return GoogleError("invalidParameter", f"Invalid field selection {selection}", location="fields")


def _tokens(text: str) -> list[str]:
    tokens = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _refused(text)
        tokens.append(match.group(1))
        at = match.end()
    return tokens


def _parse_list(tokens: list[str], at: int, text: str) -> tuple[Mask, int]:
    mask: Mask = {}
    while True:
        at = _parse_path(tokens, at, mask, text)
        if at >= len(tokens) or tokens[at] != ",":
            return mask, at
        at += 1


def _parse_path(tokens: list[str], at: int, mask: Mask, text: str) -> int:
    """Read ``a/b(c,d)`` into the mask. A field that is selected as a whole stays so."""
    if at >= len(tokens) or tokens[at] in "(),/":
        raise _refused(text)
    name = tokens[at]
    at += 1
    following = tokens[at] if at < len(tokens) else ""
    whole = name in mask and not mask[name]
    below: Mask = {}
    if following == "/":
        at = _parse_path(tokens, at + 1, below, text)
    elif following == "(":
        below, at = _parse_list(tokens, at + 1, text)
        if at >= len(tokens) or tokens[at] != ")":
            raise _refused(text)
        at += 1
    if whole or not below:
        mask[name] = {}
    else:
        _merge(mask.setdefault(name, {}), below)
    return at


def _merge(mask: Mask, other: Mask) -> None:
    for name, below in other.items():
        if name in mask and (not mask[name] or not below):
            mask[name] = {}
        else:
            _merge(mask.setdefault(name, {}), below)


def _check(mask: Mask, schemas: Mapping[str, Any], schema: Mapping[str, Any], text: str) -> None:
    while True:
        if "$ref" in schema:
            schema = schemas[schema["$ref"]]
        elif schema.get("type") == "array":
            schema = schema["items"]
        else:
            break
    properties = schema.get("properties", {})
    free = schema.get("additionalProperties")
    for name, below in mask.items():
        if name == "*":
            candidates = list(properties.values())
            if below and not candidates:
                raise _refused(text)
            continue
        child = properties.get(name, free)
        if child is None:
            raise _refused(name)
        _check(below, schemas, child, text)

"""``/openapi.json``: the API in the OpenAPI 3.1 format, made of the types that it answers with.

Source: https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import models_json_schema

from audio_extract.web.schemas import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaMode

    from audio_extract.web.endpoint import Endpoint

_REFERENCE: Final = "#/components/schemas/{model}"
#: What every endpoint may answer.
_ALWAYS: Final = {
    401: "Nobody who may ask: send a token. Not where the page needs no sign-in.",
    403: "A viewer may not do this; or a page of another site, or a proxy that is not trusted, sent it.",
    421: "The page does not answer under this name.",
    503: "A part of the service does not answer; Retry-After says when to ask again.",
}


def document(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """Return the document.

    Args:
        endpoints: What is described.
        version: Of the program.
    """
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
    for endpoint in endpoints:
        wanted.append((endpoint.answer, "serialization"))
        if endpoint.body is not None:
            wanted.append((endpoint.body, "validation"))
    _, definitions = models_json_schema(wanted, ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    paths["/api/events"] = {"get": _EVENTS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "audio-extract",
            "version": version,
            "description": "What the service knows of recordings, and what a person may ask of it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "One of security.tokens, where the page needs sign-in.",
                }
            },
        },
        "security": [{}, {"token": []}],
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    statuses = {**endpoint.errors, **_ALWAYS}
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}{endpoint.path.replace('/{id}', '').title()}".replace(
            "/", ""
        ).replace("-", ""),
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": {
            "200": {
                "description": (endpoint.answer.__doc__ or "").strip(),
                "content": {"application/json": {"schema": _reference(endpoint.answer)}},
            },
            **{str(status): _problem(text) for status, text in sorted(statuses.items())},
        },
    }
    if endpoint.query is not None and "cursor" in endpoint.query.model_fields:
        operation["responses"]["200"]["headers"] = {
            "Link": {
                "description": "The next page, rel=next; absent on the last.",
                "schema": {"type": "string"},
            }
        }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(endpoint.body)}},
        }
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{id}" in endpoint.path:
        found.append(
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        )
    if endpoint.query is not None:
        schema = endpoint.query.model_json_schema()
        for name, described in schema["properties"].items():
            about = {key: value for key, value in described.items() if key not in {"title", "description"}}
            # A parameter that is not there is not null: it is not there.
            kinds = [kind for kind in about.pop("anyOf", ()) if kind.get("type") != "null"]
            about = {**about, **kinds[0]} if kinds else about
            if about.get("default", "") is None:
                del about["default"]
            found.append(
                {
                    "name": name,
                    "in": "query",
                    "description": described.get("description", ""),
                    "schema": about,
                }
            )
    return found


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/problem+json": {"schema": _reference(Problem)}}}


_EVENTS: Final[dict[str, Any]] = {
    "operationId": "getApiEvents",
    "summary": "What changes, as server-sent events",
    "description": "`recording` (data: as in /api/recent; id: for Last-Event-ID), `active` (as /api/active), "
    "`health`, `hello` (where the log of recordings stands), `reload` (too much was missed: load again).",
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "schema": {"type": "string"},
            "description": "Go on after it.",
        }
    ],
    "responses": {
        "200": {
            "description": HTTPStatus.OK.phrase,
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **{str(status): _problem(text) for status, text in _ALWAYS.items() if status != 503},
        "503": _problem("Too many listen already, or the service stops."),
    },
}

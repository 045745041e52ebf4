"""Google's own transports with a check: each JSON answer must fit the discovery document those clients carry.

A field that Google does not have, or one of the wrong type, fails the test that made the request.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import httplib2
import requests

#: The bucket that stands ready in contract tests.
BUCKET = "meeting-audio"


def discovery_document(api: str) -> dict[str, Any]:
    documents = files("googleapiclient.discovery_cache") / "documents"
    document: dict[str, Any] = json.loads((documents / f"{api}.json").read_text(encoding="utf-8"))
    return document


@dataclass
class Discovery:
    """Knows which schema an answer must have, and whether it has it."""

    api: str
    checked: int = 0
    document: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.document = discovery_document(self.api)
        self._methods = list(self._walk(self.document["resources"]))

    def _walk(self, resources: dict[str, Any]) -> Iterator[tuple[str, re.Pattern[str], str]]:
        for resource in resources.values():
            for method in resource.get("methods", {}).values():
                if "response" not in method:
                    continue
                pattern = re.sub(r"\{[^}]+\}", "[^/]+", method["path"])
                paths = [self.document["servicePath"] + pattern]
                if "mediaUpload" in method:
                    paths += [
                        entry["path"].lstrip("/") for entry in method["mediaUpload"]["protocols"].values()
                    ]
                    paths = [re.sub(r"\{[^}]+\}", "[^/]+", path) for path in paths]
                for path in set(paths):
                    yield method["httpMethod"], re.compile(f"/{path}"), method["response"]["$ref"]
            yield from self._walk(resource.get("resources", {}))

    def check(self, method: str, url: str, status: int, content_type: str, body: bytes) -> None:
        if not content_type.startswith("application/json"):
            return
        document = json.loads(body)
        if status >= 400:
            error = document["error"]
            assert error["code"] == status
            assert error["errors"]
            assert all({"domain", "reason", "message"} <= item.keys() for item in error["errors"])
            self.checked += 1
            return
        # The last request of a resumable upload is a PUT to the session's address.
        wanted = {"PUT": {"PUT", "POST", "PATCH"}}.get(method, {method})
        path = urlsplit(url).path
        schemas = [
            name for verb, pattern, name in self._methods if verb in wanted and pattern.fullmatch(path)
        ]
        assert schemas, f"Google's API has no method {method} {path}"
        self.validate(document, schemas[0])
        self.checked += 1

    def validate(self, value: Any, schema: str) -> None:
        self._validate(value, {"$ref": schema}, schema)

    def _validate(self, value: Any, schema: dict[str, Any], where: str) -> None:
        if "$ref" in schema:
            schema = self.document["schemas"][schema["$ref"]]
        kinds: dict[str, type | tuple[type, ...]] = {
            "string": str,
            "boolean": bool,
            "integer": int,
            "number": (int, float),
            "array": list,
            "object": dict,
        }
        kind = schema["type"]
        assert kind == "any" or isinstance(value, kinds[kind]), f"{where} is {value!r}, not of type {kind}"
        assert kind != "integer" or not isinstance(value, bool), where
        if kind == "array":
            for number, item in enumerate(value):
                self._validate(item, schema["items"], f"{where}[{number}]")
        if kind == "object":
            self._validate_object(value, schema, where)
        form = schema.get("format")
        if form in {"int64", "uint64"}:
            assert re.fullmatch(r"-?\d+", str(value)), f"{where} is {value!r}, not a number"
        if form == "date-time":
            datetime.fromisoformat(value)
            assert value.endswith("Z"), where

    def _validate_object(self, value: dict[str, Any], schema: dict[str, Any], where: str) -> None:
        properties = schema.get("properties", {})
        free = schema.get("additionalProperties")
        for key, item in value.items():
            child = properties.get(key, free)
            assert child is not None, f"{where} has the field {key}, which Google's schema does not have"
            self._validate(item, child, f"{where}.{key}")


class CheckedHttp(httplib2.Http):
    """The transport of Google's Drive client, which checks answers."""

    def __init__(self, discovery: Discovery) -> None:
        super().__init__(timeout=20)
        # As googleapiclient.http.build_http does: 308 is "resume incomplete".
        self.redirect_codes = self.redirect_codes - {308}
        self.discovery = discovery

    def request(self, uri: str, method: str = "GET", *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        response, content = super().request(uri, method, *args, **kwargs)
        if "alt=media" not in uri or int(response.status) >= 400:
            self.discovery.check(method, uri, int(response.status), response.get("content-type", ""), content)
        return response, content


class CheckedSession(requests.Session):
    """The transport of Google's Storage client, which checks answers.

    That client looks for buckets from threads of its own: one request at a time, and none after the end.
    """

    is_mtls = False

    def __init__(self, discovery: Discovery) -> None:
        super().__init__()
        self.discovery = discovery
        self._turn = threading.RLock()
        self._closed = False
        self._responses: list[requests.Response] = []

    def close(self) -> None:
        with self._turn:
            self._closed = True
            # The client leaves a streamed answer open when it tries again.
            for response in self._responses:
                response.close()
            super().close()

    def configure_mtls_channel(self, *_args: Any) -> None:
        return None

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs.pop("max_allowed_time", None)
        with self._turn:
            if self._closed:
                # Not a connection error, which the client's threads would try again for two minutes.
                raise RuntimeError("the test is over")
            response = super().request(method, url, *args, **kwargs)
            self._responses.append(response)
        if "alt=media" not in str(url):
            kind = response.headers.get("content-type", "")
            self.discovery.check(str(method), str(url), response.status_code, kind, response.content)
        return response


class Clock:
    """Time that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 14, 10, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def advance(self, **amount: float) -> None:
        self.now += timedelta(**amount)

"""The JSON API of the emulated Cloud Storage: buckets, objects, copies, downloads.

Reference: https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from audio_extract.emulator.content import ConcatenatedContent, Content, checksums
from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.storage.answers import base_url, bucket_name, download, resource_answer
from audio_extract.emulator.storage.objects import Preconditions, StoredObject
from audio_extract.emulator.storage.state import StorageState, page_start, page_token
from audio_extract.emulator.uploads import json_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

_COMPOSE_LIMIT = 32


class JsonApi:
    """Routes and handlers of the JSON API.

    Args:
        state: What stands in the emulated service.
        authorise: Refuses requests with 401.
    """

    def __init__(self, state: StorageState, authorise: Callable[[Request], None]) -> None:
        self._state = state
        self._authorise = authorise

    def routes(self) -> list[BaseRoute]:
        """The routes of the API."""
        bucket = "/storage/v1/b/{bucket}"
        item = bucket + "/o/{object}"
        target = "/b/{target_bucket}/o/{target_object}"
        return [
            Route("/storage/v1/b", self._list_buckets, methods=["GET"]),
            Route("/storage/v1/b", self._insert_bucket, methods=["POST"]),
            Route(bucket, self._get_bucket, methods=["GET"]),
            Route(bucket, self._patch_bucket, methods=["PATCH"]),
            Route(bucket, self._delete_bucket, methods=["DELETE"]),
            Route(bucket + "/iam/testPermissions", self._test_permissions, methods=["GET"]),
            Route(bucket + "/o", self._list, methods=["GET"]),
            Route(item, self._get, methods=["GET"]),
            Route(item, self._patch, methods=["PATCH"]),
            Route(item, self._update, methods=["PUT"]),
            Route(item, self._delete, methods=["DELETE"]),
            Route(item + "/compose", self._compose, methods=["POST"]),
            Route(item + "/rewriteTo" + target, self._rewrite, methods=["POST"]),
            Route(item + "/copyTo" + target, self._copy, methods=["POST"]),
            Route("/download" + item, self._download, methods=["GET"]),
        ]

    # Buckets.

    async def _list_buckets(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.buckets.list")
        prefix = request.query_params.get("prefix", "")
        base = base_url(request)
        items = [one.to_json(base) for one in self._state.buckets() if one.name.startswith(prefix)]
        return resource_answer(request, {"kind": "storage#buckets", "items": items}, "Buckets")

    async def _insert_bucket(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.buckets.create")
        document = await json_body(request)
        name = document.get("name")
        if not isinstance(name, str) or not name:
            raise GoogleError("required", "name", location="name")
        bucket = self._state.create_bucket(
            name,
            location=document.get("location", "US"),
            storage_class=document.get("storageClass", "STANDARD"),
        )
        bucket.labels = dict(document.get("labels") or {})
        return resource_answer(request, bucket.to_json(base_url(request)), "Bucket")

    async def _get_bucket(self, request: Request) -> Response:
        self._authorise(request)
        bucket = self._state.bucket(bucket_name(request))
        self._state.require("storage.buckets.get")
        return resource_answer(request, bucket.to_json(base_url(request)), "Bucket")

    async def _patch_bucket(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.buckets.update")
        bucket = self._state.bucket(bucket_name(request))
        document = await json_body(request)
        bucket.labels = {
            key: value
            for key, value in {**bucket.labels, **(document.get("labels") or {})}.items()
            if value is not None
        }
        bucket.storage_class = document.get("storageClass", bucket.storage_class)
        bucket.metageneration += 1
        return resource_answer(request, bucket.to_json(base_url(request)), "Bucket")

    async def _delete_bucket(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.buckets.delete")
        self._state.remove_bucket(bucket_name(request))
        return Response(status_code=204)

    async def _test_permissions(self, request: Request) -> Response:
        self._authorise(request)
        self._state.bucket(bucket_name(request))
        asked = request.query_params.getlist("permissions")
        granted = [permission for permission in asked if self._state.permitted(permission)]
        answer = {"kind": "storage#testIamPermissionsResponse", "permissions": granted}
        return resource_answer(request, answer, "TestIamPermissionsResponse")

    # Objects.

    async def _list(self, request: Request) -> Response:
        """List objects: https://cloud.google.com/storage/docs/json_api/v1/objects/list."""
        self._authorise(request)
        name = bucket_name(request)
        self._state.bucket(name)
        self._state.require("storage.objects.list")
        parameters = request.query_params
        limit = min(_integer(parameters, "maxResults", 1000), 1000)
        after = page_start(parameters["pageToken"]) if "pageToken" in parameters else None
        items: list[dict[str, Any]] = []
        prefixes: list[str] = []
        answer: dict[str, Any] = {"kind": "storage#objects"}
        last = ("", False)
        for entry, item in _entries(self._state.objects(name, parameters.get("prefix", "")), parameters):
            place = (entry, item is not None)
            if after is not None and _order(place) <= _order(after):
                continue
            if len(items) + len(prefixes) >= limit:
                answer["nextPageToken"] = page_token(*last)
                break
            last = place
            if item is None:
                prefixes.append(entry)
            else:
                items.append(item.to_json(base_url(request)))
        if items:
            answer["items"] = items
        if prefixes:
            answer["prefixes"] = prefixes
        return resource_answer(request, answer, "Objects")

    async def _get(self, request: Request) -> Response:
        self._authorise(request)
        item = self._read(request)
        if request.query_params.get("alt") == "media":
            return download(request, item)
        return resource_answer(request, item.to_json(base_url(request)), "Object")

    async def _download(self, request: Request) -> Response:
        self._authorise(request)
        return download(request, self._read(request))

    def _read(self, request: Request) -> StoredObject:
        self._state.bucket(bucket_name(request))
        self._state.require("storage.objects.get")
        parameters = request.query_params
        item = self._state.object(bucket_name(request), _object(request), _generation(parameters))
        Preconditions.of_query(parameters).check(item, reading=True)
        return item

    async def _patch(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.objects.update")
        parameters = request.query_params
        item = self._state.object(bucket_name(request), _object(request), _generation(parameters))
        document = await json_body(request)
        item = self._state.patch(item, document, Preconditions.of_query(parameters))
        return resource_answer(request, item.to_json(base_url(request)), "Object")

    async def _update(self, request: Request) -> Response:
        """Replace all metadata: what the document does not name is removed."""
        self._authorise(request)
        self._state.require("storage.objects.update")
        parameters = request.query_params
        item = self._state.object(bucket_name(request), _object(request), _generation(parameters))
        document = await json_body(request)
        item = self._state.patch(item, document, Preconditions.of_query(parameters), replace=True)
        return resource_answer(request, item.to_json(base_url(request)), "Object")

    async def _delete(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.objects.delete")
        parameters = request.query_params
        item = self._state.object(bucket_name(request), _object(request), _generation(parameters))
        self._state.remove(item, Preconditions.of_query(parameters))
        return Response(status_code=204)

    async def _compose(self, request: Request) -> Response:
        """Put objects together: https://cloud.google.com/storage/docs/json_api/v1/objects/compose."""
        self._authorise(request)
        self._state.require("storage.objects.create")
        document = await json_body(request)
        sources = document.get("sourceObjects") or []
        if not 1 <= len(sources) <= _COMPOSE_LIMIT:
            raise GoogleError("invalid", f"The number of source components must be 1 to {_COMPOSE_LIMIT}.")
        parts: list[Content] = []
        count = 0
        for source in sources:
            generation = None if source.get("generation") is None else int(source["generation"])
            item = self._state.object(bucket_name(request), str(source.get("name")), generation)
            match = (source.get("objectPreconditions") or {}).get("ifGenerationMatch")
            Preconditions(generation_match=None if match is None else int(match)).check(item)
            parts.append(item.content)
            count += item.component_count or 1
        content = ConcatenatedContent(parts)
        target = self._state.write(
            bucket_name(request),
            _object(request),
            content,
            crc32c=checksums(content).crc32c,
            md5=None,
            document=document.get("destination") or {},
            preconditions=Preconditions.of_query(request.query_params),
            component_count=count,
        )
        return resource_answer(request, target.to_json(base_url(request)), "Object")

    async def _rewrite(self, request: Request) -> Response:
        """Copy in one step: https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite."""
        item = await self._copy_object(request)
        answer = {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(item.size),
            "objectSize": str(item.size),
            "done": True,
            "resource": item.to_json(base_url(request)),
        }
        return resource_answer(request, answer, "RewriteResponse")

    async def _copy(self, request: Request) -> Response:
        item = await self._copy_object(request)
        return resource_answer(request, item.to_json(base_url(request)), "Object")

    async def _copy_object(self, request: Request) -> StoredObject:
        self._authorise(request)
        self._state.require("storage.objects.get")
        self._state.require("storage.objects.create")
        parameters = request.query_params
        generation = _integer(parameters, "sourceGeneration", 0) or None
        source = self._state.object(bucket_name(request), _object(request), generation)
        Preconditions.of_query(parameters, "Source").check(source)
        document = await json_body(request)
        return self._state.write(
            unquote(request.path_params["target_bucket"]),
            unquote(request.path_params["target_object"]),
            source.content,
            crc32c=source.crc32c,
            md5=source.md5,
            document=document or _metadata_of(source),
            preconditions=Preconditions.of_query(parameters),
            component_count=source.component_count,
        )


def _entries(
    objects: list[StoredObject], parameters: Mapping[str, str]
) -> list[tuple[str, StoredObject | None]]:
    """Objects and common prefixes in the order of their names; an object's entry is its name."""
    prefix = parameters.get("prefix", "")
    delimiter = parameters.get("delimiter", "")
    start = parameters.get("startOffset", "")
    end = parameters.get("endOffset", "")
    trailing = parameters.get("includeTrailingDelimiter", "").lower() == "true"
    entries: dict[tuple[str, bool], StoredObject | None] = {}
    for item in objects:
        if item.name < start or (end and item.name >= end):
            continue
        at = item.name.find(delimiter, len(prefix)) if delimiter else -1
        if at >= 0:
            common = item.name[: at + len(delimiter)]
            entries.setdefault((common, False), None)
            if not (trailing and common == item.name):
                continue
        entries[(item.name, True)] = item
    return [(name, item) for (name, _), item in entries.items()]


def _order(place: tuple[str, bool]) -> tuple[bytes, bool]:
    """By the bytes of the name; a common prefix comes before the object of that name."""
    return place[0].encode(), place[1]


def _metadata_of(item: StoredObject) -> dict[str, Any]:
    return {
        "contentType": item.content_type,
        "contentEncoding": item.content_encoding,
        "contentDisposition": item.content_disposition,
        "contentLanguage": item.content_language,
        "cacheControl": item.cache_control,
        "metadata": item.metadata,
    }


def _object(request: Request) -> str:
    return unquote(request.path_params["object"])


def _generation(parameters: Mapping[str, str]) -> int | None:
    return _integer(parameters, "generation", 0) or None


def _integer(parameters: Mapping[str, str], name: str, default: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit():
        raise GoogleError("invalid", f"{name}: {text}", location=name)
    return int(text)

"""The JSON API of the emulated Cloud Storage: buckets, objects, uploads, downloads.

Reference: https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from audio_extract.emulator.content import READ_SIZE, ConcatenatedContent, Content, checksums
from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.fields import masked
from audio_extract.emulator.media import media_response
from audio_extract.emulator.spool import Spool
from audio_extract.emulator.storage.objects import Preconditions, StoredObject
from audio_extract.emulator.storage.state import StorageState, page_start, page_token
from audio_extract.emulator.uploads import (
    UploadSession,
    UploadSessions,
    check_hashes,
    compare_hashes,
    json_body,
    receive_media,
    receive_multipart,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from starlette.requests import Request

_COMPOSE_LIMIT = 32


class JsonApi:
    """Routes and handlers of the JSON API.

    Args:
        state: What stands in the emulated service.
        uploads: Its resumable sessions.
        directory: Where contents above 1 MiB are kept.
        authorise: Refuses requests with 401.
    """

    def __init__(
        self,
        state: StorageState,
        uploads: UploadSessions,
        directory: Path,
        authorise: Callable[[Request], None],
    ) -> None:
        self._state = state
        self._uploads = uploads
        self._directory = directory
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
            Route("/upload" + bucket + "/o", self._upload, methods=["POST", "PUT", "DELETE"]),
        ]

    # Buckets.

    async def _list_buckets(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.buckets.list")
        prefix = request.query_params.get("prefix", "")
        base = base_url(request)
        items = [one.to_json(base) for one in self._state.buckets() if one.name.startswith(prefix)]
        return _answer(request, {"kind": "storage#buckets", "items": items}, "Buckets")

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
        return _answer(request, bucket.to_json(base_url(request)), "Bucket")

    async def _get_bucket(self, request: Request) -> Response:
        self._authorise(request)
        bucket = self._state.bucket(_bucket(request))
        self._state.require("storage.buckets.get")
        return _answer(request, bucket.to_json(base_url(request)), "Bucket")

    async def _patch_bucket(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.buckets.update")
        bucket = self._state.bucket(_bucket(request))
        document = await json_body(request)
        bucket.labels = {
            key: value
            for key, value in {**bucket.labels, **(document.get("labels") or {})}.items()
            if value is not None
        }
        bucket.storage_class = document.get("storageClass", bucket.storage_class)
        bucket.metageneration += 1
        return _answer(request, bucket.to_json(base_url(request)), "Bucket")

    async def _delete_bucket(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.buckets.delete")
        self._state.remove_bucket(_bucket(request))
        return Response(status_code=204)

    async def _test_permissions(self, request: Request) -> Response:
        self._authorise(request)
        self._state.bucket(_bucket(request))
        asked = request.query_params.getlist("permissions")
        granted = [permission for permission in asked if self._state.permitted(permission)]
        answer = {"kind": "storage#testIamPermissionsResponse", "permissions": granted}
        return _answer(request, answer, "TestIamPermissionsResponse")

    # Objects.

    async def _list(self, request: Request) -> Response:
        """List objects: https://cloud.google.com/storage/docs/json_api/v1/objects/list."""
        self._authorise(request)
        name = _bucket(request)
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
        return _answer(request, answer, "Objects")

    async def _get(self, request: Request) -> Response:
        self._authorise(request)
        item = self._read(request)
        if request.query_params.get("alt") == "media":
            return download(request, item)
        return _answer(request, item.to_json(base_url(request)), "Object")

    async def _download(self, request: Request) -> Response:
        self._authorise(request)
        return download(request, self._read(request))

    def _read(self, request: Request) -> StoredObject:
        self._state.bucket(_bucket(request))
        self._state.require("storage.objects.get")
        parameters = request.query_params
        item = self._state.object(_bucket(request), _object(request), _generation(parameters))
        Preconditions.of_query(parameters).check(item, reading=True)
        return item

    async def _patch(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.objects.update")
        parameters = request.query_params
        item = self._state.object(_bucket(request), _object(request), _generation(parameters))
        document = await json_body(request)
        item = self._state.patch(item, document, Preconditions.of_query(parameters))
        return _answer(request, item.to_json(base_url(request)), "Object")

    async def _update(self, request: Request) -> Response:
        """Replace all metadata: what the document does not name is removed."""
        self._authorise(request)
        self._state.require("storage.objects.update")
        parameters = request.query_params
        item = self._state.object(_bucket(request), _object(request), _generation(parameters))
        document = await json_body(request)
        item = self._state.patch(item, document, Preconditions.of_query(parameters), replace=True)
        return _answer(request, item.to_json(base_url(request)), "Object")

    async def _delete(self, request: Request) -> Response:
        self._authorise(request)
        self._state.require("storage.objects.delete")
        parameters = request.query_params
        item = self._state.object(_bucket(request), _object(request), _generation(parameters))
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
            item = self._state.object(_bucket(request), str(source.get("name")), generation)
            match = (source.get("objectPreconditions") or {}).get("ifGenerationMatch")
            Preconditions(generation_match=None if match is None else int(match)).check(item)
            parts.append(item.content)
            count += item.component_count or 1
        content = ConcatenatedContent(parts)
        target = self._state.write(
            _bucket(request),
            _object(request),
            content,
            crc32c=checksums(content).crc32c,
            md5=None,
            document=document.get("destination") or {},
            preconditions=Preconditions.of_query(request.query_params),
            component_count=count,
        )
        return _answer(request, target.to_json(base_url(request)), "Object")

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
        return _answer(request, answer, "RewriteResponse")

    async def _copy(self, request: Request) -> Response:
        item = await self._copy_object(request)
        return _answer(request, item.to_json(base_url(request)), "Object")

    async def _copy_object(self, request: Request) -> StoredObject:
        self._authorise(request)
        self._state.require("storage.objects.get")
        self._state.require("storage.objects.create")
        parameters = request.query_params
        generation = _integer(parameters, "sourceGeneration", 0) or None
        source = self._state.object(_bucket(request), _object(request), generation)
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

    # Uploads.

    async def _upload(self, request: Request) -> Response:
        self._authorise(request)
        parameters = request.query_params
        if "upload_id" in parameters:
            return await self._uploads.handle(request, parameters["upload_id"])
        if request.method != "POST":
            raise GoogleError("required", "upload_id", location="upload_id")
        self._state.bucket(_bucket(request))
        self._state.require("storage.objects.create")
        upload_type = parameters.get("uploadType")
        if upload_type == "resumable":
            return await self._start(request)
        if upload_type not in {"media", "multipart"}:
            raise GoogleError("invalid", f"uploadType: {upload_type}", location="uploadType")
        spool = Spool(self._directory)
        try:
            document: dict[str, Any] = {}
            media_type: str | None = request.headers.get("content-type")
            if upload_type == "media":
                await receive_media(request, spool)
            else:
                document, media_type = await receive_multipart(request, spool)
            check_hashes(request, spool)
            item = self._store(request, spool, document, media_type)
        except BaseException:
            spool.discard()
            raise
        return _answer(request, item.to_json(base_url(request)), "Object")

    async def _start(self, request: Request) -> Response:
        """Begin a resumable upload. Preconditions are checked now, and again when the object comes to be."""
        document = await json_body(request)
        if not isinstance(document, dict):
            raise GoogleError("badRequest", "Metadata is not an object.")
        parameters = dict(request.query_params)
        name = _upload_name(parameters, document)
        bucket = _bucket(request)
        Preconditions.of_query(parameters).check(self._state.find(bucket, name))
        media_type = request.headers.get("x-upload-content-type")
        size = request.headers.get("x-upload-content-length")

        def finish(spool: Spool, _request: Request) -> dict[str, Any]:
            return self._store(request, spool, document, media_type).to_json(base_url(request))

        session = self._uploads.add(
            UploadSession(
                Spool(self._directory),
                expected_size=int(size) if size is not None and size.isdigit() else None,
                finish=finish,
                name=f"{bucket}/{name}",
            )
        )
        query = f"uploadType=resumable&name={quote(name, safe='')}&upload_id={session.id}"
        location = f"{base_url(request)}/upload/storage/v1/b/{bucket}/o?{query}"
        headers = {"Location": location, "X-GUploader-UploadID": session.id}
        return Response(status_code=200, headers=headers)

    def _store(
        self, request: Request, spool: Spool, document: Mapping[str, Any], media_type: str | None
    ) -> StoredObject:
        parameters = request.query_params
        name = _upload_name(parameters, document)
        compare_hashes(spool, crc32c=document.get("crc32c"), md5=document.get("md5Hash"))
        metadata = {"contentType": media_type or "application/octet-stream"} | dict(document)
        if "contentEncoding" in parameters:
            metadata["contentEncoding"] = parameters["contentEncoding"]
        bucket = _bucket(request)
        preconditions = Preconditions.of_query(parameters)
        preconditions.check(self._state.find(bucket, name))
        return self._state.write(
            bucket,
            name,
            spool.finish(),
            crc32c=spool.crc32c,
            md5=spool.md5,
            document=metadata,
            preconditions=preconditions,
        )


def base_url(request: Request) -> str:
    """Scheme, host and port under which the client found the service."""
    return f"{request.url.scheme}://{request.url.netloc}"


def download(request: Request, item: StoredObject) -> Response:
    """Answer with an object's media, decompressed if the client cannot take gzip.

    Decompressive transcoding: https://cloud.google.com/storage/docs/transcoding.
    """
    hashes = f"crc32c={item.crc32c}" + (f",md5={item.md5}" if item.md5 else "")
    headers = {
        "X-Goog-Generation": str(item.generation),
        "X-Goog-Metageneration": str(item.metageneration),
        "X-Goog-Hash": hashes,
        "X-Goog-Storage-Class": item.storage_class or "STANDARD",
        "X-Goog-Stored-Content-Length": str(item.size),
        "X-Goog-Stored-Content-Encoding": item.content_encoding or "identity",
        "Cache-Control": item.cache_control or "no-cache, no-store, max-age=0, must-revalidate",
        "Last-Modified": item.updated.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        **{
            f"X-Goog-Meta-{key}": quote(value, safe=" !#$&'()*+,/:;=?@[]")
            for key, value in item.metadata.items()
        },
    }
    if item.content_disposition:
        headers["Content-Disposition"] = item.content_disposition
    media_type = item.content_type or "application/octet-stream"
    accepted = request.headers.get("accept-encoding", "")
    if (
        item.content_encoding == "gzip"
        and "gzip" not in accepted
        and "no-transform" not in headers["Cache-Control"]
    ):
        headers["Warning"] = "214 UploadServer gunzipped"
        headers["Content-Type"] = media_type
        return StreamingResponse(_gunzip(item.content), headers=headers)
    if item.content_encoding:
        headers["Content-Encoding"] = item.content_encoding
    return media_response(request, item.content, media_type=media_type, etag=item.media_etag, headers=headers)


async def _gunzip(content: Content) -> AsyncIterator[bytes]:
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    with content.open() as reader:
        offset = 0
        while piece := reader.read(offset, READ_SIZE):
            offset += len(piece)
            yield inflater.decompress(piece)
    yield inflater.flush()


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


def _answer(request: Request, document: dict[str, Any], schema: str) -> Response:
    if (text := request.query_params.get("fields")) is not None:
        document = masked(document, text, api="storage.v1", schema=schema)
    headers = {"Cache-Control": "no-cache, no-store, max-age=0, must-revalidate"}
    if "etag" in document:
        headers["ETag"] = document["etag"]
    return JSONResponse(document, headers=headers)


def _metadata_of(item: StoredObject) -> dict[str, Any]:
    return {
        "contentType": item.content_type,
        "contentEncoding": item.content_encoding,
        "contentDisposition": item.content_disposition,
        "contentLanguage": item.content_language,
        "cacheControl": item.cache_control,
        "metadata": item.metadata,
    }


def _upload_name(parameters: Mapping[str, str], document: Mapping[str, Any]) -> str:
    """The parameter ``name`` wins over the metadata's."""
    name = parameters.get("name") or document.get("name")
    if not isinstance(name, str) or not name:
        raise GoogleError("required", "name", location="name")
    return name


def _bucket(request: Request) -> str:
    return unquote(request.path_params["bucket"])


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

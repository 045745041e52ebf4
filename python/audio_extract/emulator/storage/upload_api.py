"""Uploads to the emulated Cloud Storage through its JSON API: media, multipart and resumable.

Reference: https://cloud.google.com/storage/docs/uploads-downloads
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.spool import Spool
from audio_extract.emulator.storage.answers import base_url, bucket_name, resource_answer
from audio_extract.emulator.storage.objects import Preconditions, StoredObject
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
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from starlette.requests import Request

    from audio_extract.emulator.storage.state import StorageState


class UploadApi:
    """Routes and handlers of uploads.

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
        path = "/upload/storage/v1/b/{bucket}/o"
        return [Route(path, self._upload, methods=["POST", "PUT", "DELETE"])]

    async def _upload(self, request: Request) -> Response:
        self._authorise(request)
        parameters = request.query_params
        if "upload_id" in parameters:
            return await self._uploads.handle(request, parameters["upload_id"])
        if request.method != "POST":
            raise GoogleError("required", "upload_id", location="upload_id")
        self._state.bucket(bucket_name(request))
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
        return resource_answer(request, item.to_json(base_url(request)), "Object")

    async def _start(self, request: Request) -> Response:
        """Begin a resumable upload. Preconditions are checked now, and again when the object comes to be."""
        document = await json_body(request)
        if not isinstance(document, dict):
            raise GoogleError("badRequest", "Metadata is not an object.")
        parameters = dict(request.query_params)
        name = _upload_name(parameters, document)
        bucket = bucket_name(request)
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
        bucket = bucket_name(request)
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


def _upload_name(parameters: Mapping[str, str], document: Mapping[str, Any]) -> str:
    """The parameter ``name`` wins over the metadata's."""
    name = parameters.get("name") or document.get("name")
    if not isinstance(name, str) or not name:
        raise GoogleError("required", "name", location="name")
    return name

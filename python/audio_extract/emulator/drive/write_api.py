"""What changes the emulated Drive over HTTP: create, update, upload, delete.

Reference: https://developers.google.com/workspace/drive/api/reference/rest/v3/files
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from audio_extract.emulator.clock import parse_time
from audio_extract.emulator.content import BytesContent
from audio_extract.emulator.drive.item import FOLDER, GOOGLE_TYPES, SHORTCUT
from audio_extract.emulator.drive.state import ROOT_ALIAS, DriveState
from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.fields import masked
from audio_extract.emulator.spool import Spool
from audio_extract.emulator.uploads import (
    UploadSession,
    UploadSessions,
    json_body,
    receive_media,
    receive_multipart,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from starlette.requests import Request

_DEFAULT_MASK = "kind,id,name,mimeType"

#: Keys of the resource that a client may change at any time, and the attribute each becomes.
_WRITABLE = {
    "name": "name",
    "mimeType": "mime_type",
    "description": "description",
    "starred": "starred",
    "properties": "properties",
    "appProperties": "app_properties",
}


class Check(Protocol):
    """Refuses a request with 401, or 404 for an item that the account cannot see."""

    def __call__(self, request: Request, file_id: str | None = None) -> None:
        """Check one request."""


class WriteApi:
    """Routes and handlers.

    Args:
        state: What stands in the emulated Drive.
        uploads: Its resumable sessions.
        directory: Where uploaded content is kept.
        check: Refuses requests.
    """

    def __init__(self, state: DriveState, uploads: UploadSessions, directory: Path, check: Check) -> None:
        self._state = state
        self._uploads = uploads
        self._directory = directory
        self._check = check

    def routes(self) -> list[BaseRoute]:
        """The routes of the API."""
        item = "/drive/v3/files/{file_id}"
        return [
            Route("/drive/v3/files", self._create, methods=["POST"]),
            Route(item, self._update, methods=["PATCH"]),
            Route(item, self._delete, methods=["DELETE"]),
            Route("/upload/drive/v3/files", self._upload, methods=["POST", "PUT", "DELETE"]),
            Route("/upload" + item, self._upload, methods=["PATCH", "PUT", "DELETE"]),
        ]

    async def _create(self, request: Request) -> Response:
        self._check(request)
        return self._answer(request, self._make(await json_body(request), None))

    def _make(self, document: Mapping[str, Any], spool: Spool | None, media_type: str | None = None) -> str:
        parents = document.get("parents") or [ROOT_ALIAS]
        if len(parents) != 1:
            raise GoogleError("invalid", "A file must have exactly one parent.", location="parents")
        parent = self._state.seen(str(parents[0]))
        if parent is None:
            raise GoogleError("fileNotFound", str(parents[0]))
        name = str(document.get("name") or "Untitled")
        mime_type = document.get("mimeType")
        if mime_type == FOLDER:
            item_id = self._state.add_folder(name, parent=parent.item.id)
        elif mime_type == SHORTCUT:
            target = str((document.get("shortcutDetails") or {}).get("targetId"))
            if self._state.seen(target) is None:
                raise GoogleError("fileNotFound", target)
            item_id = self._state.add_shortcut(target, name=name, parent=parent.item.id)
        elif mime_type is not None and mime_type.startswith(GOOGLE_TYPES):
            raise GoogleError("badRequest", f"The emulator has no documents of type {mime_type}.")
        else:
            item_id = self._state.add_file(
                spool.finish() if spool is not None else BytesContent(b""),
                name=name,
                parent=parent.item.id,
                mime_type=mime_type or media_type,
                created_time=_time(document, "createdTime"),
                modified_time=_time(document, "modifiedTime"),
            )
        rest = {key: value for key, value in document.items() if key not in {"name", "mimeType"}}
        self._set(item_id, rest)
        return item_id

    def _set(self, item_id: str, document: Mapping[str, Any]) -> None:
        values = {_WRITABLE[key]: value for key, value in document.items() if key in _WRITABLE}
        for key in ("properties", "app_properties"):
            if key in values:
                merged = {**getattr(self._state.item(item_id), key), **(values[key] or {})}
                values[key] = {name: value for name, value in merged.items() if value is not None}
        if (modified := _time(document, "modifiedTime")) is not None:
            values["modified"] = modified
        if values:
            self._state.edit(item_id, **values)

    async def _update(self, request: Request) -> Response:
        """Change metadata; move with ``addParents`` and ``removeParents``; trash with ``trashed``."""
        item_id = request.path_params["file_id"]
        self._check(request, item_id)
        self._change(request, item_id, await json_body(request))
        return self._answer(request, item_id)

    def _change(self, request: Request, item_id: str, document: Mapping[str, Any]) -> None:
        if "parents" in document:
            raise GoogleError(
                "fieldNotWritable",
                "The parents field is not directly writable in update requests. "
                "Use the addParents and removeParents parameters instead.",
            )
        added = request.query_params.get("addParents")
        if added is not None:
            if self._state.seen(added) is None:
                raise GoogleError("fileNotFound", added)
            self._state.move(item_id, added)
        self._set(item_id, document)
        if "trashed" in document:
            (self._state.trash if document["trashed"] else self._state.untrash)(item_id)

    async def _delete(self, request: Request) -> Response:
        item_id = request.path_params["file_id"]
        self._check(request, item_id)
        self._state.delete(item_id)
        return Response(status_code=204)

    async def _upload(self, request: Request) -> Response:
        item_id: str | None = request.path_params.get("file_id")
        self._check(request, item_id)
        parameters = request.query_params
        if "upload_id" in parameters:
            return await self._uploads.handle(request, parameters["upload_id"])
        spool = Spool(self._directory)
        upload_type = parameters.get("uploadType")
        if upload_type == "resumable":
            return await self._start(request, spool, item_id)
        if upload_type not in {"media", "multipart"}:
            raise GoogleError("badRequest", "Invalid upload type.", location="uploadType")
        try:
            document: dict[str, Any] = {}
            media_type: str | None = request.headers.get("content-type")
            if upload_type == "media":
                await receive_media(request, spool)
            else:
                document, media_type = await receive_multipart(request, spool)
            item_id = self._store(request, item_id, document, spool, media_type)
        except BaseException:
            spool.discard()
            raise
        return self._answer(request, item_id)

    async def _start(self, request: Request, spool: Spool, item_id: str | None) -> Response:
        document = await json_body(request)
        media_type = request.headers.get("x-upload-content-type")
        size = request.headers.get("x-upload-content-length")

        def finish(spool: Spool, last: Request) -> dict[str, Any]:
            return self._resource(last, self._store(request, item_id, document, spool, media_type))

        session = self._uploads.add(
            UploadSession(
                spool,
                expected_size=int(size) if size is not None and size.isdigit() else None,
                finish=finish,
                name=str(document.get("name", item_id)),
            )
        )
        location = str(request.url.include_query_params(upload_id=session.id))
        return Response(status_code=200, headers={"Location": location, "X-GUploader-UploadID": session.id})

    def _store(
        self,
        request: Request,
        item_id: str | None,
        document: Mapping[str, Any],
        spool: Spool,
        media_type: str | None,
    ) -> str:
        if item_id is None:
            return self._make(document, spool, media_type)
        self._state.update_content(item_id, spool.finish())
        self._change(request, item_id, document)
        return item_id

    def _resource(self, request: Request, item_id: str) -> dict[str, Any]:
        seen = self._state.seen(item_id)
        if seen is None:
            raise GoogleError("fileNotFound", item_id)
        text = request.query_params.get("fields", _DEFAULT_MASK)
        return masked(seen.to_json(), text, api="drive.v3", schema="File")

    def _answer(self, request: Request, item_id: str) -> Response:
        return JSONResponse(self._resource(request, item_id))


def _time(document: Mapping[str, Any], key: str) -> datetime | None:
    if document.get(key) is None:
        return None
    try:
        return parse_time(str(document[key]))
    except ValueError as error:
        raise GoogleError("invalid", f"{key}: {document[key]}", location=key) from error

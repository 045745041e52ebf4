"""The emulated Drive's HTTP interface: version 3 of the API, as far as reading recordings needs it.

Reference: https://developers.google.com/workspace/drive/api/reference/rest/v3
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from audio_extract.emulator.base import Emulator
from audio_extract.emulator.clock import Clock, rfc3339, system_clock
from audio_extract.emulator.drive.item import GOOGLE_TYPES, DriveItem, SeenItem
from audio_extract.emulator.drive.query import parse_query
from audio_extract.emulator.drive.state import Change, DriveState
from audio_extract.emulator.drive.write_api import WriteApi
from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.faults import ChangeRevision
from audio_extract.emulator.fields import masked
from audio_extract.emulator.gateway import scripted_fault
from audio_extract.emulator.media import media_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from audio_extract.emulator.network import NetworkShape

_REMEMBERED_PAGES = 1000

#: ``orderBy`` keys: https://developers.google.com/workspace/drive/api/reference/rest/v3/files/list
ORDER_KEYS: dict[str, Callable[[SeenItem], Any]] = {
    "createdTime": lambda seen: seen.item.created,
    "folder": lambda seen: 0 if seen.item.is_folder else 1,
    "modifiedByMeTime": lambda seen: seen.item.modified,
    "modifiedTime": lambda seen: seen.item.modified,
    "name": lambda seen: seen.item.name.casefold(),
    "name_natural": lambda seen: _natural(seen.item.name),
    "quotaBytesUsed": lambda seen: seen.item.content.size if seen.item.content else 0,
    "recency": lambda seen: seen.item.modified,
    "sharedWithMeTime": lambda seen: seen.item.created,
    "starred": lambda seen: 0 if seen.item.starred else 1,
    "viewedByMeTime": lambda seen: seen.item.modified,
}


class DriveEmulator(DriveState, Emulator):
    """An emulated Drive: see :class:`DriveState` for what tests do with it.

    Args:
        clock: The service's time.
        network: How slow the network is.
        account_email: Whose Drive this is.
        directory: Where uploaded content is kept; a temporary folder by default.
    """

    def __init__(
        self,
        *,
        clock: Clock = system_clock,
        network: NetworkShape | None = None,
        account_email: str = "extractor@demo-project.iam.gserviceaccount.com",
        directory: Path | None = None,
    ) -> None:
        Emulator.__init__(self, clock=clock, network=network, directory=directory)
        DriveState.__init__(self, clock, account_email)
        self._pages: OrderedDict[str, tuple[str, list[str]]] = OrderedDict()
        self._pages_lock = threading.Lock()

    def kind_of(self, request: Request) -> str:
        """What a request is for, in one word."""
        path = request.url.path
        if path == "/drive/v3/files":
            return {"GET": "drive.list", "POST": "drive.create"}.get(request.method, "drive.other")
        if path.startswith("/drive/v3/files/"):
            if path.endswith("/export"):
                return "drive.export"
            if request.method == "GET":
                return "drive.media" if request.query_params.get("alt") == "media" else "drive.get"
            return {"PATCH": "drive.update", "DELETE": "drive.delete"}.get(request.method, "drive.other")
        if path.startswith("/upload/"):
            return "drive.upload"
        return {
            "/drive/v3/changes": "drive.changes",
            "/drive/v3/changes/startPageToken": "drive.start_page_token",
            "/drive/v3/about": "drive.about",
            "/token": "token",
        }.get(path, "drive.drives" if path.startswith("/drive/v3/drives") else "drive.other")

    def routes(self) -> list[BaseRoute]:
        """The routes of the API."""
        return [
            Route("/drive/v3/about", self._about, methods=["GET"]),
            Route("/drive/v3/files", self._list, methods=["GET"]),
            Route("/drive/v3/files/{file_id}/export", self._export, methods=["GET"]),
            Route("/drive/v3/files/{file_id}", self._get, methods=["GET"]),
            *WriteApi(self, self.uploads, self.directory, self.check).routes(),
            Route("/drive/v3/changes/startPageToken", self._start_page_token, methods=["GET"]),
            Route("/drive/v3/changes", self._list_changes, methods=["GET"]),
            Route("/drive/v3/drives", self._list_drives, methods=["GET"]),
            Route("/drive/v3/drives/{drive_id}", self._get_drive, methods=["GET"]),
        ]

    def check(self, request: Request, file_id: str | None = None) -> None:
        """Refuse a request without a valid token, or for an item that the account cannot see.

        Raises:
            GoogleError: 401 or 404.
        """
        self._authorise(request)
        if file_id is not None:
            self._find(request, file_id)

    def _authorise(self, request: Request) -> None:
        self.accounts.check(request.headers.get("authorization"))

    async def _about(self, request: Request) -> Response:
        self._authorise(request)
        if "fields" not in request.query_params:
            raise GoogleError(
                "required", "The 'fields' parameter is required for this method.", location="fields"
            )
        about = {"kind": "drive#about", "user": self.account.to_json(), "storageQuota": {"usage": "0"}}
        return _answer(request, about, "About", "*")

    # Files.

    async def _get(self, request: Request) -> Response:
        self._authorise(request)
        seen = self._find(request, request.path_params["file_id"])
        if request.query_params.get("alt") == "media":
            return self._media(request, seen.item)
        return _answer(request, seen.to_json(), "File", "kind,id,name,mimeType")

    async def _export(self, request: Request) -> Response:
        """A document as text: https://developers.google.com/workspace/drive/api/reference/rest/v3/files/export."""
        self._authorise(request)
        # Unlike the other methods it knows no supportsAllDrives.
        seen = self.seen(request.path_params["file_id"])
        if seen is None:
            raise GoogleError("fileNotFound", request.path_params["file_id"])
        if not seen.item.mime_type.startswith(GOOGLE_TYPES) or seen.item.content is None:
            raise GoogleError("fileNotExportable")
        if request.query_params.get("mimeType") != "text/plain":
            raise GoogleError(
                "badRequest", "The requested conversion is not supported.", location="convertTo"
            )
        return media_response(
            request, seen.item.content, media_type="text/plain", etag=seen.item.etag, headers={}
        )

    def _find(self, request: Request, file_id: str) -> SeenItem:
        seen = self.seen(file_id)
        # Without supportsAllDrives an application is taken for one that does not know shared drives.
        if seen is None or (seen.item.drive_id and not _flag(request, "supportsAllDrives")):
            raise GoogleError("fileNotFound", file_id)
        return seen

    def _media(self, request: Request, item: DriveItem) -> Response:
        if item.content is None or item.mime_type.startswith(GOOGLE_TYPES):
            raise GoogleError("fileNotDownloadable")
        if not item.can_download:
            raise GoogleError("cannotDownloadFile")
        if item.abusive and not _flag(request, "acknowledgeAbuse"):
            raise GoogleError("cannotDownloadAbusiveFile")
        if not self.take_download(item.id):
            raise GoogleError("downloadQuotaExceeded")
        if isinstance(scripted_fault(request), ChangeRevision):
            self.change_revision(item.id)
        headers = {"Cache-Control": "private, max-age=0, must-revalidate"}
        if item.checksums is not None:
            headers["X-Goog-Hash"] = f"crc32c={item.checksums.crc32c},md5={item.checksums.md5_base64}"
        content = item.content
        return media_response(request, content, media_type=item.mime_type, etag=item.etag, headers=headers)

    async def _list(self, request: Request) -> Response:
        self._authorise(request)
        parameters = request.query_params
        size = _page_size(parameters.get("pageSize"), 100, 1000)
        signature = json.dumps([parameters.get(name) for name in ("q", "orderBy", "corpora", "driveId")])
        if "pageToken" in parameters:
            ids = self._recall_page(parameters["pageToken"], signature)
        else:
            ids = [seen.item.id for seen in self._search(request)]
        page = [seen.to_json() for item_id in ids[:size] if (seen := self.seen(item_id))]
        answer: dict[str, Any] = {
            "kind": "drive#fileList",
            "incompleteSearch": self.incomplete_search,
            "files": page,
        }
        if len(ids) > size:
            answer["nextPageToken"] = self._remember_page(signature, ids[size:])
        default = "kind,nextPageToken,incompleteSearch,files(kind,id,name,mimeType)"
        return _answer(request, answer, "FileList", default)

    def _search(self, request: Request) -> list[SeenItem]:
        parameters = request.query_params
        in_corpus = self._corpus(parameters)
        query = parameters.get("q", "")
        fits = parse_query(query, self._resolve_parent) if query.strip() else lambda _: True
        found = self.select(lambda seen: in_corpus(seen) and fits(seen))
        return _ordered(found, parameters.get("orderBy", ""))

    def _corpus(self, parameters: Mapping[str, str]) -> Callable[[SeenItem], bool]:
        """Which items are searched: https://developers.google.com/workspace/drive/api/guides/enable-shareddrives."""
        corpora = parameters.get("corpora", "user")
        drive_id = parameters.get("driveId")
        shared = parameters.get("includeItemsFromAllDrives") == "true"
        if corpora not in {"user", "drive", "domain", "allDrives"}:
            raise GoogleError("invalid", corpora, location="corpora")
        if (drive_id is not None) != (corpora == "drive"):
            raise GoogleError(
                "badRequest",
                "The driveId parameter must be specified if and only if corpora is set to drive.",
                location="driveId",
            )
        if corpora in {"drive", "allDrives"} and not shared:
            raise GoogleError(
                "badRequest",
                f"The includeItemsFromAllDrives parameter must be set to true with corpora={corpora}.",
                location="includeItemsFromAllDrives",
            )
        if shared and parameters.get("supportsAllDrives") != "true":
            raise GoogleError(
                "badRequest",
                "The supportsAllDrives parameter must be set to true when includeItemsFromAllDrives is true.",
                location="supportsAllDrives",
            )
        if drive_id is not None:
            self._require_drive(drive_id)
            return lambda seen: seen.item.drive_id == drive_id
        if shared:
            return lambda _: True
        return lambda seen: seen.item.drive_id is None

    def _resolve_parent(self, folder_id: str) -> str:
        seen = self.seen(folder_id)
        if seen is None:
            # What Drive says for a folder that is not shared with the account; its message names no id.
            raise GoogleError("fileNotFound", "")
        return seen.item.id

    def _require_drive(self, drive_id: str) -> None:
        if drive_id not in self.shared_drives() or self.seen(drive_id) is None:
            raise GoogleError("driveNotFound", drive_id)

    def _remember_page(self, signature: str, ids: list[str]) -> str:
        token = f"~!!~{secrets.token_urlsafe(48)}"
        with self._pages_lock:
            self._pages[token] = (signature, ids)
            if len(self._pages) > _REMEMBERED_PAGES:
                self._pages.popitem(last=False)
        return token

    def _recall_page(self, token: str, signature: str) -> list[str]:
        """A page token belongs to the search that gave it; with another one it is invalid."""
        with self._pages_lock:
            page = self._pages.get(token)
        if page is None or page[0] != signature:
            raise GoogleError("invalid", "pageToken", location="pageToken")
        return page[1]

    # Changes.

    async def _start_page_token(self, request: Request) -> Response:
        self._authorise(request)
        if (drive_id := request.query_params.get("driveId")) is not None:
            self._require_drive(drive_id)
        answer = {"kind": "drive#startPageToken", "startPageToken": str(self.last_change() + 1)}
        return _answer(request, answer, "StartPageToken", "kind,startPageToken")

    async def _list_changes(self, request: Request) -> Response:
        """Changes from a token on: https://developers.google.com/workspace/drive/api/guides/manage-changes."""
        self._authorise(request)
        parameters = request.query_params
        token = parameters.get("pageToken")
        if token is None:
            raise GoogleError("required", "pageToken", location="pageToken")
        if not token.isascii() or not token.isdigit() or not 0 < int(token) <= self.last_change() + 1:
            raise GoogleError("invalid", token, location="pageToken")
        size = _page_size(parameters.get("pageSize"), 100, 1000)
        end = self.last_change()
        drive_id = parameters.get("driveId")
        if drive_id is not None:
            self._require_drive(drive_id)
        changes = [
            change
            for change in self.changes_since(int(token) - 1, drive_id)
            if self._wanted(change, parameters)
        ]
        answer: dict[str, Any] = {
            "kind": "drive#changeList",
            "changes": [self._change_json(change) for change in changes[:size]],
        }
        if len(changes) > size:
            answer["nextPageToken"] = str(changes[size].number)
        else:
            answer["newStartPageToken"] = str(end + 1)
        default = (
            "kind,nextPageToken,newStartPageToken,"
            "changes(kind,type,changeType,time,removed,fileId,file(kind,id,name,mimeType))"
        )
        return _answer(request, answer, "ChangeList", default)

    def _wanted(self, change: Change, parameters: Mapping[str, str]) -> bool:
        if "driveId" in parameters:
            return True
        if change.drive_id is not None and parameters.get("includeItemsFromAllDrives") != "true":
            return False
        removed = change.removed or self.seen(change.item_id) is None
        return not removed or parameters.get("includeRemoved", "true") == "true"

    def _change_json(self, change: Change) -> dict[str, Any]:
        seen = None if change.removed else self.seen(change.item_id)
        answer: dict[str, Any] = {
            "kind": "drive#change",
            "type": "file",
            "changeType": "file",
            "time": rfc3339(change.time),
            "removed": seen is None,
            "fileId": change.item_id,
        }
        if seen is not None:
            answer["file"] = seen.to_json()
        return answer

    # Shared drives.

    async def _list_drives(self, request: Request) -> Response:
        self._authorise(request)
        drives = [self._drive_json(drive_id) for drive_id in self.shared_drives() if self.seen(drive_id)]
        answer = {"kind": "drive#driveList", "drives": drives}
        return _answer(request, answer, "DriveList", "kind,nextPageToken,drives(kind,id,name)")

    async def _get_drive(self, request: Request) -> Response:
        self._authorise(request)
        drive_id = request.path_params["drive_id"]
        self._require_drive(drive_id)
        return _answer(request, self._drive_json(drive_id), "Drive", "kind,id,name")

    def _drive_json(self, drive_id: str) -> dict[str, Any]:
        item = self.item(drive_id)
        return {
            "kind": "drive#drive",
            "id": drive_id,
            "name": item.name,
            "createdTime": rfc3339(item.created),
            "hidden": False,
            "capabilities": {"canListChildren": True, "canReadRevisions": True, "canDownload": True},
        }


def _answer(request: Request, document: dict[str, Any], schema: str, default_mask: str) -> Response:
    text = request.query_params.get("fields", default_mask)
    document = masked(document, text, api="drive.v3", schema=schema)
    return JSONResponse(document, headers={"Cache-Control": "no-cache, no-store"})


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name) == "true"


def _page_size(text: str | None, default: int, largest: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= largest:
        raise GoogleError(
            "invalidParameter",
            f"Invalid value '{text}'. Values must be within the range: [1, {largest}]",
            location="pageSize",
        )
    return int(text)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """``part 2`` before ``part 10``."""
    parts: list[tuple[int, int, str]] = []
    digits = ""
    for character in f"{name.casefold()}\0":
        if character.isdecimal():
            digits += character
            continue
        if digits:
            parts.append((0, int(digits), ""))
            digits = ""
        parts.append((1, 0, character))
    return parts


def _ordered(found: list[SeenItem], order_by: str) -> list[SeenItem]:
    """Sort by several keys; the last one first, as sorting is stable."""
    for key in reversed([part.strip() for part in order_by.split(",") if part.strip()]):
        name, _, direction = key.partition(" ")
        if name not in ORDER_KEYS or direction.strip() not in {"", "desc"}:
            raise GoogleError("invalid", order_by, location="orderBy")
        found = sorted(found, key=ORDER_KEYS[name], reverse=bool(direction))
    return found

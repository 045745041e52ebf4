"""The emulated Cloud Storage as a whole: state, both APIs, and what each request is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audio_extract.emulator.base import Emulator
from audio_extract.emulator.clock import Clock, system_clock
from audio_extract.emulator.ranges import upload_range
from audio_extract.emulator.storage.json_api import JsonApi
from audio_extract.emulator.storage.state import StorageState
from audio_extract.emulator.storage.upload_api import UploadApi
from audio_extract.emulator.storage.xml_api import XmlApi

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from audio_extract.emulator.network import NetworkShape


class StorageEmulator(StorageState, Emulator):
    """An emulated Cloud Storage: see :class:`StorageState` for what tests do with it.

    Args:
        clock: The service's time.
        network: How slow the network is.
        directory: Where contents above 1 MiB are kept; a temporary folder by default.
    """

    def __init__(
        self,
        *,
        clock: Clock = system_clock,
        network: NetworkShape | None = None,
        directory: Path | None = None,
    ) -> None:
        Emulator.__init__(self, clock=clock, network=network, directory=directory)
        StorageState.__init__(self, clock)

    def routes(self) -> list[BaseRoute]:
        """The routes of both APIs."""
        json_api = JsonApi(self, self._authorise)
        upload_api = UploadApi(self, self.uploads, self.directory, self._authorise)
        xml_api = XmlApi(self, self.directory, self.accounts, self.clock)
        return [*json_api.routes(), *upload_api.routes(), *xml_api.routes()]

    def kind_of(self, request: Request) -> str:
        """What a request is for, in one word."""
        path = request.url.path
        if path.startswith("/upload/storage/v1/b/"):
            return _upload_kind(request)
        if path.startswith("/storage/v1/b") and request.query_params.get("alt") != "media":
            return _metadata_kind(request.method, path.split("/")[4:])
        if path.startswith(("/download/storage/v1/b/", "/storage/v1/b/")):
            return "storage.media"
        return "token" if path == "/token" else "storage.xml"

    def close(self) -> None:
        """Throw all contents away."""
        self.uploads.forget()
        self.release()
        super().close()

    def _authorise(self, request: Request) -> None:
        self.accounts.check(request.headers.get("authorization"))


def _metadata_kind(method: str, parts: list[str]) -> str:
    """What a request to ``/storage/v1/b/…`` is for; ``parts`` are the segments behind ``b``."""
    match parts:
        case [_, "o"]:
            return "storage.list"
        case [_, "o", _]:
            kinds = {"GET": "get", "PATCH": "patch", "PUT": "patch", "DELETE": "delete"}
            return f"storage.{kinds.get(method, 'other')}"
        case [_, "o", _, "compose"]:
            return "storage.compose"
        case [_, "o", _, *_]:
            return "storage.copy"
        case _:
            return "storage.bucket"


def _upload_kind(request: Request) -> str:
    if "upload_id" not in request.query_params:
        resumable = request.query_params.get("uploadType") == "resumable"
        return "storage.upload_start" if resumable else "storage.upload"
    if request.method == "DELETE":
        return "storage.upload_cancel"
    header = request.headers.get("content-range")
    chunk = upload_range(header) if header is not None else None
    # "bytes */…" asks, or ends an upload without more bytes.
    return "storage.upload_status" if chunk is not None and chunk.bytes is None else "storage.upload_chunk"

"""The emulated services, telling of what the kill test wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audio_extract.emulator import DriveEmulator, StorageEmulator

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request


class WatchedStorage(StorageEmulator):
    """Cloud Storage that tells of requests and remembers every generation."""

    def __init__(self) -> None:
        super().__init__()
        self.generations: list[tuple[str, int]] = []
        self.on_point: Callable[[str], None] = lambda _point: None

    def kind_of(self, request: Request) -> str:
        """Tell of it before it is carried out."""
        kind = super().kind_of(request)
        if kind == "storage.upload_start":
            self.on_point("session asked for")
        elif kind == "storage.upload_chunk":
            total = request.headers.get("content-range", "").rpartition("/")[2]
            self.on_point("chunk sent" if total == "*" else "last chunk sent")
        return kind

    def write(self, bucket: str, name: str, *arguments: Any, **named: Any) -> Any:
        """Tell of it after it was carried out."""
        item = super().write(bucket, name, *arguments, **named)
        self.generations.append((name, item.generation))
        if "/metadata/" not in f"/{name}":
            self.on_point("object made, answer on its way")
        return item


class WatchedDrive(DriveEmulator):
    """Drive that tells of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.on_point: Callable[[str], None] = lambda _point: None

    def kind_of(self, request: Request) -> str:
        """Tell of it before it is carried out."""
        kind = super().kind_of(request)
        if kind == "drive.media":
            begins = request.headers.get("range", "bytes=0-").startswith("bytes=0-")
            self.on_point("index asked for" if begins else "media asked for")
        return kind

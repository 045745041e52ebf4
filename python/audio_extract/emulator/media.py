"""Answers that carry media: whole or one range of it, streamed from its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from audio_extract.emulator.content import READ_SIZE, Content
from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.ranges import ByteRange, RangeNotSatisfiableError, requested_range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send


class MediaResponse(Response):
    """Streams a content, or one range of it, in slices of 1 MiB."""

    def __init__(
        self,
        content: Content,
        *,
        span: ByteRange | None,
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        self._content = content
        self._span = span or ByteRange(0, content.size)
        self.status_code = 200 if span is None else 206
        self.background = None
        length = {
            "Content-Length": str(self._span.length),
            "Content-Type": media_type,
            "Accept-Ranges": "bytes",
        }
        if span is not None:
            length["Content-Range"] = span.content_range(content.size)
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in {**headers, **length}.items()
        ]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the media."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        with self._content.open() as reader:
            at = self._span.start
            while at < self._span.end:
                piece = reader.read(at, min(READ_SIZE, self._span.end - at))
                if not piece:
                    raise OSError("the content became shorter while it was sent")
                at += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": at < self._span.end})
        if self._span.length == 0:
            await send({"type": "http.response.body", "body": b""})


def media_response(
    request: Request,
    content: Content,
    *,
    media_type: str,
    etag: str,
    headers: Mapping[str, str],
) -> Response:
    """Answer a media request: 200, 206, or 416 (RFC 9110, sections 13.1.5 and 14).

    Raises:
        GoogleError: 416.
    """
    wanted = request.headers.get("range")
    condition = request.headers.get("if-range")
    if condition is not None and condition.strip() != etag:
        wanted = None
    try:
        span = requested_range(wanted, content.size)
    except RangeNotSatisfiableError as error:
        raise GoogleError(
            "requestedRangeNotSatisfiable", headers={"Content-Range": f"bytes */{content.size}"}
        ) from error
    return MediaResponse(content, span=span, media_type=media_type, headers={"ETag": etag, **headers})

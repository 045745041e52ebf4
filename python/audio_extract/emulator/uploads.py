"""Uploads as Google's APIs take them: media, multipart and resumable. Both emulators use them.

Documentation: https://cloud.google.com/storage/docs/performing-resumable-uploads and
https://developers.google.com/workspace/drive/api/guides/manage-uploads.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.faults import KeepPart
from audio_extract.emulator.gateway import DroppedError, scripted_fault
from audio_extract.emulator.ranges import upload_range
from audio_extract.emulator.spool import Spool

#: Chunks but the last are multiples of this, and so is what a server keeps of one that broke off.
QUANTUM = 256 * 1024
_INTAKE = 4 * QUANTUM

#: Makes the resource of a finished upload; raises GoogleError if it must not come to be.
Finish = Callable[[Spool, Request], dict[str, Any]]


class UploadSession:
    """One resumable upload.

    Args:
        spool: Takes the bytes.
        expected_size: ``X-Upload-Content-Length`` of the start.
        finish: Makes the resource.
        name: What is uploaded, for tests.
    """

    def __init__(self, spool: Spool, *, expected_size: int | None, finish: Finish, name: str) -> None:
        self.id = f"ABg{secrets.token_urlsafe(72)}"
        self.spool = spool
        self.expected_size = expected_size
        self.name = name
        self.resource: dict[str, Any] | None = None
        self.cancelled = False
        self._finish = finish
        self._intake = _Intake(spool)

    @property
    def persisted(self) -> int:
        """Bytes that are safe: what a status query tells."""
        return self.spool.size

    @property
    def open(self) -> bool:
        """Whether it is neither finished nor cancelled."""
        return self.resource is None and not self.cancelled

    def cancel(self) -> None:
        """Give it up, also while bytes come in."""
        self.cancelled = True
        self._intake.abandon()
        self.spool.discard()

    async def put(self, request: Request) -> Response:
        """Answer a chunk, a status query, or the end of the upload."""
        if self.cancelled:
            return Response(status_code=499)
        if self.resource is not None:
            return JSONResponse(self.resource)
        header = request.headers.get("content-range")
        if header is None:
            complete = await self._receive(request, start=0, length=None)
            return self._finalise(request) if complete else self._incomplete()
        span = upload_range(header)
        if span is None:
            raise GoogleError("badRequest", "Failed to parse Content-Range header.")
        total = span.total if span.total is not None else self.expected_size
        if self.expected_size is not None and total != self.expected_size:
            raise GoogleError(
                "badRequest",
                f"The total size {total} differs from X-Upload-Content-Length {self.expected_size}.",
            )
        if span.bytes is not None:
            self._check_chunk(span.bytes.start, span.bytes.end, total)
            complete = await self._receive(request, start=span.bytes.start, length=span.bytes.length)
            if not complete:
                return self._incomplete()
        if total is not None and self.persisted == total:
            return self._finalise(request)
        return self._incomplete()

    def _check_chunk(self, start: int, end: int, total: int | None) -> None:
        if start > self.persisted:
            raise GoogleError(
                "badRequest",
                f"According to the Content-Range header, the upload offset is {start} byte(s), which exceeds "
                f"already uploaded size of {self.persisted} byte(s).",
            )
        if end != total and end % QUANTUM != 0 and (end - start) % QUANTUM != 0:
            raise GoogleError(
                "badRequest",
                "The number of bytes uploaded is required to be a multiple of 262144, except for the final "
                f"request. The received request contained {end - start} bytes.",
            )

    async def _receive(self, request: Request, *, start: int, length: int | None) -> bool:
        """Take the bytes of one request; whether all of them were kept.

        Bytes that were kept before are ignored. Until the request is complete only whole quanta are kept.
        Another request to the same session, after a connection broke unnoticed, takes over from this one.
        """
        fault = scripted_fault(request)
        keep = fault.bytes if isinstance(fault, KeepPart) else None
        await self._intake.close()
        intake = self._intake = _Intake(self.spool)
        skip = self.persisted - start
        position = 0
        complete = False
        try:
            async for piece in request.stream():
                end = position + len(piece)
                _check_length(end, length)
                wanted = piece if keep is None else piece[: max(0, keep - position)]
                await intake.add(wanted[max(0, skip - position) :] if position < skip else wanted)
                position = end
            complete = True
        finally:
            await intake.end(whole_quanta=not complete)
        if intake.closed:
            raise DroppedError
        if length is not None and position < length:
            raise GoogleError("badRequest", f"The request has {position} bytes and announced {length}.")
        return keep is None or keep >= position

    def _incomplete(self) -> Response:
        """308, with what is persisted; without Range if that is nothing."""
        headers = {"Range": f"bytes=0-{self.persisted - 1}"} if self.persisted else {}
        return Response(status_code=308, headers={**headers, "X-GUploader-UploadID": self.id})

    def _finalise(self, request: Request) -> Response:
        """Make the resource. A refusal ends the session: its bytes cannot become right any more."""
        try:
            check_hashes(request, self.spool)
            self.resource = self._finish(self.spool, request)
        except GoogleError:
            self.cancel()
            raise
        return JSONResponse(self.resource, headers={"X-GUploader-UploadID": self.id})


def _check_length(received: int, announced: int | None) -> None:
    if announced is not None and received > announced:
        raise GoogleError("badRequest", f"The request has more than the {announced} bytes it announced.")


class _Intake:
    """Hands bytes to a spool, which computes checksums and writes in a thread while more bytes come in."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._pending = bytearray()
        self._work: asyncio.Future[None] | None = None
        self.closed = False

    async def add(self, data: bytes) -> None:
        """Take bytes; nearly all of them are handed over in multiples of 256 KiB of the upload.

        Raises:
            DroppedError: Another request took over.
        """
        self._pending += data
        if len(self._pending) >= _INTAKE:
            await self._hand_over(whole_quanta=True)
        if self.closed:
            raise DroppedError

    async def end(self, *, whole_quanta: bool) -> None:
        """Hand over the rest; of a request that broke off, only up to a multiple of 256 KiB of the upload."""
        await self._hand_over(whole_quanta=whole_quanta)
        await self._finish_work()

    async def close(self) -> None:
        """Let nothing more come from this request."""
        self.closed = True
        await self._finish_work()

    def abandon(self) -> None:
        """Throw away what was not handed over, and let nothing more come."""
        self.closed = True

    async def _hand_over(self, *, whole_quanta: bool) -> None:
        await self._finish_work()
        size = len(self._pending)
        if whole_quanta:
            size = max(0, (self._spool.size + size) // QUANTUM * QUANTUM - self._spool.size)
        if size == 0 or self.closed:
            return
        data = bytes(self._pending[:size])
        del self._pending[:size]
        loop = asyncio.get_running_loop()
        self._work = loop.run_in_executor(None, self._spool.append, data)

    async def _finish_work(self) -> None:
        if self._work is not None:
            await asyncio.shield(self._work)
            self._work = None


class UploadSessions:
    """The resumable sessions of one emulator."""

    def __init__(self) -> None:
        self._sessions: dict[str, UploadSession] = {}
        self._gone: set[str] = set()
        self._lock = threading.Lock()

    def add(self, session: UploadSession) -> UploadSession:
        """Remember a session."""
        with self._lock:
            self._sessions[session.id] = session
        return session

    def open_sessions(self) -> list[UploadSession]:
        """Sessions that are neither finished nor cancelled: what a crash leaves behind."""
        with self._lock:
            return [session for session in self._sessions.values() if session.open]

    def expire(self) -> None:
        """Let every open session be gone (410), as after a week."""
        with self._lock:
            for session in [one for one in self._sessions.values() if one.open]:
                session.cancel()
                del self._sessions[session.id]
                self._gone.add(session.id)

    def forget(self) -> None:
        """Let no session ever have been (404)."""
        with self._lock:
            for session in self._sessions.values():
                if session.open:
                    session.cancel()
            self._sessions.clear()

    async def handle(self, request: Request, upload_id: str) -> Response:
        """Answer a request to a session.

        Raises:
            GoogleError: 404 or 410, there is no such session; 400, the request is wrong.
        """
        with self._lock:
            session = self._sessions.get(upload_id)
            gone = upload_id in self._gone
        if session is None:
            raise GoogleError("uploadGone" if gone else "uploadNotFound")
        if request.method == "DELETE":
            if session.open:
                session.cancel()
            return Response(status_code=499)
        return await session.put(request)


def check_hashes(request: Request, spool: Spool) -> None:
    """Compare ``X-Goog-Hash`` and ``Content-MD5`` of a request with what arrived.

    Documentation: https://cloud.google.com/storage/docs/data-validation.

    Raises:
        GoogleError: 400, they differ.
    """
    expected: dict[str, str] = {}
    for header in request.headers.getlist("x-goog-hash"):
        for part in header.split(","):
            name, _, value = part.strip().partition("=")
            expected[name.lower()] = value
    md5 = request.headers.get("content-md5") or expected.get("md5")
    compare_hashes(spool, crc32c=expected.get("crc32c"), md5=md5)


def compare_hashes(spool: Spool, *, crc32c: str | None, md5: str | None) -> None:
    """Compare promised checksums (base64) with what arrived.

    Raises:
        GoogleError: 400, they differ.
    """
    for name, promised, actual in (("CRC32C", crc32c, spool.crc32c), ("MD5 hash", md5, spool.md5)):
        if promised is not None and promised != actual:
            raise GoogleError(
                "invalid", f'Provided {name} "{promised}" doesn\'t match calculated {name} "{actual}".'
            )


async def json_body(request: Request) -> Any:
    """The JSON document of a request; an empty body is an empty document.

    Raises:
        GoogleError: 400, it is not JSON.
    """
    return parse_json(await request.body())


def parse_json(body: bytes) -> Any:
    """Read a JSON document; nothing is an empty document.

    Raises:
        GoogleError: 400, it is not JSON.
    """
    try:
        return json.loads(body) if body.strip() else {}
    except ValueError as error:
        raise GoogleError("badRequest", "Parse Error") from error


async def receive_media(request: Request, spool: Spool) -> None:
    """Take the body of an ``uploadType=media`` request."""
    async for piece in request.stream():
        if piece:
            spool.append(piece)


async def receive_multipart(request: Request, spool: Spool) -> tuple[dict[str, Any], str | None]:
    """Take an ``uploadType=multipart`` request: metadata, then media (RFC 2387).

    Lines may end with LF alone, as those of Google's Python client do.

    Returns:
        The metadata, and the media's Content-Type if it has one.

    Raises:
        GoogleError: 400, it is not ``multipart/related`` with two parts.
    """
    boundary = re.search(r'boundary=(?:"([^"]+)"|([^;\s]+))', request.headers.get("content-type", ""))
    if boundary is None:
        raise GoogleError("badRequest", "Missing multipart boundary.")
    delimiter = re.escape(b"--" + (boundary.group(1) or boundary.group(2)).encode("latin-1"))
    pieces = request.stream()
    buffer = bytearray()
    await _read_until(pieces, buffer, rb"(?:^|\n)" + delimiter + rb"\r?\n")
    await _read_headers(pieces, buffer)
    metadata = await _read_until(pieces, buffer, rb"\r?\n" + delimiter + rb"\r?\n")
    media_type = (await _read_headers(pieces, buffer)).get("content-type")
    # The closing delimiter and its line ends are held back until the end is seen.
    held_back = len(delimiter) + 8
    async for piece in pieces:
        buffer += piece
        ready = len(buffer) - held_back
        if ready > 0:
            spool.append(bytes(buffer[:ready]))
            del buffer[:ready]
    end = re.search(rb"\r?\n" + delimiter + rb"--\s*$", buffer)
    if end is None:
        raise GoogleError("badRequest", "Malformed multipart body.")
    spool.append(bytes(buffer[: end.start()]))
    document = parse_json(metadata)
    if not isinstance(document, dict):
        raise GoogleError("badRequest", "Metadata part is not an object.")
    return document, media_type


async def _read_headers(pieces: AsyncIterator[bytes], buffer: bytearray) -> dict[str, str]:
    """Take the header lines of a part, and the empty line behind them."""
    headers: dict[str, str] = {}
    while line := (await _read_until(pieces, buffer, rb"\r?\n")).decode("latin-1"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


async def _read_until(pieces: AsyncIterator[bytes], buffer: bytearray, mark: bytes) -> bytes:
    """Take from the buffer what stands before a mark, and the mark; read more where needed."""
    while (found := re.search(mark, buffer)) is None:
        piece = await anext(pieces, b"")
        if not piece:
            raise GoogleError("badRequest", "Malformed multipart body.")
        buffer += piece
    before = bytes(buffer[: found.start()])
    end = found.end()
    del found
    del buffer[:end]
    return before

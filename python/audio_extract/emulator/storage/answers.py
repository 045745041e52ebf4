"""Answers of the emulated Cloud Storage's JSON API: resources, and media.

Reference: https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from starlette.responses import JSONResponse, Response, StreamingResponse

from audio_extract.emulator.content import READ_SIZE, Content
from audio_extract.emulator.fields import masked
from audio_extract.emulator.media import media_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from audio_extract.emulator.storage.objects import StoredObject


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


def resource_answer(request: Request, document: dict[str, Any], schema: str) -> Response:
    """Answer with a resource, or what the ``fields`` parameter selects of it."""
    if (text := request.query_params.get("fields")) is not None:
        document = masked(document, text, api="storage.v1", schema=schema)
    headers = {"Cache-Control": "no-cache, no-store, max-age=0, must-revalidate"}
    if "etag" in document:
        headers["ETag"] = document["etag"]
    return JSONResponse(document, headers=headers)


def bucket_name(request: Request) -> str:
    """The bucket that a request is about."""
    return unquote(request.path_params["bucket"])

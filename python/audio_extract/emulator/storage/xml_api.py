"""The XML-style paths of the emulated Cloud Storage, ``/{bucket}/{object}``: where signed URLs lead.

Reference: https://cloud.google.com/storage/docs/xml-api/overview
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.spool import Spool
from audio_extract.emulator.storage.answers import download
from audio_extract.emulator.storage.objects import Preconditions
from audio_extract.emulator.storage.signed_url import SignedUrlError, is_signed, verify_signed_url
from audio_extract.emulator.uploads import check_hashes, receive_media

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from audio_extract.emulator.accounts import Accounts
    from audio_extract.emulator.storage.state import StorageState

#: ``Code`` of each status: https://cloud.google.com/storage/docs/xml-api/reference-status
CODES: dict[int, str] = {
    400: "InvalidArgument",
    401: "AuthenticationRequired",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    416: "InvalidRange",
}

Handler = Callable[[Request], Awaitable[Response]]


class XmlApi:
    """Routes and handlers of the XML-style paths.

    Args:
        state: What stands in the emulated service.
        directory: Where contents above 1 MiB are kept.
        accounts: Whose signatures are accepted.
        now: Gives the present time.
    """

    def __init__(
        self, state: StorageState, directory: Path, accounts: Accounts, now: Callable[[], datetime]
    ) -> None:
        self._state = state
        self._directory = directory
        self._accounts = accounts
        self._now = now

    def routes(self) -> list[BaseRoute]:
        """The routes; they fit any path, so they come last."""
        path = "/{bucket}/{object:path}"
        return [
            Route(path, self._guarded(self._get), methods=["GET"]),
            Route(path, self._guarded(self._put), methods=["PUT"]),
            Route(path, self._guarded(self._delete), methods=["DELETE"]),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                self._authorise(request)
                return await handler(request)
            except SignedUrlError as refused:
                return _error(
                    refused.status,
                    refused.code,
                    refused.details,
                    StringToSign=refused.string_to_sign,
                    CanonicalRequest=refused.canonical_request,
                )
            except GoogleError as error:
                code = (
                    "NoSuchBucket" if "bucket" in error.message else CODES.get(error.status, "InternalError")
                )
                return _error(error.status, code, error.message, headers=error.headers)

        return handle

    def _authorise(self, request: Request) -> None:
        if is_signed(request):
            verify_signed_url(request, self._accounts, self._now())
        elif "authorization" in request.headers:
            self._accounts.check(request.headers["authorization"])
        elif self._accounts.tokens_required:
            raise SignedUrlError(
                "AccessDenied", "Anonymous caller does not have storage.objects.get access to the object."
            )

    async def _get(self, request: Request) -> Response:
        self._state.require("storage.objects.get")
        generation = request.query_params.get("generation")
        item = self._state.object(*_names(request), int(generation) if generation else None)
        Preconditions.of_headers(request.headers).check(item)
        response = download(request, item)
        for name in ("content-type", "content-disposition"):
            if (value := request.query_params.get(f"response-{name}")) is not None:
                response.headers[name] = value
        return response

    async def _put(self, request: Request) -> Response:
        self._state.require("storage.objects.create")
        bucket, name = _names(request)
        self._state.bucket(bucket)
        preconditions = Preconditions.of_headers(request.headers)
        spool = Spool(self._directory)
        try:
            await receive_media(request, spool)
            check_hashes(request, spool)
            preconditions.check(self._state.find(bucket, name))
        except BaseException:
            spool.discard()
            raise
        headers = request.headers
        document = {
            "contentType": headers.get("content-type", "application/octet-stream"),
            "contentEncoding": headers.get("content-encoding"),
            "contentDisposition": headers.get("content-disposition"),
            "cacheControl": headers.get("cache-control"),
            "metadata": {
                key.removeprefix("x-goog-meta-"): unquote(value)
                for key, value in headers.items()
                if key.startswith("x-goog-meta-")
            },
        }
        item = self._state.write(
            bucket,
            name,
            spool.finish(),
            crc32c=spool.crc32c,
            md5=spool.md5,
            document=document,
            preconditions=preconditions,
        )
        return Response(
            status_code=200,
            headers={
                "ETag": item.media_etag,
                "X-Goog-Generation": str(item.generation),
                "X-Goog-Metageneration": str(item.metageneration),
                "X-Goog-Hash": f"crc32c={item.crc32c},md5={item.md5}",
            },
        )

    async def _delete(self, request: Request) -> Response:
        self._state.require("storage.objects.delete")
        item = self._state.object(*_names(request))
        self._state.remove(item, Preconditions.of_headers(request.headers))
        return Response(status_code=204)


def _names(request: Request) -> tuple[str, str]:
    return unquote(request.path_params["bucket"]), unquote(request.path_params["object"])


def _error(
    status: int, code: str, message: str, *, headers: dict[str, str] | None = None, **details: str | None
) -> Response:
    """The XML API's error document."""
    parts = {"Code": code, "Message": message, **details}
    body = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in parts.items() if text is not None)
    document = f"<?xml version='1.0' encoding='UTF-8'?><Error>{body}</Error>"
    return Response(
        document, status_code=status, media_type="application/xml; charset=UTF-8", headers=headers
    )

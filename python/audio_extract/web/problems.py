"""Errors as RFC 9457 problem documents, and as pages for people."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from starlette.exceptions import HTTPException
from starlette.responses import Response

from audio_extract.exceptions import AudioExtractError
from audio_extract.telemetry.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

_log = logging.getLogger(__name__)

#: When to ask again after a part of the service did not answer.
_RETRY_SECONDS: Final = 5


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem document.

    Args:
        status: The HTTP status.
        detail: What went wrong here, for a person.
        headers: Added to the answer.
    """
    values = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    # In ASCII, which can write any name, also one that is not valid Unicode.
    return Response(json.dumps(values), status, headers=headers, media_type="application/problem+json")


#: Makes the page of an error: its title, its text, the status, headers to add.
ErrorPage = Callable[[str, str, int, "Mapping[str, str] | None"], Response]


class Answer(Protocol):
    """Answers a request with an error, in the form that it asks for."""

    def __call__(
        self, request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None, /
    ) -> Response:
        """Return the answer."""


def answering(page: ErrorPage | None = None) -> Answer:
    """Return what answers with errors.

    Args:
        page: Answers browsers outside the API; None answers everybody with problem documents.
    """

    def answer(
        request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        for_people = page is not None and not request.scope["path"].startswith("/api/")
        if page is None or not for_people or "text/html" not in request.headers.get("accept", ""):
            return problem(status, detail, headers=headers)
        return page(HTTPStatus(status).phrase, detail, status, headers)

    return answer


def handlers(page: ErrorPage | None = None) -> Mapping[Any, Callable[[Request, Exception], Response]]:
    """Return Starlette's ``exception_handlers``.

    Args:
        page: Answers browsers outside the API; None answers everybody with problem documents.
    """
    answer = answering(page)

    def on_http_exception(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise TypeError("registered for HTTPException only") from error
        return answer(request, error.status_code, error.detail, error.headers)

    def on_known_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, AudioExtractError):
            raise TypeError("registered for AudioExtractError only") from error
        # What the service needs is not there just now; it is not the fault of who asks.
        retry_after = {"Retry-After": str(_RETRY_SECONDS)}
        return answer(request, 503, redact(error.message), retry_after)

    def on_bug(request: Request, error: Exception) -> Response:
        _log.error(
            "request to %s failed", request.url.path, exc_info=error, extra={"event": "web.request_failed"}
        )
        return answer(request, 500, "the server could not answer; its log says why")

    return {HTTPException: on_http_exception, AudioExtractError: on_known_error, 500: on_bug}

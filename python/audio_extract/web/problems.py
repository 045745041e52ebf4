"""Errors of the API as RFC 9457 problem documents."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from starlette.requests import Request
    from starlette.responses import Response

_log = logging.getLogger(__name__)


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a problem document.

    Args:
        status: The HTTP status.
        detail: What went wrong here, for a person.
        headers: Added to the answer.
    """
    return JSONResponse(
        {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail},
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def _on_http_exception(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException only") from error
    return problem(error.status_code, error.detail, headers=error.headers)


def _on_bug(request: Request, error: Exception) -> Response:
    _log.error(
        "request to %s failed", request.url.path, exc_info=error, extra={"event": "web.request_failed"}
    )
    return problem(500, "the server could not answer; its log says why")


#: For Starlette's ``exception_handlers``.
HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    HTTPException: _on_http_exception,
    500: _on_bug,
}

"""Forms as a browser sends them, without JavaScript too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.requests import Request

_FORM: Final = "application/x-www-form-urlencoded"
_MOST_BYTES: Final = 16 * 1024
_BODY_SECONDS: Final = 10


async def fields_of(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        HTTPException: It is no form, too long, or does not arrive.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise HTTPException(415, f"send a form, with Content-Type: {_FORM}")
    content = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for piece in request.stream():
                content += piece
                if len(content) > _MOST_BYTES:
                    raise HTTPException(413, f"the form is longer than {_MOST_BYTES} bytes")
    except TimeoutError as error:
        raise HTTPException(408, "the form did not arrive in time") from error
    try:
        return dict(
            parse_qsl(content.decode("ascii"), keep_blank_values=True, max_num_fields=16, errors="strict")
        )
    except ValueError as error:
        raise HTTPException(400, "the form is not as a browser writes it") from error

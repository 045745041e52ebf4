"""``/login`` and ``/logout``: forms that work without JavaScript."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from unicodedata import normalize
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from audio_extract.presentation import one_line
from audio_extract.web.access.origin import local_path
from audio_extract.web.access.passwords import BusyError
from audio_extract.web.access.people import SCOPE_KEY
from audio_extract.web.access.throttle import Throttle, address_key

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from audio_extract.web.access.policy import Access

_log = logging.getLogger(__name__)

_FORM: Final = "application/x-www-form-urlencoded"
_MOST_BYTES: Final = 16 * 1024
_BODY_SECONDS: Final = 10
_BUSY_SECONDS: Final = 2
#: Of a name that was typed in.
_MOST_SHOWN: Final = 100
#: Wrong tries: of one address ten, then two a minute; of one name, from wherever, twenty, then one a minute.
_ADDRESS_TRIES: Final = (10, 30.0)
_NAME_TRIES: Final = (20, 60.0)

#: Makes the page of given values.
LoginPage = Callable[[Mapping[str, Any]], str]


class Login:
    """Lets people in and out.

    Args:
        access: Knows who may come in.
        page: Makes the page.
    """

    def __init__(self, access: Access, page: LoginPage) -> None:
        self._access = access
        self._page = page
        self._by_address = Throttle(*_ADDRESS_TRIES)
        self._by_name = Throttle(*_NAME_TRIES)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/login", self.form),
            Route("/login", self.sign_in, methods=["POST"]),
            Route("/logout", self.sign_out, methods=["POST"]),
        ]

    async def form(self, request: Request) -> Response:
        """``GET /login?next=``: the form."""
        following = local_path(request.query_params.get("next", "/"))
        if SCOPE_KEY in request.scope:
            return RedirectResponse(following, 303)
        return self._answer(following)

    async def sign_in(self, request: Request) -> Response:
        """``POST /login``: a session for whoever proves who they are."""
        values = await _form(request)
        following = local_path(values.get("next", "/"))
        name, password = normalize("NFC", values.get("name", "").strip()), values.get("password", "")
        client = request.scope["client"]
        address = address_key(client[0] if client else "")
        now = self._access.now()
        tried = hashlib.sha256(name.encode()).hexdigest() if self._access.has_users else None
        wait = self._by_address.take(address, now)
        if not wait and tried is not None:
            wait = self._by_name.take(tried, now)
        if wait:
            return self._answer(
                following,
                429,
                "Too many tries. Wait a little, then try again.",
                name,
                {"Retry-After": str(wait)},
            )
        try:
            account = (
                await self._access.by_password(name, password)
                if self._access.has_users
                else self._access.by_token(values.get("token", "").strip())
            )
        except BusyError:
            self._give_back(address, tried)
            return self._answer(
                following, 503, "Many sign in just now. Try again.", name, {"Retry-After": str(_BUSY_SECONDS)}
            )
        if account is None:
            # Without the name: people type their password there.
            _log.warning("a sign-in from %s failed", address, extra={"event": "web.sign_in_failed"})
            wrong = "Name or password is wrong." if self._access.has_users else "The token is wrong."
            return self._answer(following, 401, wrong, name)
        self._give_back(address, tried)
        person = self._access.person(account)
        _log.info("%s signed in from %s", one_line(person.name), address, extra={"event": "web.signed_in"})
        response = RedirectResponse(following, 303)
        response.headers["Set-Cookie"] = self._access.begin_session(request, account)
        return response

    async def sign_out(self, request: Request) -> Response:
        """``POST /logout``: the session is over, here and in a copy of its cookie."""
        response = RedirectResponse("/login", 303)
        response.headers["Set-Cookie"] = self._access.end_session(request)
        return response

    def _give_back(self, address: str, tried: str | None) -> None:
        self._by_address.give_back(address)
        if tried is not None:
            self._by_name.give_back(tried)

    def _answer(
        self,
        following: str,
        status: int = 200,
        problem: str | None = None,
        name: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        values = {
            "following": following,
            "problem": problem,
            "name": name[:_MOST_SHOWN],
            "by_password": self._access.has_users,
            "by_token": self._access.has_tokens and not self._access.has_users,
        }
        challenge = {"WWW-Authenticate": 'Bearer realm="audio-extract"'} if status == 401 else {}
        return HTMLResponse(self._page(values), status, headers={**challenge, **(headers or {})})


async def _form(request: Request) -> dict[str, str]:
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
            parse_qsl(content.decode("ascii"), keep_blank_values=True, max_num_fields=8, errors="strict")
        )
    except ValueError as error:
        raise HTTPException(400, "the form is not as a browser writes it") from error

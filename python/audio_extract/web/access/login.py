"""``/login`` and ``/logout``: forms that work without JavaScript."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from unicodedata import normalize

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from audio_extract.presentation import one_line
from audio_extract.web.access.origin import local_path
from audio_extract.web.access.passwords import BusyError
from audio_extract.web.access.people import SCOPE_KEY
from audio_extract.web.access.throttle import Throttle, address_key
from audio_extract.web.forms import fields_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from audio_extract.web.access.policy import Access

_log = logging.getLogger(__name__)

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
        values = await fields_of(request)
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

"""The way in: every request to the dashboard's port passes here before anything else looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse

from audio_extract.web.access.origin import SAFE_METHODS, host_name, local_path, why_cross_site
from audio_extract.web.access.people import SCOPE_KEY, STILL_KEY
from audio_extract.web.access.proxy import KeysUnavailableError

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from audio_extract.web.access.policy import Access, Proven
    from audio_extract.web.problems import Answer

#: Nobody has to sign in for these.
_OPEN: Final = frozenset({"/login", "/logout"})
_OPEN_BELOW: Final = "/static/"
#: Posts that change nothing: whoever may see may send them.
_ONLY_READ: Final = frozenset({"/api/refresh-url"})
#: The parameter of the link that is printed at the start.
TOKEN_PARAMETER: Final = "token"  # noqa: S105
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="audio-extract"'}
_RETRY_SECONDS: Final = 30


class Gate:
    """ASGI middleware: lets those through who may do what they ask, and says who they are.

    Args:
        app: What comes next.
        access: Knows who may come in.
        answer: Makes the answer to whoever may not.
    """

    def __init__(self, app: ASGIApp, access: Access, answer: Answer) -> None:
        self._app = app
        self._access = access
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        response = await self._refusal(request)
        await (self._app if response is None else response)(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        """Return what is answered to a request that does not pass; None: it does."""
        host = host_name(request.headers)
        if host is None:
            # Nothing that follows could make an address of it.
            request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"host"]
            return self._answer(request, 400, "the request does not say, in Host, which server it is for")
        if (refused := self._access.why_not_here(request, host)) is not None:
            return self._answer(request, *refused)
        if (entered := self._enter(request)) is not None:
            return entered
        try:
            proven = await self._access.proven(request)
        except KeysUnavailableError as error:
            return self._answer(request, 503, str(error), {"Retry-After": str(_RETRY_SECONDS)})
        return self._not_allowed(request, proven)

    def _not_allowed(self, request: Request, proven: Proven | None) -> Response | None:
        path = request.scope["path"]
        is_open = path in _OPEN or path.startswith(_OPEN_BELOW)
        changes = request.method not in SAFE_METHODS
        if changes and not (proven and proven.by_token):
            why = why_cross_site(request.headers, by_browser=proven is not None and proven.by_browser)
            if why is not None:
                return self._answer(request, 403, why)
        if proven is None:
            return None if is_open else self._sign_in_first(request)
        if changes and not is_open and path not in _ONLY_READ and not proven.person.may_act:
            return self._answer(
                request, 403, f"{proven.person.name} may see, but not do this: it takes an operator"
            )
        request.scope[SCOPE_KEY] = proven.person
        if proven.by_session:
            request.scope[STILL_KEY] = lambda: self._access.session_of(request) is not None
        return None

    def _enter(self, request: Request) -> Response | None:
        """Exchange the printed link's token for a session: it must not stay in the address bar."""
        if self._access.start_token is None or request.method != "GET":
            return None
        tokens = request.query_params.getlist(TOKEN_PARAMETER)
        account = self._access.by_token(tokens[0]) if len(tokens) == 1 else None
        if account is None:
            return None
        response = RedirectResponse(local_path(_without_token(request)), 303)
        response.headers["Set-Cookie"] = self._access.begin_session(request, account)
        return response

    def _sign_in_first(self, request: Request) -> Response:
        is_navigation = request.headers.get("sec-fetch-mode", "navigate") == "navigate"
        wants_page = "text/html" in request.headers.get("accept", "") and not request.scope[
            "path"
        ].startswith("/api/")
        if not (is_navigation and wants_page):
            return self._answer(request, 401, "sign in first, or send a token", _CHALLENGE)
        there = _without_token(request)
        is_asked_again = request.method in {"GET", "HEAD"} and there != "/"
        return RedirectResponse("/login" + (f"?{urlencode({'next': there})}" if is_asked_again else ""), 303)


def _without_token(request: Request) -> str:
    """Return the address that is asked for, below this site, without a token in it."""
    rest = [(name, value) for name, value in request.query_params.multi_items() if name != TOKEN_PARAMETER]
    return quote(request.scope["path"]) + (f"?{urlencode(rest)}" if rest else "")

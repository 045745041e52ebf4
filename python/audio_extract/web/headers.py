"""Headers that every answer carries: nothing from elsewhere, no framing, no guessing of types, no copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers

from audio_extract.web.access.origin import host_name, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: ``media-src`` names, beside this server, where signed URLs lead: the player follows a redirect there.
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "media-src {media}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
#: What no page here needs.
_NO_PERMISSIONS: Final = ", ".join(
    f"{name}=()"
    for name in ("camera", "display-capture", "geolocation", "microphone", "payment", "serial", "usb")
)
_HEADERS: Final = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": _NO_PERMISSIONS,
    # Not no-referrer: with it browsers send `Origin: null` with our own forms, and without HTTPS they send no
    # Sec-Fetch-Site either, so that nothing would tell our forms from another site's.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class SafeHeaders:
    """ASGI middleware that adds the headers.

    Args:
        app: What comes next.
        media_hosts: Other servers that audio is played from, as ``https://host``.
    """

    def __init__(self, app: ASGIApp, media_hosts: Iterable[str] = ()) -> None:
        self._app = app
        policy = _POLICY.format(media=" ".join(("'self'", *media_hosts)))
        self._headers = _raw({**_HEADERS, "Content-Security-Policy": policy})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its answer."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                added = (header for header in self._wanted(scope) if header[0] not in there)
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)

    def _wanted(self, scope: Scope) -> Iterator[tuple[bytes, bytes]]:
        yield from self._headers
        if not scope["path"].startswith("/static/"):
            yield _NO_STORE
        is_https = scope["scheme"] == "https"
        if is_https:
            yield _ONLY_HTTPS
        # Elsewhere browsers do not heed it, and say so on the console.
        if is_https or is_loopback(host_name(Headers(scope=scope)) or ""):
            yield _OWN_GROUP


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]


# Recordings have names, and pages differ by who asks.
[_NO_STORE] = _raw({"Cache-Control": "no-store"})
[_ONLY_HTTPS] = _raw({"Strict-Transport-Security": "max-age=31536000"})
[_OWN_GROUP] = _raw({"Cross-Origin-Opener-Policy": "same-origin"})

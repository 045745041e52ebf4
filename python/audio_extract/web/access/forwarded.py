"""What a trusted proxy says of the request that it passes on: the real client, scheme and host name.

uvicorn's own middleware trusts whoever connects from 127.0.0.1 unless told otherwise, and leaves the host
name alone, which links and the check of ``Origin`` need. Here nobody is trusted who is not in the settings.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

#: Set in the scope of requests that came from a trusted proxy.
TRUSTED: Final = "audio_extract.from_trusted_proxy"
#: What proxies add. RFC 7239, RFC 9110 §7.6.3, and what came before.
_TRACES: Final = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via")


class Forwarded:
    """ASGI middleware that puts the client, scheme and host name right.

    Args:
        app: What comes next.
        networks: Where trusted proxies are.
    """

    def __init__(self, app: ASGIApp, networks: Iterable[str]) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(network) for network in networks]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and self._trusts(scope["client"][0] if scope["client"] else ""):
            scope = self._as_the_client_sent_it(scope)
        await self._app(scope, receive, send)

    def _trusts(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        # A socket for both families shows IPv4 clients as ::ffff:10.0.0.1.
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self._networks)

    def _as_the_client_sent_it(self, scope: Scope) -> Scope:
        scope = {**scope, TRUSTED: True, "headers": list(scope["headers"])}
        headers = Headers(scope=scope)
        # Each proxy adds at the end whom it talked to: the last one that is no proxy of ours is the client.
        for address in reversed(",".join(headers.getlist("x-forwarded-for")).split(",")):
            if not (name := _without_port(address.strip())):
                break
            scope["client"] = (name, 0)
            if not self._trusts(name):
                break
        if (scheme := _only(headers, "x-forwarded-proto")) in {"http", "https"}:
            scope["scheme"] = scheme
        if host := _only(headers, "x-forwarded-host"):
            MutableHeaders(scope=scope)["host"] = host
        return scope


def _without_port(address: str) -> str:
    """Return an address; some proxies write ``192.0.2.1:4711`` and ``[2001:db8::1]:4711``."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def came_through_a_proxy(headers: Headers) -> bool:
    """Tell whether some proxy left its traces."""
    return any(name in headers for name in _TRACES)


def _only(headers: Headers, name: str) -> str | None:
    values = headers.getlist(name)
    return values[0].strip() if len(values) == 1 and "," not in values[0] else None

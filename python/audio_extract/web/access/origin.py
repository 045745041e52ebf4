"""Where a request comes from: which name it was sent to, and whether a page of another site sent it.

The rules against cross-site requests are those of Go's ``http.CrossOriginProtection``: browsers say in
``Sec-Fetch-Site`` and ``Origin`` which page made them send something, and no page can forge either. Source:
https://www.w3.org/TR/fetch-metadata/
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.datastructures import Headers

#: RFC 9110 §7.2: a name or an address, and a port.
_HOST: Final = re.compile(
    r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def host_name(headers: Headers) -> str | None:
    """Return the name that a request was sent to, without port; None: it names none, several, or nonsense."""
    hosts = headers.getlist("host")
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    return None if match is None else match["name"].lower().strip("[]").rstrip(".")


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Tell whether a name or address means this machine, wherever it is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_allowed(host: str, allowed: Iterable[str]) -> bool:
    """Tell whether a name is on the list; ``*.example.com`` is every name below ``example.com``."""
    return any(host.endswith(name[1:]) if name.startswith("*.") else host == name for name in allowed)


def why_cross_site(headers: Headers, *, by_browser: bool) -> str | None:
    """Return why a request that changes something is refused; None: it is not.

    Args:
        headers: Its headers.
        by_browser: What proves who asks is sent by browsers unasked (a cookie, a proxy's header): then a
            request that does not say where it comes from is refused too.
    """
    site = headers.get("sec-fetch-site", "")
    if site in {"same-origin", "none"}:
        return None
    if site:
        return "a page of another site sent this"
    origin = headers.get("origin")
    if origin is not None:
        # The scheme is not compared: a proxy that speaks HTTPS to browsers may speak HTTP to this server.
        sender = urlsplit(origin).netloc
        if sender and _without_usual_port(sender) == _without_usual_port(headers.get("host", "")):
            return None
        return "a page of another site sent this"
    if by_browser:
        return (
            "it does not say which page sent this (neither Sec-Fetch-Site nor Origin); programs use a token"
        )
    return None


def _without_usual_port(host: str) -> str:
    """Return a name and port as a browser writes them; some proxies write the port that it leaves out."""
    return host.lower().removesuffix(":80").removesuffix(":443")


def local_path(path: str, otherwise: str = "/") -> str:
    """Return a path to lead a browser to; ``otherwise`` for one that could lead it out of this site.

    Browsers read a backslash as ``/``, and leave out tabs and line breaks: ``//evil`` has many forms.
    """
    printable = all("!" <= one <= "~" for one in path)
    if not path.startswith("/") or path.startswith("//") or "\\" in path or not printable:
        return otherwise
    parts = urlsplit(path)
    return otherwise if parts.scheme or parts.netloc or parts.path in {"/login", "/logout"} else path

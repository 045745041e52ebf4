"""Posting an event to a program over HTTP, again while it is busy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

_SECONDS: Final = 10.0
#: Seconds before each further try.
WAITS: Final = (1.0, 2.0, 4.0, 8.0)
#: Busy, or broken for the moment.
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    waits: tuple[float, ...] = WAITS,
    closing: threading.Event,
) -> str | None:
    """Post something; returns why it was not taken, without secrets, or None.

    Args:
        url: Where to.
        body: What.
        headers: With the secrets that let us in.
        waits: Seconds before each further try.
        closing: Ends the tries.
    """
    import requests

    reason = ""
    for wait in (*waits, None):
        try:
            # Who redirects a POST would get the headers, and with them the secrets.
            answer = requests.post(url, data=body, headers=headers, timeout=_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            reason = type(error).__name__
        else:
            if answer.status_code < 300:
                return None
            reason = f"HTTP {answer.status_code}"
            if answer.status_code not in _AGAIN:
                break
        if wait is None or closing.wait(wait):
            break
    return reason

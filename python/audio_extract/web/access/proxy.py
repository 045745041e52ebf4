"""People whom a proxy signed in: it says in a header who they are.

A header proves nothing by itself; it is believed only from the networks of the settings. Google's
Identity-Aware Proxy signs what it says, which is checked instead.
Source: https://cloud.google.com/iap/docs/signed-headers-howto
"""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING, Any, Final

import anyio

from audio_extract.web.access.forwarded import TRUSTED
from audio_extract.web.access.people import Person, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from audio_extract.settings.access_sections import Proxy

_log = logging.getLogger(__name__)

IAP_KEYS: Final = "https://www.gstatic.com/iap/verify/public_key"
IAP_HEADER: Final = "x-goog-iap-jwt-assertion"
_IAP_ISSUER: Final = "https://cloud.google.com/iap"
#: IAP's unsigned headers write ``accounts.google.com:ann@example.com``.
_ACCOUNTS: Final = "accounts.google.com:"
_MOST_CHARACTERS: Final = 254
_KEYS_SECONDS: Final = 3600
#: A key that we do not have: asked for, but not each time somebody makes one up.
_UNKNOWN_KEY_SECONDS: Final = 60
#: The same after it failed.
_FAILED_SECONDS: Final = 10
_FETCH_SECONDS: Final = 5
#: Assertions checked at once: while keys are fetched all of them wait, and other requests need threads too.
_MOST_CHECKED: Final = 4
_CLOCK_SKEW_SECONDS: Final = 30


class KeysUnavailableError(Exception):
    """The keys to check a signature with cannot be fetched."""


class ProxyPeople:
    """Knows people by what the proxy says.

    Args:
        proxy: The settings.
        keys_url: Where IAP's public keys are.
        now: The clock, in seconds.
    """

    def __init__(self, proxy: Proxy, keys_url: str, now: Callable[[], float]) -> None:
        self._header = proxy.user_header
        self._audience = proxy.iap_audience
        self._operators = {name.casefold() for name in proxy.operators}
        self._keys = SigningKeys(keys_url, now)
        self._threads = anyio.CapacityLimiter(_MOST_CHECKED)

    async def person(self, request: Request) -> Person | None:
        """Return who the proxy says it is; None: it says nothing that can be believed.

        Raises:
            KeysUnavailableError: That cannot be checked now.
        """
        if self._audience is not None:
            assertions = request.headers.getlist(IAP_HEADER)
            if len(assertions) != 1:
                return None
            name = await anyio.to_thread.run_sync(self._signed_name, assertions[0], limiter=self._threads)
        elif self._header is not None and request.scope.get(TRUSTED):
            name = _only_name(request.headers.getlist(self._header))
        else:
            return None
        if not name or len(name) > _MOST_CHARACTERS or not name.isprintable():
            return None
        may_act = "*" in self._operators or name.casefold() in self._operators
        return Person(name, Role.OPERATOR if may_act else Role.VIEWER)

    def _signed_name(self, assertion: str) -> str | None:
        from google.auth import exceptions, jwt

        try:
            key_id = jwt.decode_header(assertion).get("kid")  # type: ignore[no-untyped-call]
            claims: Mapping[str, Any] = jwt.decode(  # type: ignore[no-untyped-call]
                assertion,
                certs=self._keys.including(key_id),
                audience=self._audience,
                clock_skew_in_seconds=_CLOCK_SKEW_SECONDS,
            )
        except (exceptions.GoogleAuthError, ValueError, TypeError, AttributeError, KeyError) as error:
            # It is whatever somebody sent; only its kind is told.
            _log.info(
                "a request with a wrong assertion of IAP was refused: %s",
                type(error).__name__,
                extra={"event": "web.iap_refused"},
            )
            return None
        email = claims.get("email")
        return (
            email.removeprefix(_ACCOUNTS)
            if claims.get("iss") == _IAP_ISSUER and isinstance(email, str)
            else None
        )


class SigningKeys:
    """Public keys by their id, fetched when they are needed.

    Args:
        url: Gives a JSON object of id → key as PEM.
        now: The clock, in seconds.
    """

    def __init__(self, url: str, now: Callable[[], float]) -> None:
        self._url = url
        self._now = now
        self._lock = threading.Lock()
        self._keys: dict[str, str] = {}
        #: When they are fetched again: in any case, and for a key that is not among them.
        self._good_until = self._asked_until = float("-inf")

    def including(self, key_id: object) -> dict[str, str]:
        """Return the keys, fetched again if this one is not among them.

        Raises:
            KeysUnavailableError: There are none, and they cannot be fetched.
        """
        with self._lock:
            now = self._now()
            if now >= self._good_until or (str(key_id) not in self._keys and now >= self._asked_until):
                self._fetch(now)
            if not self._keys:
                raise KeysUnavailableError(f"{self._url} does not give IAP's keys")
            return self._keys

    def _fetch(self, now: float) -> None:
        from google.auth.exceptions import TransportError
        from google.auth.transport.requests import Request as Transport

        try:
            answer = Transport()(self._url, timeout=_FETCH_SECONDS)
            # What is not 200 holds no object of keys either.
            keys = json.loads(answer.data if answer.status == 200 else "null")
            self._keys = {str(name): str(key) for name, key in keys.items()}
        except (TransportError, ValueError, AttributeError) as error:
            _log.warning(
                "IAP's keys cannot be fetched: %s", type(error).__name__, extra={"event": "web.iap_keys"}
            )
            self._good_until = self._asked_until = now + _FAILED_SECONDS
        else:
            self._good_until, self._asked_until = now + _KEYS_SECONDS, now + _UNKNOWN_KEY_SECONDS


def _only_name(values: list[str]) -> str | None:
    """Return the one value of a header. Several, or a comma in it: the proxy let through another's."""
    if len(values) != 1 or "," in values[0]:
        return None
    raw = values[0].strip().encode("latin-1")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name = raw.decode("latin-1")
    return name.removeprefix(_ACCOUNTS)

"""Who is who: the accounts, tokens and proxies of the settings, and what a request proves with them."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from audio_extract.settings.access_sections import Security
from audio_extract.web.access.forwarded import TRUSTED, came_through_a_proxy
from audio_extract.web.access.origin import is_allowed, is_loopback
from audio_extract.web.access.passwords import PasswordCheck
from audio_extract.web.access.people import ANYBODY, Person, Role
from audio_extract.web.access.proxy import IAP_KEYS, ProxyPeople
from audio_extract.web.access.sessions import Sessions, cookie_name, kept_key, sent_cookie, set_cookie

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request

    from audio_extract.web.access.sessions import Session

_SECONDS_AN_HOUR: Final = 3600
_START_TOKEN: Final = "start token"  # noqa: S105 - how the audit log calls whoever has it


@dataclass(frozen=True, slots=True)
class _Account:
    """Somebody who can prove who they are; sessions are good while the proof is the same."""

    proof: str
    person: Person


@dataclass(frozen=True, slots=True)
class Proven:
    """Who asks, and by what.

    Attributes:
        person: Who.
        by_browser: Browsers send the proof unasked, also when a page of another site makes them.
        by_token: The proof is one that no browser sends by itself.
        by_session: The proof is a session, which ends.
    """

    person: Person
    by_browser: bool = False
    by_token: bool = False
    by_session: bool = False


class Access:
    """Knows who may come in.

    Args:
        security: The settings.
        is_reachable: Others than this machine can reach the page: then nobody comes in without a proof, and
            where the settings name none, a token is made for this start.
        key_path: Where the key of cookies is kept; None keeps none.
        keys_url: Where IAP's public keys are.
        now: The clock, in seconds.
    """

    def __init__(
        self,
        security: Security | None = None,
        *,
        is_reachable: bool = False,
        key_path: Path | None = None,
        keys_url: str = IAP_KEYS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._security = security = security or Security()
        self.now = now
        self.start_token: str | None = None
        self._accounts: dict[str, _Account] = {}
        #: SHA-256 of a token → its account.
        self._tokens: dict[bytes, str] = {}
        for token in security.tokens:
            digest = (
                bytes.fromhex(token.token_sha256)
                if token.token_sha256 is not None
                else _digest(token.token.get_secret_value() if token.token is not None else "")
            )
            self._add_token(token.name, digest, Role(token.role))
        if is_reachable and not security.has_credentials:
            self.start_token = secrets.token_urlsafe(32)
            self._add_token(_START_TOKEN, _digest(self.start_token), Role.OPERATOR)
        hashes = {}
        for user in security.all_users:
            hashes[user.name] = user.password_hash.get_secret_value()
            self._accounts[f"user {user.name}"] = _Account(
                hashes[user.name], Person(user.name, Role(user.role), signed_in=True)
            )
        self.has_users = bool(hashes)
        self.has_tokens = bool(self._tokens)
        #: Nobody has to say who they are.
        self.is_open = not (security.has_credentials or self.start_token)
        self.networks = security.proxy.networks
        self._passwords = PasswordCheck(hashes)
        self._proxy = ProxyPeople(security.proxy, keys_url, now)
        secret = security.cookie_secret
        if secret is not None:
            key = hashlib.sha256(secret.get_secret_value().encode()).digest()
        elif key_path is not None and (security.tokens or hashes):
            key = kept_key(key_path)
        else:
            key = secrets.token_bytes(32)
        self._sessions = Sessions(key, max(1, round(security.session_hours * _SECONDS_AN_HOUR)))

    def close(self) -> None:
        """End what runs for this."""
        self._passwords.close()

    def why_not_here(self, request: Request, host: str) -> tuple[int, str] | None:
        """Return why a request is refused that was sent to ``host``, whoever sent it; None: it is not."""
        allowed = self._security.allowed_hosts
        if not is_loopback(host) and not is_allowed(host, allowed) and (self.is_open or allowed):
            return 421, (
                f"this page does not answer as {host}: add that name to security.allowed_hosts, "
                "or open it as localhost"
            )
        if self.is_open and came_through_a_proxy(request.headers) and not request.scope.get(TRUSTED):
            return 403, (
                "this came through a proxy, so others than this machine reach the page, and nobody has to "
                "sign in: set security.users, or say in security.proxy.networks which proxy to trust"
            )
        return None

    async def proven(self, request: Request) -> Proven | None:
        """Return who asks; None: nobody who proved it.

        Raises:
            KeysUnavailableError: That cannot be checked now.
        """
        if self.is_open:
            return Proven(ANYBODY)
        person = await self._proxy.person(request)
        if person is not None:
            return Proven(person, by_browser=True)
        if (token := _bearer(request)) is not None:
            account = self._of_token(token)
            return None if account is None else Proven(self._accounts[account].person, by_token=True)
        session = self.session_of(request)
        if session is not None:
            return Proven(self._accounts[session.name].person, by_browser=True, by_session=True)
        return None

    async def by_password(self, name: str, password: str) -> str | None:
        """Return the account that these open; None: none.

        Raises:
            BusyError: Too many sign in at once.
        """
        return f"user {name}" if await self._passwords.is_right(name, password) else None

    def by_token(self, token: str) -> str | None:
        """Return the account that a token opens, typed in by a person; None: none."""
        return self._of_token(token)

    def person(self, account: str) -> Person:
        """Return whose account it is."""
        return self._accounts[account].person

    def session_of(self, request: Request) -> Session | None:
        """Return the session of a request, if it is good."""
        cookie = sent_cookie(request.headers, self._cookie_name(request))
        session = None if cookie is None else self._sessions.read(cookie, self.now())
        if session is None:
            return None
        account = self._accounts.get(session.name)
        return session if account is not None and self._sessions.proves(session, account.proof) else None

    def begin_session(self, request: Request, account: str) -> str:
        """Return the ``Set-Cookie`` of a new session; one that the browser had is over."""
        self._end(request)
        value = self._sessions.new(account, self._accounts[account].proof, self.now())
        return set_cookie(
            self._cookie_name(request),
            value,
            self._sessions.lifetime_seconds,
            secure=request.scope["scheme"] == "https",
        )

    def end_session(self, request: Request) -> str:
        """End the session of a request; returns the ``Set-Cookie`` that removes the cookie."""
        self._end(request)
        return set_cookie(self._cookie_name(request), "", 0, secure=request.scope["scheme"] == "https")

    def _end(self, request: Request) -> None:
        if (session := self.session_of(request)) is not None:
            self._sessions.end(session)

    def _add_token(self, name: str, digest: bytes, role: Role) -> None:
        account = f"token {name}"
        self._accounts[account] = _Account(digest.hex(), Person(name, role, signed_in=True))
        self._tokens[digest] = account

    def _of_token(self, token: str) -> str | None:
        # Looked up by its hash: how long that takes says nothing about the tokens there are.
        return self._tokens.get(_digest(token))

    @staticmethod
    def _cookie_name(request: Request) -> str:
        server = request.scope.get("server")
        return cookie_name(request.scope["scheme"], server[1] if server else 0)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _bearer(request: Request) -> str | None:
    values = request.headers.getlist("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else None

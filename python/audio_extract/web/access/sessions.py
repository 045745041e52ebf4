"""Sessions: a signed cookie that says who signed in and when, and the key it is signed with.

Nothing is kept of a session here but the ids of those that were ended before their time.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from itsdangerous import BadData, URLSafeSerializer
from starlette.requests import cookie_parser

if TYPE_CHECKING:
    from starlette.datastructures import Headers

_log = logging.getLogger(__name__)

_KEY_BYTES: Final = 32
#: Of sessions that were signed out of; the oldest is forgotten first.
_MOST_ENDED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie says.

    Attributes:
        number: Of the session.
        name: Who signed in.
        mark: Of what proved it.
    """

    number: str
    name: str
    mark: str


class Sessions:
    """Makes and reads cookies.

    Args:
        key: What they are signed with.
        lifetime_seconds: How long they are good.
    """

    def __init__(self, key: bytes, lifetime_seconds: int) -> None:
        self._key = key
        self.lifetime_seconds = lifetime_seconds
        self._signer = URLSafeSerializer(
            key,
            salt="audio-extract session 1",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        self._ended: OrderedDict[str, None] = OrderedDict()

    def new(self, name: str, proof: str, now: float) -> str:
        """Return the cookie of somebody who just proved to be ``name``.

        Args:
            name: Theirs.
            proof: What it was checked with (a password's hash); once it is another, so are the cookies.
            now: In seconds.
        """
        return self._signer.dumps([secrets.token_urlsafe(12), name, self._mark(name, proof), int(now)])

    def read(self, cookie: str, now: float) -> Session | None:
        """Return what a cookie says; None: it is not ours, too old, or was signed out of."""
        try:
            values = self._signer.loads(cookie)
        except BadData:
            return None
        match values:
            case [str(number), str(name), str(mark), int(since)]:
                is_good = now < since + self.lifetime_seconds and number not in self._ended
                return Session(number, name, mark) if is_good else None
            case _:
                return None

    def proves(self, session: Session, proof: str) -> bool:
        """Tell whether a session was begun with this proof."""
        return hmac.compare_digest(session.mark, self._mark(session.name, proof))

    def end(self, session: Session) -> None:
        """Let a cookie be worth nothing from now on."""
        self._ended[session.number] = None
        if len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)

    def _mark(self, name: str, proof: str) -> str:
        return hmac.new(self._key, f"{name}\0{proof}".encode(), "sha256").hexdigest()[:32]


def cookie_name(scheme: str, port: int) -> str:
    """Return the cookie's name: browsers do not keep the cookies of a host's ports apart, so the name does.

    With ``__Host-`` they take it only over HTTPS and from this very host (RFC 6265bis §4.1.3.2).
    """
    return "__Host-audio-extract" if scheme == "https" else f"audio-extract-{port}"


def set_cookie(name: str, value: str, lifetime_seconds: int, *, secure: bool) -> str:
    """Return a ``Set-Cookie`` header; a lifetime of 0 removes the cookie.

    ``Lax``, so that a link in a chat opens the page it leads to; requests that change something are checked
    by their origin besides.
    """
    attributes = f"Path=/; Max-Age={lifetime_seconds}; HttpOnly; SameSite=Lax" + (
        "; Secure" if secure else ""
    )
    return f"{name}={value}; {attributes}"


def sent_cookie(headers: Headers, name: str) -> str | None:
    """Return the cookie of a request; None: it has none."""
    return next(
        (found for line in headers.getlist("cookie") if (found := cookie_parser(line).get(name))), None
    )


def kept_key(path: Path) -> bytes:
    """Return the key that cookies are signed with; the first to ask makes it, readable by this account only.

    Where it cannot be kept, one is made for this process: everybody signs in again after the next start.
    """
    try:
        if not path.exists():
            _put(secrets.token_bytes(_KEY_BYTES), path)
        key = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
    else:
        if len(key) == _KEY_BYTES:
            return key
        reason = f"it has {len(key)} bytes, and not {_KEY_BYTES}; remove it"
    _log.warning(
        "the key of sessions cannot be used (%s: %s): everybody signs in again after the next start",
        path,
        reason,
        extra={"event": "web.no_cookie_key"},
    )
    return secrets.token_bytes(_KEY_BYTES)


def _put(key: bytes, path: Path) -> None:
    """Write the key, whole or not at all; one that another process put there meanwhile stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Made readable by this account only.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(name)
    finally:
        Path(name).unlink()

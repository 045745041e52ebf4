"""Who may ask: service accounts with real keys, access tokens, and how one becomes the other.

Owns no permission of any file or bucket.
"""

from __future__ import annotations

import json
import secrets
import threading
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError

from audio_extract.emulator.errors import GoogleError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from audio_extract.emulator.clock import Clock

_TOKEN_LIFETIME = timedelta(hours=1)
#: google-auth's assertions name this audience, whatever ``token_uri`` the key file has.
_GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"


class ServiceAccount:
    """A service account with a generated RSA key, as the Cloud console hands one out."""

    def __init__(self, email: str = "extractor@demo-project.iam.gserviceaccount.com") -> None:
        self.email = email
        self.key_id = secrets.token_hex(20)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @cached_property
    def public_key_pem(self) -> bytes:
        """The public key, as PEM."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def key_info(self, token_uri: str) -> dict[str, str]:
        """The content of a key file whose tokens come from ``token_uri``."""
        private = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return {
            "type": "service_account",
            "project_id": self.email.partition("@")[2].partition(".")[0],
            "private_key_id": self.key_id,
            "private_key": private.decode("ascii"),
            "client_email": self.email,
            "client_id": "100000000000000000001",
            "token_uri": token_uri,
        }

    def write_key_file(self, path: Path, token_uri: str) -> Path:
        """Write a key file, readable only by its owner."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(self.key_info(token_uri), indent=2))
        return path

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether this account's key made an RSA-SHA256 signature (PKCS #1 v1.5)."""
        try:
            self._key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


class TokenRefusedError(Exception):
    """The token endpoint's refusal: ``error`` and ``error_description`` of RFC 6749, section 5.2."""

    def __init__(self, error: str, description: str) -> None:
        self.error = error
        self.description = description
        super().__init__(f"{error}: {description}")


class Accounts:
    """Known accounts and the access tokens that were issued.

    Until :meth:`require_tokens` is called anybody may ask without a token, as emulators allow; a token that
    was revoked or has expired is refused all the same.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts: dict[str, ServiceAccount] = {}
        self._tokens: dict[str, datetime] = {}
        self._revoked: set[str] = set()
        self._required = False
        self._lock = threading.Lock()
        self.subjects: list[str | None] = []
        """The user that each issued token impersonates (``sub`` of its request), in order."""

    def add(self, account: ServiceAccount) -> ServiceAccount:
        """Make an account known: its signatures are accepted from now on."""
        with self._lock:
            self._accounts[account.email] = account
        return account

    def remove(self, email: str) -> None:
        """Forget an account, as when its key is deleted."""
        with self._lock:
            self._accounts.pop(email, None)

    def find(self, email: str) -> ServiceAccount | None:
        """A known account."""
        with self._lock:
            return self._accounts.get(email)

    @property
    def tokens_required(self) -> bool:
        """Whether a request without a token is refused."""
        return self._required

    def require_tokens(self, required: bool = True) -> None:
        """Refuse requests without a token that was issued here."""
        self._required = required

    def issue(self, token: str | None = None, lifetime: timedelta = _TOKEN_LIFETIME) -> str:
        """Make an access token valid."""
        value = token or f"ya29.{secrets.token_urlsafe(24)}"
        with self._lock:
            self._tokens[value] = self._clock() + lifetime
            self._revoked.discard(value)
        return value

    def revoke(self, token: str | None = None) -> None:
        """Make a token invalid; without argument, all that were issued."""
        with self._lock:
            tokens = list(self._tokens) if token is None else [token]
            self._revoked.update(tokens)
            for value in tokens:
                self._tokens.pop(value, None)

    def check(self, authorization: str | None) -> None:
        """Let a request pass or not.

        Raises:
            GoogleError: 401, as Google's APIs give it.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            if self._required:
                raise GoogleError("loginRequired")
            return
        with self._lock:
            expiry = self._tokens.get(token)
            revoked = token in self._revoked
        if revoked or (expiry is None and self._required) or (expiry is not None and expiry <= self._clock()):
            raise GoogleError("authError")

    def exchange(self, form: Mapping[str, str], audience: str) -> dict[str, Any]:
        """Answer the token endpoint: a signed assertion for an access token (RFC 7523).

        Raises:
            TokenRefusedError: The assertion is not from a known account, or its times are wrong.
        """
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            raise TokenRefusedError("unsupported_grant_type", "Invalid grant_type")
        assertion = form.get("assertion", "")
        try:
            email = str(jwt.decode(assertion, verify=False).get("iss"))  # type: ignore[no-untyped-call]
            account = self.find(email)
            if account is None:
                raise TokenRefusedError("invalid_grant", "Invalid grant: account not found")
            claims = jwt.decode(  # type: ignore[no-untyped-call]
                assertion, certs=account.public_key_pem, audience=[audience, _GOOGLE_AUDIENCE]
            )
        except (GoogleAuthError, ValueError) as error:
            raise TokenRefusedError("invalid_grant", "Invalid JWT Signature.") from error
        with self._lock:
            self.subjects.append(claims.get("sub"))
        token = self.issue()
        return {
            "access_token": token,
            "expires_in": int(_TOKEN_LIFETIME.total_seconds()) - 1,
            "token_type": "Bearer",
        }

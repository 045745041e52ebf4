"""Verifies V4 signed URLs: the canonical request is built again and its RSA signature checked.

The process: https://cloud.google.com/storage/docs/authentication/canonical-requests and …/signatures.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from starlette.requests import Request

    from audio_extract.emulator.accounts import Accounts

_ALGORITHM = "GOOG4-RSA-SHA256"
_LONGEST = timedelta(days=7)
_SKEW = timedelta(minutes=15)


class SignedUrlError(Exception):
    """The URL does not allow the request.

    Attributes:
        status: HTTP status.
        code: ``Code`` of the XML error.
        details: ``Details`` of it.
        string_to_sign: What the server thinks was signed.
        canonical_request: The server's canonical request.
    """

    def __init__(
        self,
        code: str,
        details: str,
        *,
        status: int = 403,
        string_to_sign: str | None = None,
        canonical_request: str | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.details = details
        self.string_to_sign = string_to_sign
        self.canonical_request = canonical_request
        super().__init__(f"{code}: {details}")


@dataclass(frozen=True)
class _Signature:
    email: str
    scope: str
    time: str
    lifetime: timedelta
    headers: str
    signature: bytes


def is_signed(request: Request) -> bool:
    """Whether a request carries a V4 signature in its query."""
    return any(name.lower() == "x-goog-signature" for name in request.query_params)


def verify_signed_url(request: Request, accounts: Accounts, now: datetime) -> str:
    """Check signature and time of a request's URL.

    Returns:
        The account that signed it.

    Raises:
        SignedUrlError: It does not allow this request, now.
    """
    signature = _parse(request)
    canonical = _canonical_request(request, signature.headers)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    string_to_sign = f"{_ALGORITHM}\n{signature.time}\n{signature.scope}\n{digest}"
    account = accounts.find(signature.email)
    if account is None or not account.verify(signature.signature, string_to_sign.encode()):
        raise SignedUrlError(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your Google secret key and signing method.",
            string_to_sign=string_to_sign,
            canonical_request=canonical,
        )
    begin = datetime.strptime(signature.time, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if now < begin - _SKEW:
        raise SignedUrlError("AccessDenied", f"The request is not valid before {begin.isoformat()}.")
    if now >= begin + signature.lifetime:
        expiry = (begin + signature.lifetime).isoformat()
        raise SignedUrlError(
            "ExpiredToken",
            f"The provided token has expired. Request signature expired at: {expiry}",
            status=400,
        )
    return account.email


def _parse(request: Request) -> _Signature:
    values = {name.lower(): value for name, value in request.query_params.items()}
    try:
        credential = values["x-goog-credential"]
        lifetime = timedelta(seconds=int(values["x-goog-expires"]))
        time = values["x-goog-date"]
        raw = bytes.fromhex(values["x-goog-signature"])
        headers = values["x-goog-signedheaders"]
        algorithm = values["x-goog-algorithm"]
    except (KeyError, ValueError) as error:
        raise _malformed(f"Missing or malformed query parameter: {error}") from error
    email, _, scope = credential.partition("/")
    if algorithm != _ALGORITHM:
        raise _malformed(f"X-Goog-Algorithm must be {_ALGORITHM}")
    if not re.fullmatch(r"\d{8}T\d{6}Z", time) or not re.fullmatch(
        rf"{time[:8]}/[\w-]+/storage/goog4_request", scope
    ):
        raise _malformed("X-Goog-Credential does not fit X-Goog-Date")
    if not timedelta(0) < lifetime <= _LONGEST:
        raise _malformed("X-Goog-Expires must be between 1 and 604800 seconds")
    if "host" not in headers.split(";"):
        raise _malformed("the header 'host' must be signed")
    return _Signature(email, scope, time, lifetime, headers, raw)


def _malformed(details: str) -> SignedUrlError:
    return SignedUrlError("AuthenticationRequired", details, status=400)


def _canonical_request(request: Request, signed_headers: str) -> str:
    parameters = []
    for part in request.scope["query_string"].decode("ascii").split("&"):
        name, _, value = part.partition("=")
        if name.lower() != "x-goog-signature":
            parameters.append((quote(unquote(name), safe="~"), quote(unquote(value), safe="~")))
    query = "&".join(f"{name}={value}" for name, value in sorted(parameters))
    lines = []
    for name in signed_headers.split(";"):
        values = [re.sub(r"\s+", " ", value.strip()) for value in request.headers.getlist(name)]
        lines.append(f"{name}:{','.join(values)}\n")
    payload = request.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD")
    path = quote(unquote(request.scope["raw_path"].decode("ascii")), safe="/~")
    return f"{request.method}\n{path}\n{query}\n{''.join(lines)}\n{signed_headers}\n{payload}"

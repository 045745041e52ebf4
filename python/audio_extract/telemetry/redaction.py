"""Removes secrets from any text before it leaves the program.

Applied at the root of logging, to span attributes and to what the command line prints, so that no caller has
to remember it. It knows shapes (bearer tokens, signed URLs, upload sessions, keys, passwords in URLs), and
the values that settings declare secret, see :func:`protect`. Any other value is a secret only where its
name says so, see :func:`redact_value`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MASK: Final = "[redacted]"

#: Names of settings, headers and log keys whose value is never shown.
_SECRET_NAME: Final = re.compile(
    r"(?:^|[_.-])(?:password|passwd|secret|token|authorization|cookie|api[_-]?key|private[_-]?key|signature|credential)s?$",
    re.IGNORECASE,
)
#: ``credentials_path`` and the like name a file: that is not secret, and people need to see it.
_PATTERNS: Final = (
    # Authorization: Bearer …, and tokens of Google on their own.
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"\bya29\.[A-Za-z0-9._-]+"), MASK),
    # A JSON web token.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), MASK),
    # Signed URLs, resumable sessions, and keys in query strings.
    (
        re.compile(
            r"(?i)([?&](?:X-Goog-Signature|X-Goog-Credential|Signature|upload_id|access_token|token|key|sig|password)=)"
            r"[^&\s\"'<>]+"
        ),
        rf"\1{MASK}",
    ),
    # user:password@host
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/@]+@"), rf"\1:{MASK}@"),
    # A private key, whole or as JSON writes it.
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL),
        MASK,
    ),
    (
        re.compile(
            r"""(?i)(["']?(?:password|private_key|client_secret|access_token|refresh_token|id_token)["']?\s*[:=]\s*)"""
            r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;}&]+)"""
        ),
        rf"\1{MASK}",
    ),
)


#: Shorter ones are words, and masking them would spoil what is said.
_LEAST_KNOWN: Final = 8
#: Longest first, so that of one that begins with another nothing is left.
_known: tuple[str, ...] = ()


def protect(secrets: Iterable[str]) -> None:
    """Mask these values from now on wherever they stand, whatever they look like.

    Of a URL only what can be secret counts: password, query, and the long parts of its path. Its host is not.

    Args:
        secrets: Values of settings and variables that are secret.
    """
    global _known  # noqa: PLW0603 - replaced as a whole, so that no thread sees half of it
    parts = {part for secret in secrets for part in _secret_parts(secret) if len(part) >= _LEAST_KNOWN}
    quoted = {quote(part, safe="") for part in parts}
    _known = tuple(sorted({*_known, *parts, *quoted}, key=len, reverse=True))


def _secret_parts(secret: str) -> Iterator[str]:
    try:
        parts = urlsplit(secret)
        password = parts.password
    except ValueError:
        # Not a URL, whatever it looks like.
        yield secret
        return
    if not parts.netloc:
        yield secret
        return
    if password:
        yield unquote(password)
    yield from (value for _, value in parse_qsl(parts.query))
    yield from (piece for piece in unquote(parts.path).split("/") if len(piece) > _LEAST_KNOWN)


def redact(text: str) -> str:
    """Return ``text`` with what is known to be secret, and what has the shape of a secret, masked."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_value(name: str, value: Any) -> Any:
    """Return a named value, safe to show.

    Args:
        name: The key it stands under; a name such as ``smtp_password`` masks any value.
        value: Text, a mapping or a list of such; numbers, booleans and None pass as they are.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_NAME.search(name):
        return MASK
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redact_value(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(name, inner) for inner in value]
    return redact(str(value))


class RedactingFormatter(logging.Formatter):
    """Plain lines, secrets removed: what libraries say until a command sets up the service's logs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return redact(super().format(record))

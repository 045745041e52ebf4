"""Byte ranges of requests: ``Range``, and an upload's ``Content-Range`` (RFC 9110, section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes\s*=\s*(?:(\d+)\s*-\s*(\d*)|-\s*(\d+))\s*", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (?:(\*)|(\d+)-(\d+))/(\*|\d+)", re.ASCII)


class RangeNotSatisfiableError(Exception):
    """The range lies outside the content: 416."""


@dataclass(frozen=True)
class ByteRange:
    """Bytes ``start`` to ``end``, the end not included."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.end - self.start

    def content_range(self, size: int) -> str:
        """The ``Content-Range`` of a 206 answer."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def requested_range(header: str | None, size: int) -> ByteRange | None:
    """Read a ``Range`` header against a content of ``size`` bytes.

    A header that is not one range of bytes is ignored, as RFC 9110 section 14.2 lets a server do: the answer
    is the whole content with 200.

    Raises:
        RangeNotSatisfiableError: The first byte lies behind the end.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        if length == 0:
            raise RangeNotSatisfiableError
        return ByteRange(size - length, size)
    start = int(first)
    end = int(last) + 1 if last else size
    if end <= start and last:
        return None
    if start >= size:
        raise RangeNotSatisfiableError
    return ByteRange(start, min(end, size))


@dataclass(frozen=True)
class UploadRange:
    """The ``Content-Range`` of a chunk of a resumable upload.

    Attributes:
        bytes: Which bytes the request carries; None for ``*`` (a question, or the end of an upload).
        total: Size of the whole content; None for ``*`` (not known yet).
    """

    bytes: ByteRange | None
    total: int | None


def upload_range(header: str) -> UploadRange | None:
    """Read a ``Content-Range`` request header; None if it is malformed."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        return None
    star, first, last, total_text = match.groups()
    total = None if total_text == "*" else int(total_text)
    if star is not None:
        return UploadRange(None, total)
    span = ByteRange(int(first), int(last) + 1)
    if span.length <= 0 or (total is not None and span.end > total):
        return None
    return UploadRange(span, total)

"""How sizes, lengths and times are written for people, on the terminal and on the page."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Final

#: Control characters, separators of lines and paragraphs, and what no encoding has.
_CONTROL: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})
#: What turns the order of the characters behind it around: ``gnp.exe`` would read ``exe.png``.
_TURNS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def size(size_bytes: int | None) -> str:
    """Return a size in decimal units, as Drive and disks are labelled: ``407.2 MB``."""
    if size_bytes is None:
        return "–"
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float | None) -> str:
    """Return a length: ``0:07``, ``12:03``, ``1:00:00``."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def one_line(text: str) -> str:
    """Return text with control characters spelled out, as Python writes them.

    Names come from whoever records; an escape sequence in one must not reach a terminal, nor a line break a
    log.
    """
    return "".join(
        repr(one)[1:-1] if one in _TURNS or unicodedata.category(one) in _CONTROL else one for one in text
    )


def moment(time: datetime | None) -> str:
    """Return a point in time in the reader's time zone: ``2025-01-29 10:00``."""
    if time is None:
        return "–"
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return aware.astimezone().strftime("%Y-%m-%d %H:%M")

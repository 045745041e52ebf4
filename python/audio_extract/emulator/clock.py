"""Time as the emulators see it, and how Google's APIs write it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

#: Gives the present time, with time zone. Tests pass their own.
Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The system's time."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Milliseconds and ``Z``, as Google's JSON has it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_time(text: str) -> datetime:
    """Read RFC 3339; without a zone it is UTC.

    Raises:
        ValueError: It is not a time.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

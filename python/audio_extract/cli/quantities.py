"""Lengths and sizes as people write them on the command line."""

from __future__ import annotations

import re

from audio_extract.exceptions import ConfigurationError

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_BYTES = {"": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30}


def read_seconds(flag: str, text: str) -> float:
    """Return ``15m``, ``90s``, ``1.5h`` or ``90`` in seconds.

    Raises:
        ConfigurationError: It is something else.
    """
    return _read(flag, text, _SECONDS, "a length such as 15m, 90s or 1.5h")


def read_size(flag: str, text: str) -> int:
    """Return ``24MB``, ``500kB`` or ``8MiB`` in bytes.

    Raises:
        ConfigurationError: It is something else.
    """
    return round(_read(flag, text, _BYTES, "a size such as 24MB or 500kB"))


def _read(flag: str, text: str, units: dict[str, int], expected: str) -> float:
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*([A-Za-z]{0,3})", text.strip())
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ConfigurationError(f"{flag} {text}: expected {expected}", code="usage.invalid")
    return float(match[1]) * factor

"""How often something may be tried: so many times at once, then once in a while."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from typing import Final

#: Of those who try; more cost no more memory. Who tried longest ago is forgotten first.
_MOST_KEYS: Final = 10_000


class Throttle:
    """Counts tries by a key.

    Args:
        burst: How many tries are free.
        every_seconds: After how long one more is.
    """

    def __init__(self, burst: int, every_seconds: float) -> None:
        self._burst = burst
        self._every_seconds = every_seconds
        #: Key → when all of its tries are free again.
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, now: float) -> int:
        """Count a try; returns 0, or how many seconds to wait: then it must not be made."""
        free_at = max(self._free_at.get(key, now), now) + self._every_seconds
        wait = free_at - now - self._burst * self._every_seconds
        if wait > 0:
            return math.ceil(wait)
        self._free_at[key] = free_at
        self._free_at.move_to_end(key)
        if len(self._free_at) > _MOST_KEYS:
            self._free_at.popitem(last=False)
        return 0

    def give_back(self, key: str) -> None:
        """The last try was a good one, and does not count."""
        if key in self._free_at:
            self._free_at[key] -= self._every_seconds

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._free_at)


def address_key(address: str) -> str:
    """Return what an address is counted under: whoever has one of IPv6 has 2⁶⁴ of them."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "?"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)

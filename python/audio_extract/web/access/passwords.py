"""Passwords: how they are hashed, and checked without harm to what else the machine does."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final
from unicodedata import normalize

import argon2

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What OWASP recommends at least: 19 MiB, two rounds, one core; some 30 ms.
_HASHER: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
#: How many wait to be checked; whoever comes then is asked to come back.
_MOST_WAITING: Final = 8
#: The kernel prefers transfers.
_NICENESS: Final = 10
#: Characters of a new one (NIST SP 800-63B asks for eight at least); a longer one is nobody's.
LEAST_CHARACTERS: Final = 8
MOST_CHARACTERS: Final = 1024


class BusyError(Exception):
    """Too many passwords wait to be checked."""


def hash_of(password: str) -> str:
    """Return the argon2id hash of a password, as the settings take it."""
    return _HASHER.hash(_bytes(password))


class PasswordCheck:
    """Checks passwords, one at a time in a thread of its own that gives way.

    However many sign in at once, or pretend to, memory for one hash is taken and at most one core is busy.

    Args:
        hashes: Name → hash.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = dict(hashes)
        #: Compared with for names that nobody has, so that they take as long as the others.
        self._nobodys = next(iter(self._hashes.values()), "")
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="passwords", initializer=_give_way)
        self._waiting = 0

    async def is_right(self, name: str, password: str) -> bool:
        """Tell whether this is the password of that name.

        Raises:
            BusyError: Too many wait.
        """
        if self._waiting >= _MOST_WAITING:
            raise BusyError
        known = self._hashes.get(name)
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(
            self._pool, _matches, known or self._nobodys, password
        )
        # Counted until the thread is done with it, also when nobody waits for the answer any more.
        future.add_done_callback(self._done)
        matches = await asyncio.shield(future)
        return matches and known is not None

    def close(self) -> None:
        """End the thread; what waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _done(self, _future: asyncio.Future[bool]) -> None:
        self._waiting -= 1


def _matches(hashed: str, password: str) -> bool:
    if not hashed or len(password) > MOST_CHARACTERS:
        return False
    try:
        return _HASHER.verify(hashed, _bytes(password))
    except argon2.exceptions.VerificationError:
        return False


def _bytes(password: str) -> bytes:
    # The same letters come composed from one keyboard and in pieces from another (RFC 8265 §4.2).
    return normalize("NFC", password).encode("utf-8", "surrogatepass")


def _give_way() -> None:
    # Linux has niceness for threads; elsewhere this would be the whole process's.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)

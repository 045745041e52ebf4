"""What stood in Drive folders a short while ago, shared by processes through Redis.

A full listing of a large folder is many requests; several replicas, ``check`` and a reconcile after a
restart would each make them. What is kept knows where the change feed stood before the listing began: who
takes a kept listing goes on reading from there, so that nothing which happened since is missed. Without
Redis, or while it does not answer, everything works as without a cache.
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from audio_extract.exceptions import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from redis import Redis

_log = logging.getLogger(__name__)

#: A cache that is slower than Drive is none.
_TIMEOUT_SECONDS: Final = 1.0
#: After a failure it is not asked for so long: a stalled server would cost its timeout for each folder.
_REST_SECONDS: Final = 30.0
#: Larger folders are listed anew: keeping them would need their whole listing in memory at once.
MOST_FILES: Final = 20_000


@dataclass(frozen=True, slots=True)
class KeptListing:
    """A listing of one folder.

    Attributes:
        account: Who listed it: what an account sees, and its feeds, are its own.
        files: The resources in it, with the fields that discovery reads.
        tokens: Where each change feed stood before it was listed.
        listed_at: When that was, in seconds since the epoch.
    """

    account: str
    files: list[dict[str, Any]]
    tokens: Mapping[str, str]
    listed_at: float

    def is_for(self, account: str, feeds: Iterable[str]) -> bool:
        """Whether an account that reads these feeds can use it."""
        return self.account == account and self.tokens.keys() >= set(feeds)


class ListingCache(Protocol):
    """Keeps listings for a while. No method raises: who cannot be answered lists."""

    def get(self, folder_id: str) -> KeptListing | None:
        """A listing that is not too old."""

    def put(self, folder_id: str, listing: KeptListing) -> None:
        """Keep a listing."""

    def forget(self, folder_ids: Iterable[str]) -> None:
        """Something changed in these folders."""


class RedisListingCache:
    """Keeps listings in Redis, under ``folder:{id}``.

    Args:
        url: Of the server; may hold a password.
        keep_seconds: How long a listing is kept.
        clock: Seconds that only grow.
    """

    def __init__(self, url: str, *, keep_seconds: int, clock: Callable[[], float] = time.monotonic) -> None:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._keep_seconds = keep_seconds
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._clock = clock
        self._has_failed = False
        self._rests_until = clock()

    def get(self, folder_id: str) -> KeptListing | None:
        """A listing that is not too old."""
        found = self._ask("reading", lambda redis: redis.get(_key(folder_id)))
        if not isinstance(found, bytes):
            return None
        try:
            document = json.loads(zlib.decompress(found))
            return KeptListing(**document)
        except (zlib.error, ValueError, TypeError):
            # Another program's key, or another version's.
            return None

    def put(self, folder_id: str, listing: KeptListing) -> None:
        """Keep a listing."""
        document = {
            "account": listing.account,
            "files": listing.files,
            "tokens": dict(listing.tokens),
            "listed_at": listing.listed_at,
        }
        packed = zlib.compress(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"), 1)
        self._ask("writing", lambda redis: redis.set(_key(folder_id), packed, ex=self._keep_seconds))

    def forget(self, folder_ids: Iterable[str]) -> None:
        """Something changed in these folders."""
        keys = [_key(folder_id) for folder_id in folder_ids]
        if keys:
            self._ask("deleting", lambda redis: redis.delete(*keys))

    def version(self) -> str:
        """The server's version.

        Raises:
            TransientError: It does not answer.
        """
        from redis.exceptions import RedisError

        try:
            info = self._redis.info("server")
        except (RedisError, OSError) as error:
            # The library's texts may hold the URL, and that a password.
            message = (
                f"redis.url: Redis does not answer ({type(error).__name__}): folders are listed without "
                "a cache. Start it, or remove redis.url"
            )
            raise TransientError(message, code="redis.unavailable") from error
        return str(info["redis_version"]) if isinstance(info, dict) else "unknown"

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _ask(self, what: str, question: Callable[[Redis], object]) -> object | None:
        from redis.exceptions import RedisError

        if self._clock() < self._rests_until:
            return None
        try:
            answer = question(self._redis)
        except (RedisError, OSError) as error:
            if not self._has_failed:
                _log.warning(
                    "redis.url: %s the cache failed (%s); folders are listed anew until it answers",
                    what,
                    type(error).__name__,
                    extra={"event": "redis.failed"},
                )
            self._has_failed = True
            self._rests_until = self._clock() + _REST_SECONDS
            return None
        if self._has_failed:
            _log.info("Redis answers again", extra={"event": "redis.recovered"})
        self._has_failed = False
        return answer


def _key(folder_id: str) -> str:
    return f"folder:{folder_id}"

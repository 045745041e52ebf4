"""The tracker: what the service remembers of every recording, in a database that processes share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, Self

from audio_extract.tracker import migrate
from audio_extract.tracker.claims import Claims
from audio_extract.tracker.database import Database
from audio_extract.tracker.destination import AtDestination
from audio_extract.tracker.discovery import Discovery
from audio_extract.tracker.housekeeping import Housekeeping
from audio_extract.tracker.queries import Queries
from audio_extract.tracker.recovery import Recovery

if TYPE_CHECKING:
    from types import TracebackType

    from audio_extract.tracker.discoverer import Discoverer
    from audio_extract.tracker.job_queue import JobQueue
    from audio_extract.tracker.migrate import DatabaseStatus, Upgraded


class DatabaseSettings(Protocol):
    """Settings that say where the database is."""

    @property
    def database_url(self) -> str:
        """A file's path, ``sqlite:///path`` or ``postgresql://…``."""


class Tracker(Discovery, Claims, Recovery, Housekeeping, Queries, AtDestination):
    """What is known of every recording; safe for threads and processes.

    Every method is one or a few short transactions, and none waits for the network but that of PostgreSQL.
    Every method may raise `TransientError` with the code ``database.unavailable``: try again later.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(
        cls, where: str | DatabaseSettings, *, upgrade: bool = True, now: datetime | None = None
    ) -> Self:
        """Open a database, creating the file and its folder.

        Args:
            where: A file's path, a URL, or settings with ``database_url``.
            upgrade: Whether to bring it to this program's tables, after a copy was put beside the file.
            now: The time that names the copy; the system's unless given.

        Raises:
            ConfigurationError: The place cannot hold a database, or a newer program made what is there.
            TransientError: PostgreSQL does not answer.
        """
        tracker = cls(Database(where if isinstance(where, str) else where.database_url))
        if upgrade:
            try:
                tracker.upgrade(now or datetime.now(UTC))
            except BaseException:
                tracker.close()
                raise
        return tracker

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def status(self) -> DatabaseStatus:
        """Return which tables the database holds, changing nothing."""
        return migrate.status(self._database)

    def require_writable(self) -> None:
        """Begin and end a transaction; makes the file when there is none.

        Raises:
            ConfigurationError: The database cannot be written.
        """
        with self._database.write():
            pass

    def require_present(self) -> None:
        """Look whether the database's file still stands where it was opened; what is elsewhere has none.

        Raises:
            TransientError: It does not: what is written now is lost when this process ends.
        """
        self._database.require_present()

    def upgrade(self, now: datetime) -> Upgraded:
        """Bring the database to this program's tables. Safe for several processes at once.

        Raises:
            ConfigurationError: A newer program made it, or it holds tables that are not ours.
        """
        return migrate.upgrade(self._database, now)

    def job_queue(self) -> JobQueue:
        """Return the queue of jobs in this database, for `execution.backend: procrastinate`.

        Raises:
            ConfigurationError: The database is no PostgreSQL, or Procrastinate is not installed.
        """
        from audio_extract.tracker.job_queue import JobQueue

        return JobQueue(self._database)

    def discoverer(self) -> Discoverer:
        """Return the claim on being the one process that looks for recordings (PostgreSQL)."""
        from audio_extract.tracker.discoverer import Discoverer

        return Discoverer(self._database)

    @property
    def location(self) -> str:
        """The database's file or URL, without a password."""
        return self._database.label

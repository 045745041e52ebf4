"""Who looks for recordings when several services share a database: one of them, until its process ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from audio_extract.exceptions import TransientError

if TYPE_CHECKING:
    import psycopg

    from audio_extract.tracker.database import Database

#: Any number, the same in every process.
_LOCK = 0x646973636F
#: So that PostgreSQL notices within a minute that a machine vanished, and lets another one look.
_KEEPALIVE = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"


class Discoverer:
    """A claim on being the one. PostgreSQL gives it back when the connection ends, however it ended.

    Thread-safe. The lock belongs to a session, so a pooler between here and PostgreSQL must keep sessions
    (PgBouncer: ``pool_mode = session``).
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()

    def is_this(self) -> bool:
        """Whether this process is the one, taking the place when it is free.

        Raises:
            TransientError: The database does not answer.
        """
        import psycopg

        with self._lock:
            if self._connection is not None:
                try:
                    self._connection.execute("SELECT 1")
                except psycopg.Error:
                    # The database was started again, and the lock went with the session.
                    self._leave()
                else:
                    return True
            try:
                return self._try()
            except psycopg.Error as error:
                self._leave()
                message = f"the database {self._database.label} does not answer: {error}"
                raise TransientError(message, code="database.unavailable") from error

    def release(self) -> None:
        """Let another process be the one."""
        with self._lock:
            self._leave()

    def _try(self) -> bool:
        import psycopg

        self._connection = psycopg.connect(self._database.connection_info(), autocommit=True)
        self._connection.execute(_KEEPALIVE)
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        if row is not None and row[0]:
            return True
        self._leave()
        return False

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

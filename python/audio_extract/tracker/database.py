"""The connection: one engine for SQLite or PostgreSQL, and transactions that behave the same on both."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from audio_extract.exceptions import (
    AudioExtractError,
    ConfigurationError,
    InternalError,
    NoSpaceError,
    TransientError,
)
from audio_extract.mounts import refuse_network_mount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine, Table

_BUSY_TIMEOUT_SECONDS = 30
_CONNECT_TIMEOUT_SECONDS = 10
#: libpq's: a server that is cut off is given up after half a minute, and not after the system's hours.
_LOST_NETWORK = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_READ_ONLY = "audio_extract_read_only"
_WAL_TRIES = 100
#: 16 MB of the write-ahead log; by default it is brought into the file four times as often, page by page.
_CHECKPOINT_PAGES = 4000


def parse_url(text: str) -> URL:
    """Return the URL of a database setting: a file's path, ``sqlite:///path`` or ``postgresql://…``.

    Raises:
        ConfigurationError: It names no database that works here. A password is not echoed.
    """
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        message = "monitoring.database_path: this is neither a path nor a database URL"
        raise ConfigurationError(message, code="database.bad_url") from error
    match url.get_backend_name():
        case "sqlite":
            if url.database is None or url.database in {"", ":memory:"} or "mode=memory" in url.database:
                message = (
                    "monitoring.database_path: a database in memory would forget everything; give a file"
                )
                raise ConfigurationError(message, code="database.in_memory")
            file = str(Path(url.database).expanduser().absolute())
            return URL.create("sqlite", database=file)
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+psycopg")
        case other:
            message = f"monitoring.database_path: {other} is not supported; use a file or postgresql://…"
            raise ConfigurationError(message, code="database.unsupported")


class Database:
    """One database.

    Attributes:
        engine: SQLAlchemy's engine.
        file: The file, when it is SQLite.
        label: What messages call it; without a password.
    """

    def __init__(self, url: str) -> None:
        parsed = parse_url(url)
        self._identity: tuple[int, int] | None = None
        self.label = parsed.render_as_string(hide_password=True)
        self.file = Path(parsed.database) if parsed.drivername == "sqlite" and parsed.database else None
        if self.file is not None:
            self.label = str(self.file)
            self.engine = _sqlite_engine(parsed, self.file)
        else:
            self.engine = _postgresql_engine(parsed)

    def require_present(self) -> None:
        """Look whether the file still stands where it was; what is elsewhere has none.

        Raises:
            TransientError: It does not: what is written goes to a file that nobody will find again.
        """
        if self.file is None:
            return
        try:
            status = self.file.stat()
        except FileNotFoundError as error:
            raise TransientError(
                f"the database {self.file} was taken away; put it back, or stop the service",
                code="database.unavailable",
            ) from error
        if self._identity not in {None, (status.st_dev, status.st_ino)}:
            raise TransientError(
                f"the database {self.file} was replaced while the service runs; start the service again",
                code="database.unavailable",
            )
        self._identity = (status.st_dev, status.st_ino)

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def connection_info(self) -> str:
        """Return how PostgreSQL's driver connects, for a connection beside the engine's. Holds a password."""
        from psycopg.conninfo import make_conninfo

        _, arguments = self.engine.dialect.create_connect_args(self.engine.url)
        arguments.pop("context", None)
        return make_conninfo("", **{"connect_timeout": _CONNECT_TIMEOUT_SECONDS, **arguments})

    @contextmanager
    def write(self, *, survives_power_cut: bool = True) -> Iterator[Connection]:
        """Open a transaction that may write. On SQLite it is the only one (``BEGIN IMMEDIATE``).

        Args:
            survives_power_cut: Whether it has reached the disk when this ends. Without, SQLite leaves that to
                the next transaction that needs it, in order; only a power cut can lose it, never a kill. On
                PostgreSQL it always has: there the one who asked outlives the server.
        """
        if self.file is None or survives_power_cut:
            with self._translated(), self.engine.begin() as connection:
                yield connection
            return
        with self._translated(), self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            if raw is None:
                raise InternalError("SQLAlchemy gave no connection of the driver")
            raw.execute("PRAGMA synchronous = NORMAL")
            try:
                with connection.begin():
                    yield connection
            finally:
                raw.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and waits for no writer."""
        with self._translated(), self.engine.connect() as connection:
            yield connection.execution_options(**{_READ_ONLY: True})

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """Return an ``INSERT`` that knows ``ON CONFLICT``, which both databases spell alike."""
        return sqlite.insert(table) if self.file is not None else postgresql.insert(table)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise self._unavailable(error) from error
        except PoolTimeoutError as error:
            message = f"the database {self.label} does not answer: no connection became free"
            raise TransientError(message, code="database.unavailable") from error
        except DatabaseError as error:
            if "not a database" in str(error.orig):
                message = f"monitoring.database_path: {self.label} is not an SQLite database"
                raise ConfigurationError(message, code="database.not_a_database") from error
            if "malformed" in str(error.orig):
                message = (
                    f"monitoring.database_path: {self.label} is damaged ({error.orig}); put a copy of it "
                    "back, or move it away: the next round makes a new one and adopts what is stored"
                )
                raise ConfigurationError(message, code="database.damaged") from error
            raise

    def _unavailable(self, error: OperationalError | InterfaceError) -> AudioExtractError:
        cause = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no answer"
        if "disk is full" in cause or "could not extend file" in cause:
            message = f"the database {self.label} cannot grow: {cause}; make room on its disk"
            return NoSpaceError(message, code="database.no_space")
        if self.file is not None and ("unable to open" in cause or "readonly" in cause):
            message = (
                f"monitoring.database_path: cannot open {self.label}: {cause}; "
                "the account of this service needs to write the file and its folder"
            )
            return ConfigurationError(message, code="database.cannot_open")
        message = f"the database {self.label} does not answer: {cause}"
        return TransientError(message, code="database.unavailable")


def _sqlite_engine(url: URL, file: Path) -> Engine:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"monitoring.database_path: cannot create the folder {file.parent}: {error.strerror}"
        raise ConfigurationError(message, code="database.cannot_open") from error
    refuse_network_mount(file)
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # The driver would begin a transaction by itself, too late and without IMMEDIATE.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_SECONDS * 1000}")
            _enable_wal(cursor)
            # What was reported as completed must survive a power cut.
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            cursor.execute("PRAGMA foreign_keys = ON")
        finally:
            cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that begins by reading and then writes can fail with SQLITE_BUSY at once, whatever the
        # timeout; IMMEDIATE takes the only writer's place first, and waits for it.
        read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _enable_wal(cursor: Any) -> None:
    import sqlite3

    for tries_left in reversed(range(_WAL_TRIES)):
        try:
            mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            # Two processes that open a new file at once: SQLite does not wait for this lock by itself.
            if "locked" not in str(error) or not tries_left:
                raise
            time.sleep(0.05)
        else:
            if mode != "wal":
                message = "monitoring.database_path: this file system cannot hold SQLite's write-ahead log"
                raise ConfigurationError(message, code="database.no_wal")
            return


def _postgresql_engine(url: URL) -> Engine:
    try:
        return create_engine(
            url,
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_TIMEOUT_SECONDS, **_LOST_NETWORK},
        )
    except ModuleNotFoundError as error:
        message = (
            "monitoring.database_path names PostgreSQL, but its driver is missing: "
            "pip install 'audio-extract[postgresql]'"
        )
        raise ConfigurationError(message, code="database.no_driver") from error

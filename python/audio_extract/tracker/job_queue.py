"""Procrastinate's tables in the tracker's database: one job for each recording that is due.

A job only says "look at this recording". Whether there is something to do, and who does it, is decided by the
recording's row and its lease; a job that is lost, or there twice, changes nothing. Owns the tables and what
is put into them; ``jobs.queue_worker`` takes jobs out.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Text, column, func, literal, select, table, text
from sqlalchemy import cast as sql_cast

from audio_extract.exceptions import ConfigurationError, TransientError
from audio_extract.tracker.claims import PRIORITIES
from audio_extract.tracker.models import recordings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import procrastinate
    import psycopg
    from sqlalchemy import Connection

    from audio_extract.tracker.database import Database

QUEUE = "recordings"
TASK = "audio_extract.look_at"
#: A worker says that it lives every ten seconds; after this long without it, its jobs are nobody's.
STALLED_SECONDS = 30.0
_LOCK_PREFIX = "recording:"
_BATCH = 1_000
_POOL_TIMEOUT_SECONDS = 10.0
#: Any numbers, the same in every process: who makes the tables, who puts jobs in.
_TABLES_LOCK = 0x6A6F6273
_DEFER_LOCK = 0x6465666572
#: Procrastinate writes down nowhere which of its migrations a database has, so we do: in the table's comment.
_MARK = "audio-extract: "

#: The catalogue itself: to_regclass() answers from a cache, which within a transaction does not notice tables
#: that another process has just made.
_FIND_TABLE = text(
    "SELECT description FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "LEFT JOIN pg_description ON objoid = pg_class.oid AND classoid = 'pg_class'::regclass AND objsubid = 0 "
    "WHERE relname = 'procrastinate_jobs' AND nspname = ANY (current_schemas(false))"
)

_jobs = table("procrastinate_jobs", column("queueing_lock"), column("status"))


class JobQueue:
    """The jobs of one PostgreSQL database.

    Args:
        database: The tracker's.

    Raises:
        ConfigurationError: It is no PostgreSQL, or Procrastinate is not installed.
    """

    def __init__(self, database: Database) -> None:
        if database.file is not None:
            message = (
                "execution.backend is procrastinate, but monitoring.database_path is an SQLite file: "
                "several machines need PostgreSQL, a URL that begins with postgresql://"
            )
            raise ConfigurationError(message, code="execution.needs_postgresql")
        try:
            from procrastinate import SyncPsycopgConnector
            from procrastinate.manager import JobManager
        except ModuleNotFoundError as error:
            message = (
                "execution.backend is procrastinate, which is not installed: "
                "pip install 'audio-extract[postgresql]'"
            )
            raise ConfigurationError(message, code="database.no_driver") from error
        self._database = database
        # Its pool is never opened: jobs are put in by the tracker's own transactions.
        self._manager = JobManager(SyncPsycopgConnector())

    def has_tables(self) -> bool:
        """Whether the tables are there, as this program needs them."""
        with self._database.read() as connection:
            return self._applied(connection) == _migrations()[-1].name

    def prepare(self) -> bool:
        """Make the tables, or bring them to this program's Procrastinate. Safe for several processes at once.

        Returns:
            Whether something was done.

        Raises:
            ConfigurationError: Another program uses Procrastinate in this database.
        """
        if self.has_tables():
            return False
        from procrastinate.schema import SchemaManager
        from psycopg import sql

        with _translated(self._database), self._database.write() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TABLES_LOCK})
            applied = self._applied(connection)
            migrations = _migrations()
            newest = migrations[-1].name
            if applied == newest:
                return False
            driver = _driver(connection)
            if applied is None:
                driver.execute(SchemaManager.get_schema())
            else:
                for file in migrations:
                    if file.name > applied:
                        driver.execute(file.read_bytes())
            comment = sql.SQL("COMMENT ON TABLE procrastinate_jobs IS {}").format(sql.Literal(_MARK + newest))
            driver.execute(comment)
        return True

    def defer_due(self, now: datetime) -> int:
        """Put a job in for each recording that is due and has none waiting; returns for how many.

        Leaves it to another process that is at it already.
        """
        deferred = 0
        while True:
            with _translated(self._database), self._database.write() as connection:
                first = connection.execute(
                    text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _DEFER_LOCK}
                ).scalar_one()
                rows = _due_without_job(connection, now) if first else []
                deferred += self._defer(connection, rows)
            if len(rows) < _BATCH:
                return deferred

    def recover_stalled(self) -> int:
        """Remove the jobs of workers that ended without a word; returns how many.

        Their recordings are due again when their leases were taken back, and get new jobs then.
        """
        with _translated(self._database):
            return asyncio.run(self._remove_stalled())

    def connector(self, *, connections: int) -> procrastinate.PsycopgConnector:
        """Return how Procrastinate reaches this database; its pool is opened and closed by the caller.

        Args:
            connections: How many the pool may have, beside the one that listens.
        """
        from procrastinate import PsycopgConnector

        return PsycopgConnector(
            conninfo=self._database.connection_info(),
            min_size=1,
            max_size=connections,
            timeout=_POOL_TIMEOUT_SECONDS,
        )

    async def _remove_stalled(self) -> int:
        from procrastinate.exceptions import ConnectorException
        from procrastinate.jobs import Status
        from procrastinate.manager import JobManager
        from psycopg.errors import RaiseException

        connector = self.connector(connections=1)
        manager = JobManager(connector)
        removed = 0
        await connector.open_async()
        try:
            for job in await manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=STALLED_SECONDS):
                try:
                    await manager.finish_job_by_id_async(
                        job_id=cast("int", job.id), status=Status.ABORTED, delete_job=True
                    )
                except ConnectorException as error:
                    # Another process removed it meanwhile, or its worker finished it after all.
                    if not isinstance(error.__cause__, RaiseException):
                        raise
                else:
                    removed += 1
            await manager.prune_stalled_workers(STALLED_SECONDS)
        finally:
            await connector.close_async()
        return removed

    def _applied(self, connection: Connection) -> str | None:
        """Return the newest migration that the tables have; None: there are none."""
        found = connection.execute(_FIND_TABLE).one_or_none()
        there, comment = found is not None, str(found[0] or "") if found is not None else ""
        if there and not comment.startswith(_MARK):
            message = (
                f"another program uses Procrastinate in the database {self._database.label}; "
                "use a database of its own for this one"
            )
            raise ConfigurationError(message, code="database.foreign")
        return comment.removeprefix(_MARK) if there else None

    def _defer(self, connection: Connection, rows: Sequence[tuple[int, int]]) -> int:
        from procrastinate.exceptions import AlreadyEnqueued
        from procrastinate.jobs import Job

        jobs = [
            Job(
                queue=QUEUE,
                task_name=TASK,
                lock=None,
                queueing_lock=f"{_LOCK_PREFIX}{number}",
                priority=priority,
                task_kwargs={"recording_id": str(number)},
            )
            for number, priority in rows
        ]
        if not jobs:
            return 0
        try:
            with connection.begin_nested():
                self._manager.batch_defer_jobs(jobs, connection=_driver(connection))
        except AlreadyEnqueued:
            # One of them got a job since we looked, which refuses all: one after the other then.
            return sum(self._defer_one(connection, job) for job in jobs)
        return len(jobs)

    def _defer_one(self, connection: Connection, job: Any) -> bool:
        from procrastinate.exceptions import AlreadyEnqueued

        try:
            with connection.begin_nested():
                self._manager.defer_job(job, connection=_driver(connection))
        except AlreadyEnqueued:
            return False
        return True


def _due_without_job(connection: Connection, now: datetime) -> list[tuple[int, int]]:
    rows: list[tuple[int, int]] = []
    # NOT IN, which is one pass over the jobs. For NOT EXISTS the planner takes a pass for each recording as
    # long as it has no statistics, and those of a table that fills and empties all the time are never right.
    waiting = select(_jobs.c.queueing_lock).where(
        text("procrastinate_jobs.status = 'todo'"), _jobs.c.queueing_lock.is_not(None)
    )
    lock = func.concat(literal(_LOCK_PREFIX), sql_cast(recordings.c.id, Text))
    for priority in PRIORITIES:
        query = (
            select(recordings.c.id, recordings.c.priority)
            .where(
                recordings.c.priority == priority, recordings.c.next_attempt_at <= now, lock.not_in(waiting)
            )
            .order_by(recordings.c.next_attempt_at, recordings.c.id)
            .limit(_BATCH - len(rows))
        )
        rows += [(row.id, row.priority) for row in connection.execute(query)]
    return rows


def _migrations() -> list[Path]:
    """Return Procrastinate's migrations, oldest first: a name begins with the version that brought it."""
    from procrastinate.schema import SchemaManager

    return sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    """Return the driver's connection, in the transaction of this one."""
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


@contextmanager
def _translated(database: Database) -> Iterator[None]:
    """Say of what Procrastinate and the driver raise that the database does not answer."""
    import psycopg
    from procrastinate.exceptions import ConnectorException

    try:
        yield
    except (ConnectorException, psycopg.Error) as error:
        cause = error.__cause__ or error
        if not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
            raise
        message = f"the database {database.label} does not answer: {cause}"
        raise TransientError(message, code="database.unavailable") from error

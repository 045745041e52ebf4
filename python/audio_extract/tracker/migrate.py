"""Bringing a database to the tables of this program, after a copy of it was put beside it.

Alembic is imported only when there is something to migrate: it takes longer than everything else at start.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from audio_extract.exceptions import ConfigurationError
from audio_extract.tracker import legacy

if TYPE_CHECKING:
    from datetime import datetime

    from alembic.config import Config
    from sqlalchemy import Connection

    from audio_extract.tracker.database import Database

#: Every migration, oldest first; a test compares them with the files.
REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]
_MIGRATIONS = Path(__file__).parent / "migrations"
#: Any number, the same in every process: who upgrades holds this lock (PostgreSQL).
_ADVISORY_LOCK = 0x617564696F


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """What a database holds.

    Attributes:
        database: Its file or URL, without a password.
        revision: Its newest migration; None for one without our tables.
        head: The program's newest migration.
        legacy: Whether it holds the earlier service's tables, which an upgrade adopts.
    """

    database: str
    revision: str | None
    head: str
    legacy: bool

    @property
    def needs_upgrade(self) -> bool:
        """Whether the tables are not this program's."""
        return self.revision != self.head


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did.

    Attributes:
        before: The migration it found.
        after: The migration it left.
        backup: The copy beside the file; None on PostgreSQL and for a new file.
        adopted: Recordings taken over from the earlier service.
    """

    before: str | None
    after: str
    backup: Path | None
    adopted: int


def status(database: Database) -> DatabaseStatus:
    """Return what the database holds, changing nothing."""
    if database.file is not None and not database.file.exists():
        # To open it would make it.
        return DatabaseStatus(database.label, None, HEAD, legacy=False)
    with database.read() as connection:
        return _status(database, connection)


def upgrade(database: Database, now: datetime) -> Upgraded:
    """Bring the database to this program's tables. Safe for several processes at once.

    Raises:
        ConfigurationError: A newer program made it, or it holds tables that are not ours.
    """
    found = status(database)
    if not found.needs_upgrade:
        return Upgraded(found.revision, HEAD, None, 0)
    with database.write() as connection:
        if database.file is None:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        # Another process may have been first.
        found = _status(database, connection)
        if not found.needs_upgrade:
            return Upgraded(found.revision, HEAD, None, 0)
        if found.revision is not None and found.revision not in REVISIONS:
            message = (
                f"the database {database.label} has the revision {found.revision}, which this program does "
                f"not know (it knows up to {HEAD}): a newer version made it; use that, or another database"
            )
            raise ConfigurationError(message, code="database.too_new")
        backup = _back_up(database, connection, now)
        if found.legacy:
            legacy.set_aside(connection)
        from alembic import command

        command.upgrade(_alembic(connection), "head")
        adopted = legacy.adopt(connection, now) if found.legacy else 0
    return Upgraded(found.revision, HEAD, backup, adopted)


def downgrade(database: Database, revision: str) -> None:
    """Take migrations back down to a revision (``base``: all). For tests of the migrations; data is lost."""
    from alembic import command

    with database.write() as connection:
        command.downgrade(_alembic(connection), revision)


def _status(database: Database, connection: Connection) -> DatabaseStatus:
    tables = set(inspect(connection).get_table_names())
    revision = None
    if "alembic_version" in tables:
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    is_legacy = revision is None and legacy.is_present(connection, tables)
    if revision is None and not is_legacy and "recordings" in tables:
        message = (
            f"the database {database.label} has a table named recordings that is not ours; use another one"
        )
        raise ConfigurationError(message, code="database.foreign")
    return DatabaseStatus(database.label, revision, HEAD, is_legacy)


def _alembic(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    # A per cent sign begins an interpolation in what Alembic makes of this.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _back_up(database: Database, connection: Connection, now: datetime) -> Path | None:
    if database.file is None or not inspect(connection).get_table_names():
        return None
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    serial = 1
    while (target := database.file.with_name(f"{database.file.name}.backup-{stamp}-{serial}")).exists():
        serial += 1
    partial = target.with_name(target.name + ".partial")
    # Readers are let in beside the writer, and see the state before it.
    with closing(sqlite3.connect(database.file)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    shutil.copymode(database.file, partial)
    partial.rename(target)
    return target

"""``audio-extract db upgrade|status|import``."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_extract.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audio_extract.tracker.database import Database
    from audio_extract.tracker.migrate import DatabaseStatus

app = typer.Typer(help="Look after the database.", no_args_is_help=True)


@app.command()
@command
def status(
    invocation: Invocation,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which version the database has, changing nothing."""
    from audio_extract.tracker import migrate

    with _database(invocation) as database:
        found = migrate.status(database)
    if as_json:
        typer.echo(json.dumps({**asdict(found), "needs_upgrade": found.needs_upgrade}))
    else:
        typer.echo(f"{found.database}: {_in_words(found)}")


@app.command()
@command
def upgrade(
    invocation: Invocation,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be done.")] = False,
) -> None:
    """Bring the database to this version, after a copy of it was put beside it."""
    from audio_extract.tracker import migrate

    with _database(invocation) as database:
        found = migrate.status(database)
        if not found.needs_upgrade or dry_run:
            typer.echo(f"{found.database}: {_in_words(found)}")
            _upgrade_queue(invocation, database, dry_run=dry_run)
            return
        if found.revision is not None or found.legacy:
            invocation.confirm(f"Upgrade {found.database}?")
        done = migrate.upgrade(database, datetime.now(UTC))
        _upgrade_queue(invocation, database, dry_run=False)
    typer.echo(f"{found.database}: upgraded from {done.before or 'nothing'} to {done.after}")
    if done.backup:
        typer.echo(f"copy of the earlier state: {done.backup}")
    if done.adopted:
        typer.echo(f"recordings taken over from the earlier service: {done.adopted}")


@app.command("import")
@command
def import_database(
    invocation: Invocation,
    *,
    old: Annotated[Path, typer.Argument(metavar="OLD.db", help="A database of the earlier service.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be done.")] = False,
) -> None:
    """Take over what the earlier service has processed, from its file: it is not processed again."""
    from audio_extract.tracker import legacy
    from audio_extract.tracker.tracker import Tracker

    settings = invocation.settings()
    rows = legacy.newest(legacy.read_file(old)).values()
    done = legacy.completed(rows)
    typer.echo(f"{old}: {len(rows)} recordings, {done} of them completed")
    if dry_run or not rows:
        return
    with Tracker.open(settings, upgrade=False) as tracker:
        invocation.confirm(f"Take them over into {tracker.location}?")
        tracker.upgrade(datetime.now(UTC))
        taken = tracker.import_rows(rows, datetime.now(UTC))
    waited = f"{taken.completed} that waited here are completed"
    typer.echo(f"{taken.added} added, {waited}, {taken.known} were known already")


def _upgrade_queue(invocation: Invocation, database: Database, *, dry_run: bool) -> None:
    """Bring Procrastinate's tables to this version too, where workers take jobs from there."""
    if invocation.settings().execution.backend != "procrastinate":
        return
    from audio_extract.tracker.job_queue import JobQueue

    queue = JobQueue(database)
    if dry_run:
        words = "up to date" if queue.has_tables() else "`audio-extract db upgrade` makes or upgrades them"
    else:
        words = "made or upgraded" if queue.prepare() else "up to date"
    typer.echo(f"the tables of the queue of jobs: {words}")


def _in_words(found: DatabaseStatus) -> str:
    if not found.needs_upgrade:
        return f"up to date (revision {found.head})"
    if found.legacy:
        return "made by the earlier service; `audio-extract db upgrade` takes it over"
    if found.revision is None:
        return "empty; `audio-extract db upgrade` makes the tables"
    return f"revision {found.revision}; `audio-extract db upgrade` brings it to {found.head}"


@contextmanager
def _database(invocation: Invocation) -> Iterator[Database]:
    from audio_extract.tracker.database import Database

    database = Database(invocation.settings().database_url)
    try:
        yield database
    finally:
        database.close()

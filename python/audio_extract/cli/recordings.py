"""``audio-extract list|show|retry|forget|syncs``: what the tracker knows, and what a person asks of it."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio_extract.cli import completing, errors
from audio_extract.cli.invocation import Invocation, command
from audio_extract.exceptions import ConfigurationError, NotFoundError
from audio_extract.presentation import one_line, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.table import Table

    from audio_extract.tracker.tracker import Tracker
    from audio_extract.tracker.values import RecordingRow, StoredChunk, StoredOutput, SyncRun

#: More than any name, object name and message together.
_PIPED_WIDTH = 5000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be done.")]
_IDS_HELP = "As `list` shows them, or ids in Drive."
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID…", help=_IDS_HELP, show_default=False, autocompletion=completing.recordings),
]
FailedIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID…", help=_IDS_HELP, show_default=False, autocompletion=completing.failed),
]


@command
def list_recordings(
    invocation: Invocation,
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only these: {', '.join(completing.STATES)}. May be repeated.",
            show_default=False,
            autocompletion=completing.states,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 100,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it as it changes, until q is pressed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List recordings, newest first."""
    from audio_extract.tracker import State

    unknown = [name for name in state or [] if name not in completing.STATES]
    if unknown:
        raise ConfigurationError(
            f"--state {unknown[0]}: there are {', '.join(completing.STATES)}", code="usage.invalid"
        )
    states = [State(name) for name in state or []]
    if watch:
        from audio_extract.cli.screen import has_screen
        from audio_extract.cli.watching import watch_list

        if as_json or not has_screen():
            message = "--watch needs a terminal, and goes without --json"
            raise ConfigurationError(message, code="usage.invalid")
        with open_tracker(invocation) as tracker:
            watch_list(lambda: _table(tracker.listing(states=states, limit=limit).rows))
        return
    with open_tracker(invocation) as tracker:
        page = tracker.listing(states=states, limit=limit)
    if as_json:
        typer.echo(json.dumps([row_values(row) for row in page.rows], ensure_ascii=False))
        return
    _print(_table(page.rows))
    if page.next_cursor is not None:
        invocation.say(f"there are more than {limit}; ask for them with --limit")


@command
def show(
    invocation: Invocation,
    *,
    recording: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="As `list` shows it, or its id in Drive.",
            autocompletion=completing.recordings,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show everything that is known of one recording, and what happened to it."""
    with open_tracker(invocation) as tracker:
        row = find_recording(tracker, recording)
        history = tracker.audit(row.id)
        outputs, chunks = tracker.outputs_of(row.id), tracker.chunks_of(row.id)
        companions = tracker.companions_of(row.id)
        sounds = [(attempt.get("report") or {}).get("sound") for attempt in tracker.attempts_of(row.id)]
    sound = next(filter(None, reversed(sounds)), None)
    values = row_values(row)
    if as_json:
        values["sound"] = sound
        values["outputs"] = [asdict(one) for one in outputs]
        values["chunks"] = [asdict(one) for one in chunks]
        values["companions"] = companions
        values["audit"] = [_plain(asdict(entry)) for entry in history]
        typer.echo(json.dumps(values, ensure_ascii=False))
        return
    for name, value in values.items():
        if value not in (None, {}, ""):
            typer.echo(one_line(f"{name + ':':<20} {value}"))
    _say_what_is_beside(outputs, chunks, companions)
    if sound:
        from audio_extract.sound import loudness_text, terminal_lines

        typer.echo(f"{'loudness:':<20} {loudness_text(sound['loudness']) or 'nothing is heard'}")
        for line in terminal_lines(sound["waveform"], 100, rows=2):
            typer.echo(f"{'':<20} {line}".rstrip())
    remedy = errors.remedy_of(row.error_code)
    if remedy:
        typer.echo(f"{'to do:':<20} {remedy}")
    for entry in history:
        detail = ", ".join(f"{key}={value}" for key, value in entry.detail.items())
        line = f"{_plain(entry.at)}  {entry.event:<10} {entry.to_state or '':<12} {detail}"
        typer.echo(one_line(line).rstrip())


def _say_what_is_beside(
    outputs: list[StoredOutput], chunks: list[StoredChunk], companions: list[dict[str, str]]
) -> None:
    for output in outputs:
        pieces = f", {len(output.chunks)} chunks" if output.chunks else ""
        typer.echo(one_line(f"{'output:':<20} {output.object_name} ({size(output.size_bytes)}{pieces})"))
    if chunks:
        typer.echo(f"{'chunks:':<20} {len(chunks)}")
    for companion in companions:
        where = f" {companion['link']}" if companion.get("link") else ""
        typer.echo(one_line(f"{companion['kind'] + ':':<20} {companion['name']}{where}"))


@command
def retry(
    invocation: Invocation,
    *,
    recordings: FailedIds = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed or are quarantined.")] = False,
    completed: Annotated[bool, typer.Option("--completed", help="Also what is completed already.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Make recordings due at once, with all their attempts."""
    if failed == bool(recordings):
        raise ConfigurationError("name recordings, or say --failed", code="usage.invalid")
    with open_tracker(invocation) as tracker:
        ids = (
            tracker.failed_ids()
            if failed
            else [find_recording(tracker, word).id for word in recordings or []]
        )
        if dry_run or not ids:
            _say_ids("would be due", ids)
            return
        invocation.confirm(f"Try {count_of(ids)} again?")
        _say_ids("due now", tracker.retry(ids, datetime.now(UTC), completed=completed), wanted=ids)


@command
def forget(
    invocation: Invocation,
    *,
    recordings: Ids = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed or are quarantined.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Remove recordings from the tracker. What is stored stays; the next discovery finds them anew."""
    if failed == bool(recordings):
        raise ConfigurationError("name recordings, or say --failed", code="usage.invalid")
    with open_tracker(invocation) as tracker:
        ids = (
            tracker.failed_ids()
            if failed
            else [find_recording(tracker, word).id for word in recordings or []]
        )
        if dry_run or not ids:
            _say_ids("would be forgotten", ids)
            return
        invocation.confirm(f"Forget {count_of(ids)}? The audio stays.")
        _say_ids("forgotten", tracker.forget(ids, datetime.now(UTC)), wanted=ids)


@command
def syncs(
    invocation: Invocation,
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List when sources were looked at and what was found, newest first."""
    with open_tracker(invocation) as tracker:
        runs = tracker.syncs(limit=limit)
    if as_json:
        typer.echo(json.dumps([_plain(asdict(run)) for run in runs], ensure_ascii=False))
        return
    _print_syncs(runs)


def row_values(row: RecordingRow) -> dict[str, Any]:
    """Return a row as JSON values."""
    return _plain(asdict(row))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def _table(rows: Iterable[RecordingRow]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from audio_extract.presentation import duration, moment

    table = Table(box=None)
    for title in ("id", "recording", "state", "when", "length", "audio", "stored as, or why not"):
        table.add_column(title, no_wrap=title in {"id", "state", "when", "length", "audio"}, overflow="fold")
    colors = {"completed": "green", "failed": "red", "quarantined": "red", "in_progress": "yellow"}
    for row in rows:
        reason = row.storage_path if row.status == "completed" else row.error_message or row.state_reason
        table.add_row(
            row.id,
            Text(one_line(row.name)),
            Text(row.status, style=colors.get(row.status, "")),
            moment(row.processed_at or row.state_changed_at),
            duration(row.audio_seconds),
            size(row.stored_size_bytes),
            Text(one_line(reason or "")),
        )
    return table


def _print_syncs(runs: Iterable[SyncRun]) -> None:
    from rich.table import Table
    from rich.text import Text

    from audio_extract.presentation import moment

    table = Table(box=None)
    for title in ("source", "kind", "when"):
        table.add_column(title, no_wrap=True)
    for title in ("seconds", "seen", "new", "changed", "skipped", "gone", "requests"):
        table.add_column(title, no_wrap=True, justify="right")
    table.add_column("what went wrong", overflow="fold")
    for run in runs:
        seconds = (run.ended_at - run.started_at).total_seconds()
        counts = (run.seen, run.new, run.changed, run.skipped, run.removed)
        table.add_row(
            run.source,
            run.kind,
            moment(run.started_at),
            f"{seconds:.1f}",
            *map(str, counts),
            "–" if run.requests is None else str(run.requests),
            Text(one_line(run.error_message or ""), style="red"),
        )
    _print(table)


def _print(table: Table) -> None:
    from rich.console import Console

    # Piped into another program, a table is as wide as it needs to be.
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    with console.capture() as drawn:
        console.print(table)
    # Not by rich itself: it takes a reader that goes away for a failure of its own.
    typer.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def _say_ids(what: str, ids: list[str], *, wanted: list[str] | None = None) -> None:
    typer.echo(f"{what}: {', '.join(ids) if ids else 'none'}")
    left = [number for number in wanted or [] if number not in ids]
    if left:
        typer.echo(f"left as they are (in progress, or nothing to do): {', '.join(left)}")


def count_of(ids: list[str]) -> str:
    """Return how many there are, in words."""
    return "1 recording" if len(ids) == 1 else f"{len(ids)} recordings"


def find_recording(tracker: Tracker, word: str) -> RecordingRow:
    """Return the recording that a person named by its id here or in Drive.

    Raises:
        NotFoundError: There is none.
    """
    row = tracker.find(word)
    if row is None:
        raise NotFoundError(
            f"no recording is called {word!r}; `audio-extract list` shows those that are known",
            code="tracker.not_found",
        )
    return row


@contextmanager
def open_tracker(invocation: Invocation) -> Iterator[Tracker]:
    """Open the database that the settings name, as it is.

    Raises:
        ConfigurationError: It holds nothing yet, or another version made it.
    """
    from audio_extract.tracker.tracker import Tracker

    with Tracker.open(invocation.settings(), upgrade=False) as tracker:
        found = tracker.status()
        if found.revision is None and not found.legacy:
            raise ConfigurationError(
                f"{found.database} holds nothing yet; the first `audio-extract once` or `run` fills it "
                "(or is monitoring.database_path another one there?)",
                code="database.empty",
            )
        if found.needs_upgrade:
            raise ConfigurationError(
                f"{found.database} was made by another version; run `audio-extract db upgrade`",
                code="database.needs_upgrade",
            )
        yield tracker

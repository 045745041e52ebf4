"""``audio-extract once``: one round."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio_extract.cli import errors
from audio_extract.cli.invocation import Invocation, command
from audio_extract.presentation import one_line

if TYPE_CHECKING:
    from audio_extract.jobs.report import CycleReport
    from audio_extract.settings import Settings

_OF_ALL_KINDS = frozenset({"authentication", "configuration"})


@command
def once(
    invocation: Invocation,
    *,
    full: Annotated[bool, typer.Option("--full", help="Compare whole folders, not only changes.")] = False,
    fail_if_empty: Annotated[
        bool, typer.Option("--fail-if-empty", help="End with exit code 4 when nothing was due.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="List folders anew, whatever Redis keeps.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Look at the folders, and only say what would be done.")
    ] = False,
) -> None:
    """Look for recordings, process all that is due, and exit. 0 only if nothing that was due failed."""
    settings = invocation.settings()
    if no_cache:
        settings = settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": None})})
    if dry_run:
        _say_what_would_be_done(settings)
        return
    report = run_round(settings, invocation, full=full)
    if as_json:
        typer.echo(json.dumps(report_values(report), ensure_ascii=False))
    else:
        typer.echo(summary(report))
    code = exit_code(report, fail_if_empty=fail_if_empty)
    if code:
        raise typer.Exit(code)


def run_round(settings: Settings, invocation: Invocation, *, full: bool = False) -> CycleReport:
    """Carry out one round; a signal ends it after running transfers were stopped and given back.

    Raises:
        Interrupted: A signal arrived.
    """
    from audio_extract.cli.assembly import open_service, open_traces, set_up_logs
    from audio_extract.cli.interrupt import run_interruptible

    set_up_logs(settings, invocation)
    traces = open_traces(settings)
    try:
        with open_service(settings, traces=traces) as service:
            return run_interruptible(lambda: service.run_once(full=full), cancel=lambda: service.stop(0))
    finally:
        traces.close()


def exit_code(report: CycleReport, *, fail_if_empty: bool) -> int:
    """Return the exit code of a round.

    What every recording would meet (credentials, the bucket, FFmpeg) decides before what one of them met.
    """
    if report.source_errors:
        return report.source_errors[0].exit_code
    for outcome in report.failures:
        error = outcome.error
        if error is not None and (
            error.kind in _OF_ALL_KINDS or error.code == "destination.permission_denied"
        ):
            return error.exit_code
    if report.failures:
        return errors.EXIT_SOME_FAILED
    if fail_if_empty and report.due == 0:
        return errors.EXIT_NOTHING_TO_DO
    return errors.EXIT_DONE


def summary(report: CycleReport) -> str:
    """Return one line that says what a round did."""
    parts = [
        f"{report.found} new",
        f"{report.completed} stored",
        f"{report.adopted} adopted",
        f"{len(report.failures)} failed",
    ]
    if report.released:
        parts.append(f"{report.released} stopped")
    if report.deferred:
        parts.append(f"{report.deferred} left to workers")
    if report.discoverer_elsewhere:
        parts.append("a running service looks for new ones")
    return " · ".join(parts)


def report_values(report: CycleReport) -> dict[str, Any]:
    """Return a round as JSON values."""
    return {
        "new": report.found,
        "completed": report.completed,
        "adopted": report.adopted,
        "released": report.released,
        "deferred": report.deferred,
        "discoverer_elsewhere": report.discoverer_elsewhere,
        "failed": [
            {
                "id": outcome.claim.id,
                "name": outcome.claim.name,
                "code": outcome.error.code if outcome.error else None,
                "message": outcome.error.message if outcome.error else None,
            }
            for outcome in report.failures
        ],
        "source_errors": [{"code": error.code, "message": error.message} for error in report.source_errors],
    }


def _say_what_would_be_done(settings: Settings) -> None:
    from datetime import UTC, datetime

    from audio_extract.plan import Skipped, select
    from audio_extract.settings import require_source
    from audio_extract.sources.factory import build_sources

    require_source(settings)
    now = datetime.now(UTC)
    for source in build_sources(settings):
        for recording in source.list():
            decision = select(recording, settings, now)
            words = f"skipped: {decision.message}" if isinstance(decision, Skipped) else "wanted"
            typer.echo(one_line(f"{recording.name}: {words}"))

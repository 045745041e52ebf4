"""``audio-extract audit``: is everything there that the tracker says is stored?"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from audio_extract.cli import errors
from audio_extract.cli.invocation import Invocation, command
from audio_extract.cli.recordings import AsJson, DryRun, open_tracker
from audio_extract.presentation import one_line

if TYPE_CHECKING:
    from audio_extract.jobs.audit import Difference


@command
def audit(
    invocation: Invocation,
    *,
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Also read every file of a destination folder.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make recordings due again whose audio is missing.")
    ] = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Compare the tracker with the bucket or folder. 0 when nothing differs, 1 otherwise.

    missing: recorded as stored and not there. different: there with other content. unfinished: there, of a
    recording that is not completed; the next round looks at it. extra: there, and no recording's.
    Nothing is ever deleted.
    """
    from audio_extract.jobs.audit import compare
    from audio_extract.settings import require_destination
    from audio_extract.storage.factory import StorageFactory

    settings = invocation.settings()
    require_destination(settings)
    storage = StorageFactory.create(settings)
    counts: Counter[str] = Counter()
    missing: list[str] = []
    try:
        with open_tracker(invocation) as tracker:
            for difference in compare(tracker, storage, settings, checksums=checksums):
                counts[difference.kind] += 1
                if difference.kind == "missing" and difference.recording_id is not None:
                    missing.append(difference.recording_id)
                typer.echo(_line(difference, as_json=as_json))
            if not as_json:
                words = [f"{count} {kind}" for kind, count in counts.items()]
                typer.echo(", ".join(words) or "nothing differs")
            if repair and missing:
                if dry_run:
                    typer.echo(f"would be due: {', '.join(missing)}")
                else:
                    invocation.confirm(f"Make {len(missing)} recordings due again, whose audio is missing?")
                    done = tracker.retry(missing, datetime.now(UTC), completed=True)
                    typer.echo(f"due now: {', '.join(done) or 'none'}")
    finally:
        storage.close()
    if counts:
        raise typer.Exit(errors.EXIT_SOME_FAILED)


def _line(difference: Difference, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(asdict(difference), ensure_ascii=False)
    whose = f" (recording {difference.recording_id})" if difference.recording_id else ""
    return one_line(f"{difference.kind:<11} {difference.name}{whose}: {difference.detail}")

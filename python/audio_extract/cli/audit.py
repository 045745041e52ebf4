"""``audio-extract audit``: does what is stored agree with the database?"""

from __future__ import annotations

import json
from array import array
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from audio_extract.cli import errors
from audio_extract.cli.invocation import Invocation, command
from audio_extract.cli.recordings import DryRun, count_of, open_tracker
from audio_extract.presentation import one_line

if TYPE_CHECKING:
    from audio_extract.jobs.audit import AuditSummary, Finding


@command
def audit(
    invocation: Invocation,
    *,
    checksums: Annotated[
        bool, typer.Option("--checksums", help="In a folder, read every file. A bucket tells them anyway.")
    ] = False,
    only_ours: Annotated[
        bool, typer.Option("--only-ours", help="Leave out what others put beside the audio.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make recordings due again that are missing or different.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line; the last one is the summary.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Compare what the database says is stored with the bucket or folder. 0: they agree, 1: they do not.

    missing: recorded as stored, and not there. different: there, and not what was stored. extra: there, and
    not recorded. Nothing is ever deleted: what --repair makes due is transferred by the next round, under its
    own name if that is free (a damaged file in a folder is replaced), else under the next one.
    """
    from audio_extract.jobs.audit import Audit
    from audio_extract.settings import require_destination
    from audio_extract.storage.factory import StorageFactory

    settings = invocation.settings()
    require_destination(settings)
    storage = StorageFactory.create(settings)
    bad = array("q")
    try:
        with open_tracker(invocation) as tracker:
            comparison = Audit(
                tracker,
                storage,
                settings,
                now=datetime.now(UTC),
                read_files=checksums,
                only_ours=only_ours,
            )
            for finding in comparison.findings():
                typer.echo(_line(finding, as_json=as_json))
                if finding.kind != "extra" and finding.recording_id is not None:
                    bad.append(int(finding.recording_id))
            summary = comparison.summary
            typer.echo(_json_summary(summary) if as_json else "\n".join(_in_words(summary)))
            ids = [str(number) for number in dict.fromkeys(bad)]
            repaired = 0
            if repair and ids and dry_run:
                invocation.say(f"{count_of(ids)} would be due again")
            elif repair and ids:
                if not summary.matching:
                    invocation.say(
                        "nothing that is recorded stands there: is it the right bucket, folder and prefix?"
                    )
                invocation.confirm(f"Make {count_of(ids)} due again?")
                done = tracker.retry(ids, datetime.now(UTC), actor="audit", completed=True)
                invocation.say(f"due now: {count_of(done)}")
                repaired = len(done)
    finally:
        storage.close()
    if summary.extra or repaired < len(ids):
        raise typer.Exit(errors.EXIT_SOME_FAILED)


def _line(finding: Finding, *, as_json: bool) -> str:
    if as_json:
        # In ASCII: names of files need not be text.
        return json.dumps(asdict(finding))
    whose = f" (recording {finding.recording_id}, {finding.recording})" if finding.recording_id else ""
    return one_line(f"{finding.kind:<9}  {finding.name}{whose}: {finding.detail}")


def _json_summary(summary: AuditSummary) -> str:
    return json.dumps({"kind": "summary", "clean": summary.is_clean, **asdict(summary)})


def _in_words(summary: AuditSummary) -> list[str]:
    there = f"{summary.recordings:,} stored recordings and {summary.objects:,} objects compared"
    if summary.is_clean:
        lines = [f"{there}: nothing differs"]
    else:
        lines = [f"{there}: {summary.missing} missing, {summary.different} different, {summary.extra} extra"]
    for count, words in (
        (summary.earlier, "objects hold earlier content of recordings"),
        (summary.waiting, "objects belong to recordings that are not done yet"),
        (summary.elsewhere, "recordings are stored in another place than this one"),
        (summary.unknown, "recordings of the earlier service do not say where they are stored"),
        (
            summary.without_checksum,
            "were compared without a checksum (--checksums reads the files of a folder)",
        ),
    ):
        if count:
            lines.append(f"{count:,} {words}")
    return lines

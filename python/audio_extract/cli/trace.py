"""``audio-extract trace show ID``: where the time of a transfer went."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from audio_extract.cli.invocation import Invocation, command
from audio_extract.cli.recordings import AsJson, find_recording, open_tracker
from audio_extract.cli.waterfall import print_waterfall
from audio_extract.exceptions import AudioExtractError, NotFoundError

if TYPE_CHECKING:
    from audio_extract.settings import Settings
    from audio_extract.tracker.values import RecordingRow

app = typer.Typer(help="Look into transfers.", no_args_is_help=True)


@app.callback()
def trace() -> None:
    """Look into transfers."""


@app.command()
@command
def show(
    invocation: Invocation,
    *,
    recording: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it, or its id in Drive.")],
    as_json: AsJson = False,
) -> None:
    """Show the stages of a recording's last transfer on a line of time."""
    settings = invocation.settings()
    with open_tracker(invocation) as tracker:
        row = find_recording(tracker, recording)
        attempts = tracker.attempts_of(row.id)
    found = _processing_log(settings, row, invocation) or next(
        (one["report"] for one in reversed(attempts) if one["report"]), None
    )
    if not found or not found.get("stages"):
        raise NotFoundError(
            f"no stages are known of {row.name}: it was not transferred yet, its transfer failed, "
            "or what is stored was adopted",
            code="tracker.not_found",
        )
    trace_id = found.get("trace_id") or row.trace_id
    link = trace_link(settings, trace_id) if trace_id else None
    if as_json:
        answer = {"id": row.id, "trace_id": trace_id, "trace_url": link, "stages": found["stages"]}
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    print_waterfall(found["stages"])
    if trace_id:
        typer.echo(f"trace {link or trace_id}")


def trace_link(settings: Settings, trace_id: str) -> str | None:
    """Return where a trace can be looked at; None: nobody said.

    A receiver of this machine is taken for a Jaeger, whose page is on port 16686.
    """
    template = settings.telemetry.trace_url
    if template is None:
        names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        endpoint = next((os.environ[name] for name in names if os.environ.get(name)), None)
        host = urlsplit(endpoint or settings.telemetry.otlp_endpoint or "").hostname
        if host not in {"localhost", "127.0.0.1", "::1"}:
            return None
        template = "http://localhost:16686/trace/{trace_id}"
    return template.replace("{trace_id}", trace_id)


def _processing_log(settings: Settings, row: RecordingRow, invocation: Invocation) -> dict[str, Any] | None:
    """Return the log beside the audio, which holds the parts too; the database only has the stages."""
    from audio_extract.plan import log_name
    from audio_extract.storage.factory import StorageFactory

    if row.storage_path is None or row.storage_type != settings.storage_type:
        return None
    try:
        return StorageFactory.create(settings).get_log(log_name(row.storage_path, settings))
    except AudioExtractError as error:
        invocation.say(f"the processing log cannot be read, so parts are missing: {error.message}")
        return None

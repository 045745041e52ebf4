"""``audio-extract check``: tests each part with the user's settings and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Annotated, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import typer

from audio_extract.cli import errors
from audio_extract.cli.invocation import Invocation, command
from audio_extract.exceptions import AudioExtractError, ConfigurationError
from audio_extract.presentation import moment, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audio_extract.settings import Settings

#: Signed URLs and tokens are refused by Google when the clock is off by some minutes.
_CLOCK_TOLERANCE_SECONDS: Final = 60
_PROBE_SECONDS: Final = 5
_LITTLE_SPACE_BYTES: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one part.

    Attributes:
        part: Which.
        good: Whether it works.
        message: What was seen, or what is wrong and what to do.
        exit_code: What ``check`` ends with if this is the first part that does not work.
    """

    part: str
    good: bool
    message: str
    exit_code: int = 0


@command
def check(
    invocation: Invocation,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Test each part with your settings (FFmpeg, database, folder, bucket, clock) and say what to do."""
    settings = invocation.settings()
    code = print_findings(check_all(settings), as_json=as_json)
    if code:
        raise typer.Exit(code)


def check_all(settings: Settings) -> Iterator[Finding]:
    """Test every part, one after the other."""
    yield Finding("settings", True, str(settings.config_path or "no settings file; defaults and environment"))
    parts: dict[str, Callable[[Settings], str]] = {
        "ffmpeg": _ffmpeg,
        "database": _database,
        "temporary folder": _temporary_folder,
        "sources": _sources,
        "destination": _destination,
        "clock": _clock,
    }
    if settings.redis.url is not None:
        parts["redis"] = _redis
    parts |= _receivers(settings)
    if settings.monitoring.enable_dashboard:
        parts["dashboard"] = _dashboard
    for name, test in parts.items():
        yield _finding(name, lambda test=test: test(settings))  # type: ignore[misc]


def print_findings(findings: Iterator[Finding], *, as_json: bool = False) -> int:
    """Print findings as they come, and return the exit code of the first that is not good."""
    code = errors.EXIT_DONE
    kept = []
    for finding in findings:
        kept.append(asdict(finding))
        if not as_json:
            typer.echo(f"{'ok  ' if finding.good else 'FAIL'}  {finding.part:<17} {finding.message}")
        code = code or finding.exit_code
    if as_json:
        typer.echo(json.dumps(kept, ensure_ascii=False))
    return code


def _finding(part: str, test: Callable[[], str]) -> Finding:
    from audio_extract.telemetry.redaction import redact

    try:
        return Finding(part, True, test())
    except AudioExtractError as error:
        remedy = errors.remedy_for(error)
        text = f"{error.message.rstrip('.')}; to do: {remedy}" if remedy else error.message
        return Finding(part, False, redact(text), error.exit_code)


def _ffmpeg(settings: Settings) -> str:
    from audio_extract.ffmpeg import find_ffmpeg

    wanted = settings.processing.ffmpeg
    found = find_ffmpeg(wanted.path, allow_download=wanted.allow_download)
    return f"{found.version} at {found.path} ({found.origin})"


def _database(settings: Settings) -> str:
    from audio_extract.tracker.tracker import Tracker

    with Tracker.open(settings, upgrade=False) as tracker:
        found = tracker.status()
        tracker.require_writable()
        if found.revision is None and not found.legacy:
            return f"{found.database}: can be written; the first round makes its tables"
        if found.needs_upgrade:
            return f"{found.database}: of an earlier version; the next round upgrades it and keeps a copy"
        stats = tracker.stats()
        return f"{found.database}: {stats.total} recordings, {stats.completed} stored, {stats.failed} failed"


def _temporary_folder(settings: Settings) -> str:
    folder = settings.temp_directory
    if not os.access(folder, os.W_OK):
        raise ConfigurationError(
            f"{folder} is not there or cannot be written; set processing.temp_directory to a folder that can",
            code="config.invalid",
        )
    free = shutil.disk_usage(folder).free
    note = "; little for a recording that cannot be streamed" if free < _LITTLE_SPACE_BYTES else ""
    return f"{folder}: {size(free)} free{note}"


def _sources(settings: Settings) -> str:
    from audio_extract.settings import require_source
    from audio_extract.sources.factory import build_sources

    require_source(settings)
    texts = []
    for source in build_sources(settings):
        found = source.check()
        what = (
            f"{found.recordings} files, the newest of {moment(found.newest_at)}"
            if found.recordings
            else "seen, and it is empty"
        )
        account = f", as {found.account}" if found.account else ""
        texts.append(f"{found.subject}: {what}{account}")
    return "; ".join(texts)


def _destination(settings: Settings) -> str:
    from audio_extract.settings import require_destination
    from audio_extract.storage.factory import StorageFactory

    require_destination(settings)
    found = StorageFactory.create(settings).check()
    links = {True: ", links can be signed", False: ", links cannot be signed", None: ""}[found.can_sign]
    account = f", as {found.account}" if found.account else ""
    return "; ".join([f"{found.subject}: can be written{links}{account}", *found.notes])


def _redis(settings: Settings) -> str:
    from audio_extract.sources.factory import listing_cache

    cache = listing_cache(settings)
    return f"{cache.version()}: keeps listings of folders" if cache is not None else "not configured"


def _clock(settings: Settings) -> str:
    """Compare this machine's clock with Google's (or the emulator's)."""
    url = settings.drive_emulator_host or "https://www.googleapis.com"
    try:
        with urlopen(Request(f"{url}/", method="HEAD"), timeout=_PROBE_SECONDS) as answer:  # noqa: S310
            date = answer.headers.get("Date")
    except HTTPError as error:
        # An answer too, and it carries the time.
        date = error.headers.get("Date")
    except (OSError, HTTPException):
        date = None
    if date is None:
        return f"not compared: {urlsplit(url).hostname} does not answer"
    off = (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    if abs(off) > _CLOCK_TOLERANCE_SECONDS:
        raise ConfigurationError(
            f"this machine's clock is {off:+.0f} s off; Google refuses tokens and links of such a machine: "
            "set the clock, and let NTP keep it",
            code="config.invalid",
        )
    return f"right within {max(1, round(abs(off)))} s"


def _dashboard(settings: Settings) -> str:
    """Say who may come in."""
    from audio_extract.web.access.origin import is_loopback

    security, host = settings.security, settings.monitoring.dashboard_host
    shown = f"[{host}]" if ":" in host else host
    where = f"http://{shown}:{settings.monitoring.dashboard_port}/"
    if not security.has_credentials:
        if is_loopback(host):
            return f"{where} is for this machine only; nobody has to sign in"
        return (
            f"{where} can be reached by others: run prints a link with a token, another at each start "
            "(security.users and security.proxy say who may come in instead)"
        )
    who = [f"{user.name} ({user.role})" for user in security.all_users]
    who += [f"token {token.name} ({token.role})" for token in security.tokens]
    if security.proxy.says_who:
        who.append("whom the proxy lets through")
    return f"{where} lets in {', '.join(who)}"


def _receivers(settings: Settings) -> dict[str, Callable[[Settings], str]]:
    """A test for each receiver of traces or metrics that settings or environment name."""
    from audio_extract.telemetry import otlp
    from audio_extract.telemetry.metric_export import metrics_wanted
    from audio_extract.telemetry.trace_export import traces_wanted

    def test(signal: otlp.Signal, endpoint: str | None, setting: str) -> str:
        is_sent = traces_wanted(endpoint) if signal == "traces" else metrics_wanted(endpoint)
        if not is_sent:
            return "are not sent, as the OTEL_… variables say"
        of_environment = otlp.environment_endpoint(signal)
        name = setting if of_environment is None else "OTEL_EXPORTER_OTLP_ENDPOINT"
        return _receiver(of_environment or endpoint or "", name)

    telemetry = settings.telemetry
    tests: dict[str, Callable[[Settings], str]] = {}
    if telemetry.otlp_endpoint or otlp.environment_endpoint("traces"):
        tests["traces"] = lambda _: test("traces", telemetry.otlp_endpoint, "telemetry.otlp_endpoint")
    if telemetry.otlp_metrics_endpoint or otlp.own_endpoint("metrics"):
        tests["metrics"] = lambda _: test(
            "metrics", telemetry.otlp_metrics_endpoint, "telemetry.otlp_metrics_endpoint"
        )
    return tests


def _receiver(endpoint: str, name: str) -> str:
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_PROBE_SECONDS):
            return f"{endpoint} can be reached"
    except OSError as error:
        raise ConfigurationError(
            f"{name}: {endpoint} cannot be reached ({error.strerror or error}); "
            "start the receiver, or correct the setting",
            code="config.invalid",
        ) from error

"""Looks for recordings in every source, one look at a time, and says how it went."""

from __future__ import annotations

import logging
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from audio_extract.discover import cursor_name, discover
from audio_extract.exceptions import AudioExtractError
from audio_extract.jobs.report import CycleReport
from audio_extract.telemetry.redaction import redact
from audio_extract.telemetry.traces import note_error, trace_id_of
from audio_extract.tracker import SyncRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from audio_extract.settings import Settings
    from audio_extract.sources.base import Source
    from audio_extract.telemetry.metrics import Metrics
    from audio_extract.telemetry.traces import Traces
    from audio_extract.tracker import Tracker
    from audio_extract.tracker.discoverer import Discoverer

_log = logging.getLogger(__name__)


class Lookout:
    """Looks, here or not at all where another process does.

    Args:
        settings: The settings.
        tracker: The database.
        sources: Where recordings come from.
        discoverer: The claim on being the one process that looks; None: there is only this one.
        traces: Where spans go.
        metrics: What is counted.
        now: The clock.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tracker: Tracker,
        sources: Sequence[Source],
        discoverer: Discoverer | None,
        traces: Traces,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._tracker = tracker
        self._sources = sources
        self._discoverer = discoverer
        self._traces = traces
        self._metrics = metrics
        self._now = now
        self._discovering = threading.Lock()

    def discover(self, *, full: bool = False, only: Source | None = None) -> CycleReport:
        """Look for recordings in every source; a source that cannot be looked at does not stop the others.

        Args:
            full: Compare whole listings instead of reading the change feed.
            only: Look at this one.
        """
        # A look that a change in a folder asks for comes beside those at intervals.
        with self._discovering:
            return self._discover([only] if only is not None else self._sources, full=full)

    def _discover(self, sources: Sequence[Source], *, full: bool) -> CycleReport:
        report = CycleReport()
        if self._discoverer is not None and not self._discoverer.is_this():
            report.discoverer_elsewhere = True
            _log.debug("another process looks for recordings", extra={"event": "discovery.elsewhere"})
            self.count_queue()
            return report
        for source in sources:
            with self._traces.span("discovery", {"source": source.name, "full": full}) as span:
                try:
                    result = discover(
                        source,
                        self._tracker,
                        self._settings,
                        self._now(),
                        full=full,
                        timed=self._traces.span,
                        trace_id=trace_id_of(span),
                    )
                except AudioExtractError as error:
                    note_error(span, error)
                    self._metrics.looked(source.name, well=False)
                    self._failed(source.name, error, report, full=full)
                    continue
                span.set_attributes(
                    {"recordings.seen": result.seen, "recordings.new": result.new, "kind": result.kind}
                )
            self._metrics.looked(source.name, well=not result.problems, found=result.new + result.changed)
            report.found += result.new
            for problem in result.problems:
                self._failed(source.name, problem, report, full=full)
        self.count_queue()
        return report

    def _failed(self, source: str, error: AudioExtractError, report: CycleReport, *, full: bool) -> None:
        """Say and write down that a source, or a folder of it, could not be looked at."""
        _log.error(
            "looking for recordings: %s (%s)",
            error,
            error.code,
            extra={"event": "discovery.failed", "source": source, "code": error.code},
        )
        report.source_errors.append(error)
        # The health check reads it.
        if error.code.startswith("database."):
            # It could not be written either; the database's own check says so.
            return
        now = self._now()
        self._tracker.add_sync(
            SyncRun(
                source=source,
                kind="full" if full else "incremental",
                started_at=now,
                ended_at=now,
                error_code=error.code,
                error_message=redact(error.message),
            )
        )

    def release(self) -> None:
        """Let another process look."""
        if self._discoverer is not None:
            self._discoverer.release()

    def count_queue(self) -> None:
        """Measure what every replica says the same: recordings in each state, when things went well."""
        self._metrics.queue({state.value: count for state, count in self._tracker.counts().items()})
        last = self._tracker.milestones([cursor_name(source.name) for source in self._sources])
        if last.looked_at is not None:
            self._metrics.discovered(at_unix_seconds=last.looked_at.timestamp())
        self._metrics.milestones(
            found_unix_seconds=None if last.found_at is None else last.found_at.timestamp(),
            stored_unix_seconds=None if last.stored_at is None else last.stored_at.timestamp(),
        )
        self._metrics.interval(self._settings.google_drive.check_interval_seconds)
        for name, folder in (
            ("temporary", self._settings.temp_directory),
            ("state", self._settings.state_folder),
        ):
            # A folder that is away is the health check's to say.
            with suppress(OSError):
                usage = shutil.disk_usage(folder)
                self._metrics.disk(name, free_bytes=usage.free, size_bytes=usage.total)

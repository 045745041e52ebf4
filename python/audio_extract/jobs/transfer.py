"""One attempt to carry out one recording's plan, and what is written down about it.

Owns the order of the steps that "exactly once" rests on: the name is decided and recorded, the destination is
looked at, the engine moves the bytes with a precondition, the log is written, the recording is completed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from audio_extract import _engine, plan
from audio_extract.exceptions import AudioExtractError, CancelledError, DestinationExistsError, InternalError
from audio_extract.jobs.adoption import Standing, judge, object_metadata
from audio_extract.jobs.chunk_folder import ChunkFolder
from audio_extract.jobs.more_outputs import MoreOutputs
from audio_extract.jobs.recorder import Recorder, Task, ids
from audio_extract.jobs.sound_wanted import wanted_sounds
from audio_extract.measuring import shaping_for
from audio_extract.sources.base import Recording
from audio_extract.tracker import LeaseLostError, RetryPolicy, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from audio_extract.engine_types import (
        Audio,
        OutputSpec,
        ProbeTrack,
        Tags,
        TransferReport,
        TransferRequest,
    )
    from audio_extract.ffmpeg import FoundFfmpeg
    from audio_extract.jobs.active import ActiveTransfer
    from audio_extract.jobs.sound_wanted import WantedSound
    from audio_extract.measuring import Means, Shaping
    from audio_extract.settings import Settings
    from audio_extract.sources.base import Source
    from audio_extract.storage.base import StorageAdapter, StoredFile
    from audio_extract.telemetry.metrics import Metrics
    from audio_extract.telemetry.traces import Traces, TransferSpan
    from audio_extract.tracker import Claim, StoredChunk, Tracker

_log = logging.getLogger(__name__)

#: So many other objects under a recording's names end the search: something else is wrong then.
_MAX_SERIAL = 10_000
#: So often others may write under the name that was just free.
_MAX_APPEARED = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended.

    Attributes:
        claim: The recording.
        state: Where it went, and ``failed`` where more was wanted of stored audio and cannot be made; None
            when the lease was lost and somebody else decides.
        adopted: The object was there already.
        error: What went wrong.
    """

    claim: Claim
    state: State | None
    adopted: bool = False
    error: AudioExtractError | None = None


class _NotReadError(Exception):
    """The recording's index would have to be read."""


def _not_read() -> list[ProbeTrack]:
    raise _NotReadError


@dataclass(frozen=True, slots=True)
class TransferJob:
    """Carries out transfers; one object serves all threads.

    Attributes:
        settings: The settings.
        tracker: Where it is written down.
        sources: By name.
        storage: The destination.
        ffmpeg: Finds the program; called when it is needed.
        traces: Where spans go.
        metrics: What is counted.
        now: The clock.
    """

    settings: Settings
    tracker: Tracker
    sources: dict[str, Source]
    storage: StorageAdapter
    ffmpeg: Callable[[], FoundFfmpeg]
    traces: Traces
    metrics: Metrics
    now: Callable[[], datetime]

    def carry_out(self, active: ActiveTransfer) -> Outcome:
        """Carry out one transfer and write down how it ended. Raises nothing but what the database raises."""
        claim = active.claim
        began = time.monotonic()
        self.metrics.transfer_started()
        attributes: dict[str, str | int | float | bool] = {
            "recording.id": claim.id,
            "recording.source": claim.source,
            "recording.attempt": claim.attempt,
        }
        span = self._span(claim, attributes)
        report: list[TransferReport] = []
        try:
            # Whatever a library says meanwhile in this thread belongs to this recording.
            with structlog.contextvars.bound_contextvars(recording_id=claim.id), span:
                adopted = self._attempt(active, span, report)
            outcome = Outcome(claim, State.COMPLETED, adopted=adopted)
        except LeaseLostError:
            _log.warning(
                "the lease on %s was lost; another worker has it",
                claim.name,
                extra={**ids(claim, span), "event": "transfer.lease_lost"},
            )
            outcome = Outcome(claim, None)
        except CancelledError as error:
            self.tracker.release(claim, self.now(), reason="stopped")
            _log.info(
                "%s was stopped and goes back to the queue",
                claim.name,
                extra={**ids(claim, span), "event": "transfer.stopped"},
            )
            outcome = Outcome(claim, State.PENDING, error=error)
        except AudioExtractError as error:
            outcome = self._failed(claim, error, span)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the worker, and is reported
            _log.exception(
                "%s: an unexpected error",
                claim.name,
                extra={**ids(claim, span), "event": "transfer.crashed"},
            )
            outcome = self._failed(
                claim,
                InternalError(f"{claim.name}: {type(error).__name__}: {error}; please report this"),
                span,
            )
        self.metrics.transfer_ended(
            status=outcome.state.value if outcome.state is not None else "lost",
            duration_seconds=time.monotonic() - began,
            report=report[0] if report else None,
            engine=None if report else active.progress.partial_report(),
            source_service=claim.source,
            destination_service=self.storage.storage_type,
            error_kind=_failure_kind(outcome),
            waited_seconds=self._waited(claim),
            # A number does not lead to a trace that nobody kept.
            trace_id=span.trace_id if span.is_sampled else None,
        )
        return outcome

    def _span(self, claim: Claim, attributes: dict[str, str | int | float | bool]) -> TransferSpan:
        """Begin the transfer's trace, linked to those of the discovery and of earlier attempts."""
        if not self.traces.enabled:
            return self.traces.transfer(attributes=attributes)
        discovered_in, earlier = self.tracker.traces_before(claim)
        return self.traces.transfer(attributes=attributes, discovered_in=discovered_in, earlier=earlier)

    def _waited(self, claim: Claim) -> float | None:
        """Since when it was there to be stored; discovery may have seen it an interval later."""
        if claim.waiting_since is None:
            return None
        interval = timedelta(seconds=self.settings.google_drive.check_interval_seconds)
        since = claim.waiting_since - interval
        # What was moved into the folder is old, and was not there before.
        if claim.created_at is not None:
            since = min(max(since, claim.created_at), claim.waiting_since)
        return (self.now() - since).total_seconds()

    def _failed(self, claim: Claim, error: AudioExtractError, span: TransferSpan) -> Outcome:
        message = str(error)
        try:
            state = self.tracker.fail(
                claim,
                self.now(),
                code=error.code,
                kind=error.kind,
                message=message,
                policy=RetryPolicy.from_settings(self.settings.behavior),
                ffmpeg_tail=error.ffmpeg_tail,
                retry_after_seconds=error.retry_after_seconds,
                trace_id=span.trace_id,
                audio_stands=self._audio_stands(claim),
            )
        except LeaseLostError:
            return Outcome(claim, None, error=error)
        if state is State.COMPLETED:
            # As before: what failed is what was wanted beyond the audio that stands.
            state = State.FAILED
        _log.warning(
            "%s%s (%s)",
            # Most of the engine's messages name the recording.
            "" if claim.name in message else f"{claim.name}: ",
            message,
            error.code,
            extra={
                **ids(claim, span),
                "event": "transfer.failed",
                "code": error.code,
                "kind": error.kind,
                "status": state.value,
            },
        )
        return Outcome(claim, state, error=error)

    def _audio_stands(self, claim: Claim) -> bool:
        """Whether the audio of this content was stored before, and is where it was."""
        if claim.verified is None or claim.object_name is None:
            return False
        try:
            standing = self.storage.stat(claim.object_name)
        except AudioExtractError:
            return False
        return standing is not None and standing.crc32c == claim.verified[1]

    def _attempt(self, active: ActiveTransfer, span: TransferSpan, reports: list[TransferReport]) -> bool:
        """Transfer or adopt; True when it was adopted."""
        claim = active.claim
        source = self.sources.get(claim.source)
        if source is None:
            raise InternalError(
                f"{claim.name} comes from '{claim.source}', which is not configured any more; "
                f"add it again, or remove the recording with 'audio-extract forget {claim.id}'",
                code="source.not_configured",
            )
        # What was adopted from the earlier service's database knows neither revision nor time.
        known = claim.revision is not None and claim.created_at is not None
        with span.stage("plan"):
            recording = Recording(**claim.recording_fields()) if known else source.get(claim.source_id)
            sound, *beside = wanted_sounds(
                self.settings,
                claim.wanted_outputs,
                lambda: self._tracks(recording, source, active),
                name=recording.name,
            )
        name = claim.object_name
        named_before = name is not None
        named = claim.output_names
        serial, appeared = 1, 0
        while serial <= _MAX_SERIAL:
            candidate = name or plan.object_name(
                recording, self.settings, extension=sound.extension, serial=serial
            )
            with span.stage("look"):
                standing = self.storage.stat(candidate)
                whose = (
                    Standing.FREE
                    if standing is None
                    else self._judge(claim, standing, recording, sound.plan_id, named_before=named_before)
                )
                chunks: list[StoredChunk] = []
                if sound.rule is not None:
                    folder = ChunkFolder(self.storage, candidate, recording.source_id)
                    whose, chunks = folder.judge(whose, named_before=named_before)
                # Looked at before it is decided: a name that is ours by the database is one that was free.
                is_taken = whose is Standing.FOREIGN or (
                    name is None and not self.tracker.assign_object_name(claim, candidate, self.now())
                )
            if is_taken:
                name, named_before, named, serial = None, False, {}, serial + 1
                continue
            name = candidate
            with span.stage("look"):
                more = MoreOutputs(self.storage, name, recording, span.trace_id)
                places = more.places(
                    beside, named=named, replaces=self.settings.behavior.new_revisions == "replace"
                )
            is_stored = whose is Standing.OURS
            task = Task(
                recording=recording,
                source=source,
                sound=sound,
                name=name,
                standing=standing,
                is_stored=is_stored,
                more=more,
                places=places,
                chunks=chunks,
            )
            if is_stored and all(place.is_done for place in places):
                self._recorder.adopt(claim, task, span=span)
                return True
            if places:
                # Before anything stands under them: what an attempt that dies leaves is then known as ours.
                self.tracker.assign_output_names(claim, {place.wanted.name: place.name for place in places})
            try:
                report = self._transfer(active, task, span=span)
            except DestinationExistsError:
                appeared += 1
                if appeared > _MAX_APPEARED:
                    raise
                # Somebody was faster: look again whose it is. The name stays ours in the database.
                _log.info(
                    "%s appeared meanwhile", name, extra={**ids(claim, span), "event": "transfer.name_taken"}
                )
                named_before, named = False, {}
                continue
            reports.append(report)
            self._recorder.record(active, task, report, span=span)
            return False
        raise InternalError(f"{recording.name}: {_MAX_SERIAL} names for it are taken by other objects")

    def adopt(self, claim: Claim) -> State | None:
        """Complete a recording whose last holder died between storing it and writing that down.

        Returns:
            ``pending``: its audio stands and is written down, what belongs beside it is due. None: its audio
            does not stand at the destination, or is not proven whole.

        Raises:
            AudioExtractError: The destination cannot be asked.
        """
        if claim.object_name is None or claim.revision is None or claim.created_at is None:
            return None
        recording = Recording(**claim.recording_fields())
        try:
            sound, *beside = wanted_sounds(
                self.settings, claim.wanted_outputs, _not_read, name=recording.name
            )
        except _NotReadError:
            # What it becomes depends on what is in the recording: the next attempt looks.
            return None
        standing = self.storage.stat(claim.object_name)
        if (
            standing is None
            or self._judge(claim, standing, recording, sound.plan_id, named_before=True) is not Standing.OURS
        ):
            return None
        folder = ChunkFolder(self.storage, claim.object_name, recording.source_id)
        chunks = folder.read_index() if sound.rule is not None else []
        more = MoreOutputs(self.storage, claim.object_name, recording)
        places = more.places(beside, named=claim.output_names, replaces=False)
        is_whole = chunks is not None and all(place.is_done for place in places)
        task = Task(
            recording=recording,
            source=None,
            sound=sound,
            name=claim.object_name,
            standing=standing,
            is_stored=True,
            more=more,
            places=places,
            chunks=chunks or [],
        )
        with self.traces.transfer(
            attributes={"recording.id": claim.id, "recording.source": claim.source}
        ) as span:
            self._recorder.adopt(claim, task, span=span)
        if is_whole:
            return State.COMPLETED
        # Whatever becomes of the rest, whole audio is never without a recording that knows of it.
        self.tracker.retry([claim.id], self.now(), actor=claim.owner, completed=True, afresh=False)
        return State.PENDING

    def _judge(
        self, claim: Claim, standing: StoredFile, recording: Recording, plan_id: str, *, named_before: bool
    ) -> Standing:
        whose = judge(
            standing.metadata,
            recording,
            plan_id,
            named_before=named_before,
            local=self.storage.storage_type == "local",
            replaces=self.settings.behavior.new_revisions == "replace",
        )
        if whose is Standing.OURS and _is_damaged(claim, standing, plan_id):
            _log.warning(
                "%s is not what was stored there: it is left alone, and the audio is made again",
                standing.name,
                extra={
                    "event": "transfer.damaged",
                    "recording_id": claim.id,
                    "storage_path": standing.name,
                },
            )
            return Standing.FOREIGN
        return whose

    def _tracks(self, recording: Recording, source: Source, active: ActiveTransfer) -> list[ProbeTrack]:
        """Read the recording's index."""
        probe = _engine.probe(
            {
                "source": source.engine_source(recording),
                "ffmpeg": plan.ffmpeg_request(self.settings, self.ffmpeg()),
                "fetch": plan.fetch_request(self.settings),
            },
            source_token=source.token_provider(),
            cancel=active.cancel,
        )
        return probe["tracks"]

    def _transfer(self, active: ActiveTransfer, task: Task, *, span: TransferSpan) -> TransferReport:
        """Make what is missing: all of it, or, where the audio is stored, what belongs beside it."""
        recording, source = task.recording, task.source
        if source is None:
            raise InternalError(f"{recording.name}: there is no source to transfer it from")
        with span.stage("plan"):
            engine_source = source.engine_source(recording)
            ffmpeg = plan.ffmpeg_request(self.settings, self.ffmpeg())
            tags = self._tags(recording)
            means: Means = {
                "fetch": plan.fetch_request(self.settings),
                "memory_limit_bytes": plan.memory_limit_bytes(self.settings),
                "temp_directory": str(self.settings.temp_directory),
            }
            shapings: dict[object, Shaping | None] = {}

            def audio(sound: WantedSound) -> Audio:
                wanted = sound.format
                bare = sound.request(tags, {})
                # What two outputs have in common is measured once.
                same = (
                    sound.track, bare["codec"] == "mp3", bare.get("channels"), bare.get("sample_rate_hz"),
                    wanted.normalize, wanted.trim_silence,
                )  # fmt: skip
                if same not in shapings:
                    shapings[same] = shaping_for(
                        engine_source,
                        bare,
                        ffmpeg,
                        normalize=wanted.normalize,
                        trim=plan.silence(self.settings) if wanted.trim_silence else None,
                        token=source.token_provider(),
                        cancel=active.cancel,
                        means=means,
                    )
                return sound.request(tags, shapings[same] or {})

            outputs: list[OutputSpec] = [
                {
                    "sink": task.more.sink(place),
                    "audio": audio(place.wanted),
                    "chunks": task.more.chunks(place),
                }
                for place in task.missing
            ]
            main: OutputSpec
            if task.is_stored:
                main, *outputs = outputs
            else:
                content_type = plan.CONTENT_TYPES[task.name.rpartition(".")[2]]
                metadata = object_metadata(recording, task.sound.plan_id, span.trace_id)
                sink = self.storage.engine_sink(
                    task.name, content_type=content_type, metadata=metadata, replace=task.standing
                )
                if sink["kind"] == "gcs":
                    sink["chunk_size_bytes"] = self.settings.upload.chunk_size_bytes
                main = {"sink": sink, "audio": audio(task.sound)}
                if task.sound.rule is not None:
                    folder = ChunkFolder(self.storage, task.name, recording.source_id)
                    main["chunks"] = folder.target(
                        task.sound.rule, content_type=content_type, metadata=metadata
                    )
            request: TransferRequest = {
                "source": engine_source,
                "sink": main["sink"],
                "audio": main["audio"],
                "chunks": main.get("chunks"),
                "outputs": outputs,
                "ffmpeg": ffmpeg,
                "fetch": means["fetch"],
                "memory_limit_bytes": means["memory_limit_bytes"],
                "temp_directory": means["temp_directory"],
                "traceparent": span.traceparent,
            }
            if not task.is_stored:
                request["measure"] = plan.measure_request(self.settings)
            if any(place.wanted.needs_silence for place in task.missing):
                request["measure"] = plan.silence(self.settings)
        try:
            return _engine.transfer(
                request,
                source_token=source.token_provider(),
                sink_token=self.storage.token_provider(),
                before_commit=span.bound(lambda: source.confirm(recording)),
                progress=active.progress,
                cancel=active.cancel,
            )
        except AudioExtractError:
            # What failed is what people look at: the trace shows how far it came.
            span.add_partial_report(active.progress.partial_report())
            raise

    @property
    def _recorder(self) -> Recorder:
        return Recorder(self.settings, self.tracker, self.storage, self.now)

    def _tags(self, recording: Recording) -> Tags:
        meeting = plan.meeting_of(recording, self.settings)
        return {
            "title": meeting.title,
            "date": meeting.began_at.isoformat(timespec="seconds"),
            "source": f"{recording.source}:{recording.source_id}",
        }


def _failure_kind(outcome: Outcome) -> str | None:
    """What has to be done about a failure; a transfer that was stopped has not failed."""
    error = outcome.error
    return None if error is None or error.kind == "cancelled" else error.kind


def _is_damaged(claim: Claim, standing: StoredFile, plan_id: str) -> bool:
    """Whether the database knows that something else was verified under this name."""
    if claim.verified is None or standing.name != claim.object_name:
        return False
    return claim.verified[0] == plan_id and claim.verified[1] != standing.crc32c

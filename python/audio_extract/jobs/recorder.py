"""What is written down when a recording's audio stands at the destination: logs there, then the database."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audio_extract import plan
from audio_extract.exceptions import AudioExtractError, InternalError
from audio_extract.jobs.chunk_folder import ChunkFolder
from audio_extract.jobs.companions import companions_of
from audio_extract.jobs.more_outputs import recorded
from audio_extract.jobs.processing_log import is_part, output_log, processing_log
from audio_extract.sound import kept
from audio_extract.tracker import Stored, StoredOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from typing import Any

    from audio_extract.engine_types import OutputReport, TransferReport
    from audio_extract.jobs.active import ActiveTransfer
    from audio_extract.jobs.more_outputs import MoreOutputs, Place
    from audio_extract.jobs.sound_wanted import WantedSound
    from audio_extract.settings import Settings
    from audio_extract.sources.base import Recording, Source
    from audio_extract.storage.base import StorageAdapter, StoredFile
    from audio_extract.telemetry.traces import TransferSpan
    from audio_extract.tracker import Claim, StoredChunk, Tracker

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be done about one recording, once its destination was looked at.

    Attributes:
        source: Where it comes from; None where nothing is transferred.
        sound: The audio.
        name: The audio's.
        standing: What is there.
        is_stored: Just that audio is there.
        more: The outputs beside it.
        places: Where each of these stands or will.
        chunks: Of audio that is stored.
    """

    recording: Recording
    source: Source | None
    sound: WantedSound
    name: str
    standing: StoredFile | None
    is_stored: bool
    more: MoreOutputs
    places: list[Place]
    chunks: list[StoredChunk]

    @property
    def missing(self) -> list[Place]:
        """The outputs that have to be made; one cut at silence comes first: that is measured."""
        missing = [place for place in self.places if not place.is_done]
        return sorted(missing, key=lambda place: not place.wanted.needs_silence)


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes down how transfers ended well.

    Attributes:
        settings: The settings.
        tracker: The database.
        storage: The destination.
        now: The clock.
    """

    settings: Settings
    tracker: Tracker
    storage: StorageAdapter
    now: Callable[[], datetime]

    def adopt(self, claim: Claim, task: Task, *, span: TransferSpan) -> None:
        """Write down that all of it stood at the destination already."""
        self.tracker.complete(
            claim,
            self._standing(task),
            self.now(),
            plan_id=task.sound.plan_id,
            revision=task.recording.revision,
            adopted=True,
            chunks=task.chunks,
            outputs=self._standing_outputs(task),
            trace_id=span.trace_id,
        )
        _log.info(
            "%s stands at the destination already: adopted",
            claim.name,
            extra={**ids(claim, span), "event": "transfer.adopted", "storage_path": task.name},
        )

    def _standing(self, task: Task) -> Stored:
        """Return what to write down of audio that was stored before."""
        standing = task.standing
        if standing is None:
            raise InternalError(f"{task.name}: nothing stands there")
        return Stored(
            storage_type=self.storage.storage_type,
            storage_path=standing.name,
            storage_url=None,
            size_bytes=standing.size_bytes,
            crc32c=standing.crc32c,
            generation=standing.generation,
            content_type=standing.content_type,
            audio_seconds=self._logged_seconds(standing.name),
        )

    def _standing_outputs(self, task: Task) -> list[StoredOutput]:
        """Return what to write down of the outputs that were stored before."""
        done = [place for place in task.places if place.is_done]
        found = [recorded(place, audio_seconds=self._logged_seconds(place.name)) for place in done]
        return [one for one in found if one is not None]

    def _logged_seconds(self, name: str) -> float | None:
        log = self.storage.get_log(plan.log_name(name, self.settings)) or {}
        seconds = log.get("audio_seconds")
        return seconds if isinstance(seconds, int | float) else None

    def record(
        self, active: ActiveTransfer, task: Task, report: TransferReport, *, span: TransferSpan
    ) -> None:
        """Write down what a transfer stored: logs at the destination, then the database."""
        claim, recording, name = active.claim, task.recording, task.name
        span.add_report(report)
        stored = report["stored"]
        now = self.now()
        with span.stage("record"):
            chunks = task.chunks
            if not task.is_stored and report["chunks"] is not None:
                # Without its index the audio is not adopted, but made again.
                folder = ChunkFolder(self.storage, name, recording.source_id)
                chunks = folder.write_index(report["chunks"])
            outputs = self._standing_outputs(task) + self._record_outputs(claim, task, report, span=span)
            if task.is_stored:
                facts = self._standing(task)
            else:
                log = processing_log(
                    recording=recording,
                    plan_id=task.sound.plan_id,
                    object_name=name,
                    report=report,
                    attempt=claim.attempt,
                    started_at=active.started_at,
                    ended_at=now,
                    trace_id=span.trace_id,
                )
                self._put_log(claim, name, log, span=span)
                facts = Stored(
                    storage_type=self.storage.storage_type,
                    storage_path=name,
                    storage_url=None,
                    size_bytes=stored["size_bytes"],
                    crc32c=stored["crc32c"],
                    generation=stored["generation"],
                    content_type=stored["content_type"] or plan.CONTENT_TYPES[name.rpartition(".")[2]],
                    audio_seconds=report["audio_seconds"],
                )
            self.tracker.complete(
                claim,
                facts,
                now,
                plan_id=task.sound.plan_id,
                revision=recording.revision,
                # Parts of stages are for the log and the trace; a row of a hundred thousand stays small.
                report={
                    **report,
                    "stages": [one for one in report["stages"] if not is_part(one["name"])],
                    "sound": kept(report["sound"]),
                    # They have tables of their own.
                    "chunks": None,
                    "outputs": [],
                },
                chunks=chunks,
                outputs=outputs,
                trace_id=span.trace_id,
            )
            # The audio waits for nobody: what goes wrong from here on loses nothing of it.
            if task.source is not None:
                self._note_companions(claim, task, task.source, {one.name for one in outputs})
        _log.info(
            "%s is stored as %s (%.1f MB fetched of a recording of %.1f MB, %.1f s of audio)",
            claim.name,
            ", ".join(([] if task.is_stored else [name]) + [place.name for place in task.missing]),
            report["fetched_bytes"] / 1e6,
            (report["source_size_bytes"] or report["fetched_bytes"]) / 1e6,
            report["audio_seconds"] or 0.0,
            extra={
                **ids(claim, span),
                "event": "transfer.completed",
                "storage_path": name,
                "strategy": report["strategy"],
                "fetched_bytes": report["fetched_bytes"],
                "stored_bytes": stored["size_bytes"],
                "audio_seconds": report["audio_seconds"],
            },
        )

    def _note_companions(self, claim: Claim, task: Task, source: Source, made: set[str]) -> None:
        """Look what the meeting left beside its recording, and write it down."""
        try:
            known = {one.object_name for one in self.tracker.outputs_of(claim.id)}
            found = companions_of(task.recording, task.name, source, self.storage, self.settings, known=known)
            if found is not None:
                texts = [text for text in found.texts if text.name not in made]
                self.tracker.note_companions(claim.id, found.links, texts)
        except AudioExtractError as error:
            # The recording is completed, and whoever is told of that hears it.
            _log.warning(
                "what belongs to %s could not be written down: %s",
                claim.name,
                error,
                extra={"recording_id": claim.id, "event": "companions.failed", "code": error.code},
            )

    def _record_outputs(
        self, claim: Claim, task: Task, report: TransferReport, *, span: TransferSpan
    ) -> list[StoredOutput]:
        """Write the logs of the outputs that were made, and return what to write down of them."""
        made: list[OutputReport | TransferReport] = [*report["outputs"]]
        if task.is_stored:
            made.insert(0, report)
        outputs = []
        for place, one in zip(task.missing, made, strict=True):
            log = output_log(
                recording=task.recording,
                plan_id=place.wanted.plan_id,
                object_name=place.name,
                report=one,
                made_with=task.name,
                trace_id=span.trace_id,
            )
            self._put_log(claim, place.name, log, span=span)
            # Without its index an output is not adopted either.
            chunks = () if one["chunks"] is None else place.folder.write_index(one["chunks"])
            outputs.append(
                StoredOutput(
                    name=place.wanted.name,
                    object_name=place.name,
                    size_bytes=one["stored"]["size_bytes"],
                    crc32c=one["stored"]["crc32c"],
                    generation=one["stored"]["generation"],
                    content_type=one["stored"]["content_type"] or plan.CONTENT_TYPES[place.wanted.extension],
                    audio_seconds=one["audio_seconds"],
                    chunks=tuple(chunks),
                )
            )
        return outputs

    def _put_log(self, claim: Claim, name: str, log: Mapping[str, Any], *, span: TransferSpan) -> None:
        try:
            self.storage.put_log(plan.log_name(name, self.settings), log)
        except AudioExtractError as error:
            # The audio is stored and verified; its log is a help and not a condition.
            _log.warning(
                "the processing log of %s was not stored: %s",
                name,
                error,
                extra={**ids(claim, span), "event": "transfer.log_not_stored", "code": error.code},
            )


def ids(claim: Claim, span: TransferSpan) -> dict[str, str | None]:
    """Return what a log line about a transfer carries."""
    return {"recording_id": claim.id, "trace_id": span.trace_id}

"""The document that is stored beside the audio and says how it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audio_extract.jobs.adoption import object_metadata
from audio_extract.storage.base import StoredFile
from audio_extract.storage.proof import proof_of

if TYPE_CHECKING:
    from datetime import datetime

    from audio_extract.engine_types import OutputReport, StoredObject, TransferReport
    from audio_extract.sources.base import Recording


#: Of these there is one for each segment, encoder or chunk.
_PARTS = ("extract.decode", "extract.encode", "upload.chunk")


def is_part(stage: str) -> bool:
    """Tell whether a stage is a part of another one."""
    return stage in _PARTS


def processing_log(
    *,
    recording: Recording,
    plan_id: str,
    object_name: str,
    report: TransferReport,
    attempt: int,
    started_at: datetime,
    ended_at: datetime,
    trace_id: str | None,
) -> dict[str, Any]:
    """Return the log of a transfer whose object was verified; all times are UTC, ISO 8601."""
    return {
        **_what(recording, plan_id, object_name, report["stored"], trace_id),
        "audio_seconds": report["audio_seconds"],
        "sound": report["sound"],
        "chunks": report["chunks"],
        "about": report["about"],
        "attempt": attempt,
        "started_at": started_at.isoformat(),
        "ended_at": ended_at.isoformat(),
        "strategy": report["strategy"],
        "fallback_reason": report["fallback_reason"],
        "source_size_bytes": report["source_size_bytes"],
        "fetched_bytes": report["fetched_bytes"],
        "source_requests": report["source_requests"],
        "sink_requests": report["sink_requests"],
        "retries": report["retries"],
        "ffmpeg_version": report["ffmpeg_version"],
        "ffmpeg_arguments": report["ffmpeg_arguments"],
        "ffmpeg_cpu_seconds": report["ffmpeg_cpu_seconds"],
        "stages": report["stages"],
    }


def output_log(
    *,
    recording: Recording,
    plan_id: str,
    object_name: str,
    report: OutputReport | TransferReport,
    made_with: str,
    trace_id: str | None,
) -> dict[str, Any]:
    """Return the log of one more output that was verified.

    Args:
        recording: Whose it is.
        plan_id: Of the output.
        object_name: Where it stands.
        report: What the engine says of it.
        made_with: Name of the audio beside which it was made; its log has the timings.
        trace_id: The transfer's trace.
    """
    return {
        **_what(recording, plan_id, object_name, report["stored"], trace_id),
        "audio_seconds": report["audio_seconds"],
        "made_with": made_with,
    }


def _what(
    recording: Recording, plan_id: str, object_name: str, proven: StoredObject, trace_id: str | None
) -> dict[str, Any]:
    stored = StoredFile(
        name=object_name,
        size_bytes=proven["size_bytes"],
        crc32c=proven["crc32c"],
        metadata=object_metadata(recording, plan_id, trace_id),
        generation=proven["generation"],
    )
    return {
        **proof_of(stored),
        "version": 1,
        "source": recording.source,
        "source_id": recording.source_id,
        "revision": recording.revision,
        "name": recording.name,
        "recorded_at": recording.created_at.isoformat(),
        "source_md5": recording.md5,
        "source_sha256": recording.sha256,
        "plan_id": plan_id,
        "object_name": object_name,
        "generation": stored.generation,
        "trace_id": trace_id,
    }

"""Deciding what to do with a recording, before any byte moves. Pure functions only."""

from audio_extract.plan.engine_request import (
    audio_request,
    fetch_request,
    ffmpeg_request,
    memory_limit_bytes,
)
from audio_extract.plan.formats import CONTENT_TYPES, EXTENSIONS
from audio_extract.plan.identity import plan_id
from audio_extract.plan.meeting_names import Meeting
from audio_extract.plan.naming import log_name, meeting_of, object_name
from audio_extract.plan.selection import Selected, Skipped, select

__all__ = [
    "CONTENT_TYPES",
    "EXTENSIONS",
    "Meeting",
    "Selected",
    "Skipped",
    "audio_request",
    "fetch_request",
    "ffmpeg_request",
    "log_name",
    "meeting_of",
    "memory_limit_bytes",
    "object_name",
    "plan_id",
    "select",
]

"""Deciding what to do with a recording, before any byte moves. Pure functions only.

Nothing is imported before it is used: loading the settings takes longer than ``extract`` of a short file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audio_extract.plan.engine_request import (
        audio_request,
        chunk_rule,
        fetch_request,
        ffmpeg_request,
        measure_request,
        memory_limit_bytes,
        silence,
    )
    from audio_extract.plan.formats import CONTENT_TYPES, EXTENSIONS
    from audio_extract.plan.identity import format_id, plan_id
    from audio_extract.plan.meeting_names import Meeting
    from audio_extract.plan.naming import chunk_folder, log_name, meeting_of, object_name, output_name
    from audio_extract.plan.selection import Selected, Skipped, select

__all__ = [
    "CONTENT_TYPES",
    "EXTENSIONS",
    "Meeting",
    "Selected",
    "Skipped",
    "audio_request",
    "chunk_folder",
    "chunk_rule",
    "fetch_request",
    "ffmpeg_request",
    "format_id",
    "log_name",
    "measure_request",
    "meeting_of",
    "memory_limit_bytes",
    "object_name",
    "output_name",
    "plan_id",
    "select",
    "silence",
]

_MODULES = {
    "CONTENT_TYPES": "formats",
    "EXTENSIONS": "formats",
    "Meeting": "meeting_names",
    "Selected": "selection",
    "Skipped": "selection",
    "audio_request": "engine_request",
    "chunk_folder": "naming",
    "chunk_rule": "engine_request",
    "fetch_request": "engine_request",
    "ffmpeg_request": "engine_request",
    "format_id": "identity",
    "log_name": "naming",
    "measure_request": "engine_request",
    "meeting_of": "naming",
    "memory_limit_bytes": "engine_request",
    "object_name": "naming",
    "output_name": "naming",
    "plan_id": "identity",
    "select": "selection",
    "silence": "engine_request",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

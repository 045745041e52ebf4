"""What to do about something that stands under a planned name already.

DESIGN "Exactly once": an object is ours when its metadata name this recording, this revision and this plan.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audio_extract.sources.base import Recording


class Standing(Enum):
    """Whose object it is."""

    FREE = auto()
    """Nothing stands there."""
    OURS = auto()
    """Exactly what this transfer would make: adopt it."""
    OURS_UNPROVEN = auto()
    """Under a name that the database gave to this recording, but not proven whole: replace it."""
    OUTDATED = auto()
    """What this recording was before, and the settings want it replaced."""
    FOREIGN = auto()
    """Somebody else's, or another revision or plan: take the next name."""


def object_metadata(recording: Recording, plan_id: str, trace_id: str | None) -> dict[str, str]:
    """Return the metadata that an object carries from its first byte on."""
    metadata = {"source-id": recording.source_id, "revision": recording.revision, "plan-id": plan_id}
    if trace_id is not None:
        metadata["trace-id"] = trace_id
    return metadata


def judge(
    metadata: Mapping[str, str],
    recording: Recording,
    plan_id: str,
    *,
    named_before: bool,
    local: bool,
    replaces: bool = False,
) -> Standing:
    """Decide whose object stands under the planned name.

    Args:
        metadata: Of the object; for a file what its processing log proves.
        recording: What is to be transferred.
        plan_id: Of the output settings.
        named_before: The database gave this name to the recording before this attempt.
        local: The destination is a folder, where a file carries no metadata of its own.
        replaces: New content takes the place of the earlier one (``behavior.new_revisions``).
    """
    wanted = object_metadata(recording, plan_id, None)
    if all(metadata.get(key) == value for key, value in wanted.items()):
        return Standing.OURS
    if local and not metadata and named_before:
        return Standing.OURS_UNPROVEN
    if replaces and named_before and metadata.get("source-id") == recording.source_id:
        return Standing.OUTDATED
    return Standing.FOREIGN

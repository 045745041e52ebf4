"""Drive's file resources: which fields are asked for, and the recording that one describes.

Reference: https://developers.google.com/workspace/drive/api/reference/rest/v3/files
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from audio_extract.sources.base import Recording

FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"
#: Documents, sheets, forms …: nothing to download, never a recording.
GOOGLE_TYPES = "application/vnd.google-apps."

FILE_FIELDS = (
    "id,name,mimeType,trashed,size,md5Checksum,sha256Checksum,headRevisionId,createdTime,modifiedTime,parents,"
    "webViewLink,capabilities(canDownload),shortcutDetails(targetId,targetMimeType),"
    "videoMediaMetadata(durationMillis)"
)
FOLDER_FIELDS = "id,name,mimeType,trashed,driveId,shortcutDetails(targetId,targetMimeType)"
REVISION_FIELDS = "id,name,size,md5Checksum,headRevisionId"


def recording_of(resource: dict[str, Any], *, folder_id: str | None) -> Recording:
    """The recording that a file resource describes.

    Args:
        resource: With :data:`FILE_FIELDS`.
        folder_id: The folder it was found in; that of a shortcut to it, if one led there.
    """
    md5 = resource.get("md5Checksum")
    size = resource.get("size")
    video = resource.get("videoMediaMetadata") or {}
    milliseconds = video.get("durationMillis")
    modified = resource.get("modifiedTime")
    return Recording(
        source="drive",
        source_id=resource["id"],
        # Without content there is no revision; such a file is not settled and gets one later.
        revision=md5 or resource.get("headRevisionId") or "",
        name=resource.get("name", ""),
        # One text for all: a hundred thousand recordings are held during a full look.
        mime_type=sys.intern(resource["mimeType"]) if "mimeType" in resource else None,
        size_bytes=None if size is None else int(size),
        created_at=_time(resource["createdTime"]),
        modified_at=None if modified is None else _time(modified),
        folder_id=folder_id,
        md5=md5,
        sha256=resource.get("sha256Checksum"),
        web_link=resource.get("webViewLink"),
        can_download=bool((resource.get("capabilities") or {}).get("canDownload", True)),
        settled=size is not None and md5 is not None,
        duration_seconds=None if milliseconds is None else int(milliseconds) / 1000,
    )


def is_current(recording: Recording, resource: dict[str, Any]) -> bool:
    """Whether a file resource (with :data:`REVISION_FIELDS`) still is the revision of a recording.

    The checksum may have come after the recording was seen, so either name of the revision counts.
    """
    if recording.revision not in {resource.get("md5Checksum"), resource.get("headRevisionId")}:
        return False
    size = resource.get("size")
    return size is None or recording.size_bytes is None or int(size) == recording.size_bytes


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)

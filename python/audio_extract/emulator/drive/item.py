"""One file, folder or shortcut in Drive, and its JSON resource (``drive#file``)."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from audio_extract.emulator.clock import rfc3339

if TYPE_CHECKING:
    from datetime import datetime

    from audio_extract.emulator.content import Checksums, Content

FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"
GOOGLE_TYPES = "application/vnd.google-apps."

#: The system's own table differs from machine to machine.
_MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4a": "audio/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".mp3": "audio/mpeg",
    ".txt": "text/plain",
}


def guess_media_type(name: str) -> str:
    """The MIME type that Drive gives an uploaded file by its name."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    return _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


@dataclass
class Owner:
    """A person or a service account."""

    email: str
    name: str
    me: bool = False

    def to_json(self) -> dict[str, object]:
        """The ``drive#user`` resource."""
        return {
            "kind": "drive#user",
            "displayName": self.name,
            "me": self.me,
            "permissionId": str(int.from_bytes(hashlib.sha256(self.email.encode()).digest()[:8], "big")),
            "emailAddress": self.email,
        }


@dataclass
class VideoMetadata:
    """What Drive finds out about a video some time after the upload."""

    duration_seconds: float
    width: int
    height: int


@dataclass
class DriveItem:
    """One item.

    Attributes:
        visible: Whether the asking account may see it; None: as its folder.
        can_download: ``capabilities.canDownload``; owners can forbid it.
        abusive: Drive has marked it as malware or spam.
        downloads_left: Media downloads until ``downloadQuotaExceeded``; None: no limit.
    """

    id: str
    name: str
    mime_type: str
    parents: list[str]
    created: datetime
    modified: datetime
    owner: Owner
    content: Content | None = None
    checksums: Checksums | None = None
    head_revision_id: str | None = None
    version: int = 1
    trashed: bool = False
    starred: bool = False
    description: str | None = None
    properties: dict[str, str] = field(default_factory=dict)
    app_properties: dict[str, str] = field(default_factory=dict)
    shortcut_target_id: str | None = None
    shortcut_target_type: str | None = None
    drive_id: str | None = None
    video: VideoMetadata | None = None
    visible: bool | None = None
    can_download: bool = True
    abusive: bool = False
    downloads_left: int | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it can have children."""
        return self.mime_type == FOLDER

    @property
    def etag(self) -> str:
        """Entity tag of the media: one for each revision."""
        return f'"{self.head_revision_id}"'


@dataclass(frozen=True)
class SeenItem:
    """An item as the asking account sees it.

    Attributes:
        item: The item.
        parents: Its folders, without those that the account cannot see.
        in_trash: Whether the item or a folder above it was trashed.
    """

    item: DriveItem
    parents: list[str]
    in_trash: bool

    def to_json(self) -> dict[str, Any]:
        """The ``drive#file`` resource with every field the emulator has."""
        item = self.item
        resource: dict[str, Any] = {
            "kind": "drive#file",
            "id": item.id,
            "name": item.name,
            "mimeType": item.mime_type,
            "starred": item.starred,
            "trashed": self.in_trash,
            "explicitlyTrashed": item.trashed,
            "parents": list(self.parents),
            "properties": dict(item.properties),
            "appProperties": dict(item.app_properties),
            "spaces": ["drive"],
            "version": str(item.version),
            "webViewLink": f"https://drive.google.com/file/d/{item.id}/view?usp=drivesdk",
            "iconLink": f"https://drive-thirdparty.googleusercontent.com/16/type/{item.mime_type}",
            "hasThumbnail": False,
            "thumbnailVersion": "0",
            "viewedByMe": False,
            "createdTime": rfc3339(item.created),
            "modifiedTime": rfc3339(item.modified),
            "modifiedByMe": False,
            "shared": True,
            "ownedByMe": item.owner.me and item.drive_id is None,
            "lastModifyingUser": item.owner.to_json(),
            "capabilities": self._capabilities(),
            "viewersCanCopyContent": item.can_download,
            "copyRequiresWriterPermission": not item.can_download,
            "writersCanShare": True,
            "isAppAuthorized": True,
            "quotaBytesUsed": str(item.content.size if item.content else 0),
        }
        if item.drive_id is None:
            resource["owners"] = [item.owner.to_json()]
        else:
            resource["driveId"] = item.drive_id
            resource["teamDriveId"] = item.drive_id
        if item.description is not None:
            resource["description"] = item.description
        if item.shortcut_target_id is not None:
            resource["shortcutDetails"] = {
                "targetId": item.shortcut_target_id,
                "targetMimeType": item.shortcut_target_type,
            }
        if item.content is not None:
            resource |= self._content_json(item.content)
        return resource

    def _content_json(self, content: Content) -> dict[str, Any]:
        item = self.item
        extension = item.name.rpartition(".")[2] if "." in item.name else ""
        resource: dict[str, Any] = {
            "originalFilename": item.name,
            "fullFileExtension": extension,
            "fileExtension": extension,
            "size": str(content.size),
            "headRevisionId": item.head_revision_id,
            "webContentLink": f"https://drive.google.com/uc?id={item.id}&export=download",
        }
        if item.checksums is not None:
            resource["md5Checksum"] = item.checksums.md5
            resource["sha1Checksum"] = item.checksums.sha1
            resource["sha256Checksum"] = item.checksums.sha256
        if item.video is not None:
            resource["videoMediaMetadata"] = {
                "width": item.video.width,
                "height": item.video.height,
                "durationMillis": str(round(item.video.duration_seconds * 1000)),
            }
        return resource

    def _capabilities(self) -> dict[str, bool]:
        item = self.item
        return {
            "canAddChildren": item.is_folder,
            "canCopy": not item.is_folder and item.can_download,
            "canDelete": True,
            "canDownload": item.can_download and not item.is_folder and item.shortcut_target_id is None,
            "canEdit": True,
            "canListChildren": item.is_folder,
            "canReadRevisions": not item.is_folder,
            "canRename": True,
            "canShare": True,
            "canTrash": not self.in_trash,
            "canUntrash": self.in_trash,
        }

    # The terms of drive/query.py.

    def search_text(self, term: str) -> str | None:
        """Value of a text term of the search language."""
        item = self.item
        values = {
            "name": item.name,
            "fullText": f"{item.name} {item.description or ''}",
            "mimeType": item.mime_type,
            "visibility": "limited",
            "shortcutDetails.targetId": item.shortcut_target_id,
        }
        return values[term]

    def search_time(self, term: str) -> datetime | None:
        """Value of a date term of the search language."""
        return {"createdTime": self.item.created, "modifiedTime": self.item.modified}.get(term)

    def search_flag(self, term: str) -> bool:
        """Value of a yes/no term of the search language."""
        return {
            "trashed": self.in_trash,
            "starred": self.item.starred,
            "sharedWithMe": not self.item.owner.me,
        }[term]

    def search_members(self, term: str) -> list[str]:
        """Value of a collection term of the search language."""
        if term == "parents":
            return self.parents
        return [self.item.owner.email] if self.item.drive_id is None else []

    def search_property(self, term: str, key: str) -> str | None:
        """Value of a custom property."""
        return (self.item.properties if term == "properties" else self.item.app_properties).get(key)

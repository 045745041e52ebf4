"""What changed in Drive folders since a cursor.

Drive reports changes of everything the account can see; what counts here is filtered by the tree of folders.
https://developers.google.com/workspace/drive/api/guides/manage-changes
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from audio_extract.exceptions import InternalError, NotFoundError, PermissionDeniedError
from audio_extract.sources.base import Changes
from audio_extract.sources.drive_cursor import MY_DRIVE, DriveCursor
from audio_extract.sources.drive_files import FILE_FIELDS, FOLDER, GOOGLE_TYPES, SHORTCUT, recording_of
from audio_extract.sources.drive_listing import PAGE_SIZE, DriveListing, DriveTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from audio_extract.sources.base import Recording
    from audio_extract.sources.drive_client import DriveClient

#: Before a page token of the account's own log, where it stands in for that of a shared drive.
_OWN_LOG = "own:"

_log = logging.getLogger(__name__)


class DriveFeed:
    """Reads the logs of changes.

    Args:
        client: Makes the calls.
        listing: Follows shortcuts.
        root_ids: The configured folders; what happens to them themselves is not a change of the tree.
    """

    def __init__(self, client: DriveClient, listing: DriveListing, root_ids: frozenset[str]) -> None:
        self._client = client
        self._listing = listing
        self._root_ids = root_ids

    def start_token(self, log: str) -> str:
        """Where the feed stands now."""
        try:
            return self._start_token(log)
        except (NotFoundError, PermissionDeniedError):
            if log == MY_DRIVE:
                raise
            # A folder of a shared drive can be shared with somebody who is no member of the drive: its log is
            # not for them, and what they see of it is in their own.
            return _OWN_LOG + self._start_token(MY_DRIVE)

    def _start_token(self, log: str) -> str:
        drive = {"driveId": log} if log != MY_DRIVE else {}
        answer = self._client.call(
            lambda api: api.changes().getStartPageToken(supportsAllDrives=True, **drive), "the change feed"
        )
        return str(answer["startPageToken"])

    def difference(self, cursor: DriveCursor, tree: DriveTree) -> Changes | None:
        """What changed since a cursor; None: only a full listing can tell.

        A folder that moved into or out of the tree is such a case: Drive reports the folder alone, not the
        files in it.
        """
        if tree.fingerprint() != cursor.tree:
            return None
        tokens: dict[str, str] = {}
        changes = self._since(cursor, tokens)
        if changes is None:
            return None
        if changes and self._listing.cache is not None:
            self._listing.cache.forget(_touched(changes.values(), tree))
        recordings: dict[str, Recording] = {}
        removed: list[str] = []
        for file_id, change in changes.items():
            resource = change.get("file") or {}
            gone = bool(change.get("removed") or resource.get("trashed"))
            if self._moves_folders(file_id, resource, gone, tree):
                return None
            found = None if gone else self._changed(resource, tree)
            if found is not None:
                recordings[found.source_id] = found
            elif gone or not resource.get("mimeType", "").startswith(GOOGLE_TYPES):
                removed.append(file_id)
        return Changes(
            recordings=list(recordings.values()),
            removed=[one for one in removed if one not in recordings],
            cursor=DriveCursor(cursor.scope, tokens, cursor.tree).to_text(),
        )

    def _since(self, cursor: DriveCursor, tokens: dict[str, str]) -> dict[str, dict[str, Any]] | None:
        """The last change of each file in all logs; None: Drive no longer knows the place."""
        changes: dict[str, dict[str, Any]] = {}
        for log, token in cursor.tokens.items():
            try:
                found = {change["fileId"]: change for change in self._feed(log, token, tokens)}
            except (InternalError, NotFoundError) as error:
                if error.status not in {400, 404, 410}:
                    raise
                _log.warning(
                    "Drive no longer knows the place in its change feed: listing everything (%s)",
                    error,
                    extra={"event": "discovery.cursor_lost", "code": error.code},
                )
                return None
            for file_id, change in found.items():
                # What leaves one drive for another is "removed" in the log of the first.
                if not change.get("removed") or file_id not in changes:
                    changes[file_id] = change
        return changes

    def _feed(self, log: str, token: str, tokens: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Changes of one log, oldest first; puts the token to go on with into ``tokens``."""
        parameters = {
            "fields": f"nextPageToken,newStartPageToken,changes(fileId,removed,file({FILE_FIELDS}))",
            "pageSize": PAGE_SIZE,
            "supportsAllDrives": True,
            "includeItemsFromAllDrives": True,
            "includeRemoved": True,
        }
        own = _OWN_LOG if token.startswith(_OWN_LOG) else ""
        token = token.removeprefix(_OWN_LOG)
        if log != MY_DRIVE and not own:
            parameters["driveId"] = log
        while True:
            page = self._client.call(
                lambda api: api.changes().list(pageToken=token, **parameters),  # noqa: B023 - called at once
                "the change feed",
            )
            # Changes of a shared drive itself have no file.
            yield from (change for change in page.get("changes", []) if "fileId" in change)
            if "nextPageToken" not in page:
                tokens[log] = own + page["newStartPageToken"]
                return
            token = page["nextPageToken"]

    def _changed(self, resource: dict[str, Any], tree: DriveTree) -> Recording | None:
        """The recording of a changed file that stands in our folders."""
        inside = next((one for one in resource.get("parents", []) if one in tree.folder_ids), None)
        kind = resource.get("mimeType", "")
        if kind == SHORTCUT:
            return self._listing.follow(resource, inside, tree) if inside is not None else None
        folder_id = inside or tree.targets.get(resource.get("id", ""))
        if folder_id is None or kind.startswith(GOOGLE_TYPES):
            return None
        return recording_of(resource, folder_id=folder_id)

    def _moves_folders(self, file_id: str, resource: dict[str, Any], gone: bool, tree: DriveTree) -> bool:
        """Whether a change brings a folder into the tree or takes one out."""
        if not self._listing.include_subfolders or file_id in self._root_ids:
            return False
        inside = not gone and any(one in tree.folder_ids for one in resource.get("parents", []))
        if file_id in tree.folder_ids:
            return not inside
        target = resource.get("shortcutDetails") or {}
        is_folder = resource.get("mimeType") == FOLDER
        new_folder = target.get("targetId", file_id) not in tree.folder_ids
        return inside and new_folder and (is_folder or target.get("targetMimeType") == FOLDER)


def _touched(changes: Iterable[dict[str, Any]], tree: DriveTree) -> set[str]:
    """Folders of which a listing may be another one now. What went away does not say from where."""
    touched: set[str] = set()
    for change in changes:
        parents = (change.get("file") or {}).get("parents", [])
        if change.get("removed") or change["file"].get("trashed") or tree.folder_ids.isdisjoint(parents):
            return tree.folder_ids
        touched.update(parents)
    return touched & tree.folder_ids

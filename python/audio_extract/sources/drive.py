"""Recordings in Google Drive folders.

Owns which calls are made and what their answers mean for recordings. How a call is made is in
``drive_client.py``, what refusals mean in ``drive_errors.py``.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import quote

from audio_extract.exceptions import (
    AudioExtractError,
    ConfigurationError,
    MediaError,
    NotFoundError,
    PermissionDeniedError,
    SourceChangedError,
)
from audio_extract.sources.base import MOST_TEXT_BYTES, Changes, Neighbour, Recording, SourceCheck
from audio_extract.sources.drive_changes import DriveFeed
from audio_extract.sources.drive_cursor import MY_DRIVE, DriveCursor
from audio_extract.sources.drive_files import REVISION_FIELDS, is_current, recording_of
from audio_extract.sources.drive_listing import DriveFolder, DriveListing, DriveTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from audio_extract.credentials import TokenProvider
    from audio_extract.engine_types import HttpSource
    from audio_extract.sources.drive_client import DriveClient
    from audio_extract.sources.listing_cache import ListingCache

_Problems: TypeAlias = tuple[AudioExtractError, ...]
#: The folders themselves are looked at again after this long, although the change feed is read meanwhile.
_FOLDERS_SECONDS = 900.0
#: Kinds of Google's own documents, which are exported and not downloaded.
_GOOGLES = "application/vnd.google-apps."
#: Enough to find what has a title; Drive looks for the beginnings of words.
_SEARCHED_LETTERS = 60
#: Chat and transcript may stand there before the recording, which has to be encoded first.
_TEXT_BEFORE = timedelta(days=1)


def _quoted(text: str) -> str:
    """Write a text as Drive's search takes it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class DriveSource:
    """The recordings of one or more Drive folders.

    Args:
        client: Makes the calls.
        folder_ids: Which folders.
        include_subfolders: Whether folders inside count too, and those that shortcuts lead to.
        acknowledge_abuse: Download files that Drive has marked as malware or spam.
        cache: Keeps listings of folders for a while.
    """

    name: Literal["drive"] = "drive"

    def __init__(
        self,
        client: DriveClient,
        folder_ids: Sequence[str],
        *,
        include_subfolders: bool = False,
        acknowledge_abuse: bool = False,
        cache: ListingCache | None = None,
    ) -> None:
        self._client = client
        self._folder_ids = tuple(dict.fromkeys(folder_ids))
        self._listing = DriveListing(client, include_subfolders=include_subfolders, cache=cache)
        self._feed = DriveFeed(client, self._listing, frozenset(self._folder_ids))
        self._acknowledge_abuse = acknowledge_abuse
        self._lock = threading.Lock()
        self._tree: DriveTree | None = None
        self._seen: Sequence[DriveFolder] = ()
        self._seen_at = -_FOLDERS_SECONDS

    def check(self) -> SourceCheck:
        """Look whether the folders can be read, and count what is in them."""
        folders = self._all_folders()
        recordings = list(self._listing.walk(folders, DriveTree()))
        return SourceCheck(
            name=self.name,
            subject=", ".join(str(folder) for folder in folders),
            account=self._client.account,
            recordings=len(recordings),
            newest_at=max((one.created_at for one in recordings), default=None),
        )

    def list(self) -> Iterator[Recording]:
        """Everything in the folders, each file once."""
        yield from self._listing.walk(self._all_folders(), DriveTree())

    def changes(
        self,
        cursor: str | None,
        *,
        reconcile: bool = False,
        before_listing: Callable[[], object] = lambda: None,
    ) -> Changes:
        """What is new since a cursor; without one that fits, everything."""
        with self._lock:
            folders, problems = self._folders() if reconcile else self._folders_lately()
            logs = {folder.drive_id or MY_DRIVE for folder in folders}
            depth = "subfolders" if self._listing.include_subfolders else "flat"
            scope = (*sorted(self._folder_ids), depth)
            # Which feed tells of a folder that cannot be seen is not known; the cursor is as good as before.
            kept = DriveCursor.of_text(cursor, scope=scope, logs=None if problems else logs)
            if kept is not None and not reconcile:
                difference = self._difference(kept, folders, problems)
                if difference is not None:
                    return difference
            return self._everything(folders, problems, scope, before_listing, first=kept is None)

    def _difference(
        self, cursor: DriveCursor, folders: Sequence[DriveFolder], problems: _Problems
    ) -> Changes | None:
        """What changed; None: only a full listing can tell."""
        if self._tree is None:
            if problems:
                return None
            # As the last listing saw it; after a start it is asked for, without the files in it.
            self._tree = self._listing.structure(folders)
        changes = self._feed.difference(cursor, self._tree)
        if changes is not None and changes.removed:
            # The files of a folder that is no longer shared are reported as removed, before it or without it.
            _, problems = self._folders()
        if changes is None or not problems:
            return changes
        return dataclasses.replace(changes, removed=[], problems=problems)

    def _everything(
        self,
        folders: Sequence[DriveFolder],
        problems: _Problems,
        scope: tuple[str, ...],
        before_listing: Callable[[], object],
        *,
        first: bool,
    ) -> Changes:
        before_listing()
        # The tokens first: what changes during the listing is reported once more rather than never.
        logs = {folder.drive_id or MY_DRIVE for folder in folders}
        began = time.time()
        tree = DriveTree(tokens={log: self._feed.start_token(log) for log in logs}, listed_at=began)
        recordings = list(self._listing.walk(folders, tree))
        if not problems:
            # One that stopped being shared in the middle of it would look as if it were empty.
            _, problems = self._folders()
        if not problems:
            self._tree = tree
        return Changes(
            recordings=recordings,
            cursor=DriveCursor(scope, dict(tree.tokens), tree.fingerprint()).to_text(),
            full=True,
            first=first,
            kept=tree.listed_at < began,
            unseen=frozenset(tree.unseen),
            problems=problems,
        )

    def get(self, source_id: str) -> Recording:
        """One file by its id, wherever it stands."""
        resource = self._listing.file(source_id)
        if resource.get("trashed"):
            raise NotFoundError(
                f"{resource.get('name', source_id)!r} is in Drive's trash. Restore it, or forget the "
                "recording."
            )
        parents = resource.get("parents") or [None]
        return recording_of(resource, folder_id=parents[0])

    def confirm(self, recording: Recording) -> None:
        """Look whether a recording still is the revision that was planned."""
        resource = self._client.call(
            lambda api: api.files().get(
                fileId=recording.source_id, fields=REVISION_FIELDS, supportsAllDrives=True
            ),
            f"{recording.name!r} ({recording.source_id})",
        )
        if not is_current(recording, resource):
            raise SourceChangedError(
                f"{recording.name!r} was replaced in Drive while it was transferred: planned was revision "
                f"{recording.revision}, now there is "
                f"{resource.get('md5Checksum') or resource.get('headRevisionId')}. It is planned again."
            )

    def engine_source(self, recording: Recording) -> HttpSource:
        """How the engine downloads a recording."""
        url = (
            f"{self._client.endpoint}/drive/v3/files/{quote(recording.source_id, safe='')}"
            "?alt=media&supportsAllDrives=true"
        )
        # Drive refuses this parameter for files that it has not marked, so it is sent only when asked for.
        if self._acknowledge_abuse:
            url += "&acknowledgeAbuse=true"
        return {
            "kind": "http",
            "url": url,
            "authenticated": self._client.token_provider is not None,
            "size_bytes": recording.size_bytes,
            "md5": recording.md5,
            "sha256": recording.sha256,
            "name": recording.name,
        }

    def neighbours(self, recording: Recording, title: str) -> Sequence[Neighbour]:
        """Other files in a recording's folder whose names begin with a title, from its time on.

        The hundred that came soonest: a folder may hold one title for each week of some years. Who writes a
        text long after the meeting is among them as well, unless so many came in between.
        """
        if recording.folder_id is None or not title:
            return []
        since = recording.created_at - _TEXT_BEFORE
        query = (
            f"{_quoted(recording.folder_id)} in parents and trashed = false"
            f" and createdTime >= {_quoted(since.isoformat(timespec='seconds'))}"
            f" and name contains {_quoted(title[:_SEARCHED_LETTERS])}"
        )
        answer = self._client.call(
            lambda api: api.files().list(
                q=query,
                orderBy="createdTime",
                fields="files(id,name,mimeType,createdTime,size,webViewLink)",
                pageSize=100,
                supportsAllDrives=True,
                includeItemsFromAllDrives=True,
            ),
            f"what belongs to {recording.name!r}",
        )
        return [
            Neighbour(
                source_id=one["id"],
                name=one["name"],
                mime_type=one.get("mimeType"),
                created_at=datetime.fromisoformat(one["createdTime"]),
                size_bytes=int(one["size"]) if "size" in one else None,
                web_link=one.get("webViewLink"),
            )
            for one in answer.get("files", ())
            if one["id"] != recording.source_id
        ]

    def text_of(self, neighbour: Neighbour) -> str:
        """What stands in a document of Google's, or in a text file."""
        if (neighbour.size_bytes or 0) > MOST_TEXT_BYTES:
            raise MediaError(f"{neighbour.name!r} is larger than any text of a meeting")
        is_document = (neighbour.mime_type or "").startswith(_GOOGLES)
        content = self._client.call(
            lambda api: (
                api.files().export_media(fileId=neighbour.source_id, mimeType="text/plain")
                if is_document
                else api.files().get_media(fileId=neighbour.source_id, supportsAllDrives=True)
            ),
            repr(neighbour.name),
        )
        return bytes(content).decode("utf-8-sig", "replace")

    def token_provider(self) -> TokenProvider | None:
        """What the engine asks for access tokens."""
        return self._client.token_provider

    def watch(self, on_change: Callable[[], object]) -> None:
        """Drive tells nobody by itself who cannot be reached from the internet."""

    @property
    def settle_seconds(self) -> float:
        """A file is taken once it has a checksum, however young."""
        return 0.0

    def count_requests(self, count: Callable[[str, str | None], None]) -> None:
        """Tell somebody of each call."""
        self._client.on_request = count

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _all_folders(self) -> Sequence[DriveFolder]:
        """The configured folders, each seen just now: a folder that is not shared looks like an empty one."""
        return [self._listing.folder(folder_id) for folder_id in self._folder_ids]

    def _folders(self) -> tuple[Sequence[DriveFolder], _Problems]:
        """The configured folders that can be seen, and what is wrong with the others.

        Raises:
            AudioExtractError: None can be seen, or Drive does not answer.
        """
        seen: list[DriveFolder] = []
        problems: list[AudioExtractError] = []
        for folder_id in self._folder_ids:
            try:
                seen.append(self._listing.folder(folder_id))
            except (PermissionDeniedError, ConfigurationError) as error:
                problems.append(error)
        self._seen_at = -_FOLDERS_SECONDS if problems else time.monotonic()
        self._seen = seen
        if not seen:
            raise problems[0]
        return seen, tuple(problems)

    def _folders_lately(self) -> tuple[Sequence[DriveFolder], _Problems]:
        """The configured folders, seen some time ago: what happens to them is in the change feed too."""
        is_lately = time.monotonic() - self._seen_at < _FOLDERS_SECONDS
        return (self._seen, ()) if is_lately else self._folders()

"""What stands in Drive folders: looking at a folder, walking through it, following shortcuts.

Owns full listings and what they learn about the tree of folders. The change feed is in ``drive_changes.py``.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from audio_extract.exceptions import (
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    TransientError,
)
from audio_extract.sources.drive_files import (
    FILE_FIELDS,
    FOLDER,
    FOLDER_FIELDS,
    GOOGLE_TYPES,
    SHORTCUT,
    recording_of,
)
from audio_extract.sources.listing_cache import MOST_FILES, KeptListing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from audio_extract.sources.base import Recording
    from audio_extract.sources.drive_client import DriveClient
    from audio_extract.sources.listing_cache import ListingCache

PAGE_SIZE = 1000
_SETTING = "google_drive.recordings_folder_id"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DriveFolder:
    """A folder.

    Attributes:
        drive_id: The shared drive it stands in; None: My Drive. Known of the configured folders only.
    """

    id: str
    name: str
    drive_id: str | None = None

    def __str__(self) -> str:
        return f"the folder {self.name!r} ({self.id})"


@dataclass(slots=True)
class DriveTree:
    """What the change feed is filtered by.

    Attributes:
        folder_ids: The folders that count.
        targets: Id of a shortcut's target → the folder of the shortcut.
        tokens: Where the change feeds stood before it was walked through; for each feed its token.
        listed_at: When that was, in seconds since the epoch; earlier where a kept listing was taken.
        unseen: Folders that something leads to and that cannot be looked at.
    """

    folder_ids: set[str] = field(default_factory=set)
    targets: dict[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    listed_at: float = 0.0
    unseen: set[str] = field(default_factory=set)

    def fingerprint(self) -> str:
        """A short text that is another one when other folders count."""
        return hashlib.sha256("\n".join(sorted(self.folder_ids)).encode()).hexdigest()[:16]


class DriveListing:
    """Reads folders.

    Args:
        client: Makes the calls.
        include_subfolders: Whether folders inside count too, and those that shortcuts lead to.
        cache: Keeps listings for a while.
    """

    def __init__(
        self, client: DriveClient, *, include_subfolders: bool, cache: ListingCache | None = None
    ) -> None:
        self._client = client
        self.include_subfolders = include_subfolders
        self.cache = cache
        self._told: set[str] = set()

    def folder(self, folder_id: str) -> DriveFolder:
        """A configured folder, as it stands now.

        Raises:
            PermissionDeniedError: The account does not see it.
            ConfigurationError: It is not a folder, or in the trash.
        """
        try:
            resource = self._client.call(
                lambda api: api.files().get(fileId=folder_id, fields=FOLDER_FIELDS, supportsAllDrives=True),
                f"the folder {folder_id}",
            )
        except NotFoundError as error:
            account = self._client.account
            raise PermissionDeniedError(
                f"{account} does not see the Drive folder {folder_id} ({_SETTING}): share the folder with it "
                "as Viewer, or correct the id (what follows /folders/ in the folder's address).",
                status=error.status,
            ) from error
        if resource.get("mimeType") == SHORTCUT:
            target = resource.get("shortcutDetails") or {}
            if target.get("targetMimeType") == FOLDER:
                return self.folder(target["targetId"])
        name = resource.get("name", folder_id)
        if resource.get("mimeType") != FOLDER:
            raise ConfigurationError(
                f"{name!r} ({folder_id}) is a file and not a folder. Set {_SETTING} to the id of a folder: "
                "what follows /folders/ in its address."
            )
        if resource.get("trashed"):
            raise ConfigurationError(
                f"The Drive folder {name!r} ({folder_id}) is in the trash. Restore it, or set {_SETTING} to "
                "another folder."
            )
        # The id that was asked for may be an alias such as "root"; parents name the real one.
        return DriveFolder(resource["id"], name, resource.get("driveId"))

    def walk(self, folders: Sequence[DriveFolder], tree: DriveTree) -> Iterator[Recording]:
        """All recordings below folders; notes in the tree what it passes.

        With a cache, what was listed a short while ago is taken from there, and the tree's tokens become
        those of the oldest listing; with tokens in the tree, new listings are kept.
        """
        waiting = deque(folders)
        tree.folder_ids.update(folder.id for folder in folders)
        seen: set[str] = set()
        while waiting:
            folder = waiting.popleft()
            for resource in self._seen(folder, folders, tree, self._files(folder, tree)):
                found = self._enter(resource, folder.id, tree, waiting)
                if found is not None and found.source_id not in seen:
                    seen.add(found.source_id)
                    yield found

    def _seen(
        self,
        folder: DriveFolder,
        configured: Sequence[DriveFolder],
        tree: DriveTree,
        files: Iterator[dict[str, Any]],
    ) -> Iterator[dict[str, Any]]:
        """What stands in a folder; nothing where a shortcut leads to a folder that cannot be seen."""
        try:
            yield from files
        except (NotFoundError, PermissionDeniedError) as error:
            if folder in configured:
                raise
            tree.unseen.add(folder.id)
            if folder.id not in self._told:
                _log.warning("%s is left out: %s", folder, error, extra={"event": "folder.unseen"})
            self._told.add(folder.id)

    def _files(self, folder: DriveFolder, tree: DriveTree) -> Iterator[dict[str, Any]]:
        """What stands in one folder, or stood there a short while ago."""
        if self.cache is None:
            yield from self.children(folder)
            return
        kept = self.cache.get(folder.id)
        if kept is not None and kept.is_for(self._client.account, tree.tokens):
            if kept.listed_at < tree.listed_at:
                tree.tokens = {log: kept.tokens[log] for log in tree.tokens}
                tree.listed_at = kept.listed_at
            yield from kept.files
            return
        began, tokens = tree.listed_at, tree.tokens
        files: list[dict[str, Any]] | None = []
        for resource in self.children(folder):
            if files is not None:
                files.append(resource)
                files = files if len(files) <= MOST_FILES else None
            yield resource
        if files is not None and tokens:
            self.cache.put(folder.id, KeptListing(self._client.account, files, tokens, began))

    def _enter(
        self, resource: dict[str, Any], folder_id: str, tree: DriveTree, waiting: deque[DriveFolder]
    ) -> Recording | None:
        kind = resource.get("mimeType", "")
        if kind == SHORTCUT:
            target = resource.get("shortcutDetails") or {}
            if target.get("targetMimeType") == FOLDER:
                self._descend(DriveFolder(target["targetId"], resource["name"]), tree, waiting)
                return None
            return self.follow(resource, folder_id, tree)
        if kind == FOLDER:
            self._descend(DriveFolder(resource["id"], resource["name"]), tree, waiting)
            return None
        return None if kind.startswith(GOOGLE_TYPES) else recording_of(resource, folder_id=folder_id)

    def _descend(self, folder: DriveFolder, tree: DriveTree, waiting: deque[DriveFolder]) -> None:
        # Shortcuts can lead in a circle.
        if self.include_subfolders and folder.id not in tree.folder_ids:
            tree.folder_ids.add(folder.id)
            waiting.append(folder)

    def follow(self, shortcut: dict[str, Any], folder_id: str, tree: DriveTree) -> Recording | None:
        """The recording a shortcut leads to; None: it leads to something else, or nowhere."""
        target_id = (shortcut.get("shortcutDetails") or {}).get("targetId")
        if target_id is None:
            return None
        tree.targets[target_id] = folder_id
        try:
            resource = self.file(target_id)
        except (NotFoundError, PermissionDeniedError) as error:
            _log.warning(
                "the shortcut %r leads nowhere: %s",
                shortcut.get("name"),
                error,
                extra={"event": "shortcut.broken", "code": error.code},
            )
            return None
        if resource.get("trashed") or resource.get("mimeType", "").startswith(GOOGLE_TYPES):
            return None
        return recording_of(resource, folder_id=folder_id)

    def children(self, folder: DriveFolder, also: str = "") -> Iterator[dict[str, Any]]:
        """What stands in one folder. One query each: many parents in one query sometimes give nothing."""
        query = f"'{folder.id}' in parents and trashed = false{also}"
        parameters = {
            "q": query,
            "fields": f"nextPageToken,incompleteSearch,files({FILE_FIELDS})",
            "pageSize": PAGE_SIZE,
            "supportsAllDrives": True,
            "includeItemsFromAllDrives": True,
        }
        token: str | None = None
        while True:
            page = self._client.call(
                lambda api: api.files().list(pageToken=token, **parameters),  # noqa: B023 - called at once
                str(folder),
            )
            if page.get("incompleteSearch"):
                message = f"Drive has not searched all of {folder}; it is tried again with the next look."
                raise TransientError(message, code="source.incomplete_listing")
            yield from page.get("files", [])
            token = page.get("nextPageToken")
            if token is None:
                return

    def file(self, file_id: str) -> dict[str, Any]:
        """The resource of one file.

        Raises:
            NotFoundError: It is gone, or the account does not see it.
        """
        resource: dict[str, Any] = self._client.call(
            lambda api: api.files().get(fileId=file_id, fields=FILE_FIELDS, supportsAllDrives=True),
            f"the file {file_id}",
        )
        return resource

    def structure(self, folders: Sequence[DriveFolder]) -> DriveTree:
        """The tree of folders and shortcuts, without looking at files."""
        tree = DriveTree(folder_ids={folder.id for folder in folders})
        waiting = deque(folders)
        wanted = f" and (mimeType = '{FOLDER}' or mimeType = '{SHORTCUT}')"
        while waiting:
            folder = waiting.popleft()
            for resource in self._seen(folder, folders, tree, self.children(folder, also=wanted)):
                target = resource.get("shortcutDetails") or {}
                if resource.get("mimeType") == FOLDER:
                    self._descend(DriveFolder(resource["id"], resource["name"]), tree, waiting)
                elif target.get("targetMimeType") == FOLDER:
                    self._descend(DriveFolder(target["targetId"], resource["name"]), tree, waiting)
                elif "targetId" in target:
                    tree.targets[target["targetId"]] = folder.id
        return tree

"""The emulated Drive: folders, files, shortcuts, shared drives, and the log of their changes.

Its Python methods are for tests and the demo, which change things while the server runs; so everything locks.
The HTTP interface is in ``drive/app.py``.
"""

from __future__ import annotations

import dataclasses
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audio_extract.emulator.content import BytesContent, Content, as_content, checksums
from audio_extract.emulator.drive.item import (
    FOLDER,
    SHORTCUT,
    DriveItem,
    Owner,
    SeenItem,
    VideoMetadata,
    guess_media_type,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from audio_extract.emulator.clock import Clock

ROOT_ALIAS = "root"
_ID_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"


@dataclass(frozen=True)
class Change:
    """One entry of the change log.

    Attributes:
        number: Position in the log, from 1.
        item_id: What changed.
        drive_id: The shared drive it belongs to.
        removed: It was deleted, or the account lost access.
        time: When.
    """

    number: int
    item_id: str
    drive_id: str | None
    removed: bool
    time: datetime


class DriveState:
    """Everything that stands in the emulated Drive.

    Args:
        clock: The service's time.
        account_email: Who asks: the service account or user whose Drive this is.

    Attributes:
        incomplete_search: Listings say that not everything was searched.
    """

    incomplete_search = False

    def __init__(self, clock: Clock, account_email: str) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._items: dict[str, DriveItem] = {}
        self._drives: dict[str, str] = {}
        self._changes: list[Change] = []
        self.account = Owner(account_email, account_email.partition("@")[0], me=True)
        self.organizer = Owner("organizer@example.com", "Meeting Organizer")
        now = clock()
        self.root_id = self._new_id("0A", 19)
        self._items[self.root_id] = DriveItem(
            id=self.root_id,
            name="My Drive",
            mime_type=FOLDER,
            parents=[],
            created=now,
            modified=now,
            owner=self.account,
        )

    # What tests and the demo put there.

    def add_folder(self, name: str, *, parent: str = ROOT_ALIAS, item_id: str | None = None) -> str:
        """Make a folder and return its id."""
        return self._add(name, FOLDER, parent, item_id=item_id)

    def add_file(
        self,
        content: bytes | Path | Content,
        *,
        name: str,
        parent: str = ROOT_ALIAS,
        item_id: str | None = None,
        mime_type: str | None = None,
        created_time: datetime | None = None,
        modified_time: datetime | None = None,
        with_checksums: bool = True,
        video: VideoMetadata | None = None,
        app_properties: Mapping[str, str] | None = None,
    ) -> str:
        """Put a file there and return its id.

        Args:
            content: Bytes, a path (served from there, never loaded whole), or a content.
            name: Its name in Drive.
            parent: Its folder.
            item_id: Its id; a new one by default.
            mime_type: By default guessed from the name.
            created_time: By default now.
            modified_time: By default the creation.
            with_checksums: Without, the resource has no checksums, as a file that was only just uploaded.
                They cost one pass over the content.
            video: ``videoMediaMetadata``.
            app_properties: ``appProperties``.
        """
        body = as_content(content)
        sums = checksums(body) if with_checksums else None
        created = created_time or self._clock()
        return self._add(
            name,
            mime_type or guess_media_type(name),
            parent,
            item_id=item_id,
            content=body,
            checksums=sums,
            head_revision_id=self._new_id("0B", 48),
            created=created,
            modified=modified_time or created,
            video=video,
            app_properties=dict(app_properties or {}),
        )

    def add_shortcut(self, target: str, *, name: str | None = None, parent: str = ROOT_ALIAS) -> str:
        """Make a shortcut to an item and return its id."""
        with self._lock:
            item = self.item(target)
            return self._add(
                name or item.name,
                SHORTCUT,
                parent,
                shortcut_target_id=item.id,
                shortcut_target_type=item.mime_type,
            )

    def add_shared_drive(self, name: str) -> str:
        """Make a shared drive and return its id, which is also the id of its top folder."""
        with self._lock:
            drive_id = self._new_id("0A", 19)
            now = self._clock()
            self._drives[drive_id] = name
            self._items[drive_id] = DriveItem(
                id=drive_id,
                name=name,
                mime_type=FOLDER,
                parents=[],
                created=now,
                modified=now,
                owner=self.organizer,
                drive_id=drive_id,
            )
            return drive_id

    def _add(
        self,
        name: str,
        mime_type: str,
        parent: str,
        *,
        item_id: str | None = None,
        **values: Any,
    ) -> str:
        with self._lock:
            folder = self.item(parent)
            now = self._clock()
            owner = self.account if folder.id == self.root_id and mime_type == FOLDER else self.organizer
            item = DriveItem(
                id=item_id or self._new_id("1", 32),
                name=name,
                mime_type=mime_type,
                parents=[folder.id],
                owner=owner,
                drive_id=folder.drive_id,
                **{"created": now, "modified": now, **values},
            )
            if item.id in self._items:
                raise ValueError(f"there is an item with id {item.id} already")
            self._items[item.id] = item
            self._changed(item)
            return item.id

    # What tests do to what stands there.

    def update_content(
        self, item_id: str, content: bytes | Path | Content, *, with_checksums: bool = True
    ) -> None:
        """Make a new revision."""
        body = as_content(content)
        sums = checksums(body) if with_checksums else None
        with self._lock:
            item = self.item(item_id)
            item.content = body
            item.checksums = sums
            item.head_revision_id = self._new_id("0B", 48)
            item.modified = self._clock()
            self._changed(item)

    def change_revision(self, item_id: str) -> None:
        """Make a new revision of the same size whose first byte differs."""
        with self._lock:
            content = self.item(item_id).content
            if content is None:
                raise ValueError(f"{item_id} has no content")
            self.update_content(item_id, _FirstByteChanged(content))

    def compute_checksums(self, item_id: str) -> None:
        """Give a file the checksums that it did not have yet, as Drive does some time after an upload."""
        with self._lock:
            item = self.item(item_id)
            if item.content is not None:
                item.checksums = checksums(item.content)
                self._changed(item)

    def edit(self, item_id: str, **values: Any) -> None:
        """Set attributes of :class:`~audio_extract.emulator.drive.item.DriveItem`, for example ``name``."""
        with self._lock:
            item = self.item(item_id)
            for name, value in values.items():
                if name not in {field.name for field in dataclasses.fields(item)}:
                    raise AttributeError(name)
                setattr(item, name, value)
            self._changed(item)

    def move(self, item_id: str, parent: str) -> None:
        """Put an item into another folder."""
        with self._lock:
            item = self.item(item_id)
            folder = self.item(parent)
            item.parents = [folder.id]
            if item.drive_id not in {None, folder.drive_id}:
                # "Removed from this list of changes", as the reference says of a drive's own log.
                self._changed(item, removed=True)
            item.drive_id = folder.drive_id
            self._changed(item)

    def trash(self, item_id: str) -> None:
        """Put an item, with all that is below it, into the trash."""
        self._set_trashed(item_id, True)

    def untrash(self, item_id: str) -> None:
        """Take an item out of the trash."""
        self._set_trashed(item_id, False)

    def _set_trashed(self, item_id: str, trashed: bool) -> None:
        with self._lock:
            item = self.item(item_id)
            item.trashed = trashed
            for one in self._tree(item):
                self._changed(one)

    def delete(self, item_id: str) -> None:
        """Delete an item for ever, with all that is below it."""
        with self._lock:
            for item in list(self._tree(self.item(item_id))):
                del self._items[item.id]
                self._changed(item, removed=True)

    def hide(self, item_id: str) -> None:
        """Take the account's access away: for it the item and what inherits from it do not exist."""
        self._set_visible(item_id, False)

    def share(self, item_id: str) -> None:
        """Give the account access to an item itself, whatever its folder allows."""
        self._set_visible(item_id, True)

    def _set_visible(self, item_id: str, visible: bool) -> None:
        with self._lock:
            item = self.item(item_id)
            item.visible = visible
            for one in self._tree(item):
                self._changed(one, removed=not self.is_visible(one))

    def drop_changes(self, item_id: str) -> None:
        """Let the log of changes say nothing of what happened to an item up to now, as if Drive were late."""
        with self._lock:
            self._changes = [
                dataclasses.replace(change, item_id="") if change.item_id == item_id else change
                for change in self._changes
            ]

    def exhaust_download_quota(self, item_id: str, downloads_left: int = 0) -> None:
        """Let media downloads of a file fail with ``downloadQuotaExceeded`` after so many more."""
        with self._lock:
            self.item(item_id).downloads_left = downloads_left

    def restore_download_quota(self, item_id: str) -> None:
        """Let media downloads of a file succeed again."""
        with self._lock:
            self.item(item_id).downloads_left = None

    # What is there.

    def item(self, item_id: str) -> DriveItem:
        """An item by id or by the alias ``root``.

        Raises:
            KeyError: There is none.
        """
        with self._lock:
            return self._items[self.root_id if item_id == ROOT_ALIAS else item_id]

    def items(self) -> list[DriveItem]:
        """All items but the top folders, in the order they came."""
        with self._lock:
            return [item for item in self._items.values() if item.parents]

    def shared_drives(self) -> dict[str, str]:
        """Id and name of each shared drive."""
        with self._lock:
            return dict(self._drives)

    def is_visible(self, item: DriveItem) -> bool:
        """Whether the account may see an item: by its own sharing, else by its folders'."""
        if item.visible is not None:
            return item.visible
        parents = [self._items[parent] for parent in item.parents if parent in self._items]
        return all(self.is_visible(parent) for parent in parents)

    def seen(self, item_id: str) -> SeenItem | None:
        """An item as the account sees it; None if it cannot."""
        with self._lock:
            item = self._items.get(self.root_id if item_id == ROOT_ALIAS else item_id)
            if item is None or not self.is_visible(item):
                return None
            parents = [
                parent
                for parent in item.parents
                if parent in self._items and self.is_visible(self._items[parent])
            ]
            return SeenItem(item, parents, self._in_trash(item))

    def select(self, wanted: Callable[[SeenItem], bool]) -> list[SeenItem]:
        """The items the account can see and wants, newest change first (Drive's usual order)."""
        with self._lock:
            found = [seen for item in self._items.values() if item.parents and (seen := self.seen(item.id))]
            found.sort(key=lambda seen: seen.item.modified, reverse=True)
            return [seen for seen in found if wanted(seen)]

    def take_download(self, item_id: str) -> bool:
        """Count a media download against the file's quota; whether it is allowed."""
        with self._lock:
            item = self.item(item_id)
            if item.downloads_left is None:
                return True
            if item.downloads_left <= 0:
                return False
            item.downloads_left -= 1
            return True

    def last_change(self) -> int:
        """Number of the latest change."""
        with self._lock:
            return len(self._changes)

    def changes_since(self, number: int, drive_id: str | None = None) -> list[Change]:
        """Changes with a number above ``number``, oldest first; of each item only the latest.

        Args:
            number: Of the last change that is known.
            drive_id: Only of this shared drive's log.
        """
        with self._lock:
            changes = (
                change
                for change in self._changes[number:]
                if change.item_id and drive_id in {None, change.drive_id}
            )
            latest = {change.item_id: change for change in changes}
            return sorted(latest.values(), key=lambda change: change.number)

    def _in_trash(self, item: DriveItem) -> bool:
        if item.trashed:
            return True
        return any(self._in_trash(self._items[parent]) for parent in item.parents if parent in self._items)

    def _tree(self, item: DriveItem) -> Iterator[DriveItem]:
        yield item
        for child in list(self._items.values()):
            if item.id in child.parents:
                yield from self._tree(child)

    def _changed(self, item: DriveItem, *, removed: bool = False) -> None:
        item.version += 1
        change = Change(len(self._changes) + 1, item.id, item.drive_id, removed, self._clock())
        self._changes.append(change)

    @staticmethod
    def _new_id(prefix: str, length: int) -> str:
        return prefix + "".join(secrets.choice(_ID_ALPHABET) for _ in range(length - len(prefix)))


class _FirstByteChanged(BytesContent):
    """Another content with its first byte flipped, for a revision that differs but is not kept twice."""

    def __init__(self, original: Content) -> None:
        super().__init__(b"")
        self._original = original

    @property
    def size(self) -> int:
        return self._original.size

    def read(self, offset: int, length: int) -> bytes:
        with self._original.open() as reader:
            piece = reader.read(offset, length)
        if offset > 0 or not piece:
            return piece
        return bytes([piece[0] ^ 0xFF]) + piece[1:]

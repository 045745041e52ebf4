"""Recordings in a folder of this machine.

Owns finding files. That a file is whole is judged by its age: nobody says when writing ends. There is no
change feed: a listing costs little, so every look is a full one.
"""

from __future__ import annotations

import errno
import heapq
import json
import logging
import mimetypes
import os
import stat
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from audio_extract.exceptions import (
    AudioExtractError,
    ConfigurationError,
    MediaError,
    NotFoundError,
    PermissionDeniedError,
    SourceChangedError,
    TransientError,
)
from audio_extract.sources.base import MOST_TEXT_BYTES, Changes, Neighbour, Recording, SourceCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from audio_extract.credentials import TokenProvider
    from audio_extract.engine_types import FileSource
    from audio_extract.sources.folder_watch import FolderWatch

_SETTING = "sources.local.path"
_MOST_NEIGHBOURS = 100
#: Names that programs give files they have not finished; hidden files (with a dot first) are left out too.
TEMPORARY_SUFFIXES = (
    ".tmp", ".temp", ".part", ".partial", ".crdownload", ".download", ".filepart", ".swp", "~",
)  # fmt: skip
#: Kinds the standard table of some machines does not have.
_MEDIA_TYPES = {
    ".flv": "video/x-flv",
    ".m4a": "audio/mp4",
    ".m4v": "video/x-m4v",
    ".mkv": "video/x-matroska",
    ".mp4": "video/mp4",
    ".mts": "video/mp2t",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".ts": "video/mp2t",
    ".webm": "video/webm",
}

_log = logging.getLogger(__name__)


class LocalSource:
    """The recordings below one folder.

    Args:
        folder: The folder.
        include_subfolders: Whether folders inside count too.
        settle_seconds: A file that was changed less long ago may still be written.
        now: Gives the present time.
        leave_out: Folders that are not searched, for example the destination.
    """

    name: Literal["local"] = "local"

    def __init__(
        self,
        folder: Path,
        *,
        include_subfolders: bool = True,
        settle_seconds: float = 10.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        leave_out: tuple[Path, ...] = (),
    ) -> None:
        self._folder = folder
        self._include_subfolders = include_subfolders
        self._settle_seconds = settle_seconds
        self._now = now
        self._leave_out = frozenset(path.resolve() for path in leave_out)
        self._told: set[str] = set()

    def check(self) -> SourceCheck:
        """Look whether the folder can be read, and count the files in it."""
        recordings = [*self.list()]
        return SourceCheck(
            name=self.name,
            subject=f"the folder {self._folder}",
            account=None,
            recordings=len(recordings),
            newest_at=max((one.created_at for one in recordings), default=None),
        )

    def list(self) -> Iterator[Recording]:
        """Every file in the folder that is not hidden or temporary, by path."""
        yield from self._list(set())

    def changes(
        self,
        cursor: str | None,
        *,
        reconcile: bool = False,  # noqa: ARG002 - every look is one
        before_listing: Callable[[], object] = lambda: None,
    ) -> Changes:
        """Everything there is. The cursor only says for which folder on which file system it was made."""
        before_listing()
        root = self._root()
        scope = f"{root}:{'subfolders' if self._include_subfolders else 'flat'}"
        here = scope.encode("utf-8", "backslashreplace").decode()
        device = root.stat().st_dev
        before, device_before = _read_cursor(cursor)
        unseen: set[str] = set()
        recordings = [*self._list(unseen)]
        problems: tuple[AudioExtractError, ...] = ()
        if before == here and device_before not in {None, device} and not recordings:
            # What is left of a mount that is not there is an empty folder.
            message = (
                f"The folder {self._folder} ({_SETTING}) is empty, and on another file system than before: "
                "as if its mount were missing. Mount it; if it is meant to be empty, put a file there."
            )
            problems = (TransientError(message, code="source.not_mounted"),)
        return Changes(
            recordings=recordings,
            cursor=json.dumps([here, device]),
            full=True,
            first=before != here,
            unseen=frozenset(unseen),
            problems=problems,
        )

    def get(self, source_id: str) -> Recording:
        """One file by its path below the folder."""
        path = self._path(source_id)
        try:
            status = path.stat()
        except OSError as error:
            raise _failure(error, path) from error
        if not stat.S_ISREG(status.st_mode):
            raise NotFoundError(f"{path} is no longer a file.", code="source.not_found")
        return self._recording(PurePosixPath(source_id), status)

    def confirm(self, recording: Recording) -> None:
        """Look whether a file still is the one that was planned."""
        current = self.get(recording.source_id)
        if current.revision != recording.revision:
            raise SourceChangedError(
                f"{recording.name!r} was changed on disk while it was transferred. It is planned again once "
                f"it has not changed for {self._settle_seconds:g} seconds."
            )

    def engine_source(self, recording: Recording) -> FileSource:
        """How the engine reads a file."""
        return {"kind": "file", "path": str(self._path(recording.source_id)), "name": recording.name}

    def neighbours(self, recording: Recording, title: str) -> Sequence[Neighbour]:
        """Other files in a recording's folder whose names begin with a title.

        The hundred whose names have most in common with its own: a folder may hold one title for each week of
        some years, and times are lost when files are copied.
        """
        path = self._path(recording.source_id)
        if not title:
            return []

        def most_alike_first(entry: os.DirEntry[str]) -> tuple[int, str]:
            shared = os.path.commonprefix([entry.name, path.name])  # noqa: RUF071 - letters, not folders
            return -len(shared), entry.name

        try:
            with os.scandir(path.parent) as entries:
                others = [
                    entry
                    for entry in entries
                    if entry.name.startswith(title) and entry.name != path.name and entry.is_file()
                ]
            return [
                Neighbour(
                    source_id=str(PurePosixPath(recording.source_id).with_name(entry.name)),
                    name=entry.name,
                    mime_type=mimetypes.guess_type(entry.name)[0],
                    created_at=datetime.fromtimestamp(entry.stat().st_mtime, UTC),
                    size_bytes=entry.stat().st_size,
                )
                for entry in heapq.nsmallest(_MOST_NEIGHBOURS, others, key=most_alike_first)
            ]
        except OSError as error:
            raise _failure(error, path.parent) from error

    def text_of(self, neighbour: Neighbour) -> str:
        """What stands in a text file."""
        path = self._path(neighbour.source_id)
        if (neighbour.size_bytes or 0) > MOST_TEXT_BYTES:
            raise MediaError(f"{path} is larger than any text of a meeting")
        try:
            return path.read_bytes()[:MOST_TEXT_BYTES].decode("utf-8-sig", "replace")
        except OSError as error:
            raise _failure(error, path) from error

    def watch(self, on_change: Callable[[], object]) -> FolderWatch:
        """Hear of changes in the folder."""
        from audio_extract.sources.folder_watch import FolderWatch

        return FolderWatch(self._folder, recursive=self._include_subfolders, on_change=on_change)

    @property
    def settle_seconds(self) -> float:
        """So long after its last change a file is taken."""
        return self._settle_seconds

    def token_provider(self) -> TokenProvider | None:
        """Nobody has to sign in."""
        return None

    def count_requests(self, count: Callable[[str, str | None], None]) -> None:
        """A folder is not asked over a network."""

    def close(self) -> None:
        """There is nothing to give back."""

    def _root(self) -> Path:
        try:
            root = self._folder.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise ConfigurationError(
                f"The folder {self._folder} ({_SETTING}) does not exist or cannot be reached. Create or "
                f"mount it, or correct {_SETTING}."
            ) from error
        if not root.is_dir():
            raise ConfigurationError(f"{self._folder} ({_SETTING}) is a file. Set {_SETTING} to a folder.")
        return root

    def _path(self, source_id: str) -> Path:
        """The file of a source id; it cannot lead out of the folder."""
        root = self._root()
        path = root / source_id
        try:
            inside = path.resolve().is_relative_to(root)
        except (OSError, ValueError, RuntimeError):
            inside = False
        if not inside:
            raise NotFoundError(f"{source_id!r} is not in the folder {self._folder} ({_SETTING}).")
        return path

    def _list(self, unseen: set[str]) -> Iterator[Recording]:
        root = self._root()
        yield from self._walk(root, PurePosixPath(), {_identity(root.stat())}, unseen)
        self._told &= unseen

    def _walk(
        self, folder: Path, below: PurePosixPath, seen: set[tuple[int, int]], unseen: set[str]
    ) -> Iterator[Recording]:
        try:
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not below.parts:
                raise _failure(error, folder) from error
            if not isinstance(error, FileNotFoundError):
                self._leave(below, error, unseen)
            return
        for entry in ordered:
            if is_temporary(entry.name):
                continue
            yield from self._entry(entry, below / entry.name, seen, unseen)

    def _leave(self, below: PurePosixPath, error: OSError, unseen: set[str]) -> None:
        """Note what cannot be looked at, and say so once."""
        unseen.add(str(below))
        if str(below) not in self._told:
            _log.warning(
                "%s is left out: %s", _shown(below), error.strerror, extra={"event": "folder.unseen"}
            )
        self._told.add(str(below))

    def _entry(
        self, entry: os.DirEntry[str], below: PurePosixPath, seen: set[tuple[int, int]], unseen: set[str]
    ) -> Iterator[Recording]:
        path = Path(entry.path)
        try:
            if entry.is_symlink() and not path.resolve().is_relative_to(self._root()):
                _log.debug(
                    "the link %s leads out of the folder", _shown(below), extra={"event": "link.left_out"}
                )
                return
            status = path.stat()
        except (FileNotFoundError, RuntimeError):
            # It vanished in between, or is a link to nothing or to itself.
            return
        except OSError as error:
            self._leave(below, error, unseen)
            return
        if stat.S_ISDIR(status.st_mode):
            # Links can lead in a circle.
            is_new = _identity(status) not in seen and path.resolve() not in self._leave_out
            if self._include_subfolders and is_new:
                seen.add(_identity(status))
                yield from self._walk(path, below, seen, unseen)
        elif stat.S_ISREG(status.st_mode):
            if not _is_text(entry.name):
                _log.warning(
                    "%s is left out: its name is not valid UTF-8. Rename it.",
                    _shown(below),
                    extra={"event": "recording.unusable_name", "source": self.name},
                )
                return
            yield self._recording(below, status)

    def _recording(self, below: PurePosixPath, status: os.stat_result) -> Recording:
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
        born = getattr(status, "st_birthtime", status.st_mtime)
        return Recording(
            source="local",
            source_id=str(below),
            revision=f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}",
            name=below.name,
            mime_type=_media_type(below),
            size_bytes=status.st_size,
            created_at=datetime.fromtimestamp(born, UTC),
            modified_at=modified,
            folder_id=str(below.parent) if len(below.parts) > 1 else None,
            settled=self._now().timestamp() - self._last_change(status) >= self._settle_seconds,
        )

    def _last_change(self, status: os.stat_result) -> float:
        """When a file was written to last, in seconds since the epoch.

        Programs that copy may set the time of modification back before they are done; the time of change of
        the file itself cannot be set. A camera's clock that is ahead must not hold a file up for years.
        """
        now = self._now().timestamp()
        times = (status.st_mtime, status.st_ctime)
        return max((time for time in times if time <= now), default=min(times))


def is_temporary(name: str) -> bool:
    """Whether a name says that the file is hidden or not finished."""
    return name.startswith((".", "~$")) or name.lower().endswith(TEMPORARY_SUFFIXES)


def _read_cursor(cursor: str | None) -> tuple[str | None, int | None]:
    """For which folder a cursor was made, and on which device that was."""
    try:
        scope, device = json.loads(cursor or "")
        return str(scope), int(device)
    except (ValueError, TypeError):
        # Of a version that did not note the device.
        return cursor, None


def _media_type(path: PurePosixPath) -> str | None:
    return _MEDIA_TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: PurePosixPath) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()


def _failure(error: OSError, path: Path) -> AudioExtractError:
    """The exception of a file that cannot be looked at."""
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotFoundError(f"{path} is no longer there.", code="source.not_found")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return PermissionDeniedError(
            f"{path} cannot be read: permission denied. Give this process's user the right to read it.",
            code="source.permission_denied",
        )
    return TransientError(
        f"{path} cannot be read: {error.strerror}. It is tried again; look at the disk or the mount.",
        code="source.io",
    )

"""Audio in a folder, which may be a mounted bucket.

Owns names, proofs and links there. The audio itself is written by the engine's file sink; what this writes
itself (logs, saved files) goes under a temporary name, is flushed to the disk and then renamed.
"""

from __future__ import annotations

import errno
import json
import logging
import mimetypes
import os
import shutil
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from audio_extract.exceptions import (
    AudioExtractError,
    ConfigurationError,
    CorruptionError,
    DestinationExistsError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    TransientError,
)
from audio_extract.storage.base import StorageCheck, StoredFile, checked_name
from audio_extract.storage.leftovers import remove_abandoned, remove_leftovers
from audio_extract.storage.mounts import MOUNTINFO, is_gcsfuse
from audio_extract.storage.proof import proof_of, proven_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

    from audio_extract.credentials import TokenProvider
    from audio_extract.engine_types import FileSink

TEMPORARY_PREFIX = ".audio-extract-"
#: Of the engine's temporary files.
TEMPORARY_SUFFIX = ".audio-extract.part"
#: What file systems without hard links say (FAT, some network and FUSE ones).
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})
_numbers = count()

_log = logging.getLogger(__name__)


class LocalStorageAdapter:
    """A destination folder.

    Args:
        folder: The folder; it is made when something is written.
        log_name: From the name of an audio file to that of its processing log.
        setting: Name of the setting with the folder, for messages.
        must_be_mounted: The folder has to be on gcsfuse: without the mount, audio would fill the disk.
        mountinfo: The system's table of mounts.
    """

    storage_type: Literal["local"] = "local"

    def __init__(
        self,
        folder: Path,
        *,
        log_name: Callable[[str], str],
        setting: str = "storage.local.path",
        must_be_mounted: bool = False,
        mountinfo: Path = MOUNTINFO,
    ) -> None:
        self.folder = folder.absolute()
        self._log_name = log_name
        self._setting = setting
        self._must_be_mounted = must_be_mounted
        self._mountinfo = mountinfo

    def save(
        self, local_path: Path, name: str, *, metadata: Mapping[str, str], content_type: str
    ) -> StoredFile:
        """Store a copy of a file under a free name; the same file with the same metadata may stand there.

        With metadata, a log that proves it is written too.
        """
        from audio_extract import _engine

        target = self._path(name)
        with self._failing(name):
            crc32c, size = _engine.crc32c_file(str(local_path))
        try:
            with self._failing(name), local_path.open("rb") as source:
                self._write(target, lambda file: shutil.copyfileobj(source, file, 1 << 20), exclusive=True)
        except DestinationExistsError:
            there = self.stat(name)
            if there is None or (there.size_bytes, there.crc32c, there.metadata) != (
                size, crc32c, dict(metadata),
            ):  # fmt: skip
                raise
            return there
        with self._failing(name):
            if _engine.crc32c_file(str(target)) != (crc32c, size):
                target.unlink()
                raise CorruptionError(
                    f"{target} does not hold what was written to it. Look at the disk or the mount.",
                    code="destination.checksum_mismatch",
                )
            stored = StoredFile(
                name=name,
                size_bytes=size,
                crc32c=crc32c,
                metadata=dict(metadata),
                content_type=content_type,
                updated_at=_modified(target.stat()),
            )
        if metadata:
            self.put_log(self._log_name(name), proof_of(stored))
        return stored

    def exists(self, name: str) -> bool:
        """Whether a file stands under a name."""
        path = self._path(name)
        with self._failing(name):
            return path.is_file()

    def stat(self, name: str) -> StoredFile | None:
        """What stands under a name: the whole file is read for its checksum."""
        from audio_extract import _engine

        path = self._path(name)
        with self._failing(name):
            try:
                crc32c, size = _engine.crc32c_file(str(path))
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        log = self.get_log(self._log_name(name))
        return StoredFile(
            name=name,
            size_bytes=size,
            crc32c=crc32c,
            metadata=proven_metadata(log, name=name, size_bytes=size, crc32c=crc32c),
            content_type=mimetypes.guess_type(name)[0],
            updated_at=_modified(status),
        )

    def get_url(
        self,
        name: str,
        expires_in: timedelta | None = None,  # noqa: ARG002
        *,
        as_attachment: bool = False,  # noqa: ARG002
    ) -> str:
        """A ``file:`` link, which works on this machine and does not expire."""
        return self._path(name).as_uri()

    def delete(self, name: str, generation: int | None = None) -> None:  # noqa: ARG002
        """Remove a file. Its log stays: it says what was there."""
        path = self._path(name)
        with self._failing(name):
            try:
                path.unlink()
            except FileNotFoundError as error:
                raise NotFoundError(f"There is no {name!r} in {self.folder} to delete.") from error
            _flush_folder(path.parent)

    def list_files(self, prefix: str = "") -> Iterator[StoredFile]:
        """Everything whose name starts with a prefix, by name, without checksums."""
        yield from self._walk(self.folder, prefix)

    def put_log(self, name: str, document: Mapping[str, Any]) -> StoredFile:
        """Write a JSON document, over one that is there."""
        from audio_extract import _engine

        path = self._path(name)
        text = json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        with self._failing(name):
            self._write(
                path, lambda file: file.write(text.encode("utf-8", "backslashreplace")), exclusive=False
            )
            crc32c, size = _engine.crc32c_file(str(path))
            return StoredFile(
                name=name,
                size_bytes=size,
                crc32c=crc32c,
                content_type="application/json",
                updated_at=_modified(path.stat()),
            )

    def get_log(self, name: str) -> dict[str, Any] | None:
        """Read a JSON document; None: there is none, or a crash cut it off."""
        path = self._path(name)
        with self._failing(name):
            try:
                text = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        try:
            document = json.loads(text)
        except ValueError:
            _log.warning(
                "%s is not JSON: it is taken as absent", path, extra={"event": "storage.log_unreadable"}
            )
            return None
        return document if isinstance(document, dict) else None

    def engine_sink(
        self,
        name: str,
        *,
        content_type: str,  # noqa: ARG002
        metadata: Mapping[str, str],  # noqa: ARG002
        replace: StoredFile | None = None,
    ) -> FileSink:
        """Where the engine writes an audio file. Files keep no metadata; its log will."""
        path, is_direct = self._path(name), self._is_direct()
        if not is_direct:
            remove_leftovers(path, own_pid=os.getpid(), now=time.time())
        return {"kind": "file", "path": str(path), "overwrite": replace is not None, "direct": is_direct}

    def remove_abandoned(self) -> int:
        """Remove temporary files that killed processes left."""
        return remove_abandoned(self.folder, own_pid=os.getpid(), now=time.time())

    def token_provider(self) -> TokenProvider | None:
        """Nobody has to sign in."""
        return None

    def check(self) -> StorageCheck:
        """Write a file, read it back, remove it."""
        self._require_mount()
        probe = self.folder / f"{TEMPORARY_PREFIX}check-{os.getpid()}-{threading.get_ident()}"
        with self._failing(str(self.folder)):
            try:
                self._write(probe, lambda file: file.write(b"check"), exclusive=False)
                if probe.read_bytes() != b"check":
                    raise CorruptionError(
                        f"{self.folder} does not give back what is written to it. Look at the disk or "
                        "the mount.",
                        code="destination.checksum_mismatch",
                    )
            finally:
                with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    probe.unlink()
        notes = ("on gcsfuse: files are written under their final names",) if self._is_direct() else ()
        return StorageCheck(storage_type="local", subject=str(self.folder), notes=notes)

    def require_readable(self) -> None:
        """Look whether the folder is there, so that what is in it counts as all there is."""
        self._require_mount()
        with self._failing(str(self.folder)):
            if not self.folder.is_dir():
                raise ConfigurationError(
                    f"{self.folder} ({self._setting}) is not there, so what is stored cannot be seen. Mount "
                    f"it, or set {self._setting} to the right folder."
                )
            os.scandir(self.folder).close()

    def count_requests(self, count: Callable[[str, str | None], None]) -> None:
        """A folder is not asked over a network."""

    def close(self) -> None:
        """There is nothing to give back."""

    def _require_mount(self) -> None:
        if self._must_be_mounted and not self._is_direct():
            raise ConfigurationError(
                f"{self.folder} is not on a mounted bucket, although storage.gcs_mount.enabled says so: "
                "audio would fill this machine's disk. Mount the bucket (gcsfuse), or switch "
                "storage.gcs_mount off."
            )

    def _path(self, name: str) -> Path:
        """The file of a name. Links inside the folder are the owner's business; names cannot lead out."""
        return self.folder / checked_name(name)

    def _is_direct(self) -> bool:
        return is_gcsfuse(self.folder, self._mountinfo)

    def _walk(self, folder: Path, prefix: str) -> Iterator[StoredFile]:
        with self._failing(str(folder)):
            try:
                with os.scandir(folder) as entries:
                    ordered = sorted(entries, key=lambda one: one.name + ("/" if one.is_dir() else ""))
            except FileNotFoundError:
                return
        for entry in ordered:
            path = Path(entry.path)
            name = path.relative_to(self.folder).as_posix()
            if entry.name.startswith(TEMPORARY_PREFIX) or entry.name.endswith(TEMPORARY_SUFFIX):
                continue
            if entry.is_dir():
                if f"{name}/".startswith(prefix) or prefix.startswith(f"{name}/"):
                    yield from self._walk(path, prefix)
            elif name.startswith(prefix):
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    yield StoredFile(
                        name=name,
                        size_bytes=status.st_size,
                        crc32c="",
                        content_type=mimetypes.guess_type(name)[0],
                        updated_at=_modified(status),
                    )

    def _write(self, target: Path, fill: Callable[[BinaryIO], object], *, exclusive: bool) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            # Not the name is taken: a file stands where a folder has to be.
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent)) from error
        if self._is_direct():
            with target.open("xb" if exclusive else "wb") as file:
                fill(file)
            # On gcsfuse the object appears when the file is closed, which is now.
            return
        temporary = target.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{next(_numbers)}"
        try:
            with temporary.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            if exclusive:
                _rename_to_free_name(temporary, target)
            else:
                temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_folder(target.parent)

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        """Give errors of the file system their meaning."""
        try:
            yield
        except OSError as error:
            raise self._meaning(error, name) from error

    def _meaning(self, error: OSError, name: str) -> AudioExtractError:
        match error.errno:
            case errno.EEXIST:
                return DestinationExistsError(f"{name!r} stands in {self.folder} already.")
            case errno.ENOSPC | errno.EDQUOT:
                return NoSpaceError(
                    f"{self.folder} ({self._setting}) is full: {name!r} could not be written. Make room, or "
                    f"set {self._setting} to another disk."
                )
            case errno.EACCES | errno.EPERM | errno.EROFS:
                return PermissionDeniedError(
                    f"{name!r} in {self.folder} ({self._setting}) is not allowed: {error.strerror}. Give "
                    "this process's user the right to write there.",
                    code="destination.permission_denied",
                )
            case errno.ENOTDIR | errno.EISDIR | errno.ENAMETOOLONG | errno.ELOOP:
                return ConfigurationError(
                    f"{name!r} cannot be a file in {self.folder} ({self._setting}): {error.strerror}. "
                    f"Set {self._setting} to a folder."
                )
        return TransientError(
            f"{name!r} in {self.folder} ({self._setting}) failed: {error.strerror or error}. It is tried "
            "again; look at the disk or the mount.",
            code="destination.io",
        )


def _rename_to_free_name(path: Path, target: Path) -> None:
    """Rename a file, but not over another one. The old name may stay; it is temporary."""
    try:
        # Unlike a rename, a second name never takes the place of a file that is there.
        os.link(path, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, "the name is taken", str(target)) from error
        path.replace(target)


def _modified(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)


def _flush_folder(folder: Path) -> None:
    """Make a new or removed name in a folder outlive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

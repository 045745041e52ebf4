"""Content of files and objects: bytes in memory, a file on disk, or bytes made on demand.

Readers work in slices, so that a 4 GB recording is never in memory as a whole.
"""

from __future__ import annotations

import base64
import hashlib
import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from google_crc32c import Checksum

if TYPE_CHECKING:
    from types import TracebackType

READ_SIZE = 1024 * 1024


@dataclass(frozen=True)
class Checksums:
    """Checksums of one content.

    Attributes:
        md5: Hex.
        sha1: Hex.
        sha256: Hex.
        crc32c: Base64 of the big-endian value, as Cloud Storage writes it.
    """

    md5: str
    sha1: str
    sha256: str
    crc32c: str

    @property
    def md5_base64(self) -> str:
        """The MD5 as Cloud Storage writes it."""
        return base64.b64encode(bytes.fromhex(self.md5)).decode()


class Reader(Protocol):
    """Reads slices of one content until it is closed."""

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``; fewer only at the end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Content(Protocol):
    """A fixed sequence of bytes."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def open(self) -> Reader:
        """Begin to read."""


class _Slices:
    """Base of readers that hold nothing open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class BytesContent(_Slices):
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self._data)

    def open(self) -> Reader:
        """Begin to read."""
        return self

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``."""
        return self._data[offset : offset + length]


class FileContent:
    """A file on disk, which must not change while it is served."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = path.stat().st_size

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._size

    def open(self) -> Reader:
        """Open the file."""
        return _FileReader(self.path)


class _FileReader:
    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class TemporaryFileContent(FileContent):
    """A file on disk that goes away with the last reference to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        weakref.finalize(self, path.unlink, missing_ok=True)


class GeneratedContent(_Slices):
    """Bytes made on demand, the same ones each time, for sizes that no disk should hold.

    The pattern repeats every 65,521 bytes (a prime), so that bytes from a wrong offset differ.
    """

    _PERIOD = 65521

    def __init__(self, size: int, *, seed: int = 0) -> None:
        self._size = size
        self._pattern = hashlib.shake_128(seed.to_bytes(8, "big")).digest(self._PERIOD)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._size

    def open(self) -> Reader:
        """Begin to read."""
        return self

    def read(self, offset: int, length: int) -> bytes:
        """Make up to ``length`` bytes from ``offset``."""
        length = max(0, min(length, self._size - offset))
        first = offset % self._PERIOD
        repeats = (first + length) // self._PERIOD + 1
        return (self._pattern * repeats)[first : first + length]


class ConcatenatedContent(_Slices):
    """Several contents one after the other: what ``compose`` makes, and what an appended revision is."""

    def __init__(self, parts: list[Content]) -> None:
        self._parts = parts

    @property
    def size(self) -> int:
        """Number of bytes."""
        return sum(part.size for part in self._parts)

    def open(self) -> Reader:
        """Begin to read."""
        return self

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``."""
        pieces = []
        for part in self._parts:
            if length and offset < part.size:
                with part.open() as reader:
                    piece = reader.read(offset, min(length, part.size - offset))
                pieces.append(piece)
                length -= len(piece)
                offset = 0
            else:
                offset -= part.size if offset >= part.size else 0
        return b"".join(pieces)


def new_crc32c() -> Checksum:
    """An empty CRC32C to update."""
    return Checksum()  # type: ignore[no-untyped-call]


def crc32c_base64(checksum: Checksum) -> str:
    """The value as Cloud Storage writes it."""
    digest: bytes = checksum.digest()  # type: ignore[no-untyped-call]
    return base64.b64encode(digest).decode()


def as_content(value: bytes | Path | Content) -> Content:
    """Wrap bytes or a path."""
    if isinstance(value, bytes):
        return BytesContent(value)
    if isinstance(value, Path):
        return FileContent(value)
    return value


def checksums(content: Content) -> Checksums:
    """Read the whole content once and compute every checksum that Google's APIs show."""
    md5 = hashlib.md5(usedforsecurity=False)
    sha1 = hashlib.sha1(usedforsecurity=False)
    sha256 = hashlib.sha256()
    crc32c = new_crc32c()
    with content.open() as reader:
        offset = 0
        while piece := reader.read(offset, READ_SIZE):
            for digest in (md5, sha1, sha256, crc32c):
                digest.update(piece)
            offset += len(piece)
    return Checksums(
        md5=md5.hexdigest(),
        sha1=sha1.hexdigest(),
        sha256=sha256.hexdigest(),
        crc32c=crc32c_base64(crc32c),
    )

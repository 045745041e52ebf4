"""Content that arrives piece by piece: in memory while it is small, then in a file."""

from __future__ import annotations

import base64
import hashlib
import tempfile
import threading
from pathlib import Path
from tempfile import _TemporaryFileWrapper

from audio_extract.emulator.content import (
    BytesContent,
    Content,
    TemporaryFileContent,
    crc32c_base64,
    new_crc32c,
)

_IN_MEMORY = 1024 * 1024


class Spool:
    """Takes bytes in order and keeps their checksums.

    Args:
        directory: Where the file goes when the content is larger than 1 MiB.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._buffer = bytearray()
        self._file: _TemporaryFileWrapper[bytes] | None = None
        self._size = 0
        self._lock = threading.Lock()
        self._discarded = False
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = new_crc32c()

    @property
    def size(self) -> int:
        """Number of bytes so far."""
        return self._size

    @property
    def md5(self) -> str:
        """MD5 so far, base64 as Cloud Storage writes it."""
        return base64.b64encode(self._md5.digest()).decode()

    @property
    def crc32c(self) -> str:
        """CRC32C so far, base64 as Cloud Storage writes it."""
        return crc32c_base64(self._crc32c)

    def append(self, data: bytes) -> None:
        """Take the next bytes. A thread of its own may do this; what was discarded takes no more."""
        with self._lock:
            if not self._discarded:
                self._append(data)

    def _append(self, data: bytes) -> None:
        self._md5.update(data)
        self._crc32c.update(data)  # type: ignore[no-untyped-call]
        if self._file is None and self._size + len(data) <= _IN_MEMORY:
            self._buffer += data
        else:
            self._write(data)
        self._size += len(data)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            # Closed by finish() or discard(); its content outlives this object.
            self._file = tempfile.NamedTemporaryFile(dir=self._directory, delete=False)  # noqa: SIM115
            self._file.write(self._buffer)
            self._buffer = bytearray()
        self._file.write(data)

    def finish(self) -> Content:
        """End the content and return it."""
        if self._file is None:
            return BytesContent(bytes(self._buffer))
        self._file.close()
        return TemporaryFileContent(Path(self._file.name))

    def discard(self) -> None:
        """Throw everything away."""
        with self._lock:
            self._discarded = True
            if self._file is not None:
                self._file.close()
                Path(self._file.name).unlink(missing_ok=True)

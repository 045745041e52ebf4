"""The Rust engine: moves bytes from a source through FFmpeg into a verified object.

Calls block with the GIL released. Errors are subclasses of
:class:`audio_extract.exceptions.AudioExtractError`, chosen by the engine's error kind.
"""

from collections.abc import Callable
from typing import final

from audio_extract.engine_types import (
    ChunkFileReport,
    ChunkFileRequest,
    PartialReport,
    ProbeReport,
    ProbeRequest,
    ProgressSnapshot,
    TransferReport,
    TransferRequest,
)

__all__ = [
    "CancelToken",
    "Progress",
    "__version__",
    "chunk_file",
    "crc32c_file",
    "error_codes",
    "probe",
    "transfer",
]

__version__: str

@final
class CancelToken:
    """Stops transfers from another thread. Cancelling is final and may be repeated."""

    def __new__(cls) -> CancelToken: ...
    def cancel(self) -> None: ...
    @property
    def cancelled(self) -> bool: ...

@final
class Progress:
    """Read by another thread while a transfer runs. One object follows one transfer."""

    def __new__(cls) -> Progress: ...
    def snapshot(self) -> ProgressSnapshot: ...
    def partial_report(self) -> PartialReport:
        """What the transfer did so far; of one that failed there is nothing else."""

def transfer(
    request: TransferRequest,
    *,
    source_token: Callable[[], tuple[str, float]] | None = None,
    sink_token: Callable[[], tuple[str, float]] | None = None,
    before_commit: Callable[[], None] | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> TransferReport:
    """Carry out one transfer.

    Args:
        request: What to do; see :class:`~audio_extract.engine_types.TransferRequest`.
        source_token: Gives ``(access token, expiry in Unix seconds, UTC)``; called from engine threads, one
            call at a time, again before expiry and after a 401.
        sink_token: The same for the destination.
        before_commit: Called after the last byte was read and before anything appears under the final name;
            raises (usually ``SourceChangedError``) when the recording is no longer the planned revision.
        progress: Follows this transfer.
        cancel: Ends this transfer within a second: no object, no child, no upload session stays behind.

    Raises:
        AudioExtractError: A subclass by what the caller does next; see ``exceptions.py``.
    """

def probe(
    request: ProbeRequest,
    *,
    source_token: Callable[[], tuple[str, float]] | None = None,
    cancel: CancelToken | None = None,
) -> ProbeReport:
    """Read a recording's index, without its media."""

def chunk_file(
    request: ChunkFileRequest,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> ChunkFileReport:
    """Cut an MP3, FLAC or WAV file into chunks, without encoding it again.

    Raises:
        MediaError: ``media.cannot_copy``: it is of another kind, or damaged. On every error no chunk stays
            behind.
        AudioExtractError: A subclass by what the caller does next; see ``exceptions.py``.
    """

def crc32c_file(path: str) -> tuple[str, int]:
    """Return the base64 CRC32C and the size in bytes of a local file.

    Raises:
        OSError: The file cannot be read.
    """

def error_codes() -> list[tuple[str, str]]:
    """Return every ``(code, kind)`` the engine can raise."""

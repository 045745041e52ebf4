"""Cuts an audio file into chunks for what comes next, for example speech recognition with a size limit.

MP3, FLAC and PCM in WAV are cut between frames and never encoded again: without overlap their chunks decode
to exactly the samples of the whole. Everything else that FFmpeg reads, recordings with a picture too, is
encoded once on the way, and cut in the same manner.

    from audio_extract.chunker import AudioChunker

    for chunk in AudioChunker(max_bytes=24_000_000, at_silence=True).chunk("meeting.mp3").chunks:
        print(chunk.path, chunk.start, chunk.end)
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from audio_extract.exceptions import (
    ConfigurationError,
    DestinationExistsError,
    MediaError,
    NoSpaceError,
    PermissionDeniedError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audio_extract._engine import CancelToken, Progress
    from audio_extract.engine_types import Chunk, ChunkRule, Ffmpeg

#: The length of a chunk, where nothing else is asked for.
DEFAULT_SECONDS: Final = 900.0
#: The size of a chunk where size decides: speech services take 25 MB.
DEFAULT_BYTES: Final = 24_000_000
INDEX: Final = "chunks.json"
_CHUNK: Final = re.compile(r"chunk-\d{3,}\.(?:mp3|flac|wav)")


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """One piece.

    Attributes:
        path: The file.
        start: Where it begins in the whole, in seconds.
        end: Where it ends.
        size_bytes: Its size.
        crc32c: Base64 of the big-endian value, as Cloud Storage writes it.
        silence_cut: It ends in silence.
    """

    path: Path
    start: float
    end: float
    size_bytes: int
    crc32c: str
    silence_cut: bool


@dataclass(frozen=True, slots=True)
class ChunkedAudio:
    """What was cut.

    Attributes:
        source: Name of the file.
        duration: Its length in seconds.
        index: The ``chunks.json`` beside the chunks.
        chunks: In order.
    """

    source: str
    duration: float
    index: Path
    chunks: tuple[AudioChunk, ...]


def chunks_document(source: str, duration: float, chunks: list[Chunk]) -> dict[str, Any]:
    """Return what stands in ``chunks.json``."""
    fields = ("index", "file", "start", "end", "bytes", "crc32c", "silence_cut")
    return {
        "source": source,
        "duration": duration,
        "chunks": [{field: chunk[field] for field in fields} for chunk in chunks],  # type: ignore[literal-required]
    }


class AudioChunker:
    """Cuts files by one rule; may be used again and from several threads.

    Args:
        duration_seconds: How long a chunk should be; 15 minutes where there is no ``max_bytes`` either.
        max_bytes: Every chunk is smaller. With ``duration_seconds`` both hold.
        overlap_seconds: What of the end of a chunk comes again at the beginning of the next.
        at_silence: Cut in the silence nearest to where the cut should be, at most 30 seconds (or a quarter
            of a chunk) away; where there is none, as without.
        silence_threshold_db: No sample is louder in silence, in dB below full scale.
        silence_seconds: Silence is at least so long.
        codec: Encode to this on the way. Without it what can be cut is cut as it is, and the rest becomes
            MP3.
        ffmpeg: The program that decodes and encodes, where that is needed; without it the one of this
            machine.

    Raises:
        ConfigurationError: A value is out of range.
    """

    def __init__(
        self,
        *,
        duration_seconds: float | None = None,
        max_bytes: int | None = None,
        overlap_seconds: float = 0.0,
        at_silence: bool = False,
        silence_threshold_db: float = -40.0,
        silence_seconds: float = 0.5,
        codec: Literal["mp3", "flac", "wav"] | None = None,
        ffmpeg: Path | None = None,
    ) -> None:
        if duration_seconds is None and max_bytes is None:
            duration_seconds = DEFAULT_SECONDS
        self.rule: ChunkRule = {
            "duration_seconds": duration_seconds,
            "most_bytes": max_bytes,
            "overlap_seconds": overlap_seconds,
            "silence": (
                {"threshold_db": silence_threshold_db, "least_seconds": silence_seconds}
                if at_silence
                else None
            ),
        }
        self._codec = codec
        self._ffmpeg = ffmpeg

    def chunk(
        self,
        file: Path | str,
        directory: Path | str | None = None,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> ChunkedAudio:
        """Cut one file into ``DIRECTORY/chunk-000.mp3`` …, and write ``DIRECTORY/chunks.json`` last.

        Args:
            file: An audio file, or a recording.
            directory: Where the chunks go; without it a folder beside the file with its name, without
                extension.
            overwrite: Replace chunks that are there.
            progress: Followed by another thread.
            cancel: Ends the work.

        Raises:
            DestinationExistsError: There are chunks already.
            MediaError: It cannot be read, or has no sound.
            AudioExtractError: A subclass by what to do next. On every error no chunk stays behind.
        """
        path = Path(file)
        if path.is_dir():
            raise ConfigurationError(f"{path} is a folder; name an audio file", code="usage.invalid")
        folder = Path(directory) if directory is not None else default_directory(path)
        with _failing(folder):
            earlier = list(_earlier(folder))
        if earlier and not overwrite:
            raise DestinationExistsError(
                f"{folder} holds chunks already ({earlier[0].name}); name another folder, or replace them"
            )
        # What is there stays until all of what replaces it is there too.
        part = folder / f".{os.getpid()}.audio-extract.part"
        try:
            duration, chunks = self._cut(path, part, progress, cancel)
            document = chunks_document(path.name, duration, chunks)
            with _failing(folder):
                for one in earlier:
                    # The index goes first: it must not name chunks of two kinds.
                    one.unlink(missing_ok=True)
                for chunk in chunks:
                    (part / chunk["file"]).replace(folder / chunk["file"])
            write_index(folder, document)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return ChunkedAudio(
            path.name,
            duration,
            folder / INDEX,
            tuple(
                AudioChunk(
                    folder / one["file"],
                    one["start"],
                    one["end"],
                    one["bytes"],
                    one["crc32c"],
                    one["silence_cut"],
                )
                for one in chunks
            ),
        )

    def _cut(
        self, path: Path, folder: Path, progress: Progress | None, cancel: CancelToken | None
    ) -> tuple[float, list[Chunk]]:
        """Return the length of the whole and its chunks."""
        from audio_extract import _engine

        if self._codec is None:
            try:
                report = _engine.chunk_file(
                    {
                        "path": str(path),
                        "name": path.name,
                        "directory": str(folder),
                        "chunks": self.rule,
                        "ffmpeg": self._program() if self.rule.get("silence") is not None else None,
                    },
                    progress=progress,
                    cancel=cancel,
                )
            except MediaError as error:
                if error.code != "media.cannot_copy":
                    raise
            else:
                return report["duration"], report["chunks"]
        made = _engine.transfer(
            {
                "source": {"kind": "file", "path": str(path), "name": path.name},
                "sink": {"kind": "nothing"},
                "audio": {"codec": self._codec or "mp3"},
                "chunks": {"rule": self.rule, "sink": {"kind": "file", "path": str(folder)}},
                "measure": self.rule.get("silence"),
                "ffmpeg": self._program(),
            },
            progress=progress,
            cancel=cancel,
        )
        chunks = made["chunks"] or []
        return chunks[-1]["end"], chunks

    def _program(self) -> Ffmpeg:
        from audio_extract.ffmpeg import find_ffmpeg

        return {"path": str(find_ffmpeg(self._ffmpeg).path)}


def default_directory(file: Path) -> Path:
    """Return the folder for a file's chunks: beside it, with its name."""
    return file.with_suffix("") if file.suffix else file.with_name(f"{file.name}_chunks")


def _earlier(folder: Path) -> Iterator[Path]:
    """Yield what an earlier run left, the index first."""
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder; name another one with -o", code="usage.invalid")
    if (folder / INDEX).exists():
        yield folder / INDEX
    with suppress(FileNotFoundError):
        yield from sorted(one for one in folder.iterdir() if _CHUNK.fullmatch(one.name))


def write_index(folder: Path, document: dict[str, Any]) -> Path:
    """Write ``chunks.json`` into a folder of chunks; what it does not name and an earlier run left, goes.

    Raises:
        AudioExtractError: The folder cannot be written.
    """
    named = {chunk["file"] for chunk in document["chunks"]}
    with _failing(folder):
        for one in _earlier(folder):
            if one.name not in named:
                one.unlink(missing_ok=True)
        _write(folder / INDEX, json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    return folder / INDEX


@contextmanager
def _failing(folder: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise PermissionDeniedError(
            f"{folder}: permission denied; make it writable, or name another folder",
            code="destination.permission_denied",
        ) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpaceError(f"{folder}: {error.strerror}; make room and try again") from error
        raise TransientError(f"{folder}: {error.strerror}", code="destination.io") from error


def _write(path: Path, text: str) -> None:
    """Write a file that is there completely or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

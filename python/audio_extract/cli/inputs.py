"""From the words on the command line to recordings the engine can read."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audio_extract.cli.targets import DriveWord, HttpWord, LocalWord, parse_source
from audio_extract.exceptions import (
    AudioExtractError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from audio_extract.cli.invocation import Invocation
    from audio_extract.engine_types import Ffmpeg, FileSource, HttpSource

    TokenProvider = Callable[[], tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Input:
    """One recording to read.

    Attributes:
        word: How the person called it.
        name: Its file name, for messages and for the name of the result.
        source: The same for the engine.
        folder: Where it stands, when it is a local file.
        token: Gives the access token, when the source asks for one.
    """

    word: str
    name: str
    source: HttpSource | FileSource
    folder: Path | None = None
    token: TokenProvider | None = None

    @property
    def path(self) -> Path | None:
        """The local file; None for what stands elsewhere."""
        return self.folder / self.name if self.folder is not None else None


def resolve(word: str, invocation: Invocation) -> Iterator[Input]:
    """Yield the recordings that a SOURCE stands for.

    Raises:
        ConfigurationError: The word means nothing.
        NotFoundError: There is nothing there.
        AudioExtractError: Drive could not be asked.
    """
    match parse_source(word):
        case LocalWord(path):
            yield from _local(word, path)
        case HttpWord(url, name):
            yield Input(word, name, {"kind": "http", "url": url, "authenticated": False, "name": name})
        case DriveWord(file_id):
            from audio_extract.cli.drive_input import drive_inputs

            yield from drive_inputs(word, file_id, invocation)


def resolve_one(word: str, invocation: Invocation) -> Input:
    """Return the one recording that a SOURCE stands for.

    Raises:
        ConfigurationError: It is a folder with several.
    """
    found = list(resolve(word, invocation))
    if len(found) != 1:
        raise ConfigurationError(f"{word!r} holds {len(found)} recordings; name one", code="usage.invalid")
    return found[0]


def ffmpeg_of(invocation: Invocation) -> Ffmpeg:
    """Return the FFmpeg to work with; the settings are read only when ``--config`` names them.

    Raises:
        ConfigurationError: There is none; the message says how to install one.
    """
    from audio_extract.ffmpeg import find_ffmpeg

    if invocation.config is None:
        found = find_ffmpeg()
        return {"path": str(found.path)}
    from audio_extract.plan import ffmpeg_request

    settings = invocation.settings()
    wanted = settings.processing.ffmpeg
    found = find_ffmpeg(wanted.path, allow_download=wanted.allow_download)
    return ffmpeg_request(settings, found)


def _local(word: str, path: Path) -> Iterator[Input]:
    try:
        mode = path.stat().st_mode
        files = sorted(child for child in path.iterdir() if _kind(child)) if stat.S_ISDIR(mode) else []
    except OSError as error:
        raise _unreachable(word, error) from error
    if not stat.S_ISDIR(mode):
        if not stat.S_ISREG(mode):
            # To open a pipe nobody writes into would wait for ever.
            raise ConfigurationError(
                f"{word} is neither a file nor a folder; give a recording", code="usage.invalid"
            )
        yield _file(word, path)
        return
    files = [child for child in files if child.is_file()]
    # What an earlier run left beside its source is a result, not a source.
    videos = {child.stem for child in files if _kind(child) == "video"}
    files = [child for child in files if not (_kind(child) == "audio" and child.stem in videos)]
    if not files:
        raise NotFoundError(
            f"{word}: the folder holds no recordings (sub-folders are not searched)", code="source.not_found"
        )
    for child in files:
        yield _file(str(child), child)


def _unreachable(word: str, error: OSError) -> AudioExtractError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFoundError(f"{word}: no such file or folder; check the path", code="source.not_found")
    if isinstance(error, PermissionError):
        return PermissionDeniedError(f"{word}: permission denied; make it readable for this user")
    return ConfigurationError(f"{word} cannot be reached: {error.strerror}", code="usage.invalid")


def _kind(path: Path) -> str:
    """Return ``video`` or ``audio``, by the name; empty for what is neither."""
    from audio_extract.plan.formats import MEDIA_TYPES

    return MEDIA_TYPES.get(path.suffix.lower(), "").partition("/")[0]


def _file(word: str, path: Path) -> Input:
    return Input(word, path.name, {"kind": "file", "path": str(path), "name": path.name}, folder=path.parent)

"""What a SOURCE or DEST on the command line means, and the name a result gets. Opens nothing.

SOURCE is a file, a folder, ``https://…``, ``drive:ID`` or a link that Drive's *Share* button gives.
DEST is a file, a folder, or ``gs://bucket/prefix/``.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from audio_extract.exceptions import ConfigurationError

_DRIVE_ID: Final = re.compile(r"[A-Za-z0-9_-]{5,}")
_DRIVE_HOSTS: Final = frozenset({"drive.google.com", "docs.google.com", "drive.usercontent.google.com"})
_DRIVE_PATH: Final = re.compile(r"/(?:file/d|folders)/([A-Za-z0-9_-]{5,})(?:/|$)")
_UNSAFE_IN_NAME: Final = re.compile(r"[\x00-\x1f/\\]+")


@dataclass(frozen=True, slots=True)
class LocalWord:
    """A file or folder on this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class HttpWord:
    """A recording behind a URL that needs no credentials."""

    url: str
    name: str


@dataclass(frozen=True, slots=True)
class DriveWord:
    """A file or folder in Drive."""

    file_id: str


SourceWord = LocalWord | HttpWord | DriveWord


@dataclass(frozen=True, slots=True)
class FolderDest:
    """Results go into this folder, under names made from their sources."""

    path: Path


@dataclass(frozen=True, slots=True)
class FileDest:
    """The one result gets exactly this name."""

    path: Path


@dataclass(frozen=True, slots=True)
class BucketDest:
    """Results become objects.

    Attributes:
        bucket: The bucket.
        prefix: Ends with ``/`` or is empty; results get names made from their sources below it.
        object_name: The one result gets exactly this name; None when ``prefix`` decides.
    """

    bucket: str
    prefix: str
    object_name: str | None = None


Dest = FolderDest | FileDest | BucketDest


def parse_source(word: str) -> SourceWord:
    """Return what a SOURCE means.

    Raises:
        ConfigurationError: It has the form of something, but is not complete.
    """
    _require_text(word)
    scheme, separator, rest = word.partition(":")
    if separator and scheme.lower() == "drive":
        if not _DRIVE_ID.fullmatch(rest):
            raise _wrong(word, "drive: is followed by a file id, for example drive:1AbCdEfGhIjK")
        return DriveWord(rest)
    if separator and scheme.lower() in {"http", "https"}:
        return _from_url(word)
    if separator and rest.startswith("//"):
        raise _wrong(word, "a source is a file, a folder, https://…, drive:ID or a Drive share link")
    return LocalWord(Path(word).expanduser())


def _from_url(word: str) -> SourceWord:
    try:
        parts = urlsplit(word)
    except ValueError as error:
        raise _wrong(word, f"this is no URL: {error}") from error
    if not parts.hostname:
        raise _wrong(word, "the URL names no host")
    if parts.hostname in _DRIVE_HOSTS:
        match = _DRIVE_PATH.search(parts.path)
        file_id = match.group(1) if match else next(iter(parse_qs(parts.query).get("id", [])), "")
        if not _DRIVE_ID.fullmatch(file_id):
            raise _wrong(
                word, "this Drive link names no file; use the link of Share › Copy link, or drive:ID"
            )
        return DriveWord(file_id)
    return HttpWord(word, safe_name(unquote(PurePosixPath(parts.path).name)) or parts.hostname)


def parse_dest(word: str, *, many: bool) -> Dest:
    """Return what a DEST means.

    Args:
        word: What ``-o`` was given.
        many: There is more than one source, so DEST cannot be the name of one result.
    """
    _require_text(word)
    if word.startswith("gs://"):
        bucket, _, name = word.removeprefix("gs://").partition("/")
        if not bucket:
            raise _wrong(word, "a bucket is written gs://bucket/prefix/")
        if not name or name.endswith("/"):
            return BucketDest(bucket, name)
        if many or not PurePosixPath(name).suffix:
            return BucketDest(bucket, f"{name}/")
        return BucketDest(bucket, "", object_name=name)
    if "://" in word:
        raise _wrong(word, "a destination is a file, a folder or gs://bucket/prefix/")
    return _local_dest(word, many=many)


def _local_dest(word: str, *, many: bool) -> Dest:
    if word == "-":
        raise _wrong(word, "a result is stored and verified, not printed; name a file or a folder (./- too)")
    path = Path(word).expanduser()
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except OSError as error:
        raise _wrong(word, error.strerror or "it cannot be reached") from error
    if mode is not None and not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise _wrong(word, "it is neither a file nor a folder")
    is_folder = not path.suffix if mode is None else stat.S_ISDIR(mode)
    if many or word.endswith("/") or is_folder:
        return FolderDest(path)
    return FileDest(path)


def safe_name(name: str) -> str:
    """Return a recording's name as a file name: no separators, no control characters, at most 200 bytes."""
    cleaned = _UNSAFE_IN_NAME.sub("_", name).strip(" .")
    return cleaned.encode(errors="replace")[:200].decode(errors="ignore")


def result_name(source_name: str, extension: str) -> str:
    """Return the name of a result: the source's, with the suffix of a media file replaced.

    ``Weekly sync.v2`` keeps its ``.v2``: only suffixes that name a kind of media are taken off.
    """
    from audio_extract.plan.formats import MEDIA_TYPES

    name = safe_name(source_name) or "audio"
    suffix = PurePosixPath(name).suffix
    stem = name[: -len(suffix)] if suffix.lower() in MEDIA_TYPES else name
    return f"{stem or 'audio'}.{extension}"


def _require_text(word: str) -> None:
    """The database, JSON and the engine take names that are text; Linux allows others."""
    if not word:
        raise _wrong(word, "it is empty")
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise _wrong(word, "its name is not valid UTF-8; rename it") from error


def _wrong(word: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{word!r} cannot be used: {reason}", code="usage.invalid")

"""What must be true when everything is quiet, asked of the destination and not of the database."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import google_crc32c

from audio_extract.tracker import Tracker
from audio_extract.tracker.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from audio_extract.tracker import StoredOutput
    from chaos.watched import WatchedStorage

_UNFINISHED = frozenset({State.PENDING, State.IN_PROGRESS, State.FAILED, State.DISCOVERED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where audio went.

    Attributes:
        storage: Cloud Storage.
        bucket: Its bucket; None when a folder is the destination.
        folder: The folder.
    """

    storage: WatchedStorage
    bucket: str | None
    folder: Path

    def audio(self) -> dict[str, bytes]:
        """Audio by its name."""
        if self.bucket is not None:
            found = self.storage.objects(self.bucket)
            return {item.name: item.read() for item in found if not _is_log(item.name)}
        return {name: path.read_bytes() for name, path in self._files() if _is_audio(name)}

    def made_twice(self) -> list[str]:
        """Names of audio objects of which there was more than one generation.

        What is in chunks is made again in its place by whoever finds no index of them: all of it or nothing.
        """
        made = [name for name, _ in self.storage.generations if not (_is_log(name) or _is_in_parts(name))]
        return sorted({name for name in made if made.count(name) > 1})

    def leftovers(self) -> list[str]:
        """Files that are neither audio nor a log."""
        return [
            name
            for name, path in self._files()
            if path.name.startswith(".") or not (_is_audio(name) or _is_log(name))
        ]

    def _files(self) -> Iterator[tuple[str, Path]]:
        for path in self.folder.rglob("*"):
            if path.is_file():
                yield path.relative_to(self.folder).as_posix(), path


def judge(
    database_url: str,
    destination: Destination,
    expected: Mapping[str, tuple[str, set[State]]],
    sounds: dict[str, bytes],
    *,
    outputs: bool = False,
) -> Iterator[str]:
    """Say what is not as it must be.

    Args:
        database_url: The tracker's database.
        destination: Where audio went.
        expected: Of each recording its id and where it may have ended.
        sounds: The audio that each must give, without the tag that names it; what is not known yet is added.
        outputs: Something has to stand beside the audio of each.
    """
    stored = destination.audio()
    known: set[str] = set()
    with Tracker.open(database_url, upgrade=False) as tracker:
        for name, (source_id, states) in expected.items():
            row = tracker.find(source_id)
            if row is None or row.status not in states:
                yield f"{name} is {row.status if row else 'unknown'} and not {', '.join(states)}: {row}"
                continue
            if row.status != State.COMPLETED:
                continue
            content = stored.get(row.storage_path or "")
            if content is None:
                yield f"{name}: there is no {row.storage_path}"
                continue
            known.add(row.storage_path or "")
            if (row.crc32c, row.stored_size_bytes) != (_crc32c(content), len(content)):
                yield f"{name}: {row.storage_path} is not what the database says it is"
            sound = _without_tag(content)
            if sounds.setdefault(name, sound) != sound:
                yield f"{name}: {row.storage_path} is not the audio of that recording"
            beside = tracker.outputs_of(row.id)
            if bool(beside) != outputs:
                yield f"{name}: beside its audio stand {beside}"
            known |= {one.object_name for one in beside}
            known |= {chunk.object_name for one in beside for chunk in one.chunks}
            yield from (wrong for one in beside for wrong in _beside(name, one, stored, sounds))
        unfinished = {state: count for state, count in tracker.counts().items() if state in _UNFINISHED}
        if any(unfinished.values()):
            yield f"unfinished: {unfinished}"
    yield from (f"nobody knows of {name}" for name in stored if name not in known)
    yield from (f"{name} was made more than once" for name in destination.made_twice())
    yield from (f"left behind: {name}" for name in destination.leftovers())


def _beside(
    name: str, one: StoredOutput, stored: Mapping[str, bytes], sounds: dict[str, bytes]
) -> Iterator[str]:
    content = stored.get(one.object_name)
    if content is None or (one.crc32c, one.size_bytes) != (_crc32c(content), len(content)):
        yield f"{name}: {one.object_name} is not what the database says it is"
    elif sounds.setdefault(f"{name} {one.name}", _samples(content)) != _samples(content):
        yield f"{name}: {one.object_name} is not the sound of that recording"
    elif one.chunks:
        pieces = [stored.get(chunk.object_name, b"") for chunk in one.chunks]
        recorded = [(chunk.crc32c, chunk.size_bytes) for chunk in one.chunks]
        if recorded != [(_crc32c(piece), len(piece)) for piece in pieces]:
            yield f"{name}: chunks of {one.object_name} are not what the database says they are"
        if b"".join(map(_samples, pieces))[: len(_samples(content))] != _samples(content):
            yield f"{name}: chunks of {one.object_name} do not join to it"


def _is_log(name: str) -> bool:
    return "/metadata/" in f"/{name}" or name.endswith("/chunks.json")


def _is_in_parts(name: str) -> bool:
    return "_audio_parts" in name


def _is_audio(name: str) -> bool:
    whole = name.endswith(("_audio.mp3", "_audio_plain.wav", "_audio_parts.wav"))
    return (whole or "_audio_parts/chunk-" in name) and not _is_log(name)


def _samples(content: bytes) -> bytes:
    """A WAV without its head, which names the recording, and the length of what follows."""
    return content.partition(b"data")[2][4:]


def _without_tag(content: bytes) -> bytes:
    """An MP3 without its ID3v2 tag (id3v2.4.0-structure, section 3.1)."""
    if content[:3] != b"ID3":
        return content
    size = 0
    for byte in content[6:10]:
        size = size << 7 | byte
    return content[10 + size :]


def _crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()

"""What a meeting left beside its recording: found, and copied beside the audio where that is wanted.

It helps and is no condition: whatever goes wrong here is logged, and the transfer is complete without it.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audio_extract import plan
from audio_extract.exceptions import AudioExtractError, DestinationExistsError
from audio_extract.plan.companions import kind_of
from audio_extract.tracker import StoredOutput

if TYPE_CHECKING:
    from collections.abc import Collection

    from audio_extract.settings import Settings
    from audio_extract.sources.base import Neighbour, Recording, Source
    from audio_extract.storage.base import StorageAdapter

_log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Found:
    """What belongs to one recording.

    Attributes:
        links: ``kind``, ``name`` and, where there is one, ``link`` of each.
        texts: The copies beside the audio.
    """

    links: tuple[dict[str, str], ...] = ()
    texts: tuple[StoredOutput, ...] = ()


def companions_of(
    recording: Recording,
    object_name: str,
    source: Source,
    storage: StorageAdapter,
    settings: Settings,
    *,
    known: Collection[str] = (),
) -> Found | None:
    """Find what belongs to a recording whose audio is stored.

    Args:
        recording: The recording.
        object_name: Of its audio.
        source: Where it stands.
        storage: Where texts go.
        settings: ``processing.companions``.
        known: Names of what is stored of the recording already.

    Returns:
        None: nobody looked, or it could not be found out.
    """
    wanted = settings.processing.companions
    if wanted == "off":
        return None
    links: list[dict[str, str]] = []
    texts: list[StoredOutput] = []
    try:
        title = plan.meeting_of(recording, settings).title
        for one in source.neighbours(recording, title):
            kind = kind_of(recording.name, recording.created_at, one.name, one.created_at, one.mime_type)
            if kind is None:
                continue
            links.append({"kind": kind, "name": one.name, **({"link": one.web_link} if one.web_link else {})})
            # One of each kind: a second transcript of a meeting has no name of its own.
            if wanted == "text" and all(text.name != kind for text in texts):
                text = source.text_of(one)
                name = plan.output_name(object_name, kind, extension="txt")
                texts.append(_store(text, kind, name, of=recording, found=one, storage=storage, known=known))
    except AudioExtractError as error:
        _log.warning(
            "what belongs to %s could not be taken: %s",
            recording.name,
            error,
            extra={"event": "companions.failed", "code": error.code},
        )
        return None if not links else Found(tuple(links), tuple(texts))
    return Found(tuple(links), tuple(texts))


def _store(
    text: str,
    kind: str,
    name: str,
    *,
    of: Recording,
    found: Neighbour,
    storage: StorageAdapter,
    known: Collection[str],
) -> StoredOutput:
    metadata = {"source-id": of.source_id, "revision": of.revision, "companion": found.source_id}
    with tempfile.TemporaryDirectory(prefix="audio-extract-") as folder:
        path = Path(folder) / "text"
        path.write_bytes(text.encode("utf-8", "replace"))
        try:
            stored = storage.save(path, name, metadata=metadata, content_type=_TEXT)
        except DestinationExistsError:
            # An earlier one of this recording stays as it is, as its audio does.
            there = storage.stat(name)
            is_ours = name in known or (there is not None and there.metadata.get("source-id") == of.source_id)
            if there is None or not is_ours:
                raise
            stored = there
    return StoredOutput(
        name=kind,
        object_name=name,
        size_bytes=stored.size_bytes,
        crc32c=stored.crc32c,
        generation=stored.generation,
        content_type=_TEXT,
    )

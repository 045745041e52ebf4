"""The chunks of one recording at the destination: ``…_audio/chunk-000.mp3`` and ``chunks.json``.

"Exactly once" holds for them as for the audio itself: each is written with a precondition, they appear before
the audio does, and ``chunks.json`` comes last. What an attempt that died left is known by its metadata (in a
folder: by the name that the database gave to the recording) and replaced; nobody else's object ever is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from audio_extract import plan
from audio_extract.chunker import INDEX, chunks_document
from audio_extract.jobs.adoption import Standing
from audio_extract.tracker import StoredChunk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audio_extract.engine_types import Chunk, ChunkRule, ChunkTarget
    from audio_extract.storage.base import StorageAdapter, StoredFile

#: Uploads of chunks take turns with the audio's for memory.
_UPLOAD_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChunkFolder:
    """The folder beside an audio object.

    Attributes:
        storage: The destination.
        object_name: Of the audio.
        source_id: The recording's id in its source.
    """

    storage: StorageAdapter
    object_name: str
    source_id: str

    @property
    def name(self) -> str:
        """Its name: the audio's without extension."""
        return plan.chunk_folder(self.object_name)

    @property
    def index_name(self) -> str:
        """The name of its index."""
        return f"{self.name}/{INDEX}"

    def standing(self) -> list[StoredFile]:
        """Return the chunks that stand there."""
        found = self.storage.list_files(f"{self.name}/")
        return [one for one in found if one.name != self.index_name and "/chunk-" in one.name]

    def is_foreign(self, *, named_before: bool) -> bool:
        """Tell whether somebody else's chunks stand there."""
        if self.storage.storage_type == "local":
            return not named_before and bool(self.standing())
        return any(one.metadata.get("source-id") != self.source_id for one in self.standing())

    def judge(self, whose: Standing, *, named_before: bool) -> tuple[Standing, list[StoredChunk]]:
        """Return whose the audio and its chunks are, and the chunks where all of it is there.

        Args:
            whose: The audio's, as far as it is known without its chunks.
            named_before: The database gave the name to the recording before this attempt.
        """
        if whose is Standing.OURS:
            chunks = self.read_index()
            if chunks is not None:
                return whose, chunks
            # Whoever stored it died before the chunks were complete: all of it is made again.
            whose = Standing.OURS_UNPROVEN
        return (Standing.FOREIGN if self.is_foreign(named_before=named_before) else whose), []

    def target(self, rule: ChunkRule, *, content_type: str, metadata: Mapping[str, str]) -> ChunkTarget:
        """Return where the engine writes them."""
        earlier = self.standing()
        sink = self.storage.engine_sink(self.name, content_type=content_type, metadata=metadata)
        if sink["kind"] == "gcs":
            sink["chunk_size_bytes"] = _UPLOAD_BYTES
        else:
            sink["overwrite"] = bool(earlier)
        replace = {
            one.name.rpartition("/")[2]: one.generation for one in earlier if one.generation is not None
        }
        return {"rule": rule, "sink": sink, "replace": replace}

    def remove_pieces(self, *, also_whole: bool) -> int:
        """Remove chunks of a recording that nobody will complete any more; returns how many.

        Args:
            also_whole: Also where there is an index of them, which goes too.
        """
        is_local = self.storage.storage_type == "local"
        pieces = [
            one for one in self.standing() if is_local or one.metadata.get("source-id") == self.source_id
        ]
        if not pieces:
            return 0
        index = self.storage.stat(self.index_name)
        if index is not None:
            if not also_whole:
                return 0
            self.storage.delete(index.name, index.generation)
        for one in pieces:
            self.storage.delete(one.name, one.generation)
        return len(pieces)

    def write_index(self, chunks: list[Chunk]) -> list[StoredChunk]:
        """Write ``chunks.json``, remove what earlier attempts left beyond it, and return what to record."""
        document = chunks_document(self.object_name.rpartition("/")[2], chunks[-1]["end"], chunks)
        self.storage.put_log(self.index_name, document)
        names = {f"{self.name}/{chunk['file']}" for chunk in chunks}
        for one in self.standing():
            if one.name not in names:
                self.storage.delete(one.name, one.generation)
        return self._recorded(document)

    def read_index(self) -> list[StoredChunk] | None:
        """Return what ``chunks.json`` says; None: there is none, or a chunk is not there as it says."""
        document = self.storage.get_log(self.index_name)
        try:
            recorded = None if document is None else self._recorded(document)
        except (KeyError, TypeError):
            # Not what we write: as if it were not there.
            return None
        sizes = {one.name: one.size_bytes for one in self.standing()}
        if recorded is None or any(sizes.get(one.object_name) != one.size_bytes for one in recorded):
            return None
        return recorded

    def _recorded(self, document: Mapping[str, Any]) -> list[StoredChunk]:
        return [
            StoredChunk(
                index=chunk["index"],
                object_name=f"{self.name}/{chunk['file']}",
                start_seconds=chunk["start"],
                end_seconds=chunk["end"],
                size_bytes=chunk["bytes"],
                crc32c=chunk["crc32c"],
                silence_cut=chunk["silence_cut"],
            )
            for chunk in document["chunks"]
        ]

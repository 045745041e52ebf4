"""What is stored of a recording beside its audio: ``…_audio_speech.flac`` beside ``…_audio.mp3``.

"Exactly once" holds for each by itself: it has a plan of its own, is written with a precondition, and what
stands there already and is proven to be just that is not made again, whether the audio is or not. All of them
appear before the audio does, so whoever sees that can rely on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from audio_extract import plan
from audio_extract.exceptions import InternalError
from audio_extract.jobs.adoption import Standing, judge, object_metadata
from audio_extract.jobs.chunk_folder import ChunkFolder
from audio_extract.tracker import StoredOutput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audio_extract.engine_types import ChunkTarget, FileSink, GcsSink
    from audio_extract.jobs.sound_wanted import WantedSound
    from audio_extract.sources.base import Recording
    from audio_extract.storage.base import StorageAdapter, StoredFile
    from audio_extract.tracker import StoredChunk

#: Uploads beside the audio's take turns with it for memory.
_UPLOAD_BYTES: Final = 1024 * 1024
#: So many other objects under an output's names end the search: something else is wrong then.
_MAX_SERIAL: Final = 1_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where one output stands or will.

    Attributes:
        wanted: What it is.
        name: The object's name.
        standing: What is there.
        is_done: Just that output is there, so it is not made again.
        folder: Of its chunks.
        chunks: Those that stand there, where it is done.
    """

    wanted: WantedSound
    name: str
    standing: StoredFile | None
    is_done: bool
    folder: ChunkFolder
    chunks: tuple[StoredChunk, ...] = ()


@dataclass(frozen=True, slots=True)
class MoreOutputs:
    """The outputs beside one audio object.

    Attributes:
        storage: The destination.
        object_name: Of the audio.
        recording: Whose they are.
        trace_id: Of the transfer that makes them.
    """

    storage: StorageAdapter
    object_name: str
    recording: Recording
    trace_id: str | None = None

    def places(
        self, wanted: Sequence[WantedSound], *, named: Mapping[str, str], replaces: bool
    ) -> list[Place]:
        """Return where each of them stands or will. Nobody else's object is in the way of one.

        Args:
            wanted: The outputs.
            named: The names that the database gave them before this attempt, by output.
            replaces: New content takes the place of the earlier one (``behavior.new_revisions``).
        """
        return [self._place(one, named=named.get(one.name), replaces=replaces) for one in wanted]

    def _place(self, wanted: WantedSound, *, named: str | None, replaces: bool) -> Place:
        for serial in range(1, _MAX_SERIAL):
            name = plan.output_name(self.object_name, wanted.name, extension=wanted.extension, serial=serial)
            folder = ChunkFolder(self.storage, name, self.recording.source_id)
            standing = self.storage.stat(name)
            whose = Standing.FREE
            if standing is not None:
                whose = judge(
                    standing.metadata,
                    self.recording,
                    wanted.plan_id,
                    named_before=name == named,
                    local=self.storage.storage_type == "local",
                    replaces=replaces,
                )
            chunks: Sequence[StoredChunk] = ()
            if wanted.rule is not None:
                whose, chunks = folder.judge(whose, named_before=name == named)
            if whose is not Standing.FOREIGN:
                is_done = whose is Standing.OURS
                return Place(wanted, name, standing, is_done, folder, tuple(chunks))
        raise InternalError(f"{self.recording.name}: {_MAX_SERIAL} names for {wanted.name} are taken")

    def sink(self, place: Place) -> GcsSink | FileSink:
        """Return where the engine writes one of them."""
        sink = self.storage.engine_sink(
            place.name,
            content_type=self._content_type(place),
            metadata=self._metadata(place),
            replace=place.standing,
        )
        if sink["kind"] == "gcs":
            sink["chunk_size_bytes"] = _UPLOAD_BYTES
        return sink

    def chunks(self, place: Place) -> ChunkTarget | None:
        """Return where the engine writes its chunks; None: it has none."""
        if place.wanted.rule is None:
            return None
        return place.folder.target(
            place.wanted.rule, content_type=self._content_type(place), metadata=self._metadata(place)
        )

    def _content_type(self, place: Place) -> str:
        return plan.CONTENT_TYPES[place.wanted.extension]

    def _metadata(self, place: Place) -> dict[str, str]:
        return object_metadata(self.recording, place.wanted.plan_id, self.trace_id)


def recorded(place: Place, *, audio_seconds: float | None) -> StoredOutput | None:
    """Return what to write down of an output that stands there; None: nothing does."""
    standing = place.standing
    if standing is None or not place.is_done:
        return None
    return StoredOutput(
        name=place.wanted.name,
        object_name=place.name,
        size_bytes=standing.size_bytes,
        crc32c=standing.crc32c,
        generation=standing.generation,
        content_type=standing.content_type,
        audio_seconds=audio_seconds,
        chunks=place.chunks,
    )

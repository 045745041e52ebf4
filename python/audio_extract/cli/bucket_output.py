"""A bucket that was named on the command line: ``-o gs://bucket/prefix/``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.cli.invocation import Invocation
    from audio_extract.engine_types import FileSink, GcsSink
    from audio_extract.storage.base import StorageAdapter


@dataclass(frozen=True, slots=True)
class BucketOutput:
    """Gives the engine's sinks in one bucket."""

    adapter: StorageAdapter

    def sink(self, object_name: str, *, content_type: str, overwrite: bool) -> GcsSink | FileSink:
        """Return where the engine writes an object.

        Args:
            object_name: Its name.
            content_type: Its type.
            overwrite: Replace the object that stands there now, and no other that may come meanwhile.
        """
        standing = self.adapter.stat(object_name) if overwrite else None
        return self.adapter.engine_sink(object_name, content_type=content_type, metadata={}, replace=standing)

    def generations(self, prefix: str) -> dict[str, int]:
        """Return the generations of the objects below a prefix, by their names without it."""
        found = self.adapter.list_files(prefix)
        return {one.name.removeprefix(prefix): one.generation for one in found if one.generation is not None}

    @property
    def token(self) -> Callable[[], tuple[str, float]] | None:
        """What the engine asks for access tokens."""
        return self.adapter.token_provider()


def open_bucket(name: str, invocation: Invocation) -> BucketOutput:
    """Return a bucket; the credentials are those of the settings, else those of the machine.

    Raises:
        ConfigurationError: The settings cannot be read.
    """
    from audio_extract.storage.factory import StorageFactory

    storage = {"type": "gcs", "gcs": {"bucket_name": name}, "gcs_mount": {"enabled": False}}
    settings = invocation.settings(
        {"storage": storage, "processing": {"use_gcs_api": True, "gcs": {"bucket_name": name}}}
    )
    return BucketOutput(StorageFactory.create(settings))

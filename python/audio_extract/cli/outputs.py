"""From ``-o DEST`` to what the engine writes: one sink for each recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from audio_extract.cli.targets import BucketDest, FileDest, FolderDest, parse_dest, result_name, safe_name
from audio_extract.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audio_extract.cli.bucket_output import BucketOutput
    from audio_extract.cli.inputs import Input
    from audio_extract.cli.invocation import Invocation
    from audio_extract.cli.targets import Dest
    from audio_extract.engine_types import Chunk, ChunkRule, ChunkTarget, FileSink, GcsSink

    TokenProvider = Callable[[], tuple[str, float]]


#: Uploads beside the main one take turns with it for memory.
SMALL_UPLOAD_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Output:
    """Where one result goes.

    Attributes:
        label: A path or ``gs://`` URL, for people.
        sink: The same for the engine.
        token: Gives the access token of a bucket.
        bucket: The bucket; None for a file.
    """

    label: str
    sink: FileSink | GcsSink
    token: TokenProvider | None = None
    bucket: BucketOutput | None = None

    def beside(self, name: str, *, extension: str, content_type: str, overwrite: bool) -> Output:
        """Return where another result of a recording goes: ``a_speech.flac`` beside ``a.mp3``."""
        stem = f"{self._stem}_{name}.{extension}"
        if self.bucket is not None and self.sink["kind"] == "gcs":
            sink = self.bucket.sink(stem, content_type=content_type, overwrite=overwrite)
            if sink["kind"] == "gcs":
                sink["chunk_size_bytes"] = SMALL_UPLOAD_BYTES
            return Output(f"gs://{self.sink['bucket']}/{stem}", sink, self.token, self.bucket)
        return Output(stem, {"kind": "file", "path": stem, "overwrite": overwrite})

    def chunks(self, rule: ChunkRule, *, content_type: str, overwrite: bool) -> ChunkTarget:
        """Return where chunks of this result go: a folder with its name, without extension."""
        if self.bucket is not None and self.sink["kind"] == "gcs":
            sink = self.bucket.sink(self._stem, content_type=content_type, overwrite=False)
            if sink["kind"] == "gcs":
                sink["chunk_size_bytes"] = SMALL_UPLOAD_BYTES
            replace = self.bucket.generations(f"{self._stem}/") if overwrite else {}
            return {"rule": rule, "sink": sink, "replace": replace}
        return {"rule": rule, "sink": {"kind": "file", "path": self._stem, "overwrite": overwrite}}

    def index_chunks(self, source: str, duration: float, chunks: list[Chunk]) -> str:
        """Write ``chunks.json`` beside them and return where."""
        from audio_extract.chunker import INDEX, chunks_document, write_index

        document = chunks_document(source, duration, chunks)
        if self.bucket is not None and self.sink["kind"] == "gcs":
            name = f"{self._stem}/{INDEX}"
            self.bucket.adapter.put_log(name, document)
            return f"gs://{self.sink['bucket']}/{name}"
        return str(write_index(Path(self._stem), document))

    @property
    def _stem(self) -> str:
        name = self.sink["object"] if self.sink["kind"] == "gcs" else self.sink["path"]
        return name.removesuffix(PurePosixPath(name).suffix)


class Outputs:
    """Gives each recording its result's place, and no two the same."""

    def __init__(
        self, dest: Dest | None, *, overwrite: bool, invocation: Invocation, recordings: Sequence[Input]
    ) -> None:
        self._dest = dest
        self._recordings = {identity for one in recordings if (identity := _identity(one.path)) is not None}
        self._overwrite = overwrite
        self._invocation = invocation
        self._taken: set[str] = set()

    def place(self, recording: Input, *, extension: str, content_type: str) -> Output:
        """Return where this recording's result goes.

        Raises:
            ConfigurationError: Another source of this call already has that place, or stands there.
        """
        name = result_name(recording.name, extension)
        match self._dest:
            case None:
                output = self._file((recording.folder or Path()) / name, recording)
            case FileDest(path):
                output = self._file(path, recording)
            case FolderDest(path):
                output = self._file(path / name, recording)
            case BucketDest():
                output = self._object(self._dest, name, content_type)
        if output.label in self._taken:
            raise ConfigurationError(
                f"{recording.word}: another source of this call already has the result {output.label}; "
                "rename one, or run them apart",
                code="usage.invalid",
            )
        self._taken.add(output.label)
        return output

    def _file(self, path: Path, recording: Input) -> Output:
        if _identity(path) in self._recordings:
            raise ConfigurationError(
                f"{recording.word}: the result would replace the recording {path}; "
                "name another file or folder with -o",
                code="usage.invalid",
            )
        return Output(str(path), {"kind": "file", "path": str(path), "overwrite": self._overwrite})

    def _object(self, dest: BucketDest, name: str, content_type: str) -> Output:
        from audio_extract.cli.bucket_output import open_bucket

        bucket = open_bucket(dest.bucket, self._invocation)
        object_name = dest.object_name or f"{dest.prefix}{safe_name(name)}"
        return Output(
            f"gs://{dest.bucket}/{object_name}",
            bucket.sink(object_name, content_type=content_type, overwrite=self._overwrite),
            bucket.token,
            bucket,
        )


def plan_outputs(
    dest: str | None, *, many: bool, overwrite: bool, invocation: Invocation, recordings: Sequence[Input]
) -> Outputs:
    """Understand ``-o DEST``.

    Raises:
        ConfigurationError: It means nothing.
    """
    return Outputs(
        parse_dest(dest, many=many) if dest is not None else None,
        overwrite=overwrite,
        invocation=invocation,
        recordings=recordings,
    )


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Return which file that is, whatever name it is reached by; None: there is none."""
    try:
        status = path.stat() if path is not None else None
    except OSError:
        # What is wrong with the place is said by whoever writes there.
        return None
    return (status.st_dev, status.st_ino) if status is not None else None

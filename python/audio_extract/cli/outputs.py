"""From ``-o DEST`` to what the engine writes: one sink for each recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audio_extract.cli.targets import BucketDest, FileDest, FolderDest, parse_dest, result_name, safe_name
from audio_extract.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audio_extract.cli.inputs import Input
    from audio_extract.cli.invocation import Invocation
    from audio_extract.cli.targets import Dest
    from audio_extract.engine_types import FileSink, GcsSink

    TokenProvider = Callable[[], tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Output:
    """Where one result goes.

    Attributes:
        label: A path or ``gs://`` URL, for people.
        sink: The same for the engine.
        token: Gives the access token of a bucket.
    """

    label: str
    sink: FileSink | GcsSink
    token: TokenProvider | None = None


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

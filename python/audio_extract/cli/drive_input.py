"""A Drive file or folder that was named on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from audio_extract.cli.inputs import Input
from audio_extract.exceptions import ConfigurationError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audio_extract.cli.invocation import Invocation

_FOLDER: Final = "application/vnd.google-apps.folder"
_NATIVE: Final = "application/vnd.google-apps."


def drive_inputs(word: str, file_id: str, invocation: Invocation) -> Iterator[Input]:
    """Yield the recording with this id, or those in the folder with this id.

    The credentials are those of the settings; without a settings file, those of the machine.

    Raises:
        AudioExtractError: Drive does not give it; the message says what to do.
    """
    from audio_extract.plan.selection import kind_of
    from audio_extract.sources.factory import build_drive_source

    source = build_drive_source(invocation.settings({"google_drive": {"recordings_folder_id": [file_id]}}))
    found = source.get(file_id)
    mime_type = found.mime_type or ""
    if mime_type == _FOLDER:
        recordings = [
            child for child in source.list() if (kind_of(child) or "").startswith(("video/", "audio/"))
        ]
        if not recordings:
            raise NotFoundError(
                f"{word}: the folder {found.name!r} holds no recordings (sub-folders are not searched)",
                code="source.not_found",
            )
    elif mime_type.startswith(_NATIVE):
        raise ConfigurationError(
            f"{word}: {found.name!r} is no recording but a Google {mime_type.removeprefix(_NATIVE)}",
            code="usage.invalid",
        )
    else:
        recordings = [found]
    for recording in recordings:
        label = word if recording is found else f"drive:{recording.source_id}"
        yield Input(label, recording.name, source.engine_source(recording), token=source.token_provider())

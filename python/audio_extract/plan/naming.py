"""What the audio of a recording is called at the destination.

``{prefix}/{YYYY}/{MM}/{name}_{YYYY-MM-DD}_{HH-MM}_audio.{ext}``. Pure: the same recording and settings always
give the same name, and no name leaves the prefix. Whether it is free, others know: ask again with the next
``serial``.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from audio_extract.plan.meeting_names import Meeting, meeting

if TYPE_CHECKING:
    from audio_extract.settings import Settings
    from audio_extract.sources.base import Recording

#: File systems allow 255 bytes; the rest is for what temporary files and chunk folders add.
_MAX_COMPONENT_BYTES: Final = 200
#: Separators, what Cloud Storage advises against, and what Windows (where people sync to) refuses. Control
#: characters, also those that turn writing round, are taken out by category.
_UNSAFE: Final = re.compile(r'[/\\#\[\]*?:"<>|]+')
_LOGS: Final = "metadata/processing-logs"


def meeting_of(recording: Recording, settings: Settings) -> Meeting:
    """Return title and time of the recorded meeting, in the configured time zone."""
    return meeting(recording.name, recording.created_at, settings.google_drive.time_zone)


def object_name(recording: Recording, settings: Settings, *, extension: str, serial: int = 1) -> str:
    """Return the name for a recording's audio.

    Args:
        recording: Gives title and time.
        settings: Give prefix and time zone.
        extension: Without dot, lower-case letters and digits: ``mp3``.
        serial: 1, or the number of tries when earlier names were taken by others.

    Raises:
        ValueError: ``extension`` or ``serial`` is not of that form.
    """
    if not re.fullmatch(r"[a-z0-9]{1,8}", extension) or not 1 <= serial <= 9_999_999:
        raise ValueError(f"extension {extension!r} or serial {serial} is out of range")
    found = meeting_of(recording, settings)
    began = found.began_at
    number = f"-{serial}" if serial > 1 else ""
    # strftime("%Y") does not pad years before 1000 on Linux.
    day = f"{began.year:04}-{began.month:02}-{began.day:02}"
    ending = f"{number}_{day}_{began.hour:02}-{began.minute:02}_audio.{extension}"
    title = safe_component(found.title, _MAX_COMPONENT_BYTES - len(ending))
    return "/".join(
        filter(None, (settings.object_prefix, f"{began.year:04}/{began.month:02}", title + ending))
    )


def output_name(object_name: str, output: str, *, extension: str, serial: int = 1) -> str:
    """Return the name of one more output of a recording: ``…_audio_speech.flac`` beside ``…_audio.mp3``.

    Args:
        object_name: Of the audio.
        output: What the output is called.
        extension: Without dot.
        serial: 1, or the number of tries when earlier names were taken by others.
    """
    number = f"-{serial}" if serial > 1 else ""
    return f"{chunk_folder(object_name)}_{output}{number}.{extension}"


def log_name(object_name: str, settings: Settings) -> str:
    """Return the name of the log of the transfer that makes an object.

    Args:
        object_name: As :func:`object_name` gave it with these settings.
        settings: Give the prefix.
    """
    prefix = settings.object_prefix
    below = object_name.removeprefix(f"{prefix}/") if prefix else object_name
    folder, _, file = below.rpartition("/")
    stem = file.rpartition(".")[0] or file
    return "/".join(filter(None, (prefix, _LOGS, folder, f"{stem}.json")))


def chunk_folder(object_name: str) -> str:
    """Return the name of the folder for chunks of an object: its own without extension."""
    return object_name.rpartition(".")[0] or object_name


def safe_component(title: str, max_bytes: int) -> str:
    """Return a title as one part of a path: readable, not empty, not ``.`` or ``..``, of limited length."""
    text = unicodedata.normalize("NFC", title)
    # Cc control, Cf direction marks and joiners, Cs lone surrogates, Co and Cn what no font knows.
    text = "".join(
        " " if unicodedata.category(letter) in {"Zl", "Zp", "Zs", "Cc"} else letter for letter in text
    )
    text = "".join(letter for letter in text if not unicodedata.category(letter).startswith("C"))
    text = " ".join(_UNSAFE.sub("_", text).split()).strip(" .")
    shortened = text.encode()[:max_bytes].decode(errors="ignore").rstrip(" .")
    return shortened or "recording"

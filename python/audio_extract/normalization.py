"""What makes a recording as loud as wanted: one gain where it can be read twice, else one that follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from audio_extract import _engine
from audio_extract.plan.loudness import linear_gain

if TYPE_CHECKING:
    from audio_extract._engine import CancelToken
    from audio_extract.engine_types import Audio, Ffmpeg, FileSource, HttpSource


class Loudness(TypedDict, total=False):
    """The engine's words for it, one of them or none."""

    gain_db: float
    loudness_lufs: float


def loudness_for(
    source: HttpSource | FileSource,
    audio: Audio,
    target_lufs: float | None,
    ffmpeg: Ffmpeg,
    cancel: CancelToken | None = None,
) -> Loudness | None:
    """Return what to ask the engine for; a local recording is decoded once to be measured.

    Args:
        source: The recording.
        audio: The output: its track, channels and rate are what is measured.
        target_lufs: As loud as this; None: as it is.
        ffmpeg: Decodes it.
        cancel: Ends the measuring.

    Returns:
        None: nothing is heard in it, so no gain makes it loud.
    """
    if target_lufs is None:
        return {}
    if source["kind"] != "file":
        return {"loudness_lufs": target_lufs}
    measured = _engine.transfer(
        {
            "source": source,
            "sink": {"kind": "nothing"},
            "audio": {
                "codec": "wav",
                "track": audio.get("track", 0),
                "channels": audio.get("channels"),
                "sample_rate_hz": audio.get("sample_rate_hz"),
            },
            "measure": {},
            "ffmpeg": ffmpeg,
        },
        cancel=cancel,
    )
    sound = measured["sound"]
    gain = None if sound is None else linear_gain(sound["loudness"], target_lufs)
    return None if gain is None else {"gain_db": gain}

"""What has to be known of a recording's sound before it is encoded: how loud it is, where it begins and ends.

A local recording is decoded once more for that. One that comes over a network is so only where its silence is
to be taken off, which cannot be known otherwise; loudness alone is brought about by a gain that follows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from audio_extract import _engine
from audio_extract.plan.formats import MP3_RATES
from audio_extract.plan.loudness import linear_gain

if TYPE_CHECKING:
    from audio_extract._engine import CancelToken
    from audio_extract.credentials import TokenProvider
    from audio_extract.engine_types import (
        Audio,
        Fetch,
        Ffmpeg,
        FileSource,
        HttpSource,
        Silence,
        SoundReport,
        TransferRequest,
    )

#: So much silence stays before the first sound and after the last one.
_KEPT_SECONDS: Final = 0.2


class Shaping(TypedDict, total=False):
    """The engine's words for what is done to the sound."""

    gain_db: float
    loudness_lufs: float
    clip: tuple[int, int]
    sample_rate_hz: int


class Means(TypedDict):
    """How a measuring pass fetches and what it holds, in the engine's words."""

    fetch: Fetch
    memory_limit_bytes: int
    temp_directory: str


def shaping_for(
    source: HttpSource | FileSource,
    audio: Audio,
    ffmpeg: Ffmpeg,
    *,
    normalize: float | None,
    trim: Silence | None,
    token: TokenProvider | None = None,
    cancel: CancelToken | None = None,
    means: Means | None = None,
) -> Shaping | None:
    """Return what to ask the engine for.

    Args:
        source: The recording.
        audio: The output: its track, channels and rate are what is measured.
        ffmpeg: Decodes it.
        normalize: As loud as this, in LUFS; None: as it is.
        trim: What counts as silence where that is taken off at both ends; None: nothing is.
        token: Gives the access token of the source.
        cancel: Ends the measuring.
        means: As the transfer itself is told; None: the engine's defaults.

    Returns:
        None: nothing is heard in it, so it can neither be made louder nor shorter.
    """
    if normalize is None and trim is None:
        return {}
    if trim is None and normalize is not None and source["kind"] != "file":
        return {"loudness_lufs": normalize}
    request: TransferRequest = {
        "source": source,
        "sink": {"kind": "nothing"},
        "audio": {
            "codec": "wav",
            "track": audio.get("track", 0),
            "mixed_tracks": audio.get("mixed_tracks", 0),
            "channels": audio.get("channels"),
            "sample_rate_hz": audio.get("sample_rate_hz"),
        },
        "measure": trim or {},
        "ffmpeg": ffmpeg,
    }
    if means is not None:
        request["fetch"] = means["fetch"]
        request["memory_limit_bytes"] = means["memory_limit_bytes"]
        request["temp_directory"] = means["temp_directory"]
    measured = _engine.transfer(request, source_token=token, cancel=cancel)
    sound = measured["sound"]
    if sound is None or sound["loudness"]["integrated_lufs"] is None:
        return None
    shaping: Shaping = {}
    if normalize is not None:
        gain = linear_gain(sound["loudness"], normalize)
        if gain is not None:
            shaping["gain_db"] = gain
    if trim is not None:
        rate = sound["sample_rate_hz"]
        if audio["codec"] == "mp3" and rate not in MP3_RATES:
            # The samples of a clip are those of the output, which has another rate then.
            rate = shaping["sample_rate_hz"] = min(MP3_RATES, key=lambda one: abs(one - rate))
        if (clip := _clip(sound, rate)) is not None:
            shaping["clip"] = clip
    return shaping


def _clip(sound: SoundReport, rate: int) -> tuple[int, int] | None:
    """Return the samples that are kept, counted at a rate; None: all of them."""
    silence = sound["silence"]
    total = round(sound["seconds"] * rate)
    first = max(0, round((silence["leading_seconds"] - _KEPT_SECONDS) * rate))
    last = min(total, round((sound["seconds"] - silence["trailing_seconds"] + _KEPT_SECONDS) * rate))
    return None if (first, last) == (0, total) or first >= last else (first, last)

"""What ``extract`` is asked to make: from its flags to the engine's words."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from audio_extract.cli.quantities import read_seconds, read_size
from audio_extract.exceptions import ConfigurationError
from audio_extract.plan.tracks import MIX
from audio_extract.presets import CUTTABLE, PRESETS

if TYPE_CHECKING:
    from audio_extract.engine_types import Audio, ChunkRule
    from audio_extract.plan.tracks import Chosen

_MOST_TRACK: Final = 63


class CodecFlag(StrEnum):
    """What the result is."""

    MP3 = "mp3"
    AAC = "aac"
    OPUS = "opus"
    FLAC = "flac"
    WAV = "wav"
    COPY = "copy"


class QualityFlag(StrEnum):
    """How much time the encoder takes."""

    FAST = "fast"
    STANDARD = "standard"
    BEST = "best"


class PresetFlag(StrEnum):
    """What a result is for."""

    PODCAST = "podcast"
    SPEECH = "speech"
    SPEECH_SMALL = "speech-small"
    ARCHIVE = "archive"


def wanted_audio(
    preset: list[PresetFlag] | None,
    codec: CodecFlag | None,
    quality: QualityFlag,
    *,
    bitrate: str | None,
    sample_rate: int | None,
    channels: int | None,
) -> list[tuple[str, Audio]]:
    """Return what to make of each recording, by the name of its preset; the first is the main result.

    Raises:
        ConfigurationError: Flags contradict each other.
    """
    if preset and not all(flag is None for flag in (codec, bitrate, sample_rate, channels)):
        raise ConfigurationError(
            "--preset says what --codec, --bitrate, --sample-rate and --channels would; give one or the "
            "others",
            code="usage.invalid",
        )
    if preset:
        return [
            (name.value, {**PRESETS[name.value], "quality": quality.value})
            for name in dict.fromkeys(preset or ())
        ]
    return [
        (
            "",
            {
                "codec": (codec or CodecFlag.MP3).value,
                "quality": quality.value,
                "bitrate_bps": parse_bitrate(bitrate),
                "sample_rate_hz": sample_rate,
                "channels": channels,
            },
        )
    ]


def wanted_track(text: str) -> int | str:
    """Return which track ``--track`` means: a number, a language, ``all`` or ``mix``.

    Raises:
        ConfigurationError: It is none of these.
    """
    word = text.strip().lower()
    if word.isascii() and word.isdecimal() and int(word) <= _MOST_TRACK:
        return int(word)
    if word.isascii() and word.isalpha() and len(word) in {2, 3}:
        return word
    raise ConfigurationError(
        f"--track {text}: expected a number from 0 to {_MOST_TRACK}, a language such as eng, all, or mix",
        code="usage.invalid",
    )


def of_tracks(wanted: list[tuple[str, Audio]], tracks: list[Chosen]) -> list[tuple[str, Audio]]:
    """Return what to make of each track; of the first under the name of its preset."""
    found: list[tuple[str, Audio]] = []
    for number, track in enumerate(tracks):
        for name, audio in wanted:
            called = name if number == 0 else f"{name}-track-{number}".lstrip("-")
            found.append((called, {**audio, "track": track.index, "mixed_tracks": track.mixed}))
    return found


def refuse_impossible(
    wanted: list[tuple[str, Audio]],
    rule: ChunkRule | None,
    normalize: float | None,
    *,
    track: int | str,
    trim: bool,
) -> None:
    """Say what cannot be made before anything is read.

    Raises:
        ConfigurationError: A copy should be louder, or something be cut that cannot be.
    """
    if normalize is not None and any(audio["codec"] == "copy" for _, audio in wanted):
        raise ConfigurationError(
            "--normalize: a copy is as loud as it is; choose another codec or preset", code="usage.invalid"
        )
    if (trim or track == MIX) and any(audio["codec"] == "copy" for _, audio in wanted):
        raise ConfigurationError(
            f"{'--trim-silence' if trim else '--track mix'}: a copy takes the sound as it is; choose another "
            "codec or preset",
            code="usage.invalid",
        )
    if rule is not None and wanted[0][1]["codec"] not in CUTTABLE:
        raise ConfigurationError(
            f"chunks of {wanted[0][1]['codec']} cannot be cut without encoding them again; choose "
            "--codec mp3, flac or wav",
            code="usage.invalid",
        )


def chunk_rule(duration: str | None, size: str | None, *, at_silence: bool) -> ChunkRule | None:
    """Return how to cut; None: not at all."""
    if duration is None and size is None:
        if at_silence:
            duration = "15m"
        else:
            return None
    return {
        "duration_seconds": None if duration is None else read_seconds("--chunk-duration", duration),
        "most_bytes": None if size is None else read_size("--chunk-size", size),
        "silence": {} if at_silence else None,
    }


def parse_bitrate(text: str | None) -> int | None:
    """Return ``128k``, ``128000`` or ``0.5M`` in bits per second.

    Raises:
        ConfigurationError: It is something else.
    """
    if text is None:
        return None
    factor = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    digits = text[:-1] if factor > 1 else text
    try:
        value = round(float(digits) * factor)
    except (ValueError, OverflowError):
        value = 0
    if not 6_000 <= value <= 10_000_000:
        raise ConfigurationError(
            f"--bitrate {text}: expected a bitrate between 6k and 10m, such as 128k", code="usage.invalid"
        )
    return value

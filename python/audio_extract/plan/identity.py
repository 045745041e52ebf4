"""Which output was made: a hash of all settings that decide about its bytes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from audio_extract.plan.engine_request import chunk_rule, silence

if TYPE_CHECKING:
    from audio_extract.engine_types import ChunkRule
    from audio_extract.settings import Settings
    from audio_extract.settings.audio_sections import AudioFormat

#: Raised when the same settings begin to mean other audio, so that old objects are told apart from new ones.
_VERSION: Final = 1


def plan_id(settings: Settings) -> str:
    """Return 16 hex digits that change exactly when the audio would.

    ``128k`` and ``128000`` are the same; what a codec does not use (the bitrate of ``flac``) does not count.
    """
    return format_id(
        settings, settings.processing.audio_format, chunk_rule(settings, settings.processing.chunks)
    )


def format_id(settings: Settings, audio: AudioFormat, chunks: ChunkRule | None = None) -> str:
    """Return the same for one output: what else is made of a recording changes nothing about it.

    Args:
        settings: What counts as silence.
        audio: The output.
        chunks: How it is cut; None: not at all.
    """
    meaning: dict[str, Any] = {
        "version": _VERSION,
        "codec": audio.codec,
        "track": audio.track,
        "bitrate_bps": audio.bitrate_bps,
        "sample_rate_hz": audio.sample_rate_hz,
        "channels": audio.channel_count,
        # `copy` and `wav` have no encoder that could take more or less time.
        "quality": None if audio.codec in {"copy", "wav"} else audio.quality,
        "compression_level": None if audio.codec in {"copy", "wav", "aac"} else audio.compression_level,
    }
    # Left out where there are none: what was stored before there were such settings stays what it is.
    newer = {
        "chunks": chunks,
        "sample_bits": audio.sample_bits,
        "loudness_lufs": audio.normalize,
        "trim_silence": silence(settings) if audio.trim_silence else None,
    }
    meaning.update((name, value) for name, value in newer.items() if value is not None)
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

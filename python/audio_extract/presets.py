"""Outputs by the name of what they are for. A table only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from audio_extract.engine_types import Audio

#: Name → what is made of the sound.
PRESETS: Final[dict[str, Audio]] = {
    # For people.
    "podcast": {"codec": "mp3", "bitrate_bps": 128_000, "sample_rate_hz": 44_100, "channels": 2},
    # What speech recognition recommends: 16 kHz, mono, nothing lost.
    "speech": {"codec": "flac", "sample_rate_hz": 16_000, "channels": 1, "sample_bits": 16},
    # The same where bytes count.
    "speech-small": {"codec": "opus", "bitrate_bps": 24_000, "channels": 1},
    # The sound as it was recorded.
    "archive": {"codec": "copy"},
}

#: Codecs whose files can be cut into chunks without encoding them again.
CUTTABLE: Final = frozenset({"mp3", "flac", "wav"})

"""Settings in the engine's words: what to make of the sound, how to fetch, which FFmpeg."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audio_extract.settings.base import MIB

if TYPE_CHECKING:
    from audio_extract.engine_types import Audio, Fetch, Ffmpeg, Tags
    from audio_extract.ffmpeg import FoundFfmpeg
    from audio_extract.settings import Settings


def audio_request(settings: Settings, tags: Tags | None = None) -> Audio:
    """Return what to make of the sound.

    Args:
        settings: ``processing.audio_format``.
        tags: What the file says of itself.
    """
    audio = settings.processing.audio_format
    return {
        "codec": audio.codec,
        "quality": audio.quality,
        "bitrate_bps": audio.bitrate_bps,
        "sample_rate_hz": audio.sample_rate_hz,
        "channels": audio.channel_count,
        "compression_level": audio.compression_level,
        "track": audio.track,
        "tags": tags or {},
    }


def fetch_request(settings: Settings) -> Fetch:
    """Return how bytes are fetched."""
    transfer = settings.transfer
    return {
        "strategy": transfer.strategy,
        "range_size_bytes": settings.range_size_bytes,
        "max_ranges": transfer.max_ranges,
        "stall_timeout_seconds": transfer.stall_timeout_seconds,
        "request_budget": transfer.request_budget,
    }


def ffmpeg_request(settings: Settings, found: FoundFfmpeg) -> Ffmpeg:
    """Return how FFmpeg runs.

    Args:
        settings: ``processing.ffmpeg``.
        found: The program, from :func:`audio_extract.ffmpeg.find_ffmpeg`.
    """
    ffmpeg = settings.processing.ffmpeg
    return {
        "path": str(found.path),
        "nice": ffmpeg.nice,
        "encoders": ffmpeg.encoders,
        "stall_timeout_seconds": ffmpeg.stall_timeout_seconds,
    }


def memory_limit_bytes(settings: Settings) -> int:
    """Return the bytes one transfer may hold."""
    return settings.transfer.memory_limit_mb * MIB

"""Settings in the engine's words: what to make of the sound, how to fetch, which FFmpeg."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audio_extract.settings.base import MIB

if TYPE_CHECKING:
    from audio_extract.engine_types import Audio, ChunkRule, Fetch, Ffmpeg, Silence, Tags
    from audio_extract.ffmpeg import FoundFfmpeg
    from audio_extract.plan.tracks import Chosen
    from audio_extract.settings import Settings
    from audio_extract.settings.audio_sections import AudioFormat, Cuts


def audio_request(audio: AudioFormat, track: Chosen, tags: Tags | None = None) -> Audio:
    """Return what to make of the sound.

    Args:
        audio: ``processing.audio_format``, or one of ``processing.outputs``.
        track: Which track that means in this recording.
        tags: What the file says of itself.
    """
    return {
        "codec": audio.codec,
        "quality": audio.quality,
        "bitrate_bps": audio.bitrate_bps,
        "sample_rate_hz": audio.sample_rate_hz,
        "channels": audio.channel_count,
        "compression_level": audio.compression_level,
        "sample_bits": audio.sample_bits,
        "track": track.index,
        "mixed_tracks": track.mixed,
        "tags": tags or {},
    }


def measure_request(settings: Settings) -> Silence | None:
    """Return what counts as silence where the sound is measured; None: it is not.

    A copy is not decoded, and only for its picture it should not be.
    """
    processing = settings.processing
    if not processing.measure or processing.audio_format.codec == "copy":
        return None
    return silence(settings)


def silence(settings: Settings) -> Silence:
    """Return what counts as silence."""
    chunks = settings.processing.chunks
    return {"threshold_db": chunks.silence_threshold_db, "least_seconds": chunks.silence_seconds}


def chunk_rule(settings: Settings, cuts: Cuts) -> ChunkRule | None:
    """Return how to cut an output into chunks; None: not at all."""
    if not cuts.are_wanted:
        return None
    size = cuts.max_size_mb
    return {
        "duration_seconds": cuts.duration_seconds,
        "most_bytes": None if size is None else round(size * 1_000_000),
        "overlap_seconds": cuts.overlap_seconds,
        "silence": silence(settings) if cuts.at_silence else None,
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

"""Settings of the work itself: ``processing``, ``transfer``, ``upload``, ``execution``."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import model_validator

from audio_extract.engine_types import Codec, Quality, StrategyChoice  # noqa: TC001 - pydantic reads them
from audio_extract.settings.base import (
    MIB,
    Bitrate,
    Bucket,
    ExpandedPath,
    Prefix,
    Section,
    bits_per_second,
    key,
)

#: ISO/IEC 11172-3 and 13818-3, and MPEG-2.5: sample rates and the constant bitrates (kbit/s) they have.
_MP3_BITRATES: Final = (
    (
        frozenset({32_000, 44_100, 48_000}),
        frozenset({32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}),
    ),
    (
        frozenset({16_000, 22_050, 24_000}),
        frozenset({8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}),
    ),
    (frozenset({8_000, 11_025, 12_000}), frozenset({8, 16, 24, 32, 40, 48, 56, 64})),
)
_OPUS_RATES: Final = frozenset({8_000, 12_000, 16_000, 24_000, 48_000})


class AudioFormat(Section):
    """What the audio is stored as."""

    codec: Codec = key("mp3", "mp3, aac, opus, flac, wav, or copy (the audio as it was recorded).")
    quality: Quality = key("standard", "Encoder effort: fast, standard or best.")
    bitrate: Bitrate = key("128k", "For mp3, aac and opus. aac and opus choose their own unless it is set.")
    sample_rate: int = key(
        44_100, "In Hz. opus and copy keep the recording's unless it is set.", ge=8_000, le=192_000
    )
    channels: int = key(1, "1 is mono, 2 is stereo. copy keeps the recording's.", ge=1, le=8)
    track: int = key(0, "Which audio track of a recording that has several, from 0.", ge=0, le=63)
    compression_level: int | None = key(
        None, "Overrides what quality means (FFmpeg's -compression_level).", ge=0, le=12
    )

    @property
    def bitrate_bps(self) -> int | None:
        """Bits per second for the engine; None where the codec decides."""
        if self.codec in {"flac", "wav", "copy"}:
            return None
        if self.codec != "mp3" and "bitrate" not in self.model_fields_set:
            return None
        return bits_per_second(self.bitrate)

    @property
    def sample_rate_hz(self) -> int | None:
        """Sample rate for the engine; None keeps the recording's."""
        if self.codec == "copy" or (self.codec == "opus" and "sample_rate" not in self.model_fields_set):
            return None
        return self.sample_rate

    @property
    def channel_count(self) -> int | None:
        """Channels for the engine; None keeps the recording's."""
        return None if self.codec == "copy" else self.channels

    @model_validator(mode="after")
    def _possible(self) -> AudioFormat:
        rate = self.sample_rate_hz
        if self.codec == "opus" and rate is not None and rate not in _OPUS_RATES:
            raise ValueError(
                "sample_rate: opus knows 8000, 12000, 16000, 24000 and 48000; remove it or choose one"
            )
        if self.codec == "mp3":
            kbit = bits_per_second(self.bitrate) / 1000
            known = next((bitrates for rates, bitrates in _MP3_BITRATES if rate in rates), None)
            if known is None:
                raise ValueError(
                    "sample_rate: mp3 knows 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100 and 48000"
                )
            if kbit not in known:
                choices = ", ".join(f"{number}k" for number in sorted(known))
                raise ValueError(f"bitrate: at this sample_rate mp3 knows {choices}")
            if self.channels > 2:
                raise ValueError("channels: mp3 has 1 or 2")
        return self


class Chunks(Section):
    """Pieces of the audio, for what comes next. There are none unless one of the first two keys is set."""

    duration_seconds: float | None = key(
        None, "How long a chunk should be, for example 900.", ge=1, le=86_400
    )
    max_size_mb: float | None = key(
        None, "Every chunk is smaller, for example 24 where a service takes 25 MB.", ge=0.3, le=4_000
    )
    overlap_seconds: float = key(
        0.0, "What of the end of a chunk comes again at the beginning of the next.", ge=0, le=60
    )
    at_silence: bool = key(
        False, "Cut in the silence nearest to the place, at most 30 seconds (a quarter of a chunk) away."
    )
    silence_threshold_db: float = key(
        -40.0, "No sample is louder in silence, in dB below full scale.", ge=-90, le=-10
    )
    silence_seconds: float = key(0.5, "Silence is at least so long.", ge=0.05, le=60)


class Ffmpeg(Section):
    """The FFmpeg program."""

    path: ExpandedPath | None = key(
        None, "The program. Without it: the bundled one, then PATH, then Python packages."
    )
    nice: int = key(0, "Gives way to other programs: 0 (not at all) to 19.", ge=0, le=19)
    encoders: int | None = key(
        None,
        "Encoders side by side for one long recording (MP3); absent: its share of the cores.",
        ge=1,
        le=64,
    )
    stall_timeout_seconds: float = key(120, "Without progress for this long it is stopped.", ge=1, le=3_600)
    allow_download: bool = key(
        False, "Let the package static-ffmpeg download FFmpeg once, where none is installed."
    )


class ProcessingGcs(Section):
    """Earlier place of ``storage.gcs``."""

    bucket_name: Bucket | None = key(None, "Earlier place of storage.gcs.bucket_name.")
    prefix: Prefix | None = key(None, "Earlier place of storage.gcs.prefix.")
    credentials_path: ExpandedPath | None = key(None, "Earlier place of storage.gcs.credentials_path.")


class Processing(Section):
    """What is done with a recording."""

    output_directory: ExpandedPath | None = key(
        None, "Earlier place of storage.local.path, used where that is absent (often a mounted bucket)."
    )
    use_gcs_api: bool | None = key(
        None,
        "Earlier form of storage.type: true is gcs, false is local. They must not contradict each other.",
    )
    gcs: ProcessingGcs = key(ProcessingGcs, "Earlier place of storage.gcs.")
    delete_video_after_processing: bool = key(
        True, "Remove our temporary copy, where one was needed. The recording in Drive is never touched."
    )
    max_file_size_mb: int | None = key(None, "Larger recordings are skipped; absent or 0 takes all.", ge=0)
    max_parallel_downloads: int = key(3, "How many recordings are worked on at the same time.", ge=1, le=64)
    temp_directory: ExpandedPath | None = key(
        None, "For the rare recording that cannot be streamed; without it the system's temporary folder."
    )
    audio_format: AudioFormat = key(AudioFormat, "What the audio is stored as.")
    chunks: Chunks = key(Chunks, "Pieces of the audio, for what comes next.")
    measure: bool = key(
        True,
        "Measure loudness (EBU R128), silence and waveform on the way; not of a copy, which is not decoded.",
    )
    ffmpeg: Ffmpeg = key(Ffmpeg, "The FFmpeg program.")

    @model_validator(mode="after")
    def _can_be_cut(self) -> Processing:
        chunks = self.chunks
        if chunks.duration_seconds is None and chunks.max_size_mb is None:
            return self
        if self.audio_format.codec not in {"mp3", "flac", "wav"}:
            raise ValueError(
                "chunks: only mp3, flac and wav can be cut without encoding them again; choose one as "
                "audio_format.codec"
            )
        if chunks.duration_seconds is not None and chunks.overlap_seconds > chunks.duration_seconds / 2:
            raise ValueError("chunks.overlap_seconds: at most half of chunks.duration_seconds")
        if chunks.at_silence and not self.measure:
            raise ValueError("chunks.at_silence: the sound has to be measured; set measure: true")
        return self


class Transfer(Section):
    """How bytes are fetched."""

    strategy: StrategyChoice = key(
        "parallel",
        "parallel (ranges side by side), audio_only (skips the picture), stream (one request), auto"
        " (audio_only where that is surely quicker and request_budget allows, else parallel)."
        " Drive's checksum can only be compared where everything is read: audio_only, and auto where it"
        " skips the picture, give that up.",
    )
    request_budget: int = key(
        1_000,
        "Requests that auto may make to skip the picture, those of the last minute counted. Drive bills"
        " 200 units for each, of 325,000 a minute.",
        ge=0,
        le=1_000_000,
    )
    memory_limit_mb: int = key(48, "Memory for the bytes of one transfer.", ge=16, le=4_096)
    range_size_mb: float = key(4, "Size of one range.", ge=0.0625, le=64)
    max_ranges: int = key(8, "Ranges in flight.", ge=1, le=64)
    stall_timeout_seconds: float = key(
        30, "Without a byte for this long a request is given up and tried again.", ge=1, le=3_600
    )


class Upload(Section):
    """How bytes are stored in a bucket."""

    chunk_size_mb: float = key(
        8,
        "Largest piece of an upload: a multiple of 0.25. MP3, AAC and Opus, which come slowly, leave in "
        "pieces of at most 2.",
        ge=0.25,
        le=256,
        multiple_of=0.25,
    )

    @property
    def chunk_size_bytes(self) -> int:
        """The same in bytes."""
        return round(self.chunk_size_mb * MIB)


class Execution(Section):
    """Where transfers run."""

    backend: Literal["local", "procrastinate"] = key(
        "local",
        "local: in this process. procrastinate: in any number of `audio-extract worker` processes, which "
        "share a PostgreSQL database (monitoring.database_path).",
    )
    run_takes_jobs: bool = key(False, "With procrastinate: whether `run` transfers too, beside the workers.")

"""Settings of the work itself: ``processing``, ``transfer``, ``upload``, ``execution``."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from audio_extract.engine_types import StrategyChoice  # noqa: TC001 - pydantic reads it
from audio_extract.settings.audio_sections import AudioFormat, Cuts, Outputs, refuse_outputs
from audio_extract.settings.base import MIB, Bucket, ExpandedPath, Prefix, Section, key


class Chunks(Cuts):
    """Pieces of the audio, for what comes next, and what silence is."""

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
    outputs: Outputs = key(
        [],
        "What else is made of each recording in the same pass and stored beside its audio: presets (podcast,"
        " speech, speech-small, archive) or {name, the keys of audio_format, and chunks}.",
    )
    chunks: Chunks = key(Chunks, "Pieces of the audio, for what comes next.")
    measure: bool = key(
        True,
        "Measure loudness (EBU R128), silence and waveform on the way; not of a copy, which is not decoded.",
    )
    companions: Literal["off", "links", "text"] = key(
        "links",
        "Transcript, notes, chat and captions that stand beside a recording: off, links (they are noted and"
        " shown), text (they are copied beside the audio too).",
    )
    ffmpeg: Ffmpeg = key(Ffmpeg, "The FFmpeg program.")

    @model_validator(mode="after")
    def _outputs_are_possible(self) -> Processing:
        refuse_outputs(self.outputs)
        return self

    @model_validator(mode="after")
    def _can_be_cut(self) -> Processing:
        self.chunks.refuse(self.audio_format.codec)
        if self.chunks.are_wanted and self.chunks.at_silence and not self.measure:
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

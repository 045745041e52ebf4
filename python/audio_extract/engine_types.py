"""The values that cross between Python and the Rust engine: one request in, one report out.

File bytes never cross. The shapes here mirror ``rust/core/src/request.rs``; an unknown or missing key is
refused there with ``request.invalid``.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

Strategy = Literal["parallel", "audio_only", "stream"]
"""How bytes are fetched."""
StrategyChoice = Literal["parallel", "audio_only", "stream", "auto"]
"""``auto``: ``audio_only`` where that is surely quicker and its requests are allowed, else ``parallel``."""
Codec = Literal["mp3", "aac", "opus", "flac", "wav", "copy"]
Quality = Literal["fast", "standard", "best"]


class HttpSource(TypedDict):
    """A recording behind HTTP. The token provider ``source_token`` is asked when ``authenticated``."""

    kind: Literal["http"]
    url: str
    authenticated: bool
    size_bytes: NotRequired[int | None]
    """Promised size. A server that says otherwise has another revision: ``source.changed``."""
    md5: NotRequired[str | None]
    """Hex. Checked whenever the whole file was read."""
    sha256: NotRequired[str | None]
    """Hex. Checked whenever the whole file was read."""
    name: NotRequired[str]
    """How messages call the recording."""


class FileSource(TypedDict):
    """A recording on a local disk."""

    kind: Literal["file"]
    path: str
    name: NotRequired[str]


class NoSink(TypedDict):
    """Nowhere: only what is made beside it counts."""

    kind: Literal["nothing"]


class GcsSink(TypedDict):
    """An object in Cloud Storage, written with a resumable session and ``ifGenerationMatch``."""

    kind: Literal["gcs"]
    endpoint: str
    """``https://storage.googleapis.com`` or an emulator, without a path."""
    bucket: str
    object: str
    authenticated: bool
    content_type: str
    metadata: dict[str, str]
    chunk_size_bytes: NotRequired[int]
    """A multiple of 256 KiB; 8 MiB by default."""
    if_generation_match: NotRequired[int | None]
    """0 (the default): only create. A generation: replace just that one. None: no precondition."""
    content_disposition: NotRequired[str | None]
    user_project: NotRequired[str | None]


class FileSink(TypedDict):
    """A file below an existing or creatable folder: temporary name, fsync, rename, fsync of the folder."""

    kind: Literal["file"]
    path: str
    overwrite: NotRequired[bool]
    """False (the default): an existing file is ``destination.exists``."""
    direct: NotRequired[bool]
    """True on gcsfuse, where a rename is a copy: write the final name and check it after closing."""


class Tags(TypedDict):
    """What the file says of itself (ID3v2.4, MP4 or Vorbis comments)."""

    title: NotRequired[str | None]
    date: NotRequired[str | None]
    """ISO 8601, as precise as known."""
    source: NotRequired[str | None]


class Audio(TypedDict):
    """What to make of the sound."""

    codec: Codec
    bitrate_bps: NotRequired[int | None]
    """None: the codec's default (MP3 128,000)."""
    sample_rate_hz: NotRequired[int | None]
    """None: as in the recording."""
    channels: NotRequired[int | None]
    """None: as in the recording."""
    quality: NotRequired[Quality]
    compression_level: NotRequired[int | None]
    """Overrides what ``quality`` means (FFmpeg's ``-compression_level``)."""
    gain_db: NotRequired[float | None]
    """Louder or quieter by so many dB, -60 to 60."""
    loudness_lufs: NotRequired[float | None]
    """The loudness it should have, by a gain that changes in time: for what is not measured before."""
    sample_bits: NotRequired[int | None]
    """Bits of a FLAC sample, 16 or 24; None: what the recording's decoder gives."""
    track: NotRequired[int]
    """Index among the audio tracks, from 0."""
    mixed_tracks: NotRequired[int]
    """All of so many tracks (2 to 64) in one; 0: only `track`."""
    clip: NotRequired[tuple[int, int] | None]
    """Only samples from the first to before the second, at `sample_rate_hz`, else the recording's rate."""
    tags: NotRequired[Tags]


class Ffmpeg(TypedDict):
    """The FFmpeg child."""

    path: str
    nice: NotRequired[int]
    """0 to 19."""
    encoders: NotRequired[int | None]
    """Encoders side by side for one long recording (MP3), 1 to 64; None: its share of the cores."""
    stall_timeout_seconds: NotRequired[float]
    environment: NotRequired[dict[str, str]]
    """Replaces variables of our own environment; an empty value removes one."""


class Fetch(TypedDict):
    """How bytes are fetched."""

    strategy: NotRequired[StrategyChoice]
    range_size_bytes: NotRequired[int]
    """4 MiB by default."""
    max_ranges: NotRequired[int]
    """Ranges in flight, 1 to 64; 8 by default."""
    stall_timeout_seconds: NotRequired[float]
    request_budget: NotRequired[int]
    """Requests that ``auto`` may make to skip the picture; 1,000 by default."""


class Retry(TypedDict):
    """How failed requests are tried again: ``min(base * 2^n, max)`` plus jitter; ``Retry-After`` counts."""

    max_attempts: NotRequired[int]
    """Tries of one request without progress; 7 by default."""
    base_seconds: NotRequired[float]
    max_seconds: NotRequired[float]


class TransferRequest(TypedDict):
    """One attempt to carry out a plan."""

    source: HttpSource | FileSource
    sink: GcsSink | FileSink | NoSink
    audio: Audio
    chunks: NotRequired[ChunkTarget | None]
    """Pieces of the main output."""
    outputs: NotRequired[list[OutputSpec]]
    """What else to make of the same decoding; all of it appears before the main output does."""
    measure: NotRequired[Silence | None]
    """Measures the sound, with this as silence; None (the default) does not."""
    ffmpeg: Ffmpeg
    fetch: NotRequired[Fetch]
    retry: NotRequired[Retry]
    memory_limit_bytes: NotRequired[int]
    """Permits for bytes held by the transfer (fetched, parsed, waiting for upload); 48 MiB by default."""
    traceparent: NotRequired[str | None]
    temp_directory: NotRequired[str | None]
    """Where a recording is spilled that FFmpeg cannot read from a pipe; the system's by default."""


class StageTiming(TypedDict):
    """One stage of a transfer, as a span will show it."""

    name: str
    """``fetch.index``, ``fetch.ranges``, ``extract``, ``upload``, ``verify``."""
    start_unix_nanos: int
    end_unix_nanos: int
    attributes: dict[str, str | int | float | bool]
    events: list[StageEvent]


class Chapter(TypedDict):
    """One chapter of a recording."""

    start_seconds: float
    title: str


class About(TypedDict):
    """What a recording says of itself."""

    title: str | None
    created_unix_seconds: int | None
    chapters: list[Chapter]


class StageEvent(TypedDict):
    """Something that happened inside a stage: a retry, throttling, a fall-back, a warning of FFmpeg."""

    name: str
    unix_nanos: int
    attributes: dict[str, str | int | float | bool]


class StoredObject(TypedDict):
    """What stands at the destination now, as the destination itself reports it."""

    size_bytes: int
    crc32c: str
    """Base64 of the big-endian value, as Cloud Storage writes it."""
    md5: str | None
    generation: int | None
    content_type: str | None


class PartialReport(TypedDict):
    """What a transfer did so far; of one that failed there is nothing else."""

    source_size_bytes: int | None
    fetched_bytes: int
    source_requests: dict[str, int]
    """Outcome (``ok``, ``retry``, ``error``) → number of requests to the source."""
    sink_requests: dict[str, int]
    retries: dict[str, int]
    """Reason → number, source and sink together."""
    stages: list[StageTiming]


class TransferReport(PartialReport):
    """What one transfer did."""

    stored: StoredObject
    strategy: Strategy
    fallback_reason: str | None
    """Why the audio-only remux was not possible, when FFmpeg got the whole file."""
    audio_seconds: float | None
    """Length of the audio that was stored."""
    chunks: list[Chunk] | None
    about: About
    """Empty where the recording is not an MP4."""
    outputs: list[OutputReport]
    sound: SoundReport | None
    """What was measured, where that was asked for."""
    ffmpeg_version: str | None
    """What FFmpeg says of its version, when one encoded."""
    ffmpeg_arguments: list[list[str]]
    """One list for each child that ran."""
    ffmpeg_cpu_seconds: float
    peak_permits_bytes: int


class ProgressSnapshot(TypedDict):
    """Where a running transfer stands."""

    stage: str
    """``index``, ``transfer``, ``verify``, ``done``."""
    fetched_bytes: int
    fetch_total_bytes: int | None
    source_size_bytes: int | None
    stored_bytes: int
    audio_seconds: float
    audio_total_seconds: float | None
    elapsed_seconds: float


class ProbeRequest(TypedDict):
    """A recording to look into."""

    source: HttpSource | FileSource
    ffmpeg: NotRequired[Ffmpeg | None]
    """Asked about containers other than MP4; without it their tracks stay unknown."""
    fetch: NotRequired[Fetch]
    retry: NotRequired[Retry]


class ProbeTrack(TypedDict):
    """One audio track."""

    index: int
    codec: str
    language: str | None
    sample_rate_hz: int | None
    channels: int | None
    duration_seconds: float | None
    copy_extension: str
    """Extension of a ``copy`` of this track: ``m4a``, ``ogg``, ``mp3``, ``flac``, ``wav`` or ``mka``."""


class ProbePlan(TypedDict):
    """One way to fetch the audio."""

    strategy: Strategy
    fetch_bytes: int
    requests: int
    """At most: where encoders are the limit, ``parallel`` makes fewer."""
    quota_units: int
    """Drive bills 200 for each request, other services nothing."""
    predicted_seconds: float | None
    """At least; None for a local file."""


class ProbeNetwork(TypedDict):
    """Latency and bandwidth, as measured while the index was read or, where they were not, as assumed."""

    latency_seconds: float
    connection_bytes_per_second: float
    all_bytes_per_second: float
    assumed: list[str]
    """Which of these were not measured."""


class ProbeReport(TypedDict):
    """What is inside a recording, from its index alone."""

    container: str
    size_bytes: int | None
    duration_seconds: float | None
    has_video: bool
    tracks: list[ProbeTrack]
    plans: list[ProbePlan]
    network: ProbeNetwork | None
    """What the predictions rest on; None for a local file."""
    about: About
    fallback_reason: str | None
    """Why the audio-only remux is not possible for this file, when it is not."""


class Silence(TypedDict):
    """What counts as silence."""

    threshold_db: NotRequired[float]
    """No sample of any channel is louder: -90 to -10 dB below full scale, -40 by default."""
    least_seconds: NotRequired[float]
    """For at least so long: 0.05 to 60 seconds, 0.5 by default."""


class ChunkRule(TypedDict):
    """How to cut; at least one of duration and size, and with both, both hold."""

    duration_seconds: NotRequired[float | None]
    """How long a chunk should be; with ``silence`` up to a quarter (at most 30 s) longer or shorter."""
    most_bytes: NotRequired[int | None]
    """Every chunk is smaller; 256 KiB or more."""
    overlap_seconds: NotRequired[float]
    """What of the end of a chunk comes again at the beginning of the next."""
    silence: NotRequired[Silence | None]
    """Cut in silence where there is some near the place."""


class Chunk(TypedDict):
    """One piece of a recording's sound."""

    index: int
    file: str
    start: float
    """Where it begins in the whole, in seconds."""
    end: float
    samples: int
    """Samples per channel that a decoder gives of it."""
    bytes: int
    crc32c: str
    """Base64 of the big-endian value."""
    silence_cut: bool
    """It ends in silence."""
    generation: int | None
    """Cloud Storage's."""


class ChunkTarget(TypedDict):
    """Chunks of an output."""

    rule: ChunkRule
    sink: GcsSink | FileSink
    """Path or object name of their folder, without a slash at the end."""
    replace: NotRequired[dict[str, int]]
    """Generations of chunks that an earlier attempt left, by their names (``chunk-000.mp3``)."""


class OutputSpec(TypedDict):
    """One more output of the same recording."""

    sink: GcsSink | FileSink
    audio: Audio
    chunks: NotRequired[ChunkTarget | None]


class OutputReport(TypedDict):
    """What became of one more output."""

    stored: StoredObject
    audio_seconds: float | None
    chunks: list[Chunk] | None


class Loudness(TypedDict):
    """EBU R128; None where there is no sound."""

    integrated_lufs: float | None
    range_lu: float | None
    true_peak_dbtp: float | None


class SilenceReport(TypedDict):
    """How much of the sound is silence."""

    leading_seconds: float
    trailing_seconds: float
    total_seconds: float


class Waveform(TypedDict):
    """Peaks to draw, in the form of audiowaveform's JSON."""

    version: int
    channels: int
    sample_rate: int
    samples_per_pixel: int
    bits: int
    length: int
    data: list[int]


class SoundReport(TypedDict):
    """What was measured on the decoded sound."""

    sample_rate_hz: int
    channels: int
    seconds: float
    loudness: Loudness
    silence: SilenceReport
    waveform: Waveform


class ChunkFileRequest(TypedDict):
    """An audio file on disk to cut."""

    path: str
    name: str
    """How messages call it."""
    directory: str
    overwrite: NotRequired[bool]
    chunks: ChunkRule
    ffmpeg: NotRequired[Ffmpeg | None]
    """Decodes the file where cuts should lie in silence."""


class ChunkFileReport(TypedDict):
    """What was cut."""

    duration: float
    sample_rate_hz: int
    chunks: list[Chunk]
    sound: SoundReport | None
    """What was measured, where the file was decoded."""

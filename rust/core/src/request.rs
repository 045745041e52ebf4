//! What the caller asks for and what it gets back: the values that cross into Python.
//!
//! `python/audio_extract/engine_types.py` documents the same shapes for Python. Unknown keys are refused.

mod outputs;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::about::About;
use crate::analysis::{SilenceSpec, SoundReport};
use crate::chunks::Chunk;
use crate::error::{EngineError, ErrorCode, Result};
pub use outputs::{ChunkTarget, OutputReport, OutputSpec};

/// Cloud Storage's granularity of resumable chunks, in bytes.
pub const CHUNK_GRANULARITY: u64 = 256 * 1024;
const MIB: u64 = 1024 * 1024;

/// One attempt to carry out a plan.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferRequest {
    /// Where the recording comes from.
    pub source: SourceSpec,
    /// Where the audio goes.
    pub sink: SinkSpec,
    /// What to make of the sound.
    pub audio: AudioSpec,
    /// Chunks of that.
    #[serde(default)]
    pub chunks: Option<ChunkTarget>,
    /// What else to make of the same decoding.
    #[serde(default)]
    pub outputs: Vec<OutputSpec>,
    /// Measures the sound, with this as silence; not where the main output is a copy.
    #[serde(default)]
    pub measure: Option<SilenceSpec>,
    /// The FFmpeg child.
    pub ffmpeg: FfmpegSpec,
    /// How bytes are fetched.
    #[serde(default)]
    pub fetch: FetchSpec,
    /// How failed requests are tried again.
    #[serde(default)]
    pub retry: RetrySpec,
    /// Permits for the bytes this transfer holds.
    #[serde(default = "default_memory_limit")]
    pub memory_limit_bytes: u64,
    /// W3C trace context, sent to our own services only.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// Where a recording is spilled that FFmpeg cannot read from a pipe.
    #[serde(default)]
    pub temp_directory: Option<String>,
}

const fn default_memory_limit() -> u64 {
    48 * MIB
}

/// Where a recording comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceSpec {
    /// Behind HTTP.
    Http {
        /// The media URL, without a token.
        url: String,
        /// Whether the token provider is asked.
        authenticated: bool,
        /// Promised size; a server that says otherwise holds another revision.
        #[serde(default)]
        size_bytes: Option<u64>,
        /// Promised MD5, hex.
        #[serde(default)]
        md5: Option<String>,
        /// Promised SHA-256, hex.
        #[serde(default)]
        sha256: Option<String>,
        /// How messages call the recording.
        #[serde(default)]
        name: Option<String>,
    },
    /// On a local disk.
    File {
        /// The path.
        path: String,
        /// How messages call the recording.
        #[serde(default)]
        name: Option<String>,
    },
}

/// Where the audio goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SinkSpec {
    /// An object in Cloud Storage.
    Gcs(GcsSpec),
    /// A file.
    File {
        /// The final path.
        path: String,
        /// Replace an existing file.
        #[serde(default)]
        overwrite: bool,
        /// Write the final name at once (gcsfuse).
        #[serde(default)]
        direct: bool,
    },
    /// Nowhere: only what is made beside it counts.
    Nothing,
}

/// An object in Cloud Storage.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcsSpec {
    /// `https://storage.googleapis.com` or an emulator, without a path.
    pub endpoint: String,
    /// Bucket name.
    pub bucket: String,
    /// Object name.
    pub object: String,
    /// Whether the token provider is asked.
    pub authenticated: bool,
    /// MIME type.
    pub content_type: String,
    /// Custom metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The largest chunk, a multiple of 256 KiB; what an encoder with a bitrate makes leaves in chunks of at most 2 MiB.
    #[serde(default = "default_chunk_size")]
    pub chunk_size_bytes: u64,
    /// 0: only create; a generation: replace just that one; null: no precondition.
    #[serde(default = "only_create")]
    pub if_generation_match: Option<i64>,
    /// `Content-Disposition` of the object.
    #[serde(default)]
    pub content_disposition: Option<String>,
    /// Project billed for requester-pays buckets.
    #[serde(default)]
    pub user_project: Option<String>,
}

const fn default_chunk_size() -> u64 {
    8 * MIB
}

#[expect(clippy::unnecessary_wraps, reason = "serde's default has the type of the field")]
const fn only_create() -> Option<i64> {
    Some(0)
}

/// An audio codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// MPEG-1/2 layer III, constant bitrate.
    Mp3,
    /// AAC-LC in a fragmented MP4.
    Aac,
    /// Opus in Ogg.
    Opus,
    /// FLAC.
    Flac,
    /// PCM in WAV.
    Wav,
    /// The recording's own audio, untouched.
    Copy,
}

/// How much time an encoder may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Less time; where bits are few it can be heard.
    Fast,
    /// The default.
    #[default]
    Standard,
    /// What measured best, however long it takes.
    Best,
}

/// What to make of the sound.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioSpec {
    /// The codec.
    pub codec: Codec,
    /// Bits per second.
    #[serde(default)]
    pub bitrate_bps: Option<u32>,
    /// Samples per second.
    #[serde(default)]
    pub sample_rate_hz: Option<u32>,
    /// Channels.
    #[serde(default)]
    pub channels: Option<u32>,
    /// Effort.
    #[serde(default)]
    pub quality: Quality,
    /// FFmpeg's `-compression_level`, instead of what `quality` means.
    #[serde(default)]
    pub compression_level: Option<u32>,
    /// Louder or quieter by so many dB, -60 to 60, and otherwise as it is.
    #[serde(default)]
    pub gain_db: Option<f64>,
    /// The loudness it should have, -70 to -5 LUFS, by a gain that changes in time: for what is not measured before.
    #[serde(default)]
    pub loudness_lufs: Option<f64>,
    /// Bits of a sample, 16 or 24: of FLAC; without it what the recording's decoder gives.
    #[serde(default)]
    pub sample_bits: Option<u32>,
    /// Index among the audio tracks.
    #[serde(default)]
    pub track: u32,
    /// All of so many tracks (2 or more) in one, none of them louder than full scale; `track` then means nothing.
    #[serde(default)]
    pub mixed_tracks: u32,
    /// Only the samples from the first to before the second, at `sample_rate_hz` (else the recording's rate).
    #[serde(default)]
    pub clip: Option<(u64, u64)>,
    /// What the file says of itself.
    #[serde(default)]
    pub tags: Tags,
}

/// What the file says of itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// Title.
    #[serde(default)]
    pub title: Option<String>,
    /// ISO 8601 date.
    #[serde(default)]
    pub date: Option<String>,
    /// Where it came from.
    #[serde(default)]
    pub source: Option<String>,
}

/// The FFmpeg child.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FfmpegSpec {
    /// The binary.
    pub path: String,
    /// Niceness, 0 to 19.
    #[serde(default)]
    pub nice: u8,
    /// Seconds without progress after which it is killed.
    #[serde(default = "default_stall")]
    pub stall_timeout_seconds: f64,
    /// Encoders side by side, 1 to 64, where the recording is long enough for so many; without it the transfer's share
    /// of the cores.
    #[serde(default)]
    pub encoders: Option<u32>,
    /// Replaces variables of our environment; an empty value removes one.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

const fn default_stall() -> f64 {
    60.0
}

/// How bytes are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The whole span in concurrent ranges.
    #[default]
    Parallel,
    /// Gaps between audio runs are skipped.
    AudioOnly,
    /// One sequential GET.
    Stream,
    /// `AudioOnly` where it is surely quicker than `Parallel` and its requests are allowed.
    Auto,
}

/// How bytes are fetched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSpec {
    /// The strategy.
    pub strategy: Strategy,
    /// Size of one range.
    pub range_size_bytes: u64,
    /// Ranges in flight.
    pub max_ranges: usize,
    /// Seconds without a byte after which a request is given up.
    pub stall_timeout_seconds: f64,
    /// Requests that `Auto` may make to skip the picture, those to the host in the last minute counted.
    pub request_budget: u64,
}

impl Default for FetchSpec {
    fn default() -> Self {
        Self {
            strategy: Strategy::Parallel,
            range_size_bytes: 4 * MIB,
            max_ranges: 8,
            stall_timeout_seconds: 30.0,
            request_budget: 1_000,
        }
    }
}

/// How failed requests are tried again: `min(base * 2^n, max) + jitter`, `Retry-After` honoured.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// Tries of one request without progress.
    pub max_attempts: u32,
    /// The first wait.
    pub base_seconds: f64,
    /// The longest wait.
    pub max_seconds: f64,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self { max_attempts: 7, base_seconds: 0.5, max_seconds: 64.0 }
    }
}

impl TransferRequest {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// `request.invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(EngineError::new(ErrorCode::RequestInvalid, message));
        let sinks =
            self.all_outputs().flat_map(|(_, sink, chunks)| [Some(sink), chunks.map(|one| &one.sink)]);
        for sink in sinks.flatten() {
            let SinkSpec::Gcs(gcs) = sink else { continue };
            if gcs.chunk_size_bytes == 0 || gcs.chunk_size_bytes % CHUNK_GRANULARITY != 0 {
                return invalid(format!(
                    "upload chunk size is {} bytes; Cloud Storage needs a multiple of 262,144 (256 KiB)",
                    gcs.chunk_size_bytes
                ));
            }
            if gcs.bucket.is_empty() || gcs.object.is_empty() {
                return invalid("bucket and object name must not be empty".to_owned());
            }
        }
        if !(1..=64).contains(&self.fetch.max_ranges) {
            return invalid(format!("fetch.max_ranges is {}; 1 to 64 are allowed", self.fetch.max_ranges));
        }
        if !(64 * 1024..=64 * MIB).contains(&self.fetch.range_size_bytes) {
            return invalid(format!(
                "fetch.range_size_bytes is {}; 64 KiB to 64 MiB are allowed",
                self.fetch.range_size_bytes
            ));
        }
        if self.fetch.request_budget > 1_000_000 {
            return invalid(format!(
                "fetch.request_budget is {}; 0 to 1,000,000 are allowed",
                self.fetch.request_budget
            ));
        }
        if !self.ffmpeg.encoders.is_none_or(|encoders| (1..=64).contains(&encoders)) {
            return invalid(
                "ffmpeg.encoders: 1 to 64 are allowed, or none for its share of the cores".to_owned(),
            );
        }
        if self.ffmpeg.nice > 19 {
            return invalid(format!("ffmpeg.nice is {}; 0 to 19 are allowed", self.ffmpeg.nice));
        }
        for (name, seconds) in [
            ("ffmpeg.stall_timeout_seconds", self.ffmpeg.stall_timeout_seconds),
            ("fetch.stall_timeout_seconds", self.fetch.stall_timeout_seconds),
            ("retry.max_seconds", self.retry.max_seconds),
        ] {
            if !(0.01..=86_400.0).contains(&seconds) {
                return invalid(format!("{name} is {seconds}; 0.01 to 86,400 seconds are allowed"));
            }
        }
        if !(0.0..=3_600.0).contains(&self.retry.base_seconds) {
            return invalid(format!(
                "retry.base_seconds is {}; 0 to 3,600 are allowed",
                self.retry.base_seconds
            ));
        }
        self.validate_outputs()?;
        let least = self.upload_reserve() + 2 * MIB;
        if self.memory_limit_bytes < least {
            return invalid(format!(
                "the memory limit of {} bytes is below the {least} bytes this transfer needs at least \
                 (two upload chunks for each output and 2 MiB to fetch into)",
                self.memory_limit_bytes
            ));
        }
        Ok(())
    }

    /// Size of the chunks of an upload: at most `chunk_size_bytes`.
    ///
    /// An encoder with a bitrate takes longer to make 8 MiB than a line takes to send them, so large chunks would win
    /// nothing: they would only be held, and more would be left to send when the last sample is encoded.
    pub(crate) fn upload_chunk_bytes(codec: Codec, gcs: &GcsSpec) -> u64 {
        match codec {
            Codec::Mp3 | Codec::Aac | Codec::Opus => gcs.chunk_size_bytes.min(2 * MIB),
            Codec::Flac | Codec::Wav | Codec::Copy => gcs.chunk_size_bytes,
        }
    }

    /// Bytes set aside for the uploads: of each, one chunk that fills and one that is on its way.
    #[must_use]
    pub fn upload_reserve(&self) -> u64 {
        let of = |codec: Codec, sink: &SinkSpec| match sink {
            SinkSpec::Gcs(gcs) => 2 * Self::upload_chunk_bytes(codec, gcs),
            SinkSpec::File { .. } => 2 * crate::sink::FILE_BUFFER_BYTES as u64,
            SinkSpec::Nothing => 0,
        };
        self.all_outputs()
            .map(|(audio, sink, chunks)| {
                of(audio.codec, sink) + chunks.map_or(0, |chunks| of(audio.codec, &chunks.sink))
            })
            .sum()
    }
}

/// What stands at the destination, as the destination itself reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredObject {
    /// Size.
    pub size_bytes: u64,
    /// Base64 of the big-endian CRC32C.
    pub crc32c: String,
    /// Base64 MD5, where the destination knows it.
    pub md5: Option<String>,
    /// Cloud Storage's generation.
    pub generation: Option<i64>,
    /// MIME type, where the destination keeps one.
    pub content_type: Option<String>,
}

/// What a transfer did so far; of one that failed there is nothing else.
#[derive(Debug, Clone, Serialize)]
pub struct PartialReport {
    /// Size of the recording.
    pub source_size_bytes: Option<u64>,
    /// Bytes that came from the source.
    pub fetched_bytes: u64,
    /// Outcome → requests to the source.
    pub source_requests: BTreeMap<String, u64>,
    /// Outcome → requests to the destination.
    pub sink_requests: BTreeMap<String, u64>,
    /// Reason → retries.
    pub retries: BTreeMap<String, u64>,
    /// Stage timings, in the order they began; what runs still has lasted until now.
    pub stages: Vec<crate::stages::StageTiming>,
}

/// What one transfer did.
#[derive(Debug, Clone, Serialize)]
pub struct TransferReport {
    /// What stands at the destination.
    pub stored: StoredObject,
    /// How bytes were fetched in the end.
    pub strategy: Strategy,
    /// Why FFmpeg got the whole file.
    pub fallback_reason: Option<String>,
    /// Size of the recording.
    pub source_size_bytes: Option<u64>,
    /// Bytes that came from the source.
    pub fetched_bytes: u64,
    /// Length of the stored audio.
    pub audio_seconds: Option<f64>,
    /// Its chunks, where some were asked for.
    pub chunks: Option<Vec<Chunk>>,
    /// What an MP4 says of itself.
    pub about: About,
    /// What was made beside it, in the order it was asked for.
    pub outputs: Vec<OutputReport>,
    /// What was measured, where that was asked for.
    pub sound: Option<SoundReport>,
    /// Outcome → requests to the source.
    pub source_requests: BTreeMap<String, u64>,
    /// Outcome → requests to the destination.
    pub sink_requests: BTreeMap<String, u64>,
    /// Reason → retries.
    pub retries: BTreeMap<String, u64>,
    /// What FFmpeg says of its version, when one encoded.
    pub ffmpeg_version: Option<String>,
    /// Arguments of each child.
    pub ffmpeg_arguments: Vec<Vec<String>>,
    /// CPU seconds of the children.
    pub ffmpeg_cpu_seconds: f64,
    /// The most permits held at once.
    pub peak_permits_bytes: u64,
    /// Stage timings, in the order they began.
    pub stages: Vec<crate::stages::StageTiming>,
}

//! Pieces of a recording's sound that join to exactly the whole, cut between frames and never encoded again.

mod chunking;
mod cutter;
mod file;
mod flac_frames;
mod mp3_frames;
mod stream;
mod wav_blocks;

use serde::{Deserialize, Serialize};

use crate::analysis::SilenceSpec;
use crate::error::{EngineError, ErrorCode, Result};
pub(crate) use chunking::{Chunking, Open, Silences};
pub use file::{ChunkFileReport, ChunkFileRequest, chunk_file};
pub(crate) use stream::Stream;

/// How far from where a cut should be silence is looked for, in seconds; never more than a quarter of a chunk.
const WINDOW_SECONDS: f64 = 30.0;
/// Held back for a cut that has to be a little earlier, in seconds.
const HOLD_SECONDS: f64 = 2.0;
/// A chunk has room for so much at least.
const LEAST_BYTES: u64 = 256 * 1024;

/// How to cut. At least one of `duration_seconds` and `most_bytes` is there; with both, both hold.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkSpec {
    /// How long a chunk should be, 1 second to 24 hours. No chunk is longer without `silence`, nor more than a quarter
    /// (at most 30 seconds) longer with it.
    #[serde(default)]
    pub duration_seconds: Option<f64>,
    /// Every chunk is smaller, 256 KiB or more.
    #[serde(default)]
    pub most_bytes: Option<u64>,
    /// What of the end of a chunk comes again at the beginning of the next, in seconds.
    #[serde(default)]
    pub overlap_seconds: f64,
    /// Cut in silence where there is some near the place.
    #[serde(default)]
    pub silence: Option<SilenceSpec>,
}

impl ChunkSpec {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// `request.invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(EngineError::new(ErrorCode::RequestInvalid, message));
        if self.duration_seconds.is_none() && self.most_bytes.is_none() {
            return invalid("chunks need a duration or a size".to_owned());
        }
        if let Some(duration) = self.duration_seconds
            && !(1.0..=86_400.0).contains(&duration)
        {
            return invalid(format!("the duration of chunks is {duration} seconds; 1 to 86,400 are allowed"));
        }
        if let Some(bytes) = self.most_bytes
            && !(LEAST_BYTES..=1 << 32).contains(&bytes)
        {
            return invalid(format!("the size of chunks is {bytes} bytes; 256 KiB to 4 GiB are allowed"));
        }
        let most = self.duration_seconds.map_or(60.0, |duration| (duration / 2.0).min(60.0));
        if !(0.0..=most).contains(&self.overlap_seconds) {
            return invalid(format!(
                "chunks overlap by {} seconds; 0 to {most} (half a chunk, at most 60) are allowed",
                self.overlap_seconds
            ));
        }
        self.silence.map_or(Ok(()), |silence| silence.validate())
    }
}

/// One chunk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chunk {
    /// From 0.
    pub index: usize,
    /// Its name.
    pub file: String,
    /// Where it begins in the whole, in seconds.
    pub start: f64,
    /// Where it ends, in seconds.
    pub end: f64,
    /// Samples per channel that a decoder gives of it.
    pub samples: u64,
    /// Size.
    pub bytes: u64,
    /// Base64 of the big-endian CRC32C.
    pub crc32c: String,
    /// It ends in silence.
    pub silence_cut: bool,
    /// Cloud Storage's generation.
    pub generation: Option<i64>,
}

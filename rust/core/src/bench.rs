//! What the benches measure of stages that are private; no part of the crate's interface.
//!
//! Each function is one unit of work on data that the caller made, never inlined: a counter of instructions finds it by
//! its name (`make bench-instructions`).

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::analysis::{Analysis, SilenceSpec};
use crate::budget::Budget;
use crate::checksum::SourceDigest;
use crate::error::{EngineError, ErrorCode, Result};
use crate::extract::join_mp3::{Part, Splitter};
use crate::extract::segments::{Material, Segments};
use crate::mp4::AudioPlan;
use crate::pool::{PIECE_BYTES, Pool};
use crate::progress::Progress;
use crate::source::{FileSource, Range, Source, fetch_in_order};

/// Picks the audio out of a recording that comes in pieces of the engine's size; gives the audio's bytes.
///
/// # Errors
/// Those of [`crate::mp4::Picker::push`].
#[inline(never)]
pub fn remux(plan: &AudioPlan, recording: &Bytes) -> Result<u64> {
    let mut picker = plan.picker();
    let mut audio = Vec::new();
    let mut offset = 0;
    while offset < recording.len() {
        let end = recording.len().min(offset + PIECE_BYTES);
        picker.push(offset as u64, &recording.slice(offset..end), &mut audio)?;
        audio.clear();
        offset = end;
    }
    let audio_bytes = picker.picked_bytes();
    picker.finish()?;
    Ok(audio_bytes)
}

/// Takes the segments out of what the first of two encoders wrote of an hour at 48 kHz and 128 kbit/s; gives the bytes
/// that are kept.
///
/// # Errors
/// `internal.bug` when it is not a run of frames.
#[inline(never)]
pub fn join_mp3(encoded: &[u8]) -> Result<u64> {
    let hour = Material { samples: 3600 * 48_000, input_bytes: 57_600_000, output_bytes: 57_600_000 };
    let segments = Segments::plan(hour, 2, 16 << 20)
        .ok_or_else(|| EngineError::new(ErrorCode::Bug, "an hour has room for two encoders"))?;
    let mut splitter = Splitter::new(segments, 0, Pool::default());
    let mut parts = Vec::new();
    let mut kept = 0;
    for bytes in encoded.chunks(64 * 1024) {
        splitter.push(bytes, &mut parts)?;
        kept += taken(&mut parts);
    }
    splitter.end(&mut parts);
    Ok(kept + taken(&mut parts))
}

fn taken(parts: &mut Vec<Part>) -> u64 {
    let len = |part: Part| if let Part::Frames(bytes) = part { bytes.len() as u64 } else { 0 };
    parts.drain(..).map(len).sum()
}

/// MD5 of the recording, as the source promised it.
#[inline(never)]
#[must_use]
pub fn md5(recording: &[u8]) -> SourceDigest {
    let mut digest = SourceDigest::new(Some(""), None);
    recording.chunks(PIECE_BYTES).for_each(|piece| digest.update(piece));
    digest
}

/// CRC32C of what is stored.
#[inline(never)]
#[must_use]
pub fn crc32c(stored: &[u8]) -> u32 {
    stored.chunks(PIECE_BYTES).fold(0, crc32c::crc32c_append)
}

/// Measures decoded sound, a WAV of 32-bit floats that comes as a pipe brings it; gives the bytes of its picture.
///
/// # Errors
/// `internal.bug` when it is no such WAV.
#[inline(never)]
pub fn measure(wav: &[u8]) -> Result<usize> {
    let mut analysis = Analysis::new(SilenceSpec::default());
    wav.chunks(64 * 1024).try_for_each(|bytes| analysis.push(bytes))?;
    Ok(analysis.report().map_or(0, |report| report.waveform.data.len()))
}

/// Reads a file in ranges of `range_bytes`, eight side by side, and puts them in order within a budget of 16 MiB; gives
/// the bytes that came out.
///
/// # Errors
/// Those of reading the file; `internal.bug` when the pieces are out of order.
#[inline(never)]
pub async fn reorder(path: &Path, range_bytes: u64) -> Result<u64> {
    let file = FileSource::open(&path.to_string_lossy(), None, Arc::new(Progress::default()))?;
    let source = Arc::new(Source::File(file));
    let size = source.size().unwrap_or_default();
    let starts = (0..size.div_ceil(range_bytes)).map(move |number| number * range_bytes);
    let ranges = starts.map(move |start| Range { start, end: Some(size.min(start + range_bytes)) });
    let (mut pieces, drive) = fetch_in_order(source, Box::new(ranges), 8, Budget::new(16 << 20));
    let consume = async {
        let mut next = 0;
        while let Some((offset, piece)) = pieces.next().await {
            if offset != next {
                return Err(EngineError::new(ErrorCode::Bug, format!("{offset} came for {next}")));
            }
            next += piece.len() as u64;
        }
        Ok(next)
    };
    let ((), read) = tokio::try_join!(drive, consume)?;
    Ok(read)
}

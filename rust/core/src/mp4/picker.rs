//! Cutting the audio out of fetched chunks.

use bytes::{Bytes, BytesMut};

use super::ranges::Spans;
use crate::error::{EngineError, ErrorCode, Result};

/// Output buffers are at least this large, but for the last and for those before a long run.
const BUFFER_BYTES: usize = 64 * 1024;
/// Runs from this length on are passed on without copying. Shorter ones are copied together: a slice would keep
/// a whole fetched chunk alive, and a pipe write for each 300 bytes costs more than the copy.
const SLICE_BYTES: usize = 16 * 1024;

/// Takes fetched chunks in order and gives exactly the audio bytes, in order.
///
/// Holds back up to 64 KiB between two chunks; [`Picker::finish`] gives the rest.
#[derive(Debug)]
pub struct Picker {
    spans: Spans,
    /// Where the next wanted byte is, and how many are wanted from there.
    wanted: Option<(u64, u64)>,
    buffer: BytesMut,
    picked_bytes: u64,
}

impl Picker {
    pub(crate) fn new(mut spans: Spans) -> Self {
        let wanted = spans.next();
        Self { spans, wanted, buffer: BytesMut::new(), picked_bytes: 0 }
    }

    /// How many audio bytes were taken so far, those held back included.
    #[must_use]
    pub fn picked_bytes(&self) -> u64 {
        self.picked_bytes
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the chunk that stands at `offset` in the recording, and appends the audio in it to `out`.
    ///
    /// # Errors
    /// `internal.bug` when audio bytes before `offset` were never fed: chunks came out of order.
    pub fn push(&mut self, offset: u64, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<()> {
        let end = offset.saturating_add(chunk.len() as u64);
        while let Some((start, len)) = self.wanted {
            if start >= end {
                break;
            }
            if start < offset {
                return Err(EngineError::new(
                    ErrorCode::Bug,
                    format!(
                        "bytes {start} to {} of the audio were never fetched: a chunk at {offset} came",
                        offset - 1
                    ),
                ));
            }
            let from = usize::try_from(start - offset).unwrap_or(usize::MAX);
            let taken = len.min(end - start);
            let Some(audio) = usize::try_from(taken).ok().and_then(|taken| chunk.get(from..from + taken))
            else {
                return Err(EngineError::new(ErrorCode::Bug, "a chunk is shorter than its own length"));
            };
            if audio.len() >= SLICE_BYTES {
                self.flush(out);
                out.push(chunk.slice_ref(audio));
            } else {
                if self.buffer.capacity() == 0 {
                    self.buffer.reserve(BUFFER_BYTES + SLICE_BYTES);
                }
                self.buffer.extend_from_slice(audio);
                if self.buffer.len() >= BUFFER_BYTES {
                    self.flush(out);
                }
            }
            self.picked_bytes += taken;
            self.wanted = if taken < len { Some((start + taken, len - taken)) } else { self.spans.next() };
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Bytes>) {
        if !self.buffer.is_empty() {
            out.push(std::mem::take(&mut self.buffer).freeze());
        }
    }

    /// Gives what was held back.
    ///
    /// # Errors
    /// `internal.bug` when audio bytes are missing.
    pub fn finish(mut self) -> Result<Option<Bytes>> {
        if let Some((start, _)) = self.wanted {
            return Err(EngineError::new(
                ErrorCode::Bug,
                format!("the audio from byte {start} on was never fetched; {} bytes were", self.picked_bytes),
            ));
        }
        let mut out = Vec::new();
        self.flush(&mut out);
        Ok(out.pop())
    }
}

//! WAV in blocks of samples, each of which may begin a chunk.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::stream::{Frame, Refused};

/// Samples in a block: a cut is as exact.
const BLOCK_SAMPLES: usize = 256;
const MOST_HEADER_BYTES: usize = 1024 * 1024;

/// Reads a stream of blocks.
#[derive(Debug, Default)]
pub(crate) struct WavBlocks {
    held: Vec<u8>,
    /// The `fmt ` chunk's body, once the samples have begun.
    format: Option<Vec<u8>>,
    /// Bytes of samples that are still to come.
    left: u64,
}

impl WavBlocks {
    pub(super) fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), Refused> {
        self.held.extend_from_slice(bytes);
        if self.format.is_none() && !self.read_header()? {
            return Ok(());
        }
        let size = self.frame_bytes()? * BLOCK_SAMPLES;
        let mut from = 0;
        while let Some(block) = self.held.get(from..from + size).filter(|_| self.left >= size as u64) {
            frames.push(self.frame(block));
            self.left -= size as u64;
            from += size;
        }
        self.held.drain(..from);
        Ok(())
    }

    pub(super) fn end(&mut self, frames: &mut Vec<Frame>) -> Result<(), Refused> {
        if self.format.is_some() {
            let left = self.held.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let whole = left - left % self.frame_bytes()?;
            let held = std::mem::take(&mut self.held);
            if let Some(block) = held.get(..whole).filter(|block| !block.is_empty()) {
                frames.push(self.frame(block));
            }
        }
        Ok(())
    }

    fn frame(&self, block: &[u8]) -> Frame {
        let samples = (block.len() / self.frame_bytes().unwrap_or(1)) as u64;
        Frame { bytes: Bytes::copy_from_slice(block), samples, reach: 0, room: 0 }
    }

    fn read_header(&mut self) -> Result<bool, Refused> {
        if self.held.len() < 12 {
            return Ok(false);
        }
        if !self.held.starts_with(b"RIFF") || self.held.get(8..12) != Some(b"WAVE") {
            return Err(Refused::NotThis);
        }
        let (mut at, mut format) = (12usize, None);
        while let (Some(name), Some(size)) =
            (self.held.get(at..at + 4), self.held.get(at + 4..).and_then(|rest| rest.first_chunk()))
        {
            let size = u32::from_le_bytes(*size);
            let length = usize::try_from(size).unwrap_or(usize::MAX);
            if name == b"data" {
                let format = format.ok_or(Refused::NotThis)?;
                // A WAV that was written on a pipe does not know its length.
                self.left = if matches!(size, 0 | u32::MAX) { u64::MAX } else { u64::from(size) };
                self.format = Some(format);
                self.held.drain(..at + 8);
                self.frame_bytes()?;
                return Ok(true);
            }
            if length > MOST_HEADER_BYTES {
                return Err(Refused::NotThis);
            }
            if name == b"fmt " {
                let Some(body) = self.held.get(at + 8..at + 8 + length) else { break };
                format = Some(body.to_vec());
            }
            at += 8 + length.next_multiple_of(2);
        }
        if self.held.len() > MOST_HEADER_BYTES { Err(Refused::NotThis) } else { Ok(false) }
    }

    fn field(&self, at: usize) -> u16 {
        let two = self.format.as_ref().and_then(|format| format.get(at..)?.first_chunk());
        two.map_or(0, |two| u16::from_le_bytes(*two))
    }

    /// Bytes of one sample of all channels; PCM and floats only.
    fn frame_bytes(&self) -> Result<usize, Refused> {
        let tag = match self.field(0) {
            0xfffe => self.field(24),
            tag => tag,
        };
        let size = usize::from(self.field(12));
        if matches!(tag, 1 | 3) && size > 0 && self.sample_rate_hz().is_some() {
            Ok(size)
        } else {
            Err(Refused::NotThis)
        }
    }

    pub(super) fn sample_rate_hz(&self) -> Option<u32> {
        let four = self.format.as_ref().and_then(|format| format.get(4..)?.first_chunk());
        four.map(|four| u32::from_le_bytes(*four)).filter(|rate| *rate > 0)
    }

    /// What stands in front of so many bytes of samples.
    pub(super) fn head(&self, bytes: Option<u64>) -> Bytes {
        let Some(format) = &self.format else { return Bytes::new() };
        let fixed = 4 + 8 + format.len().next_multiple_of(2) + 8;
        let size =
            |more: usize| bytes.and_then(|bytes| u32::try_from(bytes + more as u64).ok()).unwrap_or(u32::MAX);
        let mut head = BytesMut::with_capacity(fixed + 8);
        head.put_slice(b"RIFF");
        head.put_u32_le(size(fixed));
        head.put_slice(b"WAVEfmt ");
        head.put_u32_le(u32::try_from(format.len()).unwrap_or_default());
        head.put_slice(format);
        head.put_bytes(0, format.len() % 2);
        head.put_slice(b"data");
        head.put_u32_le(size(0));
        head.freeze()
    }
}

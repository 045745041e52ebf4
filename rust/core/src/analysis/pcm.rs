//! Reads the WAV of 32-bit floats that FFmpeg writes on a pipe: its header says rate and channels.
//!
//! Source: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF), RFC 2361.

use super::PcmFormat;
use crate::error::{EngineError, ErrorCode, Result};

/// A header that is longer is none of FFmpeg's.
const MOST_HEADER_BYTES: usize = 4096;
/// Frames that are handed on at once.
const BATCH_BYTES: usize = 32 * 1024;

/// Takes a WAV in pieces and gives its samples.
#[derive(Debug, Default)]
pub(super) struct PcmReader {
    header: Vec<u8>,
    format: Option<PcmFormat>,
    /// Bytes of a frame that is not complete.
    rest: Vec<u8>,
    samples: Vec<f32>,
}

impl PcmReader {
    /// Takes the next bytes; complete frames go to `take`, interleaved.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(PcmFormat, &[f32]) -> Result<()>,
    ) -> Result<()> {
        if let Some(format) = self.format {
            return self.frames(format, bytes, &mut take);
        }
        self.header.extend_from_slice(bytes);
        let Some((format, at)) = parse(&self.header)? else { return Ok(()) };
        self.format = Some(format);
        let begun = std::mem::take(&mut self.header);
        self.frames(format, begun.get(at..).unwrap_or_default(), &mut take)
    }

    fn frames(
        &mut self,
        format: PcmFormat,
        mut bytes: &[u8],
        take: &mut impl FnMut(PcmFormat, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let frame = 4 * format.channels as usize;
        if !self.rest.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(frame - self.rest.len()));
            self.rest.extend_from_slice(now);
            bytes = later;
            if self.rest.len() < frame {
                return Ok(());
            }
            let whole = std::mem::take(&mut self.rest);
            self.hand_on(format, &whole, take)?;
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % frame);
        self.rest.extend_from_slice(rest);
        for batch in whole.chunks(BATCH_BYTES.next_multiple_of(frame)) {
            self.hand_on(format, batch, take)?;
        }
        Ok(())
    }

    fn hand_on(
        &mut self,
        format: PcmFormat,
        bytes: &[u8],
        take: &mut impl FnMut(PcmFormat, &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.samples.clear();
        self.samples.extend(bytes.as_chunks().0.iter().map(|four| {
            let sample = f32::from_le_bytes(*four);
            // A decoder that reads damaged floats may give anything.
            if sample.is_finite() { sample } else { 0.0 }
        }));
        take(format, &self.samples)
    }
}

/// The format, and where the samples begin; `None`: more bytes are needed.
fn parse(header: &[u8]) -> Result<Option<(PcmFormat, usize)>> {
    let wrong = || EngineError::new(ErrorCode::Bug, "FFmpeg's decoded sound is not a WAV of 32-bit floats");
    if header.len() < 12 {
        return Ok(None);
    }
    if !header.starts_with(b"RIFF") || header.get(8..12) != Some(b"WAVE") {
        return Err(wrong());
    }
    let (mut at, mut format) = (12usize, None);
    while let Some(name) = header.get(at..at + 4) {
        let Some(size) = header.get(at + 4..at + 8).and_then(|four| four.first_chunk()) else { break };
        if name == b"data" {
            return format.map(|format| Some((format, at + 8))).ok_or_else(wrong);
        }
        let size = usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX);
        if size > MOST_HEADER_BYTES {
            return Err(wrong());
        }
        if name == b"fmt " {
            let Some(body) = header.get(at + 8..at + 8 + size) else { break };
            format = Some(read_format(body).ok_or_else(wrong)?);
        }
        at += 8 + size.next_multiple_of(2);
    }
    if header.len() > MOST_HEADER_BYTES { Err(wrong()) } else { Ok(None) }
}

fn read_format(body: &[u8]) -> Option<PcmFormat> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(*body.get(at..)?.first_chunk()?));
    let sample_rate_hz = u32::from_le_bytes(*body.get(4..)?.first_chunk()?);
    let channels = u32::from(u16_at(2)?);
    // 3: floats; 0xfffe: the extensible form, whose sub-format begins with the same number.
    let tag = match u16_at(0)? {
        0xfffe => u16_at(24)?,
        tag => tag,
    };
    let right = tag == 3 && u16_at(14)? == 32 && (1..=64).contains(&channels) && sample_rate_hz > 0;
    right.then_some(PcmFormat { sample_rate_hz, channels })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::analysis) fn wav(rate: u32, channels: u16, samples: &[f32]) -> Vec<u8> {
        let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x03\0".to_vec();
        wav.extend_from_slice(&channels.to_le_bytes());
        wav.extend_from_slice(&rate.to_le_bytes());
        wav.extend_from_slice(&(rate * u32::from(channels) * 4).to_le_bytes());
        wav.extend_from_slice(&(channels * 4).to_le_bytes());
        wav.extend_from_slice(b"\x20\0LIST\x03\0\0\0abc\0data\xff\xff\xff\xff");
        for sample in samples {
            wav.extend_from_slice(&sample.to_le_bytes());
        }
        wav
    }

    #[test]
    fn samples_come_out_however_the_bytes_are_cut() {
        let samples: Vec<f32> = (0..3000u16).map(|n| f32::from(n) / 3000.0).collect();
        let wav = wav(44_100, 3, &samples);
        for cut in [1, 5, 7, 44, 1000, wav.len()] {
            let (mut reader, mut got) = (PcmReader::default(), Vec::new());
            for bytes in wav.chunks(cut) {
                reader
                    .push(bytes, |format, frames| {
                        assert_eq!(format, PcmFormat { sample_rate_hz: 44_100, channels: 3 });
                        assert_eq!(frames.len() % 3, 0);
                        got.extend_from_slice(frames);
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(got, samples, "{cut}");
        }
    }

    #[test]
    fn what_is_no_number_is_silence_and_what_is_no_wav_is_refused() {
        let mut got = Vec::new();
        let bytes = wav(8000, 1, &[f32::NAN, 0.5, f32::INFINITY]);
        PcmReader::default()
            .push(&bytes, |_, frames| {
                got.extend_from_slice(frames);
                Ok(())
            })
            .unwrap();
        assert_eq!(got, [0.0, 0.5, 0.0]);
        let mut integers = bytes.clone();
        integers[20] = 1;
        for wrong in [&integers[..], b"RIFF0000AVI 0000", &[0; 5000], b"OggS00000000"] {
            assert!(PcmReader::default().push(wrong, |_, _| Ok(())).is_err());
        }
        assert!(PcmReader::default().push(b"RIFF", |_, _| Ok(())).is_ok());
    }
}

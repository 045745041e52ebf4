//! MP3 in frames: what a chunk of them needs in front, so that it decodes to just its samples of the whole.
//!
//! A frame is decoded with the help of those before it: the overlap of one granule, the synthesis filter, and with a
//! bit reservoir up to 511 bytes of main data (ISO/IEC 11172-3 §2.4.2.7, 2.4.3.4). So a chunk begins with some frames of
//! the chunk before, and its Info frame tells the decoder to leave them out, as it does with an encoder's delay.

use bytes::Bytes;

use super::stream::{Frame, Refused};
use crate::extract::mp3::{FrameHeader, InfoCounts, frames_of, info_head};

/// A decoder's own delay in samples, which it adds to what the Info frame says.
const DECODER_DELAY: u64 = 529;
/// The largest delay and padding that an Info frame can say.
const MOST_DELAY: u64 = 0xfff;
/// Tags at the end of a file are not longer.
const MOST_TRAILER_BYTES: usize = 4 * 1024 * 1024;

/// Reads a stream of frames.
#[derive(Debug, Default)]
pub(crate) struct Mp3Frames {
    held: Vec<u8>,
    skip: u64,
    first: Option<FrameHeader>,
    info: Option<Info>,
    trailer: usize,
    frames: u64,
    constant: bool,
    began: bool,
}

/// What the file's own Info frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Info {
    delay: u64,
    padding: u64,
}

impl Mp3Frames {
    /// Frames of an encoder of ours: `delay` samples before the sound, no Info frame in front.
    pub(super) fn of_encoder(delay: u64) -> Self {
        // Without a word about the end nothing is left out there.
        let info = Some(Info { delay, padding: DECODER_DELAY });
        Self { info, began: true, constant: true, ..Self::default() }
    }

    /// The encoder got so many samples.
    pub(super) fn end_of_encoder(&mut self, samples: Option<u64>) {
        if let (Some(info), Some(first), Some(samples)) = (&mut self.info, self.first, samples) {
            info.padding =
                (self.frames * first.samples()).saturating_sub(samples + info.delay).min(MOST_DELAY);
        }
    }

    /// Bytes of the first frame.
    pub(super) fn frame_bytes(&self) -> Option<u64> {
        self.first.map(FrameHeader::len)
    }

    /// Frames that the encoder will make of so many samples; sets the padding that they have.
    pub(super) fn promise(&mut self, samples: u64) -> Option<u64> {
        let (info, first) = (self.info.as_mut()?, self.first?);
        let frames = frames_of(samples, first.samples());
        info.padding = (frames * first.samples()).saturating_sub(samples + info.delay).min(MOST_DELAY);
        Some(frames)
    }

    pub(super) fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), Refused> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        let bytes = bytes.get(skipped..).unwrap_or_default();
        if self.trailer > 0 {
            self.trailer += bytes.len();
            return if self.trailer > MOST_TRAILER_BYTES { Err(Refused::Damaged) } else { Ok(()) };
        }
        self.held.extend_from_slice(bytes);
        let mut held = std::mem::take(&mut self.held);
        let used = self.read(&held, frames)?;
        held.drain(..used.min(held.len()));
        self.held = held;
        Ok(())
    }

    /// Reads complete frames; gives the bytes that are done with.
    fn read(&mut self, held: &[u8], frames: &mut Vec<Frame>) -> Result<usize, Refused> {
        let mut at = 0;
        while let Some(rest) = held.get(at..).filter(|rest| rest.len() >= 10) {
            if !self.began && rest.starts_with(b"ID3") {
                let size = rest.get(6..10).unwrap_or_default();
                let size = size.iter().fold(0u64, |size, byte| (size << 7) | u64::from(byte & 0x7f));
                let footer = if rest.get(5).is_some_and(|flags| flags & 0x10 != 0) { 10 } else { 0 };
                let end = at as u64 + 10 + size + footer;
                self.skip = end.saturating_sub(held.len() as u64);
                at = usize::try_from(end).unwrap_or(usize::MAX).min(held.len());
                continue;
            }
            let header = rest.first_chunk().and_then(|four| FrameHeader::parse(*four));
            let Some(header) = header.filter(|header| self.belongs(*header)) else {
                if self.frames == 0 {
                    return Err(Refused::NotThis);
                }
                // Tags at the end: ID3v1, APE, Lyrics3, or zeros. Anything else is damage, or another kind of frame.
                let known: [&[u8]; 4] = [b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"\0\0\0\0\0\0\0\0"];
                if !known.iter().any(|tag| rest.starts_with(tag)) {
                    return Err(Refused::Damaged);
                }
                self.trailer = rest.len();
                return Ok(held.len());
            };
            let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
            let Some(frame) = rest.get(..length) else { break };
            at += length;
            if !self.began {
                self.began = true;
                self.constant = true;
                self.first = Some(header);
                if let Some(info) = info_of(header, frame) {
                    self.info = info;
                    // It says how it was made, and is no sound.
                    self.constant = frame
                        .get(4 + header.side_information()..)
                        .is_some_and(|rest| !rest.starts_with(b"Xing"));
                    self.frames = 1;
                    continue;
                }
            }
            let first = *self.first.get_or_insert(header);
            self.constant &= header.bitrate_bps == first.bitrate_bps;
            self.frames += 1;
            frames.push(Frame {
                bytes: Bytes::copy_from_slice(frame),
                samples: header.samples(),
                reach: main_data_begin(header, frame),
                room: main_data_room(header),
            });
        }
        Ok(at)
    }

    /// Whether a header can be of the same stream as the first.
    fn belongs(&self, header: FrameHeader) -> bool {
        self.first.is_none_or(|first| {
            first.sample_rate_hz == header.sample_rate_hz && first.samples() == header.samples()
        })
    }

    pub(super) fn sample_rate_hz(&self) -> Option<u32> {
        self.first.map(|first| first.sample_rate_hz)
    }

    /// Samples before the first that is heard.
    pub(super) fn delay(&self) -> u64 {
        self.info.map_or(0, |info| info.delay + DECODER_DELAY)
    }

    /// Samples at the end that are not heard.
    pub(super) fn padding(&self) -> u64 {
        self.info.map_or(0, |info| info.padding.saturating_sub(DECODER_DELAY))
    }

    /// Frames that have to stand before `next`, of those that were before it; `None`: it cannot begin a chunk.
    pub(super) fn before<'f>(
        &self,
        earlier: impl DoubleEndedIterator<Item = &'f Frame> + Clone,
    ) -> Option<usize> {
        let samples = self.first?.samples();
        // The first granule after a gap is wrong, and the filter remembers 480 samples.
        let decoded = if samples == 1152 { 1 } else { 2 };
        let mut backwards = earlier.rev();
        let mut reach = 0;
        for _ in 0..decoded {
            reach = u64::from(backwards.next()?.reach);
        }
        let mut count = decoded;
        while reach > 0 {
            reach = reach.saturating_sub(u64::from(backwards.next()?.room));
            count += 1;
        }
        (count as u64 * samples <= MOST_DELAY + DECODER_DELAY).then_some(count)
    }

    /// What stands in front of a chunk that begins with `before` frames of the one before it.
    pub(super) fn head(&self, is_first: bool, before: usize, counts: Option<(u64, u64, bool)>) -> Bytes {
        let Some(first) = self.first else { return Bytes::new() };
        let delay = match (is_first, self.info) {
            // As it was: without an Info frame decoders leave nothing out.
            (true, None) => return Bytes::new(),
            (true, Some(info)) => info.delay,
            (false, _) => (before as u64 * first.samples()).saturating_sub(DECODER_DELAY),
        };
        let counts = counts.map(|(frames, bytes, is_last)| {
            let padding = self.info.filter(|_| is_last).map_or(DECODER_DELAY, |info| info.padding);
            InfoCounts { frames, bytes, padding: padding.min(MOST_DELAY) }
        });
        info_head(first, delay, counts, self.constant)
    }
}

/// Delay and padding where a frame is an Info frame (`Some(None)`: it says neither).
#[expect(clippy::option_option, reason = "no Info frame, one without delay, one with")]
fn info_of(header: FrameHeader, frame: &[u8]) -> Option<Option<Info>> {
    if frame.get(36..40) == Some(b"VBRI") {
        return Some(None);
    }
    let body = frame.get(4 + header.side_information()..)?;
    if !body.starts_with(b"Xing") && !body.starts_with(b"Info") {
        return None;
    }
    let flags = body.get(4..8)?.iter().fold(0u32, |flags, byte| (flags << 8) | u32::from(*byte));
    let fields = [(1, 4), (2, 4), (4, 100), (8, 4)];
    let at = 8 + fields.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, size)| size).sum::<usize>();
    let lame = body.get(at..at + 24).unwrap_or_default();
    // The makers whose word decoders take (FFmpeg's mp3dec.c).
    let maker = [&b"LAME"[..], b"Lavf", b"Lavc"].iter().any(|maker| lame.starts_with(maker));
    let three = lame.get(21..24).filter(|_| maker);
    Some(three.map(|three| {
        let value = three.iter().fold(0u64, |value, byte| (value << 8) | u64::from(*byte));
        // Without a number of frames nobody knows where the end is, and nothing is left out there.
        let padding = if flags & 1 == 0 { DECODER_DELAY } else { value & 0xfff };
        Info { delay: value >> 12, padding }
    }))
}

/// How far back a frame's main data begins, in bytes.
fn main_data_begin(header: FrameHeader, frame: &[u8]) -> u16 {
    let at = 4 + header.checksum_len();
    let byte = |at: usize| frame.get(at).copied().map_or(0, u16::from);
    if header.samples() == 1152 { (byte(at) << 1) | (byte(at + 1) >> 7) } else { byte(at) }
}

/// Bytes of main data that a frame has room for.
fn main_data_room(header: FrameHeader) -> u16 {
    let other = 4 + header.checksum_len() + header.side_information();
    u16::try_from(header.len()).unwrap_or(u16::MAX).saturating_sub(u16::try_from(other).unwrap_or(0))
}

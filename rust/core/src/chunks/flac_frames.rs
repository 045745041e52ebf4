//! FLAC in frames (RFC 9639): each stands alone, and says its number, which is counted anew in each chunk.
//!
//! A frame does not say how long it is. It ends where its CRC-16 comes out and the next begins with a right CRC-8.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::stream::{Frame, Refused};

const STREAMINFO_BYTES: usize = 34;
/// Larger ones have no place in RFC 9639: 65,535 samples of 8 channels of 32 bits.
const MOST_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// Reads a stream of frames.
#[derive(Debug, Default)]
pub(crate) struct FlacFrames {
    held: Vec<u8>,
    skip: u64,
    info: Option<[u8; STREAMINFO_BYTES]>,
    in_frames: bool,
    /// How far the current frame was looked through, and the CRC-16 up to there.
    looked: usize,
    crc: u16,
}

/// A frame's header, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    samples: u64,
    number: u64,
    number_bytes: usize,
    /// With its checksum.
    bytes: usize,
}

impl FlacFrames {
    pub(super) fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), Refused> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        self.held.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
        if !self.in_frames && !self.read_metadata()? {
            return Ok(());
        }
        self.split(frames, false)
    }

    /// Takes off what are certainly whole frames.
    fn split(&mut self, frames: &mut Vec<Frame>, ended: bool) -> Result<(), Refused> {
        let mut from = 0;
        // A header is 16 bytes at the most: look only where a whole one would be seen, or nothing more will come.
        let margin = if ended { 0 } else { 16 };
        while self.held.len() - from > self.looked + margin {
            let Some(rest) = self.held.get(from..) else { break };
            let Some(byte) = rest.get(self.looked) else { break };
            self.crc = crc16(self.crc, &[*byte]);
            self.looked += 1;
            let next = rest.get(self.looked..).unwrap_or_default();
            if self.crc == 0 && ((ended && next.is_empty()) || parse(next).is_some()) {
                frames.push(frame(rest.get(..self.looked).unwrap_or_default())?);
                from += self.looked;
                self.looked = 0;
            } else if self.looked > MOST_FRAME_BYTES {
                return Err(Refused::Damaged);
            }
        }
        self.held.drain(..from);
        Ok(())
    }

    pub(super) fn end(&mut self, frames: &mut Vec<Frame>) -> Result<(), Refused> {
        if self.in_frames {
            self.split(frames, true)?;
        }
        // A frame that was begun is no frame.
        self.held.clear();
        Ok(())
    }

    /// Reads what stands before the frames; `true` once all of it was.
    fn read_metadata(&mut self) -> Result<bool, Refused> {
        if self.info.is_none() {
            if self.held.len() < 4 + 4 + STREAMINFO_BYTES {
                return Ok(false);
            }
            let info = self.held.get(8..).and_then(|rest| rest.first_chunk()).copied();
            if !self.held.starts_with(b"fLaC") || self.held.get(4).is_none_or(|kind| kind & 0x7f != 0) {
                return Err(Refused::NotThis);
            }
            self.info = info;
            self.held.drain(..4);
        }
        loop {
            let Some([kind, a, b, c]) = self.held.first_chunk::<4>().copied() else { return Ok(false) };
            if self.skip > 0 {
                return Ok(false);
            }
            if kind == 0xff {
                self.in_frames = true;
                return Ok(true);
            }
            let end = 4 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
            let now = end.min(self.held.len());
            self.held.drain(..now);
            self.skip = (end - now) as u64;
        }
    }

    pub(super) fn sample_rate_hz(&self) -> Option<u32> {
        let [a, b, c] = *self.info.as_ref()?.get(10..)?.first_chunk()?;
        Some(u32::from(a) << 12 | u32::from(b) << 4 | u32::from(c) >> 4)
    }

    /// What stands in front of a chunk of so many samples.
    pub(super) fn head(&self, samples: Option<u64>) -> Bytes {
        let Some(info) = &self.info else { return Bytes::new() };
        let mut head = BytesMut::from(&b"fLaC\x80\0\0\x22"[..]);
        head.put_slice(info.get(..4).unwrap_or_default());
        // Sizes of frames and the MD5 of all samples: not known of the chunk.
        head.put_bytes(0, 6);
        let mut rates =
            info.get(10..18).and_then(|rest| rest.first_chunk()).map_or(0, |rest| u64::from_be_bytes(*rest));
        rates &= !((1 << 36) - 1);
        head.put_u64(rates | samples.filter(|samples| *samples < 1 << 36).unwrap_or(0));
        head.put_bytes(0, 16);
        head.freeze()
    }
}

/// The frame as it stands in a chunk that begins with `first`.
pub(super) fn renumbered(bytes: &Bytes, first: &Bytes) -> Bytes {
    let (Some(header), Some(base)) = (parse(bytes), parse(first)) else { return bytes.clone() };
    let (Some(before), Some(after), Some(body)) = (
        bytes.get(..4),
        bytes.get(4 + header.number_bytes..header.bytes - 1),
        bytes.get(header.bytes..bytes.len().saturating_sub(2)),
    ) else {
        return bytes.clone();
    };
    let mut frame = BytesMut::with_capacity(bytes.len() + 6);
    frame.put_slice(before);
    put_number(&mut frame, header.number.saturating_sub(base.number));
    frame.put_slice(after);
    let crc = frame.iter().fold(0, |crc, byte| crc8(crc, *byte));
    frame.put_u8(crc);
    frame.put_slice(body);
    let crc = crc16(0, &frame);
    frame.put_u16(crc);
    frame.freeze()
}

fn frame(bytes: &[u8]) -> Result<Frame, Refused> {
    let header = parse(bytes).filter(|_| crc16(0, bytes) == 0).ok_or(Refused::Damaged)?;
    Ok(Frame { bytes: Bytes::copy_from_slice(bytes), samples: header.samples, reach: 0, room: 0 })
}

/// Reads a frame's header (RFC 9639 §9.1); `None` where none stands.
fn parse(bytes: &[u8]) -> Option<Header> {
    let [a, b, c, d] = *bytes.first_chunk()?;
    if a != 0xff || b & 0xfe != 0xf8 || c & 0x0f == 0x0f || d & 1 != 0 || d >> 4 > 10 {
        return None;
    }
    let (number, number_bytes) = read_number(bytes.get(4..)?)?;
    let mut at = 4 + number_bytes;
    let samples = match c >> 4 {
        0 => return None,
        1 => 192,
        code @ 2..=5 => 576 << (code - 2),
        6 => {
            at += 1;
            u64::from(*bytes.get(at - 1)?) + 1
        }
        7 => {
            at += 2;
            u64::from(u16::from_be_bytes(*bytes.get(at - 2..)?.first_chunk()?)) + 1
        }
        code => 256 << (code - 8),
    };
    at += match c & 0x0f {
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    let crc = bytes.get(..at)?.iter().fold(0, |crc, byte| crc8(crc, *byte));
    (*bytes.get(at)? == crc).then_some(Header { samples, number, number_bytes, bytes: at + 1 })
}

/// A number in the form that UTF-8 has for characters, up to 36 bits.
fn read_number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let ones = first.leading_ones() as usize;
    match ones {
        0 => Some((u64::from(first), 1)),
        2..=7 => {
            let start = u64::from(first) & (0x7f >> ones);
            let number = bytes.get(1..ones)?.iter().try_fold(start, |number, byte| {
                (byte & 0xc0 == 0x80).then_some((number << 6) | u64::from(byte & 0x3f))
            })?;
            Some((number, ones))
        }
        _ => None,
    }
}

fn put_number(out: &mut BytesMut, number: u64) {
    if number < 0x80 {
        out.put_u8(u8::try_from(number).unwrap_or_default());
        return;
    }
    // Each byte more takes 6 bits and costs the first one bit.
    let more = (1..=6u32).find(|more| number < 1 << (6 * more + 6 - more)).unwrap_or(6);
    let marks = !(0xffu8 >> (more + 1));
    out.put_u8(marks | u8::try_from(number >> (6 * more) & 0x3f).unwrap_or_default());
    (0..more)
        .rev()
        .for_each(|at| out.put_u8(0x80 | u8::try_from(number >> (6 * at) & 0x3f).unwrap_or_default()));
}

fn crc8(crc: u8, byte: u8) -> u8 {
    (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x07 })
}

fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = table();
    bytes.iter().fold(crc, |crc, byte| {
        let [high, _] = crc.to_be_bytes();
        (crc << 8) ^ TABLE.get(usize::from(high ^ byte)).copied().unwrap_or_default()
    })
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "256 entries, made by the compiler"
)]
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = (at as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x8005 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read_as_they_were_written() {
        for shift in 0..36 {
            for number in [(1u64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                let mut bytes = BytesMut::new();
                put_number(&mut bytes, number);
                assert_eq!(read_number(&bytes), Some((number, bytes.len())), "{number}");
                let shortest = match number {
                    0..0x80 => 1,
                    0x80..0x800 => 2,
                    0x800..0x1_0000 => 3,
                    0x1_0000..0x20_0000 => 4,
                    0x20_0000..0x400_0000 => 5,
                    0x400_0000..0x8000_0000 => 6,
                    _ => 7,
                };
                assert_eq!(bytes.len(), shortest, "{number}");
            }
        }
    }
}

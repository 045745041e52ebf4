//! What makes a run of MP3 frames a proper file: an ID3v2.4 tag and an Info frame in front.
//!
//! The Info frame (Xing's format with LAME's extension) tells players the length, the seek table, and how many
//! samples of encoder delay and padding to leave out. Source: LAME `VbrTag.c`, FFmpeg `libavformat/mp3enc.c`,
//! "ID3 tag version 2.4.0".

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::error::{EngineError, ErrorCode, Result};
use crate::request::Tags;

/// LAME's encoder delay in samples, before the decoder's own 529.
pub(crate) const ENCODER_DELAY: u64 = 576;
/// Tag, side information's room and LAME's extension; see [`Mp3Head::render`].
const INFO_PAYLOAD: usize = 4 + 4 + 4 + 4 + 100 + 4 + 36;

const MPEG1_KBITS: [u32; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
const MPEG2_KBITS: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/// The four bytes in front of every frame (ISO/IEC 11172-3 §2.4.1.3, 13818-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    bytes: [u8; 4],
    mpeg1: bool,
    pub(crate) bitrate_bps: u32,
    pub(crate) sample_rate_hz: u32,
    padding: bool,
    mono: bool,
}

impl FrameHeader {
    /// Reads a layer III header.
    pub(crate) fn parse(bytes: [u8; 4]) -> Option<Self> {
        let [a, b, c, d] = bytes;
        if a != 0xff || b & 0xe6 != 0xe2 {
            return None;
        }
        let version = (b >> 3) & 3;
        let index = usize::from(c >> 4);
        let rate = usize::from((c >> 2) & 3);
        let base = *[44_100u32, 48_000, 32_000].get(rate)?;
        let (mpeg1, sample_rate_hz) = match version {
            3 => (true, base),
            2 => (false, base / 2),
            0 => (false, base / 4),
            _ => return None,
        };
        let kbits = *(if mpeg1 { &MPEG1_KBITS } else { &MPEG2_KBITS }).get(index)?;
        (kbits > 0).then_some(Self {
            bytes,
            mpeg1,
            bitrate_bps: kbits * 1000,
            sample_rate_hz,
            padding: c & 2 != 0,
            mono: d >> 6 == 3,
        })
    }

    /// Samples in one frame.
    pub(crate) const fn samples(self) -> u64 {
        if self.mpeg1 { 1152 } else { 576 }
    }

    /// Size of this frame in bytes.
    pub(crate) fn len(self) -> u64 {
        self.len_without_padding() + u64::from(self.padding)
    }

    fn len_without_padding(self) -> u64 {
        self.samples() / 8 * u64::from(self.bitrate_bps) / u64::from(self.sample_rate_hz)
    }

    /// Bytes of the checksum behind the header.
    pub(crate) const fn checksum_len(self) -> usize {
        let [_, b, ..] = self.bytes;
        if b & 1 == 0 { 2 } else { 0 }
    }

    /// Bytes of the side information.
    pub(crate) const fn side_information(self) -> usize {
        match (self.mpeg1, self.mono) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        }
    }

    /// The header of an Info frame like this one: no padding, and the least bitrate whose frame has the room.
    fn for_info(self) -> Option<Self> {
        let [a, b, c, d] = self.bytes;
        let wanted = u64::try_from(4 + self.side_information() + INFO_PAYLOAD).ok()?;
        (1..15u8)
            // Without CRC, without padding.
            .filter_map(|index| Self::parse([a, b | 1, (index << 4) | (c & 0x0d), d]))
            .find(|header| header.len() >= wanted)
    }
}

/// Frames that LAME makes of so many samples (checked against FFmpeg's libmp3lame, see the tests).
pub(crate) const fn frames_of(samples: u64, samples_per_frame: u64) -> u64 {
    // The flush that drains LAME's delay is one MPEG-1 frame or two of the half-sized MPEG-2 frames.
    if samples == 0 { 0 } else { samples.div_ceil(samples_per_frame) + 1152 / samples_per_frame }
}

/// Samples after resampling; FFmpeg's resampler rounds up.
pub(crate) fn resampled(samples: u64, from: Option<u32>, to: u32) -> u64 {
    match from {
        Some(from) if from != to && from > 0 => {
            let scaled = (u128::from(samples) * u128::from(to)).div_ceil(u128::from(from));
            u64::try_from(scaled).unwrap_or(u64::MAX)
        }
        _ => samples,
    }
}

/// Bytes of so many constant-bitrate frames with LAME's padding rule.
fn bytes_of(frames: u64, header: FrameHeader) -> u64 {
    let rate = u64::from(header.sample_rate_hz);
    let fraction = (header.samples() / 8 * u64::from(header.bitrate_bps)) % rate;
    // LAME starts the lag at the fraction and pads when it falls below zero: ceil-like accumulation.
    let padded = if fraction == 0 || frames == 0 { 0 } else { ((frames - 1) * fraction).div_ceil(rate) };
    frames * header.len_without_padding() + padded
}

/// Follows the frames of an encoder's output and makes the head that belongs in front of them.
#[derive(Debug)]
pub(crate) struct Mp3Head {
    tag: Bytes,
    first: Option<FrameHeader>,
    header: [u8; 4],
    header_len: usize,
    /// Bytes of the current frame that are still to come.
    skip: u64,
    frames: u64,
    bytes: u64,
}

impl Mp3Head {
    pub(crate) fn new(tags: &Tags) -> Self {
        Self { tag: id3(tags), first: None, header: [0; 4], header_len: 0, skip: 0, frames: 0, bytes: 0 }
    }

    /// Counts the frames in the next bytes.
    ///
    /// # Errors
    /// `internal.bug` when the encoder's output is not a run of frames.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= step as u64;
                bytes = bytes.get(step..).unwrap_or_default();
                continue;
            }
            if let (Some(slot), Some((byte, rest))) =
                (self.header.get_mut(self.header_len), bytes.split_first())
            {
                *slot = *byte;
                self.header_len += 1;
                bytes = rest;
            }
            if self.header_len == 4 {
                let header = FrameHeader::parse(self.header).ok_or_else(|| {
                    EngineError::new(ErrorCode::Bug, "FFmpeg's MP3 output is not a run of frames")
                })?;
                self.first.get_or_insert(header);
                self.header_len = 0;
                self.skip = header.len().saturating_sub(4);
                self.frames += 1;
            }
        }
        Ok(())
    }

    /// The first frame's header, once it was seen.
    pub(crate) const fn first(&self) -> Option<FrameHeader> {
        self.first
    }

    /// Seconds of audio in the frames that were followed.
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 samples")]
    pub(crate) fn seconds(&self) -> f64 {
        self.first.map_or(0.0, |first| {
            (self.frames * first.samples()) as f64 / f64::from(first.sample_rate_hz.max(1))
        })
    }

    /// Whether an encoder makes just the frames that were followed of so many samples.
    pub(crate) fn holds_all(&self, samples: u64) -> bool {
        self.first.is_some_and(|first| self.frames == frames_of(samples, first.samples()))
            && self.skip == 0
            && self.header_len == 0
    }

    /// The head for the frames that were followed, with `samples` that went into the encoder.
    pub(crate) fn actual(&self, samples: Option<u64>) -> Option<Bytes> {
        Some(self.render(
            self.first?,
            samples.map(|samples| Counts { frames: self.frames, bytes: self.bytes, samples }),
        ))
    }

    /// The head for `samples` that will go into the encoder; without counts where that is not known.
    pub(crate) fn predicted(&self, samples: Option<u64>) -> Option<Bytes> {
        let header = self.first?;
        let counts = samples.map(|samples| {
            let frames = frames_of(samples, header.samples());
            Counts { frames, bytes: bytes_of(frames, header), samples }
        });
        Some(self.render(header, counts))
    }

    fn render(&self, first: FrameHeader, counts: Option<Counts>) -> Bytes {
        let mut head = BytesMut::from(&self.tag[..]);
        let counts = counts.map(|Counts { frames, bytes, samples }| InfoCounts {
            frames,
            bytes,
            padding: (frames * first.samples()).saturating_sub(samples + ENCODER_DELAY).min(0xfff),
        });
        head.extend_from_slice(&info_head(first, ENCODER_DELAY, counts, true));
        head.freeze()
    }
}

/// The Info frame in front of frames like `first`, whose decoder leaves `delay` samples and its own 529 out.
pub(crate) fn info_head(first: FrameHeader, delay: u64, counts: Option<InfoCounts>, constant: bool) -> Bytes {
    first.for_info().map_or_else(Bytes::new, |info| info_frame(info, delay, counts, constant).freeze())
}

/// What an Info frame says of the frames behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InfoCounts {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Samples that are left out at the end, 529 of them by the decoder's delay.
    pub(crate) padding: u64,
}

#[derive(Debug, Clone, Copy)]
struct Counts {
    frames: u64,
    bytes: u64,
    samples: u64,
}

fn info_frame(header: FrameHeader, delay: u64, counts: Option<InfoCounts>, constant: bool) -> BytesMut {
    let len = usize::try_from(header.len()).unwrap_or_default();
    let mut frame = BytesMut::with_capacity(len);
    frame.put_slice(&header.bytes);
    frame.put_bytes(0, header.side_information());
    frame.put_slice(if constant { b"Info" } else { b"Xing" });
    match counts {
        None => {
            // Only LAME's extension, for the delay: players take the length from the constant bitrate.
            frame.put_u32(0);
        }
        Some(counts) if !constant => {
            // Where a hundredth of the time is would have to be known for each.
            frame.put_u32(0b0011);
            frame.put_u32(u32::try_from(counts.frames).unwrap_or(u32::MAX));
            frame.put_u32(u32::try_from(counts.bytes + header.len()).unwrap_or(u32::MAX));
        }
        Some(counts) => {
            frame.put_u32(0b1111);
            frame.put_u32(u32::try_from(counts.frames).unwrap_or(u32::MAX));
            frame.put_u32(u32::try_from(counts.bytes + header.len()).unwrap_or(u32::MAX));
            // Constant bitrate: a hundredth of the time is a hundredth of the bytes.
            (0..100u32)
                .for_each(|percent| frame.put_u8(u8::try_from(percent * 256 / 100).unwrap_or(u8::MAX)));
            frame.put_u32(0);
        }
    }
    // LAME's extension. Decoders take the delay only from files that say who made them.
    frame.put_slice(b"Lavc\0\0\0\0\0");
    // Tag revision 0, method 1: constant bitrate; 0: not known.
    frame.put_u8(u8::from(constant));
    // Low-pass, peak, two gains, flags: not known.
    frame.put_bytes(0, 1 + 4 + 2 + 2 + 1);
    frame.put_u8(u8::try_from(header.bitrate_bps / 1000).unwrap_or(u8::MAX));
    let padding = counts.map_or(0, |counts| counts.padding);
    let delay_and_padding = (delay << 12) | padding;
    frame.put_slice(delay_and_padding.to_be_bytes().get(5..).unwrap_or_default());
    // Misc, gain, preset: not known.
    frame.put_bytes(0, 1 + 1 + 2);
    frame.put_u32(counts.map_or(0, |counts| u32::try_from(counts.bytes + header.len()).unwrap_or(u32::MAX)));
    // CRC of the music: not known before it is made.
    frame.put_u16(0);
    let crc = crc16(&frame);
    frame.put_u16(crc);
    frame.resize(len, 0);
    frame
}

/// CRC-16 with polynomial 0x8005 reflected, start 0: LAME's tag checksum.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 })
    })
}

/// ID3v2.4 with UTF-8 text frames; nothing where there is nothing to say.
fn id3(tags: &Tags) -> Bytes {
    let mut frames = BytesMut::new();
    let mut text = |id: &[u8; 4], prefix: &[u8], value: &str| {
        let value: String = value.chars().filter(|c| *c != '\0').take(500).collect();
        frames.put_slice(id);
        frames.put_slice(&synchsafe(1 + prefix.len() + value.len()));
        frames.put_u16(0);
        // 3: UTF-8.
        frames.put_u8(3);
        frames.put_slice(prefix);
        frames.put_slice(value.as_bytes());
    };
    if let Some(title) = &tags.title {
        text(b"TIT2", b"", title);
    }
    if let Some(date) = &tags.date {
        // ID3v2.4 §4: yyyy-MM-ddTHH:mm:ss, no zone.
        text(b"TDRC", b"", date.get(..19).unwrap_or(date));
    }
    if let Some(source) = &tags.source {
        text(b"TXXX", b"source\0", source);
    }
    if frames.is_empty() {
        return Bytes::new();
    }
    let mut tag = BytesMut::with_capacity(10 + frames.len());
    tag.put_slice(b"ID3\x04\0\0");
    tag.put_slice(&synchsafe(frames.len()));
    tag.put_slice(&frames);
    tag.freeze()
}

/// Four times seven bits.
fn synchsafe(size: usize) -> [u8; 4] {
    let part = |shift: usize| u8::try_from((size >> shift) & 0x7f).unwrap_or_default();
    [part(21), part(14), part(7), part(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn encode(rate: u32, channels: u32, bitrate: &str, samples: usize) -> Vec<u8> {
        use std::io::Write as _;
        let mut child = Command::new(crate::testing::ffmpeg())
            .args([
                "-v",
                "error",
                "-f",
                "s16le",
                "-ar",
                &rate.to_string(),
                "-ac",
                &channels.to_string(),
                "-i",
                "pipe:0",
            ])
            .args([
                "-c:a",
                "libmp3lame",
                "-b:a",
                bitrate,
                "-reservoir",
                "0",
                "-write_xing",
                "0",
                "-id3v2_version",
                "0",
            ])
            .args(["-f", "mp3", "pipe:1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let noise: Vec<u8> = (0..samples * 2 * channels as usize)
            .map(|n| u8::try_from((n.wrapping_mul(2_654_435_761) >> 13) & 0x1f).unwrap())
            .collect();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(&noise).unwrap());
            child.wait_with_output().unwrap().stdout
        })
    }

    #[test]
    fn frames_and_bytes_are_predicted_for_every_rate_and_length() {
        for (rate, channels, bitrate) in [
            (44_100, 1, "128k"),
            (48_000, 2, "128k"),
            (22_050, 1, "64k"),
            (16_000, 1, "32k"),
            (11_025, 1, "24k"),
            (32_000, 2, "192k"),
        ] {
            for samples in
                [1usize, 47, 48, 575, 576, 577, 1151, 1152, 1153, 2304, 2305, 30_000, 44_100, 123_457]
            {
                let mut head = Mp3Head::new(&Tags::default());
                head.follow(&encode(rate, channels, bitrate, samples)).unwrap();
                let (predicted, actual) =
                    (head.predicted(Some(samples as u64)), head.actual(Some(samples as u64)));
                assert_eq!(
                    predicted, actual,
                    "{rate} {channels} {bitrate} {samples}: {} frames",
                    head.frames
                );
            }
        }
    }

    #[test]
    fn a_decoder_plays_exactly_the_samples_that_went_in() {
        for (rate, channels, bitrate, samples) in [
            (44_100, 1, "128k", 100_000usize),
            (48_000, 2, "128k", 48_000),
            (22_050, 1, "64k", 33_333),
            (16_000, 1, "32k", 16_000),
        ] {
            let mut head = Mp3Head::new(&Tags { title: Some("Täst".to_owned()), ..Tags::default() });
            let frames = encode(rate, channels, bitrate, samples);
            head.follow(&frames).unwrap();
            let mut file = head.actual(Some(samples as u64)).unwrap().to_vec();
            file.extend_from_slice(&frames);
            let path =
                std::env::temp_dir().join(format!("audio-extract-mp3-{}-{rate}.mp3", std::process::id()));
            std::fs::write(&path, &file).unwrap();
            let pcm = Command::new(crate::testing::ffmpeg())
                .args(["-v", "error", "-i"])
                .arg(&path)
                .args(["-f", "s16le", "-"])
                .output()
                .unwrap();
            assert!(pcm.stderr.is_empty(), "{}", String::from_utf8_lossy(&pcm.stderr));
            assert_eq!(pcm.stdout.len(), samples * 2 * channels as usize, "{rate} Hz");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn frames_are_followed_across_any_cut() {
        let frames = encode(44_100, 2, "128k", 20_000);
        let mut whole = Mp3Head::new(&Tags::default());
        whole.follow(&frames).unwrap();
        for size in [1, 3, 417, 1000] {
            let mut cut = Mp3Head::new(&Tags::default());
            frames.chunks(size).for_each(|piece| cut.follow(piece).unwrap());
            assert_eq!((cut.frames, cut.first()), (whole.frames, whole.first()));
        }
        assert_eq!(whole.follow(b"nonsense").unwrap_err().code, ErrorCode::Bug);
    }
}

//! Takes the segments out of what each encoder wrote, and compares the joints.

use bytes::Bytes;

use super::mp3::FrameHeader;
use super::segments::{POST_ROLL, Segments, UNIT_SAMPLES};
use crate::error::{EngineError, ErrorCode, Result};
use crate::pool::{Piece, Pool};

/// Frames before a joint that both encoders must have made alike.
const COMPARED_FRAMES: u64 = 8;

/// What comes out of one encoder, in order, for each of its segments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The last frames of the segment before, as this encoder made them; not of the first segment.
    Before(Vec<u8>),
    /// Frames of the segment.
    Frames(Bytes),
    /// The segment is complete; its last frames once more, to compare with.
    End(Vec<u8>),
}

/// Takes one encoder's output apart.
#[derive(Debug)]
pub(crate) struct Splitter {
    segments: Segments,
    segment: u64,
    /// Frames seen of the current stretch.
    seen: u64,
    frame: Vec<u8>,
    header: Option<FrameHeader>,
    compared: Vec<u8>,
    pool: Pool,
    piece: Option<Piece>,
}

impl Splitter {
    pub(crate) const fn new(segments: Segments, encoder: u64, pool: Pool) -> Self {
        Self {
            segments,
            segment: encoder,
            seen: 0,
            frame: Vec::new(),
            header: None,
            compared: Vec::new(),
            pool,
            piece: None,
        }
    }

    /// Takes the next bytes of the encoder.
    ///
    /// # Errors
    /// `internal.bug` when they are not a run of frames.
    pub(crate) fn push(&mut self, mut bytes: &[u8], parts: &mut Vec<Part>) -> Result<()> {
        while !bytes.is_empty() {
            let wanted = match self.header {
                None => 4,
                Some(header) => usize::try_from(header.len()).unwrap_or(usize::MAX),
            };
            let (now, later) = bytes.split_at(bytes.len().min(wanted.saturating_sub(self.frame.len())));
            self.frame.extend_from_slice(now);
            bytes = later;
            if self.frame.len() < wanted {
                return Ok(());
            }
            if let Some(header) = self.header {
                self.header = None;
                let frame = std::mem::take(&mut self.frame);
                self.take(&frame, UNIT_SAMPLES / header.samples(), parts);
                self.frame = frame;
                self.frame.clear();
            } else {
                let header = self.frame.first_chunk().and_then(|bytes| FrameHeader::parse(*bytes));
                self.header = Some(header.ok_or_else(|| {
                    EngineError::new(ErrorCode::Bug, "FFmpeg's MP3 output is not a run of frames")
                })?);
            }
        }
        Ok(())
    }

    /// The encoder's output ended. A frame that was begun is dropped: the count of frames will tell.
    pub(crate) fn end(&mut self, parts: &mut Vec<Part>) {
        self.hand_on(parts);
    }

    fn take(&mut self, frame: &[u8], frames_per_unit: u64, parts: &mut Vec<Part>) {
        let (own_from, own_to) = self.segments.own(self.segment);
        let before = self.segments.pre_roll(self.segment) * frames_per_unit;
        let own = (own_to - own_from) * frames_per_unit;
        let number = self.seen;
        self.seen += 1;
        if number < before {
            if number + COMPARED_FRAMES >= before {
                self.compared.extend_from_slice(frame);
            }
            if self.seen == before {
                parts.push(Part::Before(std::mem::take(&mut self.compared)));
            }
        } else if number < before + own {
            self.keep(frame, parts);
            if number + COMPARED_FRAMES >= before + own {
                self.compared.extend_from_slice(frame);
            }
            if self.seen == before + own {
                self.hand_on(parts);
                parts.push(Part::End(std::mem::take(&mut self.compared)));
            }
        }
        if self.seen == before + own + POST_ROLL * frames_per_unit {
            self.seen = 0;
            self.segment += self.segments.encoders();
        }
    }

    fn keep(&mut self, mut frame: &[u8], parts: &mut Vec<Part>) {
        while !frame.is_empty() {
            let piece = self.piece.get_or_insert_with(|| self.pool.take(u64::MAX));
            frame = piece.fill(frame);
            if piece.is_full() {
                self.hand_on(parts);
            }
        }
    }

    fn hand_on(&mut self, parts: &mut Vec<Part>) {
        if let Some(piece) = self.piece.take().filter(|piece| !piece.is_empty()) {
            parts.push(Part::Frames(piece.freeze(None)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::arguments::{self, Input};
    use crate::request::AudioSpec;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// Some seconds of WAV: a tone that comes and goes, noise that does, and silence, all drawn from `seed`.
    fn wav(rate: u32, channels: u16, seconds: u32, seed: u32) -> Vec<u8> {
        let data = rate * u32::from(channels) * 2 * seconds;
        let mut wav = Vec::new();
        wav.extend_from_slice(b"RIFF");
        wav.extend_from_slice(&(36 + data).to_le_bytes());
        wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0");
        wav.extend_from_slice(&channels.to_le_bytes());
        wav.extend_from_slice(&rate.to_le_bytes());
        wav.extend_from_slice(&(rate * u32::from(channels) * 2).to_le_bytes());
        wav.extend_from_slice(&(channels * 2).to_le_bytes());
        wav.extend_from_slice(b"\x10\0data");
        wav.extend_from_slice(&data.to_le_bytes());
        let mut random = seed | 1;
        let (mut tone, mut noise, mut pitch) = (0.0f64, 0.0f64, 0.1f64);
        for n in 0..rate * seconds {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            if n % (rate / 3) == 0 {
                tone = f64::from(random % 5) / 5.0 * 30_000.0;
                noise = if random.is_multiple_of(7) { 8_000.0 } else { 0.0 };
                pitch = 0.01 + f64::from(random % 97) / 500.0;
            }
            let sound =
                tone * (f64::from(n) * pitch).sin() * 0.7 + noise * (f64::from(random % 2001) / 1000.0 - 1.0);
            #[expect(clippy::cast_possible_truncation, reason = "within 16 bits")]
            let sample = (sound as i16).to_le_bytes();
            (0..channels).for_each(|_| wav.extend_from_slice(&sample));
        }
        wav
    }

    fn encode(arguments: &[String], wav: &[u8]) -> Vec<u8> {
        let mut child = Command::new(crate::testing::ffmpeg())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(wav).unwrap());
            child.wait_with_output().unwrap().stdout
        })
    }

    /// The parts of all encoders in the order of their segments; the joints that differ.
    fn joined(segments: Segments, outputs: &[Vec<u8>], cut: usize) -> (Vec<u8>, usize) {
        let mut tracks: Vec<_> = (0..)
            .zip(outputs)
            .map(|(encoder, output)| {
                let mut splitter = Splitter::new(segments, encoder, Pool::default());
                let mut parts = Vec::new();
                output.chunks(cut).for_each(|bytes| splitter.push(bytes, &mut parts).unwrap());
                splitter.end(&mut parts);
                parts.into_iter()
            })
            .collect();
        let (mut whole, mut differing, mut before, count) = (Vec::new(), 0, Vec::new(), tracks.len());
        for segment in 0.. {
            loop {
                match tracks[segment % count].next() {
                    Some(Part::Before(frames)) => differing += usize::from(frames != before),
                    Some(Part::Frames(bytes)) => whole.extend_from_slice(&bytes),
                    Some(Part::End(frames)) => {
                        before = frames;
                        break;
                    }
                    None => {
                        let left = tracks.iter_mut().flatten().any(|part| matches!(part, Part::Frames(_)));
                        assert!(!left, "frames beyond the end");
                        return (whole, differing);
                    }
                }
            }
        }
        unreachable!()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn any_cut_of_any_sound_joins_to_what_one_encoder_makes(
            encoders in 2u64..5,
            cycles in 4u64..30,
            seconds in 10u32..60,
            seed in any::<u32>(),
            (rate, channels) in prop_oneof![
                Just((48_000, 2)), Just((44_100, 1)), Just((44_100, 2)), Just((22_050, 1)), Just((16_000, 1)),
                Just((11_025, 2)),
            ],
            level in prop_oneof![Just(2u32), Just(3), Just(5), Just(7)],
            cut in 1usize..5_000,
        ) {
            let segments = Segments::of(encoders, cycles);
            let audio: AudioSpec = serde_json::from_value(serde_json::json!({
                "codec": "mp3", "bitrate_bps": if channels == 1 { 64_000 } else { 128_000 },
                "compression_level": level,
            })).unwrap();
            let wav = wav(rate, channels, seconds, seed);
            let alone = encode(&arguments::extraction(&Input::Pipe, &audio, 0), &wav);
            let outputs: Vec<_> = (0..encoders)
                .map(|encoder| {
                    encode(&arguments::segments(&Input::Pipe, &audio, 0, &segments.filters(encoder)), &wav)
                })
                .collect();
            let (whole, differing) = joined(segments, &outputs, cut);
            prop_assert_eq!(differing, 0);
            prop_assert!(whole == alone, "{} bytes of {}", whole.len(), alone.len());
        }
    }
}

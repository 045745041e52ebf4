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

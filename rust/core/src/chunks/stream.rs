//! Sound as a stream of frames of one of the kinds that can be cut without encoding it again.

use bytes::Bytes;

use super::flac_frames::{FlacFrames, renumbered};
use super::mp3_frames::Mp3Frames;
use super::wav_blocks::WavBlocks;
use crate::extract::mp3::ENCODER_DELAY;
use crate::request::Codec;

/// One frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) samples: u64,
    /// MP3: bytes of frames before this one that it is decoded with.
    pub(crate) reach: u16,
    /// MP3: bytes that it has room for.
    pub(crate) room: u16,
}

/// Why a stream cannot be cut as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is of another kind.
    NotThis,
    /// It is of this kind, and something in it is not.
    Damaged,
}

/// How many units, bytes and samples are in a chunk, and whether it is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) units: u64,
    pub(crate) bytes: u64,
    pub(crate) samples: u64,
    pub(crate) is_last: bool,
}

/// A stream that is read.
#[derive(Debug)]
pub(crate) enum Stream {
    Mp3(Mp3Frames),
    Flac(FlacFrames),
    Wav(WavBlocks),
}

impl Stream {
    /// The kind, by the first bytes of a file (12 of them are enough).
    pub(crate) fn of_head(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"fLaC") {
            Some(Self::Flac(FlacFrames::default()))
        } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WAVE") {
            Some(Self::Wav(WavBlocks::default()))
        } else if head.starts_with(b"ID3") || head.first() == Some(&0xff) {
            Some(Self::Mp3(Mp3Frames::default()))
        } else {
            None
        }
    }

    /// What an encoder of ours writes; `None`: it cannot be cut.
    pub(crate) fn of_codec(codec: Codec) -> Option<Self> {
        match codec {
            Codec::Mp3 => Some(Self::Mp3(Mp3Frames::of_encoder(ENCODER_DELAY))),
            Codec::Flac => Some(Self::Flac(FlacFrames::default())),
            Codec::Wav => Some(Self::Wav(WavBlocks::default())),
            Codec::Aac | Codec::Opus | Codec::Copy => None,
        }
    }

    /// Bytes of a frame; only of MP3.
    pub(crate) fn frame_bytes(&self) -> Option<u64> {
        if let Self::Mp3(mp3) = self { mp3.frame_bytes() } else { None }
    }

    /// Frames there will be of an encoder that will get so many samples; only of MP3, whose last chunk has to say how its
    /// end is to be heard.
    pub(crate) fn promise(&mut self, samples: u64) -> Option<u64> {
        if let Self::Mp3(mp3) = self { mp3.promise(samples) } else { None }
    }

    /// The encoder got so many samples, where that is known: what it added at the end is not heard.
    pub(crate) fn end_of_encoder(&mut self, samples: Option<u64>) {
        if let Self::Mp3(mp3) = self {
            mp3.end_of_encoder(samples);
        }
    }

    /// The usual file name extension.
    pub(crate) const fn extension(&self) -> &'static str {
        match self {
            Self::Mp3(_) => "mp3",
            Self::Flac(_) => "flac",
            Self::Wav(_) => "wav",
        }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), Refused> {
        match self {
            Self::Mp3(mp3) => mp3.push(bytes, frames),
            Self::Flac(flac) => flac.push(bytes, frames),
            Self::Wav(wav) => wav.push(bytes, frames),
        }
    }

    /// There are no more bytes. A frame that was begun is no frame.
    pub(crate) fn end(&mut self, frames: &mut Vec<Frame>) -> Result<(), Refused> {
        match self {
            Self::Mp3(_) => Ok(()),
            Self::Flac(flac) => flac.end(frames),
            Self::Wav(wav) => wav.end(frames),
        }
    }

    /// Samples per second, once the first frame was seen.
    pub(crate) fn sample_rate_hz(&self) -> Option<u32> {
        match self {
            Self::Mp3(mp3) => mp3.sample_rate_hz(),
            Self::Flac(flac) => flac.sample_rate_hz(),
            Self::Wav(wav) => wav.sample_rate_hz(),
        }
    }

    /// Samples before the first that is heard.
    pub(crate) fn delay(&self) -> u64 {
        if let Self::Mp3(mp3) = self { mp3.delay() } else { 0 }
    }

    /// Samples at the end that are not heard.
    pub(crate) fn padding(&self) -> u64 {
        if let Self::Mp3(mp3) = self { mp3.padding() } else { 0 }
    }

    /// The most bytes that stand in a chunk beside its units.
    pub(crate) const fn overhead_bytes(&self) -> u64 {
        // Eight frames of 1,441 bytes and the Info frame; a FLAC frame's number may be longer by no byte.
        if let Self::Mp3(_) = self { 16 * 1024 } else { 1024 }
    }

    /// How many of the frames before it a chunk has to begin with; `None`: no chunk may begin here.
    pub(crate) fn before<'f>(
        &self,
        earlier: impl DoubleEndedIterator<Item = &'f Frame> + Clone,
    ) -> Option<usize> {
        if let Self::Mp3(mp3) = self { mp3.before(earlier) } else { Some(0) }
    }

    /// What stands in front of a chunk; as long with `contents` as without.
    pub(crate) fn head(&self, is_first: bool, before: usize, contents: Option<Contents>) -> Bytes {
        match self {
            Self::Mp3(mp3) => {
                mp3.head(is_first, before, contents.map(|all| (all.units, all.bytes, all.is_last)))
            }
            Self::Flac(flac) => flac.head(contents.map(|all| all.samples)),
            Self::Wav(wav) => wav.head(contents.map(|all| all.bytes)),
        }
    }

    /// A frame's bytes in a chunk that begins with the frame `first`.
    pub(crate) fn rendered(&self, frame: &Frame, first: &Bytes) -> Bytes {
        if let Self::Flac(_) = self { renumbered(&frame.bytes, first) } else { frame.bytes.clone() }
    }
}

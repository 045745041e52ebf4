//! What else is made in the same pass: more outputs, chunks, measures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AudioSpec, Codec, SinkSpec, StoredObject, TransferRequest};
use crate::chunks::{Chunk, ChunkSpec};
use crate::error::{EngineError, ErrorCode, Result};

/// More outputs than anybody wants, and fewer than would use up a process's files.
const MOST_OUTPUTS: usize = 8;

/// One more output of the same recording, from the same decoding.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// Where it goes.
    pub sink: SinkSpec,
    /// What to make of the sound.
    pub audio: AudioSpec,
    /// Pieces of it.
    #[serde(default)]
    pub chunks: Option<ChunkTarget>,
}

/// Chunks of an output.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkTarget {
    /// How to cut.
    pub rule: ChunkSpec,
    /// Where they go: path or object name of their folder, without a slash at the end.
    pub sink: SinkSpec,
    /// Generations of chunks that an earlier attempt left and that may be replaced, by their names.
    #[serde(default)]
    pub replace: BTreeMap<String, i64>,
}

/// What became of one more output.
#[derive(Debug, Clone, Serialize)]
pub struct OutputReport {
    /// What stands at the destination.
    pub stored: StoredObject,
    /// Length of the stored audio.
    pub audio_seconds: Option<f64>,
    /// Its chunks, where some were asked for.
    pub chunks: Option<Vec<Chunk>>,
}

impl AudioSpec {
    /// Refuses what no encoder can make, before anything is fetched.
    fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(EngineError::new(ErrorCode::RequestInvalid, message));
        let rates: &[u32] = match self.codec {
            Codec::Mp3 => &[8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000],
            Codec::Opus => &[8_000, 12_000, 16_000, 24_000, 48_000],
            Codec::Aac => &[
                7_350, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200,
                96_000,
            ],
            Codec::Flac | Codec::Wav | Codec::Copy => &[],
        };
        if let Some(rate) = self.sample_rate_hz
            && !rates.is_empty()
            && !rates.contains(&rate)
        {
            let known = rates.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            let codec = format!("{:?}", self.codec).to_lowercase();
            return invalid(format!("a sample rate of {rate} Hz is impossible: {codec} knows {known}"));
        }
        if self.codec == Codec::Mp3 && !self.channels.is_none_or(|channels| (1..=2).contains(&channels)) {
            return invalid("audio.channels: MP3 has 1 or 2".to_owned());
        }
        if self.codec == Codec::Copy && (self.gain_db.is_some() || self.loudness_lufs.is_some()) {
            return invalid("audio: a copy is as loud as it is; choose another codec".to_owned());
        }
        if self.codec == Codec::Copy && (self.clip.is_some() || self.mixed_tracks > 0) {
            return invalid("audio: a copy is neither cut nor mixed; choose another codec".to_owned());
        }
        if self.clip.is_some_and(|(from, to)| from >= to) {
            return invalid("audio.clip: the second number has to be above the first".to_owned());
        }
        if self.mixed_tracks == 1 || self.mixed_tracks > 64 {
            return invalid("audio.mixed_tracks: 2 to 64 tracks can be mixed".to_owned());
        }
        if !self.gain_db.is_none_or(|gain| (-60.0..=60.0).contains(&gain)) {
            return invalid("audio.gain_db: -60 to 60 dB are allowed".to_owned());
        }
        if !self.loudness_lufs.is_none_or(|loudness| (-70.0..=-5.0).contains(&loudness)) {
            return invalid("audio.loudness_lufs: -70 to -5 LUFS are allowed".to_owned());
        }
        if !matches!(self.sample_bits, None | Some(16 | 24))
            || (self.sample_bits.is_some() && self.codec != Codec::Flac)
        {
            return invalid("audio.sample_bits: 16 or 24, and only of flac".to_owned());
        }
        Ok(())
    }
}

impl TransferRequest {
    /// The sound of the main output and of all others, with their chunks.
    pub(crate) fn all_outputs(&self) -> impl Iterator<Item = (&AudioSpec, &SinkSpec, Option<&ChunkTarget>)> {
        std::iter::once((&self.audio, &self.sink, self.chunks.as_ref()))
            .chain(self.outputs.iter().map(|one| (&one.audio, &one.sink, one.chunks.as_ref())))
    }

    /// Whether FFmpeg has to decode or to make more than one thing.
    pub(crate) fn makes_more(&self) -> bool {
        self.measure.is_some() || !self.outputs.is_empty() || self.chunks.is_some()
    }

    pub(super) fn validate_outputs(&self) -> Result<()> {
        let invalid = |message: &str| Err(EngineError::new(ErrorCode::RequestInvalid, message));
        if self.outputs.len() >= MOST_OUTPUTS {
            return invalid("outputs: at most 8 are made of one recording");
        }
        if let Some(silence) = &self.measure {
            silence.validate()?;
        }
        for (audio, _, chunks) in self.all_outputs() {
            audio.validate()?;
            let Some(chunks) = chunks else { continue };
            chunks.rule.validate()?;
            if !matches!(audio.codec, Codec::Mp3 | Codec::Flac | Codec::Wav) {
                return invalid("chunks: only mp3, flac and wav can be cut without encoding them again");
            }
            if chunks.rule.silence.is_some() && self.measure.is_none() {
                return invalid("chunks: to find silence the sound has to be measured");
            }
        }
        Ok(())
    }
}

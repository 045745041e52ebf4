//! What is measured on decoded sound in one pass: waveform, loudness, silence. Memory does not depend on the length,
//! but for what loudness has to remember: 8 bytes for each 100 ms, 3 MB for ten hours.

mod loudness;
mod pcm;
mod peak;
mod silence;
mod waveform;
mod weighting;

use serde::{Deserialize, Serialize};

use crate::error::{EngineError, ErrorCode, Result};
pub use loudness::Loudness;
use loudness::Meter;
use pcm::PcmReader;
use silence::Detector;
pub(crate) use silence::{Resampled, Span, Timeline};
use waveform::Painter;
pub use waveform::Waveform;

/// What counts as silence.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceSpec {
    /// No sample of any channel is louder, in dB below full scale: -90 to -10.
    pub threshold_db: f64,
    /// For at least so many seconds, 0.05 to 60.
    pub least_seconds: f64,
}

impl Default for SilenceSpec {
    fn default() -> Self {
        Self { threshold_db: -40.0, least_seconds: 0.5 }
    }
}

impl SilenceSpec {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// `request.invalid`, naming the field.
    pub fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(EngineError::new(ErrorCode::RequestInvalid, message));
        if !(-90.0..=-10.0).contains(&self.threshold_db) {
            return invalid(format!(
                "the threshold of silence is {} dB; -90 to -10 are allowed",
                self.threshold_db
            ));
        }
        if !(0.05..=60.0).contains(&self.least_seconds) {
            return invalid(format!(
                "the least length of silence is {} seconds; 0.05 to 60 are allowed",
                self.least_seconds
            ));
        }
        Ok(())
    }
}

/// How much of the sound is silence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SilenceReport {
    /// Before the first sound.
    pub leading_seconds: f64,
    /// After the last sound.
    pub trailing_seconds: f64,
    /// In all, the two included.
    pub total_seconds: f64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SoundReport {
    /// Samples per second of what was measured.
    pub sample_rate_hz: u32,
    /// Channels of what was measured.
    pub channels: u32,
    /// Length.
    pub seconds: f64,
    /// EBU R128.
    pub loudness: Loudness,
    /// What is silent.
    pub silence: SilenceReport,
    /// Peaks to draw.
    pub waveform: Waveform,
}

/// Measures decoded sound that comes as a WAV of 32-bit floats, in pieces of any size.
pub(crate) struct Analysis {
    spec: SilenceSpec,
    reader: PcmReader,
    measures: Option<Measures>,
}

struct Measures {
    rate: u32,
    channels: u32,
    samples: u64,
    meter: Meter,
    detector: Detector,
    painter: Painter,
}

impl Analysis {
    pub(crate) fn new(spec: SilenceSpec) -> Self {
        Self { spec, reader: PcmReader::default(), measures: None }
    }

    /// Takes the next bytes of the WAV.
    ///
    /// # Errors
    /// `internal.bug` when it is not what FFmpeg was asked for.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let Self { spec, reader, measures } = self;
        reader.push(bytes, |format, frames| {
            let measures = match measures {
                Some(measures) => measures,
                None => measures.insert(Measures {
                    rate: format.sample_rate_hz,
                    channels: format.channels,
                    samples: 0,
                    meter: Meter::new(format)?,
                    detector: Detector::new(*spec, format),
                    painter: Painter::new(format),
                }),
            };
            measures.samples += (frames.len() / format.channels.max(1) as usize) as u64;
            measures.meter.push(frames)?;
            measures.detector.push(frames);
            measures.painter.push(frames);
            Ok(())
        })
    }

    /// Samples per channel so far.
    pub(crate) fn samples(&self) -> u64 {
        self.measures.as_ref().map_or(0, |measures| measures.samples)
    }

    /// Of the sound, once some came.
    pub(crate) fn sample_rate_hz(&self) -> Option<u32> {
        self.measures.as_ref().map(|measures| measures.rate)
    }

    /// The silences that were found since the last call; the one that lasts is reported again when it has grown.
    pub(crate) fn take_silences(&mut self, spans: &mut Vec<Span>) {
        if let Some(measures) = &mut self.measures {
            measures.detector.take(spans);
        }
    }

    /// What was measured; `None` where there was no sound at all.
    pub(crate) fn report(self) -> Option<SoundReport> {
        let Measures { rate, channels, samples, meter, mut detector, painter } = self.measures?;
        let seconds = |samples: u64| seconds(samples, rate);
        let silence = detector.end();
        Some(SoundReport {
            sample_rate_hz: rate,
            channels,
            seconds: seconds(samples),
            loudness: meter.report(),
            silence: SilenceReport {
                leading_seconds: seconds(silence.leading),
                trailing_seconds: seconds(silence.trailing),
                total_seconds: seconds(silence.total),
            },
            waveform: painter.waveform(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 samples")]
pub(crate) fn seconds(samples: u64, rate: u32) -> f64 {
    samples as f64 / f64::from(rate.max(1))
}

/// The format of sound that was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PcmFormat {
    pub(crate) sample_rate_hz: u32,
    pub(crate) channels: u32,
}

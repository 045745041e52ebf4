//! Loudness after EBU R128 (ITU-R BS.1770-4, EBU Tech 3341 and 3342).

use ebur128::{EbuR128, Mode};
use serde::Serialize;

use super::PcmFormat;
use super::peak::PeakMeter;
use crate::error::{EngineError, ErrorCode, Result};

/// Quieter is told as nothing: the gate of BS.1770 lies at -70 LUFS.
const LEAST_DB: f64 = -120.0;

/// How loud the sound is; nothing where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Loudness {
    /// Integrated loudness, LUFS.
    pub integrated_lufs: Option<f64>,
    /// Loudness range, LU.
    pub range_lu: Option<f64>,
    /// True peak of the loudest channel, dBTP.
    pub true_peak_dbtp: Option<f64>,
}

/// Measures while the sound comes in.
pub(super) struct Meter {
    inner: EbuR128,
    peak: PeakMeter,
}

impl Meter {
    pub(super) fn new(format: PcmFormat) -> Result<Self> {
        let inner =
            EbuR128::new(format.channels, format.sample_rate_hz, Mode::I | Mode::LRA).map_err(failed)?;
        Ok(Self { inner, peak: PeakMeter::new(format)? })
    }

    /// Takes the next frames, interleaved.
    pub(super) fn push(&mut self, frames: &[f32]) -> Result<()> {
        self.peak.push(frames)?;
        self.inner.add_frames_f32(frames).map_err(failed)
    }

    pub(super) fn report(&self) -> Loudness {
        let integrated_lufs = rounded(self.inner.loudness_global().ok());
        Loudness {
            integrated_lufs,
            // Of what is never above the gate there is no range.
            range_lu: integrated_lufs.and(rounded(self.inner.loudness_range().ok())),
            true_peak_dbtp: rounded(Some(20.0 * self.peak.peak().log10())),
        }
    }
}

/// Hundredths are more than anybody hears; minus infinity has no place in JSON.
fn rounded(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value > LEAST_DB).map(|value| (value * 100.0).round() / 100.0)
}

pub(super) fn failed(error: ebur128::Error) -> EngineError {
    EngineError::new(ErrorCode::Bug, "measuring the loudness failed").caused_by(error)
}

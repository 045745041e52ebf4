//! The true peak (ITU-R BS.1770-4, annex 2), without interpolating what cannot be one.
//!
//! Four times (at 96 kHz and above twice) as many samples are costly: more than everything else that is measured. But an
//! interpolated sample is a weighted sum of those around it, so it is never above the largest of them times the sum of
//! the weights, and what lies below the peak that is known by that much can be passed over. The result is the same.

use ebur128::{EbuR128, Mode};

use super::PcmFormat;
use crate::error::{EngineError, ErrorCode, Result};

/// Samples that the interpolation looks back on, at most.
const HISTORY: usize = 24;
/// Frames that are decided about together.
const BLOCK: usize = 64;
/// The sum of the interpolation's weights is 1.865 where it makes four of one sample, 2.307 where it makes two.
const MOST_GAIN: (f32, f32) = (1.87, 2.32);

/// Finds the true peak of the loudest channel.
#[derive(Debug)]
pub(super) struct PeakMeter {
    inner: EbuR128,
    most_gain: f32,
    channels: u32,
    known: f64,
    /// The last frames.
    history: Vec<f32>,
    /// Whether the interpolation has had the frames before.
    is_primed: bool,
}

impl PeakMeter {
    pub(super) fn new(format: PcmFormat) -> Result<Self> {
        let inner = EbuR128::new(format.channels, format.sample_rate_hz, Mode::TRUE_PEAK).map_err(failed)?;
        Ok(Self {
            inner,
            most_gain: if format.sample_rate_hz < 96_000 { MOST_GAIN.0 } else { MOST_GAIN.1 },
            channels: format.channels,
            known: 0.0,
            history: Vec::new(),
            is_primed: true,
        })
    }

    /// Takes the next frames, interleaved.
    pub(super) fn push(&mut self, frames: &[f32]) -> Result<()> {
        let channels = self.channels.max(1) as usize;
        let kept = HISTORY * channels;
        for block in frames.chunks(BLOCK * channels) {
            let largest = largest(block).max(largest(&self.history));
            if self.history.len() == kept && f64::from(largest * self.most_gain) <= self.known {
                self.is_primed = false;
            } else {
                if !self.is_primed {
                    self.inner.seed_frames_f32(&self.history).map_err(failed)?;
                    self.is_primed = true;
                }
                self.inner.add_frames_f32(block).map_err(failed)?;
                for channel in 0..self.channels {
                    self.known = self.known.max(self.inner.true_peak(channel).map_err(failed)?);
                }
            }
            self.history.extend_from_slice(block.get(block.len().saturating_sub(kept)..).unwrap_or_default());
            self.history.drain(..self.history.len().saturating_sub(kept));
        }
        Ok(())
    }

    /// The true peak so far; 1 is full scale.
    pub(super) const fn peak(&self) -> f64 {
        self.known
    }
}

fn failed(error: ebur128::Error) -> EngineError {
    EngineError::new(ErrorCode::Bug, "looking for the true peak failed").caused_by(error)
}

fn largest(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |largest, sample| largest.max(sample.abs()))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Noise in stretches of different loudness.
    pub(in crate::analysis) fn sound(channels: usize, stretches: &[(u16, f32)], seed: u32) -> Vec<f32> {
        let mut random = seed | 1;
        let mut samples = Vec::new();
        for (frames, level) in stretches {
            for _ in 0..usize::from(*frames) * channels {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                let [low, high, ..] = random.to_le_bytes();
                samples.push(level * f32::from(i16::from_le_bytes([low, high])) / 32768.0);
            }
        }
        samples
    }

    proptest! {
        #[test]
        fn what_is_passed_over_changes_nothing(
            rate in prop::sample::select(vec![8_000u32, 44_100, 48_000, 96_000, 192_000]),
            channels in 1u32..4,
            stretches in prop::collection::vec((1u16..2000, 0.0f32..1.0), 1..12),
            cut in 1usize..3000,
            seed in any::<u32>(),
        ) {
            let samples = sound(channels as usize, &stretches, seed);
            let mut meter = PeakMeter::new(PcmFormat { sample_rate_hz: rate, channels }).unwrap();
            samples.chunks(cut * channels as usize).for_each(|frames| meter.push(frames).unwrap());
            let mut whole = EbuR128::new(channels, rate, Mode::TRUE_PEAK).unwrap();
            whole.add_frames_f32(&samples).unwrap();
            let expected = (0..channels).map(|channel| whole.true_peak(channel).unwrap()).fold(0.0, f64::max);
            prop_assert!((meter.peak() - expected).abs() < f64::EPSILON, "{} {expected}", meter.peak());
        }
    }
}

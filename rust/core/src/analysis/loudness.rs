//! Loudness after EBU R128 (ITU-R BS.1770-4, EBU Tech 3341 and 3342).

use std::collections::VecDeque;

use serde::Serialize;

use super::PcmFormat;
use super::peak::PeakMeter;
use super::weighting::Weighting;
use crate::error::Result;

/// Quieter is told as nothing: the gate of BS.1770 lies at -70 LUFS.
const LEAST_DB: f64 = -120.0;
/// What is quieter counts nowhere.
const GATE_LUFS: f64 = -70.0;
/// Tenths of a second in a block of the loudness, in one of its range, and between two of those.
const MOMENTARY: usize = 4;
const SHORT_TERM: usize = 30;
const TENTHS_OF_A_SECOND: u64 = 10;

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
#[derive(Debug)]
pub(super) struct Meter {
    weighting: Weighting,
    peak: PeakMeter,
    channels: usize,
    /// Frames of 100 ms.
    tenth: usize,
    /// Frames that the running 100 ms have, and their energy.
    begun: (usize, f64),
    /// The energies of the last 100 ms each.
    tenths: VecDeque<f64>,
    /// How many there were in all.
    count: u64,
    /// Means of 400 ms, one each 100 ms, that are not below the gate.
    momentary: Vec<f64>,
    /// Means of 3 s, one each second, that are not below the gate.
    short_term: Vec<f64>,
}

impl Meter {
    pub(super) fn new(format: PcmFormat) -> Result<Self> {
        Ok(Self {
            weighting: Weighting::new(format.sample_rate_hz, format.channels),
            peak: PeakMeter::new(format)?,
            channels: format.channels.max(1) as usize,
            tenth: (format.sample_rate_hz.saturating_add(5) / 10).max(1) as usize,
            begun: (0, 0.0),
            tenths: VecDeque::with_capacity(SHORT_TERM),
            count: 0,
            momentary: Vec::new(),
            short_term: Vec::new(),
        })
    }

    /// Takes the next frames, interleaved.
    pub(super) fn push(&mut self, frames: &[f32]) -> Result<()> {
        self.peak.push(frames)?;
        let mut frames = frames;
        while !frames.is_empty() {
            let room = (self.tenth - self.begun.0) * self.channels;
            let (now, later) = frames.split_at(frames.len().min(room));
            self.begun.0 += now.len() / self.channels;
            self.begun.1 += self.weighting.energy(now);
            frames = later;
            if self.begun.0 == self.tenth {
                self.end_tenth();
            }
        }
        Ok(())
    }

    fn end_tenth(&mut self) {
        if self.tenths.len() == SHORT_TERM {
            self.tenths.pop_front();
        }
        self.tenths.push_back(std::mem::take(&mut self.begun).1);
        self.count += 1;
        let gate = energy(GATE_LUFS);
        let mean = |tenths: usize| {
            let sum: f64 = self.tenths.iter().rev().take(tenths).sum();
            (self.tenths.len() >= tenths)
                .then(|| sum / as_f64(tenths * self.tenth))
                .filter(|mean| *mean >= gate)
        };
        let (momentary, short_term) = (mean(MOMENTARY), mean(SHORT_TERM));
        self.momentary.extend(momentary);
        self.short_term.extend(short_term.filter(|_| self.count.is_multiple_of(TENTHS_OF_A_SECOND)));
    }

    /// The mean of what is not 10 LU below the mean of all.
    fn integrated(&self) -> Option<f64> {
        let gate = mean(&self.momentary)? * decibels(-10.0);
        let above: Vec<f64> = self.momentary.iter().copied().filter(|mean| *mean >= gate).collect();
        mean(&above).map(loudness)
    }

    /// From the loudness that a tenth is below to that which a twentieth is above, of what is not 20 LU below the mean.
    fn range(&self) -> f64 {
        let Some(all) = mean(&self.short_term) else { return 0.0 };
        let mut above = self.short_term.clone();
        above.retain(|mean| *mean >= all * decibels(-20.0));
        above.sort_by(f64::total_cmp);
        let last = above.len().saturating_sub(1);
        let at = |hundredths: usize| above.get((last * hundredths + 50) / 100).copied();
        at(10).zip(at(95)).map_or(0.0, |(low, high)| loudness(high) - loudness(low))
    }

    pub(super) fn report(&self) -> Loudness {
        let integrated_lufs = rounded(self.integrated());
        Loudness {
            integrated_lufs,
            // Of what is never above the gate there is no range.
            range_lu: integrated_lufs.and(rounded(Some(self.range()))),
            true_peak_dbtp: rounded(Some(20.0 * self.peak.peak().log10())),
        }
    }
}

fn mean(energies: &[f64]) -> Option<f64> {
    (!energies.is_empty()).then(|| energies.iter().sum::<f64>() / as_f64(energies.len()))
}

fn decibels(value: f64) -> f64 {
    10f64.powf(value / 10.0)
}

/// BS.1770's offset makes a full-scale sine of 997 Hz in one channel -3.01 LUFS.
fn loudness(energy: f64) -> f64 {
    10.0 * energy.log10() - 0.691
}

fn energy(loudness: f64) -> f64 {
    decibels(loudness + 0.691)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
const fn as_f64(count: usize) -> f64 {
    count as f64
}

/// Hundredths are more than anybody hears; minus infinity has no place in JSON.
fn rounded(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value > LEAST_DB).map(|value| (value * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use ebur128::{EbuR128, Mode};
    use proptest::prelude::*;

    use super::super::peak::tests::sound;
    use super::*;

    fn close(one: Option<f64>, other: Option<f64>) -> bool {
        // Both are rounded to hundredths.
        one.zip(other).map_or(one == other, |(one, other)| (one - other).abs() < 0.011)
    }

    proptest! {
        #[test]
        fn it_measures_what_the_reference_does(
            rate in prop::sample::select(vec![8_000u32, 11_025, 44_100, 48_000, 96_000, 192_000]),
            channels in 1u32..9,
            stretches in prop::collection::vec((1u16..20_000, 0.0f32..1.0), 1..12),
            cut in 1usize..30_000,
            seed in any::<u32>(),
        ) {
            let samples = sound(channels as usize, &stretches, seed);
            let mut meter = Meter::new(PcmFormat { sample_rate_hz: rate, channels }).unwrap();
            samples.chunks(cut * channels as usize).for_each(|frames| meter.push(frames).unwrap());
            let mut reference = EbuR128::new(channels, rate, Mode::I | Mode::LRA).unwrap();
            reference.add_frames_f32(&samples).unwrap();
            let report = meter.report();
            let integrated = rounded(reference.loudness_global().ok());
            prop_assert!(close(report.integrated_lufs, integrated), "{report:?} {integrated:?}");
            let range = integrated.and(rounded(reference.loudness_range().ok()));
            prop_assert!(close(report.range_lu, range), "{report:?} {range:?}");
        }
    }

    #[test]
    fn a_sine_of_full_scale_is_as_loud_as_the_standard_says_and_silence_is_nothing() {
        let format = PcmFormat { sample_rate_hz: 48_000, channels: 1 };
        let mut meter = Meter::new(format).unwrap();
        let second: Vec<f32> = (0..48_000u16)
            .map(|at| (f32::from(at) * 997.0 * 2.0 * std::f32::consts::PI / 48_000.0).sin())
            .collect();
        (0..20).for_each(|_| meter.push(&second).unwrap());
        assert_eq!(meter.report().integrated_lufs, Some(-3.01));
        assert_eq!(meter.report().range_lu, Some(0.0));
        let mut never = Meter::new(format).unwrap();
        never.push(&vec![0.0; 96_000]).unwrap();
        assert_eq!(never.report(), Loudness { integrated_lufs: None, range_lu: None, true_peak_dbtp: None });
    }
}

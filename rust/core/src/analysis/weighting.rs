//! The K-weighting of ITU-R BS.1770-4 (annex 1): a head's shelf and a high-pass, then energy.
//!
//! Two channels go through the filters at once, which costs no more than one. The tests of `loudness` compare with the
//! crate `ebur128`.

use std::f64::consts::PI;
use std::ops::{Add, AddAssign, Mul, Sub};

/// A filter's state below this is silence. As it fades further its numbers become denormal, and each step slow.
const LEAST_STATE: f64 = 1e-30;

/// The same of two channels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Pair(f64, f64);

impl Add for Pair {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0, self.1 + other.1)
    }
}

impl Sub for Pair {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0, self.1 - other.1)
    }
}

impl Mul<Pair> for f64 {
    type Output = Pair;
    fn mul(self, pair: Pair) -> Pair {
        Pair(self * pair.0, self * pair.1)
    }
}

impl AddAssign for Pair {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// A filter of the second order; `a0` is 1.
#[derive(Debug, Clone, Copy)]
struct Biquad {
    b: [f64; 3],
    a: [f64; 2],
}

impl Biquad {
    /// The shelf: high frequencies gain 4 dB, as by a head.
    fn shelf(rate: f64) -> Self {
        let (k, q) = ((PI * 1_681.974_450_955_533 / rate).tan(), 0.707_175_236_955_419_6);
        let high = 10f64.powf(3.999_843_853_973_347 / 20.0);
        let middle = high.powf(0.499_666_774_154_541_6);
        let a0 = 1.0 + k / q + k * k;
        Self {
            b: [
                (high + middle * k / q + k * k) / a0,
                2.0 * (k * k - high) / a0,
                (high - middle * k / q + k * k) / a0,
            ],
            a: [2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0],
        }
    }

    /// The high-pass at 38 Hz.
    fn high_pass(rate: f64) -> Self {
        let (k, q) = ((PI * 38.135_470_876_024_44 / rate).tan(), 0.500_327_037_323_877_3);
        let a0 = 1.0 + k / q + k * k;
        Self { b: [1.0, -2.0, 1.0], a: [2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0] }
    }

    /// One step (direct form II, transposed).
    fn step(&self, state: &mut [Pair; 2], sample: Pair) -> Pair {
        let [b0, b1, b2] = self.b;
        let [a1, a2] = self.a;
        let [first, second] = *state;
        let out = b0 * sample + first;
        *state = [b1 * sample - a1 * out + second, b2 * sample - a2 * out];
        out
    }
}

/// The weighting's two filters, one after the other.
#[derive(Debug, Clone, Copy)]
struct Filters {
    shelf: Biquad,
    high_pass: Biquad,
}

/// Weighs and sums the sound of all channels.
#[derive(Debug)]
pub(super) struct Weighting {
    filters: Filters,
    channels: usize,
    /// Of each two channels.
    voices: Vec<Voice>,
}

#[derive(Debug, Default)]
struct Voice {
    after_shelf: [Pair; 2],
    after_high_pass: [Pair; 2],
    /// How much each channel counts.
    gain: (f64, f64),
}

impl Weighting {
    pub(super) fn new(rate: u32, channels: u32) -> Self {
        let (rate, channels) = (f64::from(rate), channels.max(1) as usize);
        let voice = |first| {
            let second = if first + 1 < channels { gain(first + 1, channels) } else { 0.0 };
            Voice { gain: (gain(first, channels), second), ..Voice::default() }
        };
        Self {
            filters: Filters { shelf: Biquad::shelf(rate), high_pass: Biquad::high_pass(rate) },
            channels,
            voices: (0..channels).step_by(2).map(voice).collect(),
        }
    }

    /// The sum of the squares of the next frames, interleaved, each channel with its weight.
    pub(super) fn energy(&mut self, frames: &[f32]) -> f64 {
        let Self { filters, channels, voices } = self;
        let sample = |frame: &[f32], channel: usize| frame.get(channel).copied().unwrap_or_default();
        let energies = voices.iter_mut().zip((0..).step_by(2)).map(|(voice, first)| match *channels {
            1 => voice.energy(filters, frames.iter().map(|one| (*one, 0.0))),
            2 => voice.energy(filters, frames.as_chunks().0.iter().map(|[left, right]| (*left, *right))),
            channels => {
                // A frame ends with its last channel.
                let pair = |frame: &[f32]| (sample(frame, first), sample(frame, first + 1));
                voice.energy(filters, frames.chunks_exact(channels).map(pair))
            }
        });
        energies.sum()
    }
}

impl Voice {
    #[inline]
    fn energy(&mut self, filters: &Filters, samples: impl Iterator<Item = (f32, f32)>) -> f64 {
        let (mut after_shelf, mut after_high_pass) = (self.after_shelf, self.after_high_pass);
        let mut sum = Pair::default();
        for (left, right) in samples {
            let sample = filters.shelf.step(&mut after_shelf, Pair(f64::from(left), f64::from(right)));
            let Pair(left, right) = filters.high_pass.step(&mut after_high_pass, sample);
            sum += Pair(left * left, right * right);
        }
        (self.after_shelf, self.after_high_pass) = (after_shelf.map(flushed), after_high_pass.map(flushed));
        self.gain.0 * sum.0 + self.gain.1 * sum.1
    }
}

fn flushed(Pair(left, right): Pair) -> Pair {
    let flushed = |state: f64| if state.abs() < LEAST_STATE { 0.0 } else { state };
    Pair(flushed(left), flushed(right))
}

/// What a channel counts, by its place as WAV has them; of more than five the fourth is the low-frequency one.
const fn gain(channel: usize, channels: usize) -> f64 {
    match (channels, channel) {
        (4, 2 | 3) | (5, 3 | 4) => 1.41,
        (4 | 5, _) | (_, 0..=2) => 1.0,
        (_, 4 | 5) => 1.41,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_of_silence_leave_nothing_that_is_slow_to_compute_with() {
        let mut weighting = Weighting::new(48_000, 2);
        assert!(weighting.energy(&[0.5, -0.5, 0.25, 0.0].repeat(1000)) > 0.0);
        let mut least = f64::MAX;
        for _ in 0..6000 {
            weighting.energy(&[0.0; 960]);
            let [voice] = weighting.voices.as_slice() else { unreachable!() };
            for state in
                voice.after_shelf.iter().chain(&voice.after_high_pass).flat_map(|pair| [pair.0, pair.1])
            {
                least = least.min(if state == 0.0 { f64::MAX } else { state.abs() });
            }
        }
        assert!(least >= LEAST_STATE, "{least}");
        let [voice] = weighting.voices.as_slice() else { unreachable!() };
        assert_eq!((voice.after_shelf, voice.after_high_pass), Default::default());
    }
}

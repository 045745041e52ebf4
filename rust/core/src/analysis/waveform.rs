//! Peaks of the sound, to draw it: few enough for a page, whatever the length.
//!
//! The shape is that of audiowaveform's JSON, version 2, so that existing players draw it.

use serde::Serialize;

use super::PcmFormat;

/// At most so many pixels; at least half of them where the sound is long enough.
const MOST_PIXELS: usize = 800;
/// Samples in a pixel to begin with; doubled whenever there are too many pixels.
const FIRST_SAMPLES: u32 = 64;

/// The peaks, as audiowaveform's JSON has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waveform {
    /// Of the form: 2.
    pub version: u32,
    /// Channels that are drawn: 1, the louder of all.
    pub channels: u32,
    /// Samples per second.
    pub sample_rate: u32,
    /// Samples in one pixel.
    pub samples_per_pixel: u32,
    /// Bits of a value: 8.
    pub bits: u32,
    /// Number of pixels.
    pub length: usize,
    /// Least and greatest value of each pixel in turn, -128 to 127.
    pub data: Vec<i8>,
}

/// Draws while the sound comes in.
#[derive(Debug)]
pub(super) struct Painter {
    format: PcmFormat,
    samples_per_pixel: u32,
    pixels: Vec<(f32, f32)>,
    pixel: (f32, f32),
    samples: u32,
}

impl Painter {
    pub(super) fn new(format: PcmFormat) -> Self {
        Self {
            format,
            samples_per_pixel: FIRST_SAMPLES,
            pixels: Vec::with_capacity(MOST_PIXELS),
            pixel: (0.0, 0.0),
            samples: 0,
        }
    }

    /// Takes the next frames, interleaved.
    pub(super) fn push(&mut self, frames: &[f32]) {
        let channels = self.format.channels.max(1) as usize;
        let mut frames = frames;
        while !frames.is_empty() {
            let room = (self.samples_per_pixel - self.samples) as usize;
            let (now, later) = frames.split_at(frames.len().min(room * channels));
            self.pixel =
                now.iter().fold(self.pixel, |(low, high), sample| (low.min(*sample), high.max(*sample)));
            self.samples += u32::try_from(now.len() / channels).unwrap_or(u32::MAX);
            frames = later;
            if self.samples == self.samples_per_pixel {
                self.end_pixel();
            }
        }
    }

    fn end_pixel(&mut self) {
        self.pixels.push(self.pixel);
        (self.pixel, self.samples) = ((0.0, 0.0), 0);
        if self.pixels.len() == MOST_PIXELS {
            let halves = self.pixels.chunks(2).map(|pair| {
                pair.iter().fold((0.0f32, 0.0f32), |(low, high), pixel| (low.min(pixel.0), high.max(pixel.1)))
            });
            self.pixels = halves.collect();
            self.samples_per_pixel = self.samples_per_pixel.saturating_mul(2);
        }
    }

    /// What was drawn.
    pub(super) fn waveform(mut self) -> Waveform {
        if self.samples > 0 {
            self.pixels.push(self.pixel);
        }
        Waveform {
            version: 2,
            channels: 1,
            sample_rate: self.format.sample_rate_hz,
            samples_per_pixel: self.samples_per_pixel,
            bits: 8,
            length: self.pixels.len(),
            data: self.pixels.iter().flat_map(|(low, high)| [eight_bits(*low), eight_bits(*high)]).collect(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped")]
fn eight_bits(sample: f32) -> i8 {
    (sample * 128.0).round().clamp(-128.0, 127.0) as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn draw(channels: u32, samples: &[f32], cut: usize) -> Waveform {
        let mut painter = Painter::new(PcmFormat { sample_rate_hz: 8000, channels });
        samples.chunks(cut * channels as usize).for_each(|frames| painter.push(frames));
        painter.waveform()
    }

    proptest! {
        #[test]
        fn each_pixel_holds_the_extremes_of_its_samples(
            channels in 1u32..3,
            frames in 0usize..200_000,
            cut in 1usize..5_000,
            seed in any::<u32>(),
        ) {
            let mut random = seed | 1;
            let samples: Vec<f32> = (0..frames * channels as usize).map(|_| {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                f32::from(u16::try_from(random & 0xffff).unwrap()) / 40_000.0 - 0.8
            }).collect();
            let waveform = draw(channels, &samples, cut);
            prop_assert!(waveform.length <= MOST_PIXELS);
            prop_assert_eq!(waveform.data.len(), 2 * waveform.length);
            prop_assert!(frames < MOST_PIXELS * 64 || waveform.length >= MOST_PIXELS / 2);
            let wanted = samples.chunks((waveform.samples_per_pixel * channels) as usize);
            prop_assert_eq!(waveform.length, wanted.len());
            for (pixel, samples) in waveform.data.chunks(2).zip(wanted) {
                let (low, high) = samples.iter().fold((0.0f32, 0.0f32), |(low, high), one| (low.min(*one), high.max(*one)));
                prop_assert_eq!(pixel, [eight_bits(low), eight_bits(high)]);
            }
        }
    }

    #[test]
    fn the_json_of_ten_hours_is_a_few_kilobytes() {
        let mut painter = Painter::new(PcmFormat { sample_rate_hz: 48_000, channels: 1 });
        let minute: Vec<f32> = (0..48_000 * 60u32).map(|n| if n % 2 == 0 { -0.9 } else { 0.9 }).collect();
        (0..600).for_each(|_| painter.push(&minute));
        let json = serde_json::to_string(&painter.waveform()).unwrap();
        assert!(json.len() < 8 * 1024, "{} bytes", json.len());
    }
}

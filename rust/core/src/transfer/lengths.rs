//! How long each output is: beforehand, as far as an index tells, and when it was made.

use super::targets::Targets;
use super::{Opened, Run};
use crate::analysis::seconds;
use crate::extract::ffmpeg::Said;
use crate::mp4::{Movie, TrackInfo};
use crate::request::AudioSpec;

/// What an index lists of a recording's audio tracks; nothing where there is none.
#[derive(Debug, Default)]
pub(super) struct Listed {
    tracks: Vec<TrackInfo>,
    longest_seconds: Option<f64>,
}

impl Listed {
    pub(super) fn of(movie: &Movie) -> Self {
        let mut listed = Self { tracks: movie.tracks().to_vec(), longest_seconds: movie.duration_seconds() };
        if movie.unplannable().is_some() {
            // They may be the lengths of the first fragment.
            listed.tracks.iter_mut().for_each(|track| track.duration_seconds = None);
            listed.longest_seconds = None;
        }
        listed
    }

    pub(super) fn codec_name(&self, track: u32) -> Option<&str> {
        self.tracks.get(track as usize).map(|track| track.codec.as_str())
    }

    /// The tracks that an output is made of.
    fn tracks_of(&self, audio: &AudioSpec) -> &[TrackInfo] {
        let (first, count) = if audio.mixed_tracks > 0 { (0, audio.mixed_tracks) } else { (audio.track, 1) };
        let first = first as usize;
        self.tracks.get(first..first + count as usize).unwrap_or_default()
    }

    /// How long an output would be without its clip.
    pub(super) fn unclipped_seconds(&self, audio: &AudioSpec) -> Option<f64> {
        let lengths = self.tracks_of(audio).iter().filter_map(|track| track.duration_seconds);
        lengths.reduce(f64::max).or(self.longest_seconds)
    }

    /// How long an output will be, where the index or its clip tells.
    pub(super) fn seconds_of(&self, audio: &AudioSpec) -> Option<f64> {
        let whole = self.unclipped_seconds(audio);
        let Some((from, to)) = audio.clip else { return whole };
        let rate = audio.sample_rate_hz.or_else(|| self.tracks_of(audio).first()?.sample_rate_hz)?;
        let end = whole.unwrap_or(f64::INFINITY).min(seconds(to, rate));
        Some((end - seconds(from, rate)).max(0.0))
    }
}

impl Run {
    /// Tells whoever follows the transfer, and the metadata of each output, what is known beforehand.
    pub(super) fn tell_lengths(&self, opened: &Opened, targets: &mut Targets) {
        let lengths: Vec<_> =
            self.request.all_outputs().map(|(audio, _, _)| opened.listed.seconds_of(audio)).collect();
        if let Some(longest) = lengths.iter().flatten().copied().reduce(f64::max) {
            self.hooks.progress.set_audio_total_seconds(longest);
        }
        targets.note_durations(&lengths);
    }

    /// How long each output has become; `samples`: of the main one, `said` by the child that made the others.
    ///
    /// Of a copy FFmpeg counts nothing: it is as long as what was encoded of the same sound, else as the index says,
    /// else as FFmpeg's clock, which is that of all outputs together.
    pub(super) fn lengths_of(&self, opened: &Opened, samples: Option<u64>, said: &Said) -> Vec<Option<f64>> {
        let outputs: Vec<&AudioSpec> = self.request.all_outputs().map(|(audio, _, _)| audio).collect();
        let counted = |output: usize| {
            let samples = if output == 0 { samples } else { said.encoded_samples(output) };
            samples.zip(said.sample_rate_hz(output)).map(|(samples, rate)| seconds(samples, rate))
        };
        let counted: Vec<Option<f64>> = (0..outputs.len()).map(counted).collect();
        let clock = Some(self.hooks.progress.audio_seconds()).filter(|seconds| *seconds > 0.0);
        let length = |(audio, own): (&&AudioSpec, &Option<f64>)| {
            let same = || {
                let mut others = outputs.iter().zip(&counted);
                others.find_map(|(other, seconds)| seconds.filter(|_| is_same_sound(audio, other)))
            };
            let alone = clock.filter(|_| outputs.len() == 1);
            own.or_else(same).or(alone).or_else(|| opened.listed.seconds_of(audio)).or(clock)
        };
        outputs.iter().zip(&counted).map(length).collect()
    }
}

/// Whether two outputs are of the same stretch of the same tracks.
fn is_same_sound(one: &AudioSpec, other: &AudioSpec) -> bool {
    let tracks =
        |audio: &AudioSpec| if audio.mixed_tracks > 0 { (0, audio.mixed_tracks) } else { (audio.track, 0) };
    tracks(one) == tracks(other) && one.clip.is_none() && other.clip.is_none()
}

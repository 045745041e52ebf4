//! Where nothing is heard.

use std::collections::VecDeque;

use super::{PcmFormat, SilenceSpec};

/// Frames that are looked at together, at most.
const MOST_FRAMES: usize = 128;

/// A stretch of silence in samples: from, to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// How much was silent, in samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) leading: u64,
    pub(super) trailing: u64,
    pub(super) total: u64,
}

/// Finds silence while the sound comes in.
#[derive(Debug)]
pub(super) struct Detector {
    threshold: f32,
    least: u64,
    channels: usize,
    /// Samples that are looked at together: of no more frames than the shortest silence has.
    block: usize,
    position: u64,
    /// Since when no sample was louder.
    quiet_since: Option<u64>,
    found: Vec<Span>,
    totals: Totals,
}

/// A sample's amplitude at a level.
#[expect(clippy::cast_possible_truncation, reason = "a level needs no more digits")]
fn decibels(level: f64) -> f32 {
    10.0f64.powf(level / 20.0) as f32
}

impl Detector {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0.05 to 60 seconds")]
    pub(super) fn new(spec: SilenceSpec, format: PcmFormat) -> Self {
        let least = ((spec.least_seconds * f64::from(format.sample_rate_hz)).ceil() as u64).max(1);
        let channels = format.channels.max(1) as usize;
        Self {
            threshold: decibels(spec.threshold_db),
            least,
            channels,
            block: channels * MOST_FRAMES.min(usize::try_from(least).unwrap_or(MOST_FRAMES)),
            position: 0,
            quiet_since: None,
            found: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// Takes the next frames, interleaved.
    pub(super) fn push(&mut self, frames: &[f32]) {
        let threshold = self.threshold;
        for block in frames.chunks(self.block) {
            let begin = self.position;
            // Between two loud samples of a block there is no silence that is long enough.
            let is_loud = |sample: &f32| sample.abs() > threshold;
            if let Some(first) = block.iter().position(is_loud) {
                self.position = begin + (first / self.channels) as u64;
                self.end_of_quiet();
                let last = block.iter().rposition(is_loud).unwrap_or(first);
                self.position = begin + (last / self.channels) as u64 + 1;
            }
            let end = begin + (block.len() / self.channels) as u64;
            if self.position < end {
                self.quiet_since.get_or_insert(self.position);
            }
            self.position = end;
        }
    }

    /// The stretch that lasts, if it is long enough to be called silence.
    fn lasting(&self) -> Option<Span> {
        let span = Span { from: self.quiet_since?, to: self.position };
        (span.to - span.from >= self.least).then_some(span)
    }

    fn end_of_quiet(&mut self) {
        if let Some(span) = self.lasting() {
            self.found.push(span);
            self.totals.total += span.to - span.from;
            if span.from == 0 {
                self.totals.leading = span.to;
            }
        }
        self.quiet_since = None;
    }

    /// What was found since the last call, and what lasts.
    pub(super) fn take(&mut self, spans: &mut Vec<Span>) {
        spans.append(&mut self.found);
        spans.extend(self.lasting());
    }

    /// The sound has ended.
    pub(super) fn end(&mut self) -> Totals {
        let trailing = self.lasting().map_or(0, |span| span.to - span.from);
        self.end_of_quiet();
        self.totals.trailing = trailing;
        self.totals
    }
}

/// The silences of a recording, and how far they are known.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    spans: VecDeque<Span>,
    known_to: u64,
    /// Of the sound that was measured; None: all sound has that.
    rate_hz: Option<u32>,
}

/// The same for sound of another sample rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resampled<'a> {
    timeline: &'a Timeline,
    rate_hz: u32,
}

impl Resampled<'_> {
    /// Whether all is known up to a sample.
    pub(crate) fn knows(&self, sample: u64) -> bool {
        self.timeline.knows(self.measured(sample))
    }

    /// Whether a cut before this sample lies in silence.
    pub(crate) fn is_silent_at(&self, sample: u64) -> bool {
        self.timeline.is_silent_at(self.measured(sample))
    }

    /// The sample that was measured at the time of this one.
    pub(crate) fn measured(&self, sample: u64) -> u64 {
        match self.timeline.rate_hz {
            Some(rate) if rate != self.rate_hz && self.rate_hz > 0 => {
                let scaled = u128::from(sample) * u128::from(rate) / u128::from(self.rate_hz);
                u64::try_from(scaled).unwrap_or(u64::MAX)
            }
            _ => sample,
        }
    }
}

impl Timeline {
    /// Everything up to `known_to` was looked at; spans come in order, the last one again when it has grown.
    pub(crate) fn add(&mut self, spans: impl IntoIterator<Item = Span>, known_to: u64) {
        for span in spans {
            match self.spans.back_mut().filter(|last| last.from == span.from) {
                Some(last) => last.to = span.to,
                None => self.spans.push_back(span),
            }
        }
        self.known_to = self.known_to.max(known_to);
    }

    /// The sound that is measured has this sample rate.
    pub(crate) const fn measured_at(&mut self, rate_hz: u32) {
        self.rate_hz = Some(rate_hz);
    }

    /// What sound of a sample rate is asked about.
    pub(crate) const fn at(&self, rate_hz: u32) -> Resampled<'_> {
        Resampled { timeline: self, rate_hz }
    }

    /// Nothing more will come: all is known.
    pub(crate) const fn end(&mut self) {
        self.known_to = u64::MAX;
    }

    const fn knows(&self, sample: u64) -> bool {
        self.known_to >= sample
    }

    fn is_silent_at(&self, sample: u64) -> bool {
        let next = self.spans.partition_point(|span| span.to <= sample);
        self.spans.get(next).is_some_and(|span| span.from <= sample)
    }

    /// Nobody will ask about samples before this one again.
    pub(crate) fn forget_before(&mut self, sample: u64) {
        while self.spans.front().is_some_and(|span| span.to < sample) {
            self.spans.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMAT: PcmFormat = PcmFormat { sample_rate_hz: 1000, channels: 2 };

    fn detector(least_seconds: f64) -> Detector {
        Detector::new(SilenceSpec { threshold_db: -40.0, least_seconds }, FORMAT)
    }

    proptest! {
        #[test]
        fn the_spans_are_all_quiet_stretches_that_are_long_enough_and_no_other(
            runs in proptest::collection::vec((any::<bool>(), 1u64..300), 1..40),
            least in 50u64..200,
            cut in 1usize..500,
        ) {
            let mut frames = Vec::new();
            let mut quiet = Vec::new();
            for (loud, length) in runs {
                let at = frames.len() as u64 / 2;
                // One loud channel is sound.
                (0..length).for_each(|_| frames.extend(if loud { [0.0, 0.011] } else { [0.009, -0.0099] }));
                match quiet.last_mut() {
                    Some(Span { to, .. }) if !loud && *to == at => *to += length,
                    _ if !loud => quiet.push(Span { from: at, to: at + length }),
                    _ => {}
                }
            }
            let wanted: Vec<Span> = quiet.into_iter().filter(|span| span.to - span.from >= least).collect();
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let mut detector = detector(least as f64 / 1000.0);
            let mut timeline = Timeline::default();
            for part in frames.chunks(cut * 2) {
                detector.push(part);
                let mut spans = Vec::new();
                detector.take(&mut spans);
                timeline.add(spans, detector.position);
            }
            prop_assert_eq!(timeline.spans.iter().copied().collect::<Vec<_>>(), wanted.clone());
            let end = frames.len() as u64 / 2;
            for sample in 0..end {
                let inside = wanted.iter().any(|span| span.from <= sample && sample < span.to);
                prop_assert_eq!(timeline.is_silent_at(sample), inside, "{}", sample);
            }
            prop_assert!(timeline.knows(end) && !timeline.knows(end + 1));
            let totals = detector.end();
            prop_assert_eq!(totals.total, wanted.iter().map(|span| span.to - span.from).sum::<u64>());
            prop_assert_eq!(totals.leading, wanted.first().filter(|span| span.from == 0).map_or(0, |span| span.to));
            prop_assert_eq!(
                totals.trailing,
                wanted.last().filter(|span| span.to == end).map_or(0, |span| span.to - span.from)
            );
        }
    }

    #[test]
    fn sound_of_another_rate_is_silent_at_the_same_times() {
        let mut timeline = Timeline::default();
        timeline.measured_at(48_000);
        timeline.add([Span { from: 48_000, to: 96_000 }], 144_000);
        let slow = timeline.at(16_000);
        assert!([15_999, 32_000].iter().all(|sample| !slow.is_silent_at(*sample)));
        assert!([16_000, 31_999].iter().all(|sample| slow.is_silent_at(*sample)));
        assert!(slow.knows(48_000) && !slow.knows(48_001));
        assert!(timeline.at(48_000).is_silent_at(50_000) && !timeline.at(48_000).is_silent_at(20_000));
    }

    #[test]
    fn what_is_forgotten_makes_no_difference_to_what_comes() {
        let mut timeline = Timeline::default();
        timeline.add([Span { from: 5, to: 10 }, Span { from: 20, to: 30 }], 40);
        timeline.forget_before(15);
        assert!(!timeline.is_silent_at(7) && timeline.is_silent_at(25) && !timeline.is_silent_at(30));
        timeline.end();
        assert!(timeline.knows(u64::MAX));
    }
}

//! Where to cut. Pure: it sees the sizes of units (frames of an encoder), never their bytes.
//!
//! Laws (see the tests): without overlap every unit is in exactly one chunk, in order; no chunk is longer or larger
//! than asked; a cut that is called silent lies in silence; what is held back undecided is a few seconds, or what the
//! search for silence needs.

use std::collections::VecDeque;

use crate::analysis::Resampled;

/// What is asked of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The length a chunk should have, in samples, overlap included.
    pub(crate) target_samples: Option<u64>,
    /// The most bytes of units in a chunk, overlap included.
    pub(crate) most_bytes: Option<u64>,
    /// How far from where a cut should be silence is looked for, in samples; 0: it is not looked for.
    pub(crate) window_samples: u64,
    /// What of the end of a chunk comes again at the beginning of the next, in samples.
    pub(crate) overlap_samples: u64,
    /// Held back for a cut that has to be a little earlier, in samples.
    pub(crate) hold_samples: u64,
    /// Samples of units before the first that is heard: the delay of encoder and decoder.
    pub(crate) delay_samples: u64,
}

/// One unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) samples: u64,
    pub(crate) bytes: u64,
    /// A chunk may begin with it.
    pub(crate) may_begin: bool,
}

/// What to do with the units that were pushed, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many more belong to the current chunk.
    Take(usize),
    /// The current chunk is complete. The next begins with the last `again` of its units.
    Cut { again: usize, silence: bool },
}

/// No unit of a chunk that is too long or too large may begin another one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoCut;

/// Decides while units come in.
#[derive(Debug)]
pub(crate) struct Cutter {
    rule: Rule,
    undecided: VecDeque<Unit>,
    undecided_samples: u64,
    undecided_bytes: u64,
    /// The last units of the current chunk, as far back as an overlap reaches.
    taken: VecDeque<Unit>,
    taken_samples: u64,
    /// Of the current chunk.
    samples: u64,
    bytes: u64,
    /// Units of the current chunk that the one before does not have.
    own: usize,
    /// Samples before the first undecided unit, from the beginning.
    position: u64,
}

impl Cutter {
    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            rule,
            undecided: VecDeque::new(),
            undecided_samples: 0,
            undecided_bytes: 0,
            taken: VecDeque::new(),
            taken_samples: 0,
            samples: 0,
            bytes: 0,
            own: 0,
            position: 0,
        }
    }

    /// Takes the next unit.
    pub(crate) fn push(&mut self, unit: Unit) {
        self.undecided_samples += unit.samples;
        self.undecided_bytes += unit.bytes;
        self.undecided.push_back(unit);
    }

    /// The sample from which on silence still matters.
    pub(crate) fn heard(&self, position: u64) -> u64 {
        position.saturating_sub(self.rule.delay_samples)
    }

    /// Samples before the first undecided unit, from the beginning.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Decides what can be decided; `ended`: no more units will come.
    pub(crate) fn decide(
        &mut self,
        silences: Resampled<'_>,
        ended: bool,
        steps: &mut Vec<Step>,
    ) -> Result<(), NoCut> {
        loop {
            let limit_samples = self.rule.target_samples.map(|target| target + self.rule.window_samples);
            let fits = limit_samples.is_none_or(|limit| self.samples + self.undecided_samples <= limit)
                && self.rule.most_bytes.is_none_or(|most| self.bytes + self.undecided_bytes <= most);
            if fits && ended {
                let all = self.undecided.len();
                self.take(all, steps);
                return Ok(());
            }
            if fits {
                self.take_what_is_certain(steps);
                return Ok(());
            }
            if self.rule.window_samples > 0
                && !silences.knows(self.heard(self.position + self.fitting_samples(limit_samples)))
            {
                return Ok(());
            }
            let (units, silence) = self.choose(limit_samples, silences)?;
            self.take(units, steps);
            self.cut(silence, steps);
        }
    }

    /// Units so far before every possible cut that they belong to the chunk whatever comes.
    fn take_what_is_certain(&mut self, steps: &mut Vec<Step>) {
        let hold = self.rule.hold_samples.max(self.rule.window_samples);
        let (mut units, mut samples, mut bytes) = (0, self.samples, self.bytes);
        for unit in &self.undecided {
            (samples, bytes) = (samples + unit.samples, bytes + unit.bytes);
            let certain = self.rule.target_samples.is_none_or(|target| samples + hold <= target)
                // Of a limit in bytes it is not known when it will be reached.
                && self.rule.most_bytes.is_none_or(|most| bytes <= most - most / 4);
            if !certain {
                break;
            }
            units += 1;
        }
        self.take(units, steps);
    }

    /// Samples of the undecided units that fit into the chunk: beyond them silence makes no difference to it, and
    /// those who bring units are always a little ahead of those who listen.
    fn fitting_samples(&self, limit_samples: Option<u64>) -> u64 {
        let (mut samples, mut bytes) = (self.samples, self.bytes);
        for unit in &self.undecided {
            let more = (samples + unit.samples, bytes + unit.bytes);
            if limit_samples.is_some_and(|limit| more.0 > limit)
                || self.rule.most_bytes.is_some_and(|most| more.1 > most)
            {
                break;
            }
            (samples, bytes) = more;
        }
        samples - self.samples
    }

    /// How many of the undecided units still belong to the current chunk, and whether the cut lies in silence.
    fn choose(&self, limit_samples: Option<u64>, silences: Resampled<'_>) -> Result<(usize, bool), NoCut> {
        let window = self.rule.window_samples;
        // Without silence a cut is no later than the target; with it, as near as can be.
        let mut candidates = Vec::new();
        let (mut samples, mut bytes) = (self.samples, self.bytes);
        for units in 0..=self.undecided.len() {
            if self.own + units > 0 && self.may_cut(units) {
                candidates.push((units, samples));
            }
            let Some(unit) = self.undecided.get(units) else { break };
            (samples, bytes) = (samples + unit.samples, bytes + unit.bytes);
            if limit_samples.is_some_and(|limit| samples > limit)
                || self.rule.most_bytes.is_some_and(|most| bytes > most)
            {
                break;
            }
        }
        let last = candidates.last().ok_or(NoCut)?.1;
        let goal = self.rule.target_samples.map_or(last, |target| target.min(last));
        let silent = |samples: u64| {
            window > 0
                && samples + window >= goal
                && silences.is_silent_at(self.heard(self.position + samples - self.samples))
        };
        let in_silence = candidates
            .iter()
            .filter(|(_, samples)| silent(*samples))
            .min_by_key(|(_, samples)| samples.abs_diff(goal));
        if let Some((units, _)) = in_silence {
            return Ok((*units, true));
        }
        let before = candidates.iter().rev().find(|(_, samples)| *samples <= goal);
        before.or(candidates.first()).map(|(units, _)| (*units, false)).ok_or(NoCut)
    }

    /// Whether the chunk after a cut behind so many undecided units has a unit to begin with.
    fn may_cut(&self, units: usize) -> bool {
        // What the next chunk repeats ends here, so it is known where that one would begin.
        self.again(units).is_some()
    }

    /// Units that come again after a cut behind so many undecided units.
    fn again(&self, units: usize) -> Option<usize> {
        let before = |back: usize| {
            let from_undecided = units.min(back);
            if from_undecided == back {
                self.undecided.get(units - back)
            } else {
                self.taken.len().checked_sub(back - from_undecided).and_then(|at| self.taken.get(at))
            }
        };
        let (mut back, mut samples) = (0, 0);
        loop {
            let begins = match before(back) {
                // Behind the last unit that has come so far: nobody knows the one that will begin.
                None if back == 0 => false,
                None => return None,
                Some(unit) => unit.may_begin,
            };
            // A chunk that repeats all of the one before would never end.
            if back >= self.own + units {
                return None;
            }
            if begins && samples >= self.rule.overlap_samples {
                return Some(back);
            }
            if self.rule.overlap_samples == 0 {
                return None;
            }
            if samples > self.rule.overlap_samples + self.rule.hold_samples {
                return None;
            }
            back += 1;
            samples += before(back)?.samples;
        }
    }

    fn take(&mut self, units: usize, steps: &mut Vec<Step>) {
        if units == 0 {
            return;
        }
        for unit in self.undecided.drain(..units) {
            self.undecided_samples -= unit.samples;
            self.undecided_bytes -= unit.bytes;
            self.position += unit.samples;
            self.samples += unit.samples;
            self.bytes += unit.bytes;
            self.taken_samples += unit.samples;
            self.taken.push_back(unit);
        }
        self.own += units;
        let reach = self.rule.overlap_samples + 2 * self.rule.hold_samples;
        while let Some(first) = self.taken.front().filter(|first| self.taken_samples - first.samples > reach)
        {
            self.taken_samples -= first.samples;
            self.taken.pop_front();
        }
        steps.push(Step::Take(units));
    }

    fn cut(&mut self, silence: bool, steps: &mut Vec<Step>) {
        let again = self.again(0).unwrap_or(0);
        let repeated = self.taken.iter().rev().take(again);
        (self.samples, self.bytes) =
            repeated.fold((0, 0), |(samples, bytes), unit| (samples + unit.samples, bytes + unit.bytes));
        self.own = 0;
        steps.push(Step::Cut { again, silence });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Span, Timeline};
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Chunk {
        from: usize,
        to: usize,
        silence: bool,
    }

    /// Pushes all units in portions and gives the chunks, and the most units that were ever undecided.
    fn chunks(
        rule: Rule,
        units: &[Unit],
        silences: &[Span],
        portion: usize,
    ) -> Result<(Vec<Chunk>, usize), NoCut> {
        let mut cutter = Cutter::new(rule);
        let mut timeline = Timeline::default();
        timeline.add(silences.iter().copied(), 0);
        let (mut chunks, mut from, mut taken, mut held) = (Vec::new(), 0, 0, 0);
        let mut run = |cutter: &mut Cutter, timeline: &Timeline, ended| {
            let mut steps = Vec::new();
            cutter.decide(timeline.at(0), ended, &mut steps)?;
            for step in steps {
                match step {
                    Step::Take(units) => taken += units,
                    Step::Cut { again, silence } => {
                        chunks.push(Chunk { from, to: taken, silence });
                        from = taken - again;
                    }
                }
            }
            Ok((taken, from))
        };
        for (number, units) in units.chunks(portion).enumerate() {
            for unit in units {
                cutter.push(*unit);
            }
            // Silence is known some time later than the units are there.
            if number % 3 == 2 {
                timeline.add([], cutter.position + cutter.undecided_samples);
            }
            run(&mut cutter, &timeline, false)?;
            held = held.max(cutter.undecided.len());
        }
        timeline.end();
        let (taken, from) = run(&mut cutter, &timeline, true)?;
        chunks.push(Chunk { from, to: taken, silence: false });
        Ok((chunks, held))
    }

    fn units() -> impl Strategy<Value = Vec<Unit>> {
        let unit = (prop_oneof![Just(1152u64), 500u64..3000], 1u64..800, prop::bool::weighted(0.8))
            .prop_map(|(samples, bytes, may_begin)| Unit { samples, bytes, may_begin });
        proptest::collection::vec(unit, 0..800)
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        proptest::collection::vec((1u64..80_000, 1u64..20_000), 0..40).prop_map(|runs| {
            let mut at = 0;
            runs.into_iter()
                .map(|(gap, length)| {
                    let from = at + gap;
                    at = from + length;
                    Span { from, to: at }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn chunks_cover_everything_once_within_their_bounds_and_silent_cuts_lie_in_silence(
            units in units(),
            silences in spans(),
            target in proptest::option::of(40_000u64..200_000),
            most in proptest::option::of(40_000u64..200_000),
            window in prop_oneof![Just(0u64), 1_000u64..20_000],
            overlap in prop_oneof![Just(0u64), 1_000u64..8_000],
            delay in prop_oneof![Just(0u64), Just(1105)],
            portion in 1usize..50,
        ) {
            let rule = Rule {
                target_samples: target, most_bytes: most, window_samples: window, overlap_samples: overlap,
                hold_samples: 8_000, delay_samples: delay,
            };
            let Ok((chunks, _)) = chunks(rule, &units, &silences, portion) else {
                // Only units that may not begin a chunk can be in the way.
                prop_assert!(units.iter().any(|unit| !unit.may_begin));
                return Ok(());
            };
            let samples = |from: usize, to: usize| units[from..to].iter().map(|unit| unit.samples).sum::<u64>();
            let bytes = |from: usize, to: usize| units[from..to].iter().map(|unit| unit.bytes).sum::<u64>();
            let mut end = 0;
            for (number, chunk) in chunks.iter().enumerate() {
                if number == 0 {
                    prop_assert_eq!(chunk.from, 0);
                } else {
                    // What comes again is no less than the overlap, and with none nothing does.
                    prop_assert!(chunk.from <= end && samples(chunk.from, end) >= overlap);
                    prop_assert!(overlap > 0 || chunk.from == end);
                    prop_assert!(units[chunk.from].may_begin);
                }
                prop_assert!(chunk.to > end || units.is_empty(), "every chunk has something of its own");
                end = chunk.to;
                let (samples, bytes) = (samples(chunk.from, chunk.to), bytes(chunk.from, chunk.to));
                prop_assert!(target.is_none_or(|target| samples <= target + window), "{} samples", samples);
                prop_assert!(most.is_none_or(|most| bytes <= most), "{} bytes", bytes);
                if chunk.silence {
                    let at = units[..chunk.to].iter().map(|unit| unit.samples).sum::<u64>().saturating_sub(delay);
                    prop_assert!(silences.iter().any(|span| span.from <= at && at < span.to), "{} is not silent", at);
                }
            }
            prop_assert_eq!(end, units.len());
        }

        #[test]
        fn of_all_silent_places_near_the_target_the_nearest_is_taken(
            gaps in proptest::collection::vec(0u64..40, 1..12),
        ) {
            // Units of 10 samples, one of them silent here and there; a chunk of 500.
            let mut at = 0;
            let silences: Vec<Span> = gaps.iter().map(|gap| {
                let from = at + gap * 10;
                at = from + 20;
                Span { from, to: from + 10 }
            }).collect();
            let units = vec![Unit { samples: 10, bytes: 1, may_begin: true }; 100];
            let rule = Rule {
                target_samples: Some(500), most_bytes: None, window_samples: 200, overlap_samples: 0,
                hold_samples: 20, delay_samples: 0,
            };
            let (chunks, _) = chunks(rule, &units, &silences, 7).unwrap();
            let near = silences.iter().map(|span| span.from).filter(|at| (300..=700).contains(at));
            let nearest = near.min_by_key(|at| (at.abs_diff(500), *at));
            let first = &chunks[0];
            prop_assert_eq!(first.silence, nearest.is_some());
            prop_assert_eq!(first.to as u64 * 10, nearest.unwrap_or(500));
        }
    }

    #[test]
    fn ten_hours_hold_back_no_more_than_two_seconds_of_units() {
        let rule = Rule {
            target_samples: Some(900 * 44_100),
            most_bytes: None,
            window_samples: 0,
            overlap_samples: 0,
            hold_samples: 2 * 44_100,
            delay_samples: 1105,
        };
        let units = vec![Unit { samples: 1152, bytes: 417, may_begin: true }; 36_000 * 44_100 / 1152];
        let (chunks, held) = chunks(rule, &units, &[], 20).unwrap();
        assert_eq!(chunks.len(), 41);
        assert!(held < 200, "{held} units were held");
        // Who listens is always a minute behind.
        let minute = 60 * 44_100;
        let mut cutter = Cutter::new(Rule { window_samples: minute / 2, ..rule });
        let (mut timeline, mut cuts, mut most) = (Timeline::default(), 0, 0);
        for (number, unit) in (1..).zip(&units) {
            cutter.push(*unit);
            let heard: u64 = number * 1152;
            timeline.add([], heard.saturating_sub(minute));
            let mut steps = Vec::new();
            cutter.decide(timeline.at(0), false, &mut steps).unwrap();
            cuts += steps.iter().filter(|step| matches!(step, Step::Cut { .. })).count();
            most = most.max(cutter.undecided.len());
        }
        assert_eq!(cuts, 39);
        assert!(most as u64 <= 2 * minute / 1152 + 100, "{most} units were held");
        // With silence: the window on both sides of the target.
        let (_, held) =
            super::tests::chunks(Rule { window_samples: minute, ..rule }, &units, &[], 20).unwrap();
        assert!(held as u64 <= 2 * minute / 1152 + 100, "{held} units were held");
    }
}

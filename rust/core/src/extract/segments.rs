//! How one recording is cut for several MP3 encoders, so that the joined frames are the bytes of a single one.
//!
//! Every encoder is an FFmpeg child that decodes the *whole* recording, which costs a twentieth of encoding it, and
//! selects its own segments: child `k` of `n` has the segments `k`, `k + n`, `k + 2n` …. So resampling, noise that a
//! decoder substitutes and everything else with a memory is the same in every child, no PCM passes through this
//! process, and what waits for a child is compressed.
//!
//! What an encoder remembers of other segments must have worn off where a segment begins. It does when (each found by
//! trying, see DESIGN.md §5):
//! - the cut is on the grid of 1,152 samples, LAME's frame at 32 kHz and above and two of its frames below;
//! - every stretch that one child encodes begins on a multiple of 49 such units, LAME's padding cycle at 44.1 kHz and
//!   its parts;
//! - [`PRE_ROLL`] units are encoded before the segment and thrown away (64 were too few after a loud passage that
//!   ends suddenly);
//! - [`POST_ROLL`] units follow it, because an encoder looks ahead.
//!
//! That it has worn off is not taken for granted: the last frames of the pre-roll are compared with the end of the
//! segment before (`join_mp3.rs`).

/// Samples in a unit.
pub(crate) const UNIT_SAMPLES: u64 = 1152;
/// Units after which LAME's padding repeats at 44.1, 22.05 and 11.025 kHz.
const CYCLE: u64 = 49;
/// Units that are encoded before a segment; with [`POST_ROLL`] a multiple of the cycle.
pub(crate) const PRE_ROLL: u64 = 145;
/// Units that are encoded after a segment.
pub(crate) const POST_ROLL: u64 = 2;
const ROLL: u64 = PRE_ROLL + POST_ROLL;
/// A segment is at least so long: 24 cycles, 28 s at 48 kHz. The pre-roll adds an eighth, which is less than what one
/// encoder more saves.
const LEAST_UNITS: u64 = 24 * CYCLE;
/// Longer segments save no more time that one could measure: 250 cycles, 294 s at 48 kHz.
const MOST_UNITS: u64 = 250 * CYCLE;

/// Which encoder encodes what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segments {
    encoders: u64,
    /// Units from the start of one segment to the start of the next; a multiple of the cycle.
    units: u64,
}

/// What the sizes of segments depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Material {
    /// Samples per channel that go into the encoder.
    pub(crate) samples: u64,
    /// Bytes of the recording's audio, still compressed.
    pub(crate) input_bytes: u64,
    /// Bytes that the encoder makes of it.
    pub(crate) output_bytes: u64,
}

/// How much may wait for its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Bytes of the recording's audio, for all encoders together.
    pub(crate) input_bytes: u64,
    /// Bytes that one encoder made.
    pub(crate) output_bytes: u64,
    /// The share of the recording after which all encoders have something to do.
    pub(crate) eager: f64,
}

impl Room {
    /// What segments as long as the whole recording would need.
    ///
    /// The encoders go on side by side, so the first and the last of them are all but one segment apart, and they come
    /// to their next segments at the same time: when these are there already, nobody waits. Half a segment more lets
    /// them drift. All but the one whose turn it is keep what they made.
    const fn of(material: Material, encoders: u64) -> Self {
        let input_bytes = material.input_bytes.saturating_mul(2 * encoders + 1) / 2;
        Self { input_bytes, output_bytes: material.output_bytes, eager: 0.0 }
    }
}

impl Segments {
    /// Cuts a recording for at most `encoders`, so that what waits for its turn fits into `memory_bytes`.
    ///
    /// `None`: one encoder is best.
    pub(crate) fn plan(material: Material, encoders: u64, memory_bytes: u64) -> Option<Self> {
        let total = material.samples.div_ceil(UNIT_SAMPLES);
        (2..=encoders.min(total / LEAST_UNITS)).rev().find_map(|encoders| {
            // Segments of the length of the recording would hold so much; shorter ones, their share of it.
            let room = Room::of(material, encoders);
            let held =
                u128::from(room.input_bytes) + u128::from(room.output_bytes) * u128::from(encoders - 1);
            let fitting = u128::from(memory_bytes) * u128::from(total) / held.max(1);
            let most = u64::try_from(fitting).unwrap_or(u64::MAX).min(MOST_UNITS);
            // As many rounds as it takes, all alike, so that the encoders end together.
            let rounds = total.div_ceil(encoders.checked_mul(most)?.max(1));
            let units = total.div_ceil(encoders * rounds).next_multiple_of(CYCLE);
            (most >= LEAST_UNITS && units >= LEAST_UNITS).then_some(Self { encoders, units })
        })
    }

    /// A cut of any kind, in padding cycles.
    #[cfg(test)]
    pub(crate) const fn of(encoders: u64, cycles: u64) -> Self {
        Self { encoders, units: cycles * CYCLE }
    }

    /// Room for what waits when the encoders are as far apart as they get.
    pub(crate) fn room(self, material: Material) -> Room {
        let total = material.samples.div_ceil(UNIT_SAMPLES).max(1);
        let share = |bytes: u64| {
            u64::try_from(u128::from(bytes) * u128::from(self.units + ROLL) / u128::from(total))
                .unwrap_or(u64::MAX)
        };
        let Room { input_bytes, output_bytes, .. } = Room::of(material, self.encoders);
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 units")]
        let eager = ((self.encoders - 1) * self.units) as f64 / total as f64;
        Room {
            eager,
            input_bytes: share(input_bytes),
            // And then some: an encoder that waits within its segment would make others wait for input that cannot
            // come before this one has gone on.
            output_bytes: share(output_bytes) + 4 * crate::pool::PIECE_BYTES as u64,
        }
    }

    /// Number of encoders.
    pub(crate) const fn encoders(self) -> u64 {
        self.encoders
    }

    /// FFmpeg's filters that select the samples of one encoder, at the rate it gets them.
    pub(crate) fn filters(self, encoder: u64) -> String {
        let Self { encoders, units } = self;
        // A stretch of `units + ROLL` begins at `segment * units - ROLL`, and every `encoders * units` from there.
        let shift = (encoders - encoder) * units + ROLL;
        format!(
            "asetnsamples=n={UNIT_SAMPLES}:p=0,aselect='lt(mod(n+{shift},{period}),{stretch})',asetpts=N/SR/TB",
            period = encoders * units,
            stretch = units + ROLL,
        )
    }

    /// Units of the recording that belong to a segment: from, to.
    pub(crate) const fn own(self, segment: u64) -> (u64, u64) {
        let from = if segment == 0 { 0 } else { segment * self.units - POST_ROLL };
        (from, (segment + 1) * self.units - POST_ROLL)
    }

    /// Units of the recording that are encoded for a segment: from, to.
    const fn stretch(self, segment: u64) -> (u64, u64) {
        ((segment * self.units).saturating_sub(ROLL), (segment + 1) * self.units)
    }

    /// Units that are encoded before a segment and thrown away.
    pub(crate) const fn pre_roll(self, segment: u64) -> u64 {
        self.own(segment).0 - self.stretch(segment).0
    }

    /// Samples that an encoder gets of the first `samples`.
    fn selected(self, encoder: u64, samples: u64) -> u64 {
        let mut sum = 0;
        let mut segment = encoder;
        loop {
            let (from, to) = self.stretch(segment);
            let part = samples.min(to * UNIT_SAMPLES).saturating_sub(from * UNIT_SAMPLES);
            if part == 0 {
                return sum;
            }
            sum += part;
            segment += self.encoders;
        }
    }

    /// The length of the recording in samples, from how many each encoder got.
    ///
    /// `None` when they cannot have read the same recording.
    pub(crate) fn total_samples(self, encoded: &[u64]) -> Option<u64> {
        let least = |(encoder, got): (u64, u64)| {
            // The least length that gives this encoder so many.
            let (mut left, mut segment, mut end) = (got, encoder, 0);
            while left > 0 {
                let (from, to) = self.stretch(segment);
                let part = left.min((to - from) * UNIT_SAMPLES);
                (left, end) = (left - part, from * UNIT_SAMPLES + part);
                segment += self.encoders;
            }
            end
        };
        let numbered = || (0..).zip(encoded.iter().copied());
        let total = numbered().map(least).max()?;
        numbered().all(|(encoder, got)| self.selected(encoder, total) == got).then_some(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Material =
        Material { samples: 3600 * 48_000, input_bytes: 57_600_000, output_bytes: 57_600_000 };
    const MEMORY: u64 = 8 << 20;

    #[test]
    fn an_hour_is_cut_evenly_and_less_than_a_minute_is_not() {
        for encoders in [2, 3, 4, 8, 64] {
            let segments = Segments::plan(HOUR, encoders, MEMORY).unwrap();
            let total = HOUR.samples.div_ceil(UNIT_SAMPLES);
            let rounds = total.div_ceil(segments.units * segments.encoders);
            let waste = rounds * segments.units * segments.encoders - total;
            assert!(waste < rounds * segments.encoders * CYCLE, "{segments:?} wastes {waste} units");
            let held = (4 * segments.encoders - 1) * 57_600_000 * segments.units / total / 2;
            assert!(held <= MEMORY + (MEMORY >> 4), "{segments:?} holds {held}");
        }
        let part = |seconds: u64| Material {
            samples: seconds * 48_000,
            input_bytes: seconds * 16_000,
            output_bytes: seconds * 16_000,
        };
        assert_eq!(Segments::plan(part(50), 8, MEMORY), None);
        assert_eq!(Segments::plan(part(300), 4, MEMORY).unwrap().encoders, 4);
        assert_eq!(Segments::plan(HOUR, 1, MEMORY), None);
        assert_eq!(Segments::plan(HOUR, 4, 1 << 20), None);
    }

    #[test]
    fn what_takes_much_room_gets_fewer_encoders() {
        let pcm = Material { input_bytes: 691_200_000, ..HOUR };
        let few = Segments::plan(pcm, 8, 24 << 20).unwrap();
        assert!(few.encoders < 8, "{few:?}");
    }

    fn segments() -> impl Strategy<Value = Segments> {
        (2u64..9, 4u64..40).prop_map(|(encoders, cycles)| Segments::of(encoders, cycles))
    }

    /// FFmpeg's own arithmetic on the expression.
    fn selects(segments: Segments, encoder: u64, unit: u64) -> bool {
        let text = segments.filters(encoder);
        let numbers: Vec<u64> = text
            .split_once("mod(n+")
            .unwrap()
            .1
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|word| word.parse().ok())
            .collect();
        (unit + numbers[0]) % numbers[1] < numbers[2]
    }

    proptest! {
        #[test]
        fn every_unit_is_some_segments_own_exactly_once(segments in segments(), units in 1u64..20_000) {
            let mut next = 0;
            for segment in 0.. {
                let (from, to) = segments.own(segment);
                prop_assert_eq!(from, next);
                prop_assert!(to > from);
                next = to;
                if next > units { break; }
            }
        }

        #[test]
        fn the_filter_selects_the_stretches(segments in segments(), unit in 0u64..20_000) {
            for encoder in 0..segments.encoders {
                let wanted = (0..1000)
                    .map(|round| segments.stretch(encoder + round * segments.encoders))
                    .any(|(from, to)| from <= unit && unit < to);
                prop_assert_eq!(selects(segments, encoder, unit), wanted, "encoder {} unit {}", encoder, unit);
            }
        }

        #[test]
        fn stretches_begin_on_the_cycle_with_pre_roll_and_look_ahead(segments in segments(), segment in 1u64..50) {
            let ((from, to), (own_from, own_to)) = (segments.stretch(segment), segments.own(segment));
            prop_assert_eq!(from % CYCLE, 0);
            prop_assert_eq!((to - from) % CYCLE, 0);
            prop_assert!(own_from - from >= 128);
            prop_assert_eq!(own_from - from, segments.pre_roll(segment));
            prop_assert_eq!(to - own_to, POST_ROLL);
        }

        #[test]
        fn the_length_is_found_from_what_the_encoders_got(segments in segments(), samples in 1u64..60_000_000) {
            let got: Vec<u64> = (0..segments.encoders).map(|encoder| segments.selected(encoder, samples)).collect();
            prop_assert_eq!(segments.total_samples(&got), Some(samples));
            if samples > 2 * segments.encoders * segments.units * UNIT_SAMPLES {
                let mut wrong = got;
                wrong[0] = 1;
                prop_assert_eq!(segments.total_samples(&wrong), None);
            }
        }
    }
}

//! What each way to fetch a recording's audio would take, and whether skipping the picture is worth its requests.
//!
//! `T = max(n·L/C + bytes/(C·B), bytes/W)`: `n` requests over `C` connections with latency `L` and bandwidth `B` each,
//! `W` in all. What was measured was 1.3 to 1.9 times that, so skipping has to beat the other way by a factor.

use serde::Serialize;

use super::estimate::Measured;
use crate::mp4::FetchCost;

/// Gaps between runs of audio that could be skipped; narrower ones are read through.
const GAPS: [u64; 5] = [16 * 1024, 64 * 1024, 128 * 1024, 256 * 1024, 1024 * 1024];
/// What skipping the picture takes is underestimated by so much at most, as a rule.
const GUARD: f64 = 1.6;
/// Connections side by side for small ranges,
const MOST_CONNECTIONS: usize = 64;
/// and for each one that large ranges get.
const SMALL_FOR_LARGE: usize = 8;
/// Units of Drive's quota that one download request costs.
pub(crate) const DRIVE_UNITS: u64 = 200;
/// An MP3 encoder's speed on one core, in seconds of stereo a second (LAME's level 5: 97).
const ENCODED_SECONDS: f64 = 100.0;

/// Latency and bandwidth, as measured or, where they were not, as assumed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Network {
    /// From a request to the head of its answer.
    pub latency_seconds: f64,
    /// Bandwidth of one connection.
    pub connection_bytes_per_second: f64,
    /// Bandwidth of all connections together.
    pub all_bytes_per_second: f64,
    /// Which of these were not measured.
    pub assumed: Vec<&'static str>,
}

impl Network {
    /// Everything measured, or nothing.
    pub(crate) fn known(measured: &Measured) -> Option<Self> {
        Some(Self::or_assumed(measured)).filter(|network| network.assumed.is_empty())
    }

    /// What was not measured is that of an office: 50 ms, 25 MB/s a connection and 100 MB/s in all.
    pub(crate) fn or_assumed(measured: &Measured) -> Self {
        let mut assumed = Vec::new();
        let mut pick = |value: Option<f64>, else_: f64, name| {
            // What cannot be divided by was not measured.
            value.filter(|value| value.is_finite() && *value > 0.0).unwrap_or_else(|| {
                assumed.push(name);
                else_
            })
        };
        let latency_seconds = pick(measured.latency_seconds, 0.05, "latency_seconds");
        let connection = pick(measured.connection_bytes_per_second, 25e6, "connection_bytes_per_second");
        let all = pick(measured.all_bytes_per_second, 100e6_f64.max(connection), "all_bytes_per_second");
        Self { latency_seconds, connection_bytes_per_second: connection, all_bytes_per_second: all, assumed }
    }
}

/// Requests, bytes, and how many requests side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) cost: FetchCost,
    pub(crate) connections: usize,
}

impl Way {
    /// So many bytes in ranges of a size.
    pub(crate) fn in_ranges(bytes: u64, range_bytes: u64, max_ranges: usize) -> Self {
        let cost = FetchCost { ranges: bytes.div_ceil(range_bytes.max(1)), bytes };
        Self { cost, connections: max_ranges }
    }

    /// What it would take at least.
    #[expect(clippy::cast_precision_loss, reason = "a prediction is rough")]
    pub(crate) fn seconds(&self, network: &Network) -> f64 {
        let (requests, bytes) = (self.cost.ranges as f64, self.cost.bytes as f64);
        let connections = (self.connections as f64).min(requests).max(1.0);
        let apart = requests * network.latency_seconds / connections
            + bytes / (connections * network.connection_bytes_per_second);
        apart.max(bytes / network.all_bytes_per_second)
    }
}

/// Fetching only the audio: gaps wider than this are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) gap_bytes: u64,
    pub(crate) way: Way,
}

/// What limits the fetching.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) range_bytes: u64,
    pub(crate) max_ranges: usize,
    /// Requests a transfer may make to skip the picture.
    pub(crate) request_budget: u64,
}

impl Limits {
    /// The ways to skip the picture; `cost` gives what a gap and a range size cost.
    fn skips(self, cost: impl Fn(u64, u64) -> FetchCost) -> impl Iterator<Item = Skip> {
        GAPS.into_iter().map(move |gap_bytes| {
            let cost = cost(gap_bytes, self.range_bytes);
            Skip { gap_bytes, way: Way { cost, connections: self.connections(cost) } }
        })
    }

    /// As many as hold what large ranges would hold.
    fn connections(self, cost: FetchCost) -> usize {
        let mean = (cost.bytes / cost.ranges.max(1)).max(1);
        let times = usize::try_from(self.range_bytes / mean).unwrap_or(SMALL_FOR_LARGE);
        let connections = self.max_ranges.saturating_mul(times.clamp(1, SMALL_FOR_LARGE));
        connections.min(MOST_CONNECTIONS).max(self.max_ranges)
    }

    /// Requests that are left: halved by each recent complaint, and those of the last minute count.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of requests, not below 0"
    )]
    fn budget_left(self, measured: &Measured) -> u64 {
        let allowed = self.request_budget as f64 * (-measured.quota_pressure).exp2();
        (allowed - measured.recent_requests).max(0.0) as u64
    }

    /// The quickest way to skip the picture, for somebody who wants it skipped. Only where the host complained about too
    /// many requests the budget counts.
    pub(crate) fn asked_for(self, measured: &Measured, cost: impl Fn(u64, u64) -> FetchCost) -> Option<Skip> {
        let budget = if measured.quota_pressure < 0.5 { u64::MAX } else { self.budget_left(measured) };
        let mut network = Network::or_assumed(measured);
        // Who asks for it is believed that bytes are dear: as if one connection filled the link.
        network.all_bytes_per_second = network.all_bytes_per_second.min(network.connection_bytes_per_second);
        let skips: Vec<Skip> = self.skips(cost).collect();
        let allowed = skips.iter().filter(|skip| skip.way.cost.ranges <= budget);
        quickest(allowed.copied(), &network)
            .or_else(|| skips.into_iter().min_by_key(|skip| skip.way.cost.ranges))
    }

    /// A way to skip the picture that is surely quicker than `whole`, within the budget; `None` while too little is
    /// known. Neither way ends before `consumer_seconds`.
    pub(crate) fn worth_it(
        self,
        measured: &Measured,
        whole: Way,
        consumer_seconds: f64,
        cost: impl Fn(u64, u64) -> FetchCost,
    ) -> Option<Skip> {
        let network = Network::known(measured)?;
        let budget = self.budget_left(measured);
        let baseline = whole.seconds(&network).max(consumer_seconds);
        // Looking through the tables of a long recording takes a while, too.
        let hopeless = GUARD * consumer_seconds >= baseline;
        let skips = self.skips(cost).take_while(|_| !hopeless);
        quickest(skips.filter(|skip| skip.way.cost.ranges <= budget), &network)
            .filter(|skip| GUARD * skip.way.seconds(&network).max(consumer_seconds) < baseline)
    }
}

/// Of equally quick ones that with the fewest requests.
fn quickest(skips: impl Iterator<Item = Skip>, network: &Network) -> Option<Skip> {
    skips.min_by(|a, b| {
        let seconds = a.way.seconds(network).total_cmp(&b.way.seconds(network));
        seconds.then(a.way.cost.ranges.cmp(&b.way.cost.ranges))
    })
}

/// Seconds that encoding takes at least.
#[expect(clippy::cast_precision_loss, reason = "a number of cores")]
pub(crate) fn encoding_seconds(audio_seconds: f64, cores: usize) -> f64 {
    audio_seconds / (ENCODED_SECONDS * cores.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn measured(latency: f64, connection: f64, all: f64) -> Measured {
        Measured {
            latency_seconds: Some(latency),
            connection_bytes_per_second: Some(connection * 1e6),
            all_bytes_per_second: Some(all * 1e6),
            ..Measured::default()
        }
    }

    const fn limits(request_budget: u64) -> Limits {
        Limits { range_bytes: 4 * MIB, max_ranges: 8, request_budget }
    }

    /// An hour of 407 MB whose audio, 46 MB, comes in pieces of so many seconds.
    fn hour(interleave: u64) -> impl Fn(u64, u64) -> FetchCost + Copy {
        move |gap, step| {
            let pieces = 3_604 / interleave;
            if gap < 100_000 * interleave {
                FetchCost { ranges: pieces * (46_000_000 / pieces).div_ceil(step), bytes: 46_000_000 }
            } else {
                FetchCost { ranges: 407_000_000_u64.div_ceil(step), bytes: 407_000_000 }
            }
        }
    }

    fn whole() -> Way {
        Way::in_ranges(407_000_000, 4 * MIB, 8)
    }

    #[test]
    fn the_times_are_those_of_the_formula() {
        let network = |latency, connection, all| Network::or_assumed(&measured(latency, connection, all));
        let one = Way::in_ranges(407_000_000, u64::MAX, 1);
        let skip = Way { cost: hour(1)(64 * 1024, 4 * MIB), connections: 64 };
        // (L, B, W) as measured in DESIGN.md; what was measured there was 1.0 to 1.9 times this.
        for (way, link, want) in [
            (one, network(0.05, 25.0, 1e6), 16.33),
            (whole(), network(0.05, 25.0, 1e6), 2.65),
            (whole(), network(0.1, 25.0, 50.0), 8.14),
            (whole(), network(0.1, 25.0, 25.0), 16.28),
            (skip, network(0.1, 25.0, 25.0), 5.66),
            (skip, network(0.05, 10.0, 10.0), 4.6),
        ] {
            let seconds = way.seconds(&link);
            assert!((seconds - want).abs() < 0.01, "{seconds} for {want}: {way:?} {link:?}");
        }
        let short = Way::in_ranges(100, 4 * MIB, 8);
        assert!(
            (short.seconds(&network(0.05, 25.0, 25.0)) - 0.05).abs() < 1e-4,
            "one request, one connection"
        );
    }

    #[test]
    fn skipping_is_chosen_where_the_link_is_the_limit_and_its_requests_are_allowed() {
        let narrow = measured(0.05, 10.0, 10.0);
        let pressed = |complaints| Measured { quota_pressure: complaints, ..narrow };
        let busy = Measured { recent_requests: 900.0, ..narrow };
        for (name, measured, budget, interleave, consumer, want) in [
            ("a narrow link, wide gaps", narrow, 1_000, 10, 0.0, Some(360)),
            ("more requests than allowed", narrow, 1_000, 1, 0.0, None),
            ("the same, allowed", narrow, 4_000, 1, 0.0, Some(3_604)),
            ("one complaint leaves enough", pressed(1.0), 1_000, 10, 0.0, Some(360)),
            ("two complaints do not", pressed(2.0), 1_000, 10, 0.0, None),
            ("others use up the minute", busy, 1_000, 10, 0.0, None),
            ("a link that carries all", measured(0.05, 25.0, 400.0), 10_000, 1, 0.0, None),
            ("encoding is slower", narrow, 1_000, 10, 30.0, None),
            ("encoding is quick enough", narrow, 1_000, 10, 18.0, Some(360)),
        ] {
            let found = limits(budget).worth_it(&measured, whole(), consumer, hour(interleave));
            assert_eq!(found.map(|skip| skip.way.cost.ranges), want, "{name}");
        }
    }

    #[test]
    fn who_asks_for_it_gets_it_at_once_and_within_the_budget_only_after_complaints() {
        let asked = |measured: &Measured| {
            limits(1_000)
                .asked_for(measured, hour(1))
                .map(|skip| (skip.way.cost.ranges, skip.way.connections))
        };
        assert_eq!(asked(&Measured::default()), Some((3_604, 64)));
        assert_eq!(asked(&Measured { quota_pressure: 1.0, ..Measured::default() }), Some((98, 8)));
        // However wide the link.
        assert_eq!(asked(&measured(0.05, 25.0, 1_000.0)), Some((3_604, 64)));
        // Nothing is left of it: the fewest requests there are.
        assert_eq!(asked(&Measured { quota_pressure: 20.0, ..Measured::default() }), Some((98, 8)));
    }

    #[test]
    fn small_ranges_get_more_connections_in_the_proportion_that_large_ones_got() {
        let connections = |max_ranges, bytes, requests| {
            Limits { max_ranges, ..limits(1) }.connections(FetchCost { ranges: requests, bytes })
        };
        assert_eq!(connections(8, 100 * MIB, 25), 8);
        assert_eq!(connections(8, 100 * MIB, 100), 32);
        assert_eq!(connections(8, MIB, 1_000), 64);
        assert_eq!(connections(1, MIB, 1_000), 8);
        assert_eq!(connections(64, 100 * MIB, 25), 64);
        assert_eq!(connections(8, 0, 0), 64);
    }

    #[test]
    fn what_was_not_measured_is_assumed_and_named() {
        let some = Measured { latency_seconds: Some(0.2), ..Measured::default() };
        let network = Network::or_assumed(&some);
        assert_eq!(network.assumed, ["connection_bytes_per_second", "all_bytes_per_second"]);
        assert!((network.latency_seconds - 0.2).abs() < 1e-9);
        assert_eq!(Network::known(&some), None);
        let nothing = Measured { connection_bytes_per_second: Some(0.0), ..measured(0.1, 1.0, 1.0) };
        assert_eq!(Network::known(&nothing), None, "nothing can be divided by it");
    }

    prop_compose! {
        fn any_measured()(
            latency in proptest::option::of(1e-4..2.0_f64),
            connection in proptest::option::of(1e4..1e9_f64),
            all in proptest::option::of(1e4..1e10_f64),
            quota_pressure in 0.0..8.0_f64,
            recent_requests in 0.0..2_000.0_f64,
        ) -> Measured {
            Measured {
                latency_seconds: latency,
                connection_bytes_per_second: connection,
                all_bytes_per_second: all,
                quota_pressure,
                recent_requests,
            }
        }
    }

    proptest! {
        #[test]
        fn skipping_is_chosen_only_when_measured_allowed_and_clearly_quicker(
            measured in any_measured(),
            budget in 0..10_000_u64,
            max_ranges in 1..=64_usize,
            range_bytes in 65_536..64 * MIB,
            size in 1..5_000_000_000_u64,
            pieces in 1..40_000_u64,
            audio in 0.0..1.0_f64,
            consumer in prop_oneof![Just(0.0), 0.0..60.0_f64],
        ) {
            #[expect(
                clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss,
                reason = "a share of a size"
            )]
            let wanted = (size as f64 * audio) as u64;
            let gap = (size - wanted) / pieces;
            let cost = |skipped: u64, step: u64| {
                let (runs, bytes) = if skipped < gap { (pieces, wanted) } else { (1, size) };
                FetchCost { ranges: runs * (bytes / runs).div_ceil(step).max(1), bytes }
            };
            let whole = Way::in_ranges(size, range_bytes, max_ranges);
            let limits = Limits { range_bytes, max_ranges, request_budget: budget };
            if let Some(skip) = limits.worth_it(&measured, whole, consumer, cost) {
                let network = Network::known(&measured);
                prop_assert!(network.is_some(), "chosen without measurements");
                let network = network.unwrap();
                prop_assert!(skip.way.cost.ranges <= budget, "{skip:?} above the budget");
                let (skipping, all) = (skip.way.seconds(&network), whole.seconds(&network));
                prop_assert!(1.6 * skipping.max(consumer) < all.max(consumer), "{skipping} against {all}");
                prop_assert_eq!(skip.way.cost, cost(skip.gap_bytes, range_bytes));
                prop_assert!((max_ranges..=64).contains(&skip.way.connections));
            }
        }
    }
}

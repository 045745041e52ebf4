//! Whether a recording's picture is skipped while it is fetched.

use super::Run;
use crate::cores;
use crate::mp4::AudioPlan;
use crate::request::{Codec, SourceSpec, Strategy};
use crate::source::{Limits, Skip, Source, Way, encoding_seconds};

/// Whether the whole file is read with `parallel`, because its checksum can then be compared.
pub(crate) const fn checksum_promised(spec: &SourceSpec) -> bool {
    match spec {
        SourceSpec::Http { md5, sha256, .. } => md5.is_some() || sha256.is_some(),
        SourceSpec::File { .. } => false,
    }
}

impl Run {
    /// How an MP4 is fetched, and what is skipped.
    pub(super) fn choose_strategy(
        &self,
        source: &Source,
        plan: &AudioPlan,
        seconds: Option<f64>,
    ) -> (Strategy, Option<Skip>) {
        // Nothing is quicker than not to read from a disk.
        let Some(measured) = source.measured() else { return (Strategy::AudioOnly, None) };
        let fetch = &self.request.fetch;
        let limits = Limits {
            range_bytes: self.range_bytes(),
            max_ranges: fetch.max_ranges,
            request_budget: fetch.request_budget,
        };
        let cost = |gap, step| plan.fetch_cost(gap, step);
        let skip = match fetch.strategy {
            Strategy::AudioOnly => limits.asked_for(&measured, cost),
            Strategy::Auto => {
                let whole = source.size().filter(|_| checksum_promised(&self.request.source));
                let whole = whole.unwrap_or_else(|| plan.fetch_cost(u64::MAX, u64::MAX).bytes);
                let whole = Way::in_ranges(whole, limits.range_bytes, limits.max_ranges);
                limits.worth_it(&measured, whole, self.consumer_seconds(seconds), cost)
            }
            Strategy::Parallel | Strategy::Stream => None,
        };
        if let Some(Skip { gap_bytes, way }) = skip {
            let attributes = [
                ("gap_bytes", gap_bytes.into()),
                ("bytes", way.cost.bytes.into()),
                ("requests", way.cost.ranges.into()),
            ];
            self.stages.event("fetch.index", "picture skipped", attributes);
        }
        let strategy = match (fetch.strategy, skip) {
            (_, Some(_)) => Strategy::AudioOnly,
            (Strategy::Auto | Strategy::AudioOnly, None) => Strategy::Parallel,
            (strategy, None) => strategy,
        };
        (strategy, skip)
    }

    /// What encoding takes at least, however fast the bytes come.
    fn consumer_seconds(&self, audio_seconds: Option<f64>) -> f64 {
        let cores = match self.request.audio.codec {
            Codec::Copy => return 0.0,
            Codec::Mp3 => cores::usable(),
            _ => 1,
        };
        encoding_seconds(audio_seconds.unwrap_or_default(), cores)
    }
}

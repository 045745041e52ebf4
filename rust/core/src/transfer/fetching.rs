//! Which ranges of the recording are fetched, and how many at a time.

use std::sync::Arc;

use super::{Feed, Opened, Run};
use crate::checksum::SourceDigest;
use crate::mp4::AudioPlan;
use crate::request::{SourceSpec, Strategy};
use crate::source::{Demand, Drive, Pieces, Range, Source, fetch_in_order, fetch_on_demand};

/// Gaps in a local file that are worth a seek.
const LOCAL_GAP_BYTES: u64 = 64 * 1024;
/// Pieces of a local file that are read ahead.
const LOCAL_RANGES: usize = 2;
/// One local read-ahead.
const LOCAL_RANGE_BYTES: u64 = 1024 * 1024;

/// How fast the bytes will be used up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// Faster than they come.
    Fast,
    /// By encoders: as it turns out, after this share of the recording, which they need to get going.
    Encoders {
        /// 0 to 1.
        eager: f64,
    },
}

impl Run {
    pub(super) fn digest(&self) -> SourceDigest {
        match &self.request.source {
            SourceSpec::Http { md5, sha256, .. } => SourceDigest::new(md5.as_deref(), sha256.as_deref()),
            SourceSpec::File { .. } => SourceDigest::new(None, None),
        }
    }

    /// The bytes that FFmpeg needs, and the future that fetches them.
    pub(super) fn fetch_for_encoders(
        &self,
        opened: &Opened,
        digest: &SourceDigest,
        eager: f64,
    ) -> (Pieces, Drive) {
        match &opened.feed {
            Feed::Remux(plan) => self.fetch_planned(opened, plan, digest, Pace::Encoders { eager }),
            Feed::Whole => self.fetch_whole(&opened.source, Pace::Encoders { eager }),
            Feed::Mp4File(_) => {
                let nothing = Box::new(std::iter::empty());
                fetch_in_order(Arc::clone(&opened.source), nothing, 1, self.budget.clone())
            }
        }
    }

    /// Every byte of the recording, in order.
    pub(super) fn fetch_whole(&self, source: &Arc<Source>, pace: Pace) -> (Pieces, Drive) {
        if let Some(size) = source.size() {
            self.hooks.progress.set_fetch_total(self.hooks.progress.fetched_bytes() + size);
        }
        let by_range = match &**source {
            Source::Http(http) => http.ranges_work(),
            Source::File(_) => true,
        };
        if let Some(size) = source.size().filter(|_| by_range) {
            return self.fetch_span(source, self.request.fetch.strategy, (0, size), pace);
        }
        let all = Box::new(std::iter::once(Range { start: 0, end: None }));
        fetch_in_order(Arc::clone(source), all, 1, self.budget.clone())
    }

    /// The bytes a plan needs, in order. The whole file where its checksum can then be compared.
    pub(super) fn fetch_planned(
        &self,
        opened: &Opened,
        plan: &AudioPlan,
        digest: &SourceDigest,
        pace: Pace,
    ) -> (Pieces, Drive) {
        let source = &opened.source;
        if digest.is_wanted()
            && opened.strategy != Strategy::AudioOnly
            && let Some(size) = source.size()
        {
            self.hooks.progress.set_fetch_total(self.hooks.progress.fetched_bytes() + size);
            return self.fetch_span(source, opened.strategy, (0, size), pace);
        }
        let (gap, step, at_once) = match (&**source, opened.skip) {
            (Source::File(_), _) => {
                (LOCAL_GAP_BYTES, LOCAL_RANGE_BYTES.min(self.range_bytes()), LOCAL_RANGES)
            }
            (Source::Http(_), Some(skip)) => (skip.gap_bytes, self.range_bytes(), skip.way.connections),
            // Without gaps there is one span.
            (Source::Http(_), None) => (u64::MAX, u64::MAX, 1),
        };
        let total = plan.fetch_cost(gap, step).bytes;
        self.hooks.progress.set_fetch_total(self.hooks.progress.fetched_bytes() + total);
        let mut ranges = plan.fetch_ranges(gap, step);
        if gap == u64::MAX
            && let Some((start, len)) = ranges.next()
        {
            return self.fetch_span(source, opened.strategy, (start, start + len), pace);
        }
        let ranges = ranges.map(|(start, len)| Range { start, end: Some(start + len) });
        fetch_in_order(Arc::clone(source), Box::new(ranges), at_once, self.budget.clone())
    }

    /// All bytes from one offset to another.
    fn fetch_span(
        &self,
        source: &Arc<Source>,
        strategy: Strategy,
        (start, end): (u64, u64),
        pace: Pace,
    ) -> (Pieces, Drive) {
        let (step, at_once) = match &**source {
            Source::File(_) => (LOCAL_RANGE_BYTES.min(self.range_bytes()), LOCAL_RANGES),
            Source::Http(_) if strategy == Strategy::Stream => (u64::MAX, 1),
            Source::Http(_) => (self.range_bytes(), self.request.fetch.max_ranges),
        };
        if let Source::Http(_) = &**source {
            let eager = match pace {
                Pace::Fast => 1.0,
                Pace::Encoders { eager } => eager,
            };
            let demand = Demand {
                start,
                end,
                range_bytes: step,
                max_ranges: at_once,
                eager_bytes: if at_once > 1 { share_of(eager, end - start) } else { 0 },
            };
            return fetch_on_demand(Arc::clone(source), demand, self.budget.clone());
        }
        let ranges = (0..(end - start).div_ceil(step)).map(move |n| {
            let from = start + n * step;
            Range { start: from, end: Some(end.min(from.saturating_add(step))) }
        });
        fetch_in_order(Arc::clone(source), Box::new(ranges), at_once, self.budget.clone())
    }

    /// Size of one range, so that several fit beside the index and the upload.
    pub(super) fn range_bytes(&self) -> u64 {
        let free = self.budget.available_bytes().saturating_sub(64 * 1024);
        self.request.fetch.range_size_bytes.min(free / 3).max(64 * 1024)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a rough share of a size"
)]
fn share_of(share: f64, bytes: u64) -> u64 {
    (share.clamp(0.0, 1.0) * bytes as f64) as u64
}

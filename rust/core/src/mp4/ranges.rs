//! Which bytes of a recording are audio, and which ranges to ask the source for.

use super::sample_tables::Chunks;

/// The runs of audio bytes as `(offset, length)`, in file order, which is playing order; neighbours are joined
/// and none is empty.
#[derive(Debug, Clone)]
pub struct Spans {
    chunks: Chunks,
    pending: Option<(u64, u64)>,
}

impl Spans {
    pub(crate) fn new(chunks: Chunks) -> Self {
        Self { chunks, pending: None }
    }
}

impl Iterator for Spans {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        // An error cannot come: the plan walked the same chunks to their end.
        for chunk in self.chunks.by_ref().map_while(Result::ok).filter(|chunk| chunk.len > 0) {
            match &mut self.pending {
                Some((offset, len)) if *offset + *len == chunk.offset => *len += chunk.len,
                pending => {
                    if let Some(span) = pending.replace((chunk.offset, chunk.len)) {
                        return Some(span);
                    }
                }
            }
        }
        self.pending.take()
    }
}

/// Ranges as `(offset, length)` that cover every audio byte exactly once, in order.
///
/// Runs with at most `gap_bytes` between them are fetched together, and what comes of that is cut into pieces
/// of at most `max_range_bytes`.
#[derive(Debug, Clone)]
pub struct FetchRanges {
    spans: Spans,
    gap_bytes: u64,
    max_range_bytes: u64,
    /// Start and end of what is known to belong together and was not handed out.
    group: Option<(u64, u64)>,
    /// A span that begins the next group.
    upcoming: Option<(u64, u64)>,
}

/// What fetching costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FetchCost {
    /// Number of requests.
    pub ranges: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl FetchRanges {
    pub(crate) fn new(spans: Spans, gap_bytes: u64, max_range_bytes: u64) -> Self {
        Self { spans, gap_bytes, max_range_bytes: max_range_bytes.max(1), group: None, upcoming: None }
    }

    /// Counts what is left.
    #[must_use]
    pub fn cost(self) -> FetchCost {
        // Cutting is arithmetic here, so that small ranges of a large file cost no time.
        let max = self.max_range_bytes;
        Self { max_range_bytes: u64::MAX, ..self }.fold(FetchCost::default(), |cost, (_, len)| FetchCost {
            ranges: cost.ranges + len.div_ceil(max),
            bytes: cost.bytes + len,
        })
    }
}

impl Iterator for FetchRanges {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        loop {
            if let Some((start, end)) = self.group
                && (end - start > self.max_range_bytes || self.upcoming.is_some())
            {
                let len = (end - start).min(self.max_range_bytes);
                self.group = (start + len < end).then_some((start + len, end));
                return Some((start, len));
            }
            if self.group.is_none()
                && let Some((offset, len)) = self.upcoming.take()
            {
                self.group = Some((offset, offset + len));
                continue;
            }
            let Some((offset, len)) = self.spans.next() else {
                let (start, end) = self.group.take()?;
                return Some((start, end - start));
            };
            match &mut self.group {
                Some((_, end)) if offset - *end <= self.gap_bytes => *end = offset + len,
                _ => self.upcoming = Some((offset, len)),
            }
        }
    }
}

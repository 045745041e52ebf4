//! Where recordings come from: ranges of bytes of one revision, in order, within the budget.

mod cost;
mod demand;
mod estimate;
mod fetch;
mod file;
mod http;
#[cfg(test)]
mod laws;

pub use cost::Network;
pub(crate) use cost::{DRIVE_UNITS, Limits, Skip, Way, encoding_seconds};
pub(crate) use demand::{Demand, Waits, fetch_on_demand};
pub use estimate::{Estimates, Measured};
pub(crate) use fetch::{Drive, Pieces, fetch_in_order};
pub(crate) use file::FileSource;
pub(crate) use http::{HttpOptions, HttpSource, client};

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::budget::{Budget, Permit};
use crate::error::{EngineError, ErrorCode, Result};
use crate::pool::{PIECE_BYTES, Pool};

/// A half-open range of a recording; without an end it reaches to the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
}

/// Ends a range before its end.
#[derive(Debug, Default)]
pub(crate) struct Leash {
    stop: CancellationToken,
    reached: AtomicU64,
}

impl Leash {
    /// The range ends where it is now.
    pub(crate) fn pull(&self) {
        self.stop.cancel();
    }

    pub(crate) fn was_pulled(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// How far it got: an offset in the recording.
    pub(crate) fn reached(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }

    fn reach(&self, offset: u64) {
        self.reached.store(offset, Ordering::Release);
    }
}

/// An opened recording.
#[derive(Debug)]
pub(crate) enum Source {
    Http(Box<HttpSource>),
    File(FileSource),
}

impl Source {
    /// How messages call it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Http(http) => http.name(),
            Self::File(file) => file.name(),
        }
    }

    /// What is known of the way to it; a local file has none.
    pub(crate) fn measured(&self) -> Option<Measured> {
        match self {
            Self::Http(http) => Some(http.measured()),
            Self::File(_) => None,
        }
    }

    /// Size in bytes, once known.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Self::Http(http) => http.size(),
            Self::File(file) => Some(file.size()),
        }
    }

    /// Reads one range into `out`, in pieces, resuming after broken bodies; over HTTP, as far as the leash lets it.
    pub(crate) async fn fetch(
        &self,
        range: Range,
        room: Room,
        pool: &Pool,
        out: &mpsc::UnboundedSender<Bytes>,
        leash: Option<&Leash>,
    ) -> Result<()> {
        match self {
            Self::Http(http) => http.fetch(range, room, pool, out, leash).await,
            Self::File(file) => file.fetch(range, room, pool, out).await,
        }
    }

    /// Fails with `source.changed` when the recording is no longer the one that was opened.
    pub(crate) async fn confirm_unchanged(&self) -> Result<()> {
        match self {
            // Every answer was compared with the first one already.
            Self::Http(_) => Ok(()),
            Self::File(file) => file.confirm_unchanged().await,
        }
    }
}

/// Reads the index of a recording: small, frugal, outside the range budget (its own reserve pays for it).
pub(crate) struct IndexReader<'a> {
    source: &'a Source,
    budget: &'a Budget,
}

impl<'a> IndexReader<'a> {
    pub(crate) const fn new(source: &'a Source, budget: &'a Budget) -> Self {
        Self { source, budget }
    }
}

impl crate::mp4::RangeReader for IndexReader<'_> {
    async fn read_range(&self, offset: u64, len: u64) -> Result<Bytes> {
        let end = offset.checked_add(len).ok_or_else(|| {
            EngineError::new(ErrorCode::MediaUnreadable, "a box of this file ends beyond 2^64")
        })?;
        let end = self.source.size().map_or(end, |size| end.min(size));
        if end <= offset {
            return Ok(Bytes::new());
        }
        let permit = self.budget.acquire_at_most(end - offset).await;
        let (out, mut pieces) = mpsc::unbounded_channel();
        self.source
            .fetch(
                Range { start: offset, end: Some(end) },
                Room::prepaid(permit),
                self.budget.pool(),
                &out,
                None,
            )
            .await?;
        drop(out);
        let mut whole = bytes::BytesMut::with_capacity(usize::try_from(end - offset).unwrap_or_default());
        while let Some(piece) = pieces.recv().await {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    fn size(&self) -> Option<u64> {
        self.source.size()
    }
}

/// Who pays for the bytes of a range.
#[derive(Debug)]
pub(crate) enum Room {
    /// The whole range was paid for before it was asked for.
    Prepaid {
        /// What is left of the payment.
        permit: Permit,
        /// Bytes handed out so far.
        received: u64,
        /// Permit bytes handed out so far.
        given: u64,
    },
    /// A range of unknown or great length pays piece by piece.
    Metered(Budget),
}

impl Room {
    pub(crate) const fn prepaid(permit: Permit) -> Self {
        Self::Prepaid { permit, received: 0, given: 0 }
    }

    /// Waits until one more piece may be read.
    pub(crate) async fn before_read(&self) -> Option<Permit> {
        match self {
            Self::Prepaid { .. } => None,
            Self::Metered(budget) => Some(budget.acquire(PIECE_BYTES as u64).await),
        }
    }

    /// The payment for a piece that was read.
    pub(crate) fn pay(&mut self, taken: Option<Permit>, len: usize) -> Option<Permit> {
        let len = len as u64;
        match self {
            Self::Prepaid { permit, received, given } => {
                *received += len;
                // Whole units only: what rounding leaves over goes with a later piece.
                let part = permit.split(received.saturating_sub(*given))?;
                *given += part.bytes();
                Some(part)
            }
            Self::Metered(_) => taken.and_then(|mut permit| permit.split(len)),
        }
    }
}

//! Memory permits: bytes are read only after their permits were taken, and permits return when the bytes are dropped.
//!
//! A permit rides inside the [`bytes::Bytes`] it pays for (`pool::Piece::freeze`), so zero-copy slices anywhere downstream
//! keep it alive exactly as long as the memory itself. The peak of a transfer is therefore its limit:
//! `limit = upload reserve (2 chunks) + index of the recording + bytes fetched and not yet consumed`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool::Pool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes per permit: fine enough for chunks, coarse enough for a 32-bit count.
const UNIT: u64 = 1024;

/// The permits of one transfer.
#[derive(Debug, Clone)]
pub struct Budget {
    semaphore: Arc<Semaphore>,
    usage: Arc<Usage>,
    limit_units: u64,
    pool: Pool,
}

#[derive(Debug, Default)]
struct Usage {
    held: AtomicU64,
    peak: AtomicU64,
}

impl Usage {
    fn add(&self, units: u64) {
        let now = self.held.fetch_add(units, Ordering::Relaxed) + units;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }
}

/// Room for some bytes.
#[derive(Debug)]
pub struct Permit {
    inner: OwnedSemaphorePermit,
    usage: Arc<Usage>,
}

const fn units(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT)
}

impl Budget {
    /// A budget of `limit_bytes`, at most 4 TiB.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        let limit_units = units(limit_bytes).clamp(1, u64::from(u32::MAX)).min(Semaphore::MAX_PERMITS as u64);
        Self {
            semaphore: Arc::new(Semaphore::new(
                usize::try_from(limit_units).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            usage: Arc::default(),
            limit_units,
            pool: Pool::default(),
        }
    }

    /// Waits for room for `bytes`; asks for no more than the whole budget. First come, first served.
    pub async fn acquire(&self, bytes: u64) -> Permit {
        let wanted = u32::try_from(units(bytes).min(self.limit_units)).unwrap_or(u32::MAX);
        loop {
            // The semaphore is never closed, so the error arm is not reached; looping keeps this total.
            if let Ok(inner) = Arc::clone(&self.semaphore).acquire_many_owned(wanted).await {
                self.usage.add(u64::from(wanted));
                return Permit { inner, usage: Arc::clone(&self.usage) };
            }
        }
    }

    /// Takes room for `bytes`, or for half of what is free where that is less: for what has to be held at once,
    /// whatever its size. Waiting for more than is left would be for ever.
    pub async fn acquire_at_most(&self, bytes: u64) -> Permit {
        self.acquire(bytes.min(self.available_bytes() / 2)).await
    }

    /// The buffers that go with the permits.
    pub(crate) const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The whole budget in bytes.
    #[must_use]
    pub const fn limit_bytes(&self) -> u64 {
        self.limit_units * UNIT
    }

    /// What is not held now, in bytes.
    #[must_use]
    pub fn available_bytes(&self) -> u64 {
        self.semaphore.available_permits() as u64 * UNIT
    }

    /// The most bytes held at once so far.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.usage.peak.load(Ordering::Relaxed) * UNIT
    }
}

impl Permit {
    /// Splits off room for `bytes`, or all of it where less is left.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Option<Self> {
        let wanted = usize::try_from(units(bytes)).unwrap_or(usize::MAX).min(self.inner.num_permits());
        self.inner.split(wanted).map(|inner| Self { inner, usage: Arc::clone(&self.usage) })
    }

    /// Bytes this permit is good for.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inner.num_permits() as u64 * UNIT
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.usage.held.fetch_sub(self.inner.num_permits() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_returns_when_the_last_slice_is_dropped() {
        let budget = Budget::new(4096);
        let mut permit = budget.acquire(4096).await;
        let mut piece = budget.pool().take(1024);
        piece.fill(&[7; 1024]);
        let part = piece.freeze(permit.split(1024));
        let slice = part.slice(10..20);
        drop((permit, part));
        assert_eq!(budget.semaphore.available_permits(), 3);
        drop(slice);
        assert_eq!(budget.semaphore.available_permits(), 4);
        assert_eq!(budget.peak_bytes(), 4096);
        assert_eq!(budget.usage.held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_must_be_held_at_once_never_waits_for_itself() {
        let budget = Budget::new(4096);
        let upload = budget.acquire(2048).await;
        let index = budget.acquire_at_most(1 << 40).await;
        assert_eq!((index.bytes(), budget.available_bytes()), (1024, 1024));
        drop(upload);
    }

    #[tokio::test]
    async fn more_than_the_whole_budget_waits_for_the_whole_budget() {
        let budget = Budget::new(2048);
        assert_eq!(budget.acquire(1 << 40).await.bytes(), 2048);
    }
}

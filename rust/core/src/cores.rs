//! Who encodes with how many cores: one account for all transfers of the process.
//!
//! A transfer that runs alone gets every core; one that starts beside others gets those that are free, and one in any
//! case. What was granted stays granted until the transfer has encoded: an encoder cannot be taken away in the middle.

use std::sync::atomic::{AtomicUsize, Ordering};

static GRANTED: AtomicUsize = AtomicUsize::new(0);

/// Cores that this process may use: its CPU affinity and its container's CPU limit (cgroup v1 and v2) count.
#[must_use]
pub fn usable() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// A number of cores to encode with; given back when dropped.
#[derive(Debug)]
pub(crate) struct Grant {
    account: &'static AtomicUsize,
    cores: usize,
}

impl Grant {
    /// As many as are free, at least one and at most `most`.
    pub(crate) fn take(most: usize) -> Self {
        Self::take_of(&GRANTED, usable(), most)
    }

    /// So many, free or not: the caller has decided.
    pub(crate) fn exactly(cores: usize) -> Self {
        GRANTED.fetch_add(cores, Ordering::Relaxed);
        Self { account: &GRANTED, cores }
    }

    fn take_of(account: &'static AtomicUsize, usable: usize, most: usize) -> Self {
        let share = |granted: usize| usable.saturating_sub(granted).min(most).max(1);
        let before = account
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |granted| Some(granted + share(granted)))
            .unwrap_or_default();
        Self { account, cores: share(before) }
    }

    /// The number of cores.
    pub(crate) const fn cores(&self) -> usize {
        self.cores
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.account.fetch_sub(self.cores, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_gets_all_and_many_get_one_each() {
        static ACCOUNT: AtomicUsize = AtomicUsize::new(0);
        let take = |most| Grant::take_of(&ACCOUNT, 4, most);
        let alone = take(usize::MAX);
        let (second, third) = (take(usize::MAX), take(usize::MAX));
        assert_eq!([alone.cores(), second.cores(), third.cores()], [4, 1, 1]);
        drop((alone, third));
        assert_eq!(take(2).cores(), 2);
        assert_eq!(take(usize::MAX).cores(), 3);
        drop(second);
        assert_eq!(ACCOUNT.load(Ordering::Relaxed), 0);
    }
}

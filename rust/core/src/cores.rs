//! Who encodes with how many cores: one account for all transfers of the process.
//!
//! A transfer that runs alone gets every core; several share them. Another one counts as far as it will still be at work
//! meanwhile: who comes when the others are nearly done gets (nearly) everything, so that no core is idle at the end of
//! a batch. What was granted stays: an encoder can neither be added nor taken away in the middle.

use std::sync::{Arc, Mutex, PoisonError};

use crate::progress::Progress;

type Account = Mutex<Vec<Arc<Progress>>>;

static ACCOUNT: Account = Account::new(Vec::new());

/// Cores that this process may use: its CPU affinity and its container's CPU limit (cgroup v1 and v2) count.
#[must_use]
pub fn usable() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// A transfer that encodes, or will; it leaves when dropped.
#[derive(Debug)]
pub(crate) struct Member {
    account: &'static Account,
    progress: Arc<Progress>,
}

impl Member {
    /// Joins the transfers of this process; from its beginning, so that those that begin together share.
    pub(crate) fn join(progress: &Arc<Progress>) -> Self {
        Self::join_of(&ACCOUNT, progress)
    }

    fn join_of(account: &'static Account, progress: &Arc<Progress>) -> Self {
        account.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(progress));
        Self { account, progress: Arc::clone(progress) }
    }

    /// This transfer's share of the cores, rounded up: at least one.
    pub(crate) fn share(&self) -> usize {
        self.share_of(usable())
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of cores"
    )]
    fn share_of(&self, usable: usize) -> usize {
        let mine = self.progress.audio_left_seconds();
        let members = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let others: f64 = members
            .iter()
            .filter(|other| !Arc::ptr_eq(other, &self.progress))
            .map(|other| match (other.audio_left_seconds(), mine) {
                (Some(theirs), Some(mine)) if theirs < mine => theirs / mine,
                _ => 1.0,
            })
            .sum();
        ((usable as f64 / (1.0 + others)).ceil() as usize).clamp(1, usable.max(1))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = members.iter().position(|member| Arc::ptr_eq(member, &self.progress)) {
            members.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(seconds: f64) -> Arc<Progress> {
        let progress = Progress::default();
        progress.set_audio_total_seconds(seconds);
        Arc::new(progress)
    }

    #[test]
    fn one_alone_gets_all_and_those_that_begin_together_share() {
        static ACCOUNT: Account = Account::new(Vec::new());
        let join = || Member::join_of(&ACCOUNT, &recording(600.0));
        let first = join();
        assert_eq!(first.share_of(4), 4);
        let (second, third) = (join(), join());
        assert_eq!([&first, &second, &third].map(|member| member.share_of(4)), [2; 3]);
        assert_eq!([&first, &second, &third].map(|member| member.share_of(2)), [1; 3]);
        drop((first, second));
        assert_eq!(third.share_of(4), 4);
        drop(third);
        assert!(ACCOUNT.lock().unwrap().is_empty());
    }

    #[test]
    fn who_is_nearly_done_keeps_nobody_from_the_cores() {
        static ACCOUNT: Account = Account::new(Vec::new());
        let nearly_done = recording(600.0);
        let _before = Member::join_of(&ACCOUNT, &nearly_done);
        let last = Member::join_of(&ACCOUNT, &recording(600.0));
        assert_eq!(last.share_of(2), 1);
        nearly_done.set_audio_seconds(570.0);
        assert_eq!(last.share_of(2), 2);
        assert_eq!(last.share_of(8), 8);
    }

    #[test]
    fn a_short_recording_is_not_kept_waiting_by_how_long_another_is_but_shares() {
        static ACCOUNT: Account = Account::new(Vec::new());
        let _long = Member::join_of(&ACCOUNT, &recording(36_000.0));
        let short = Member::join_of(&ACCOUNT, &recording(60.0));
        assert_eq!(short.share_of(4), 2);
    }

    #[test]
    fn a_recording_of_unknown_length_counts_whole() {
        static ACCOUNT: Account = Account::new(Vec::new());
        let unknown = Member::join_of(&ACCOUNT, &Arc::new(Progress::default()));
        let known = Member::join_of(&ACCOUNT, &recording(60.0));
        assert_eq!((unknown.share_of(2), known.share_of(2)), (1, 1));
    }
}

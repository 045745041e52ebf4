//! One long request while it is fast enough, several ranges side by side while the consumer starves.
//!
//! Every request costs quota, and a consumer that encodes is often slower than one connection. So it begins with as
//! many ranges as it takes to get everybody going, goes on with one request for all the rest, and takes to ranges
//! again when the consumer had to wait for that one, and back when it no longer does or when they bring nothing. While
//! the host complains about too many requests there is one, however long it takes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::fetch::{Drive, Lanes, Pieces};
use super::{Leash, Range, Source};
use crate::budget::Budget;
use crate::error::Result;

/// How often the consumer's waiting is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Looks that decide together.
const TICKS: usize = 4;
/// A consumer that waits more than this part of the time starves.
const STARVING: f64 = 0.4;
/// One that waits less than this part of the time is served.
const SERVED: f64 = 0.1;
/// Ranges side by side must be faster than one request by this factor.
const WORTH_IT: f64 = 1.25;
/// Ranges are given so much time to show what they bring.
const TRIAL: Duration = Duration::from_millis(700);
/// After a trial that brought nothing the next one waits so long, and twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Recent complaints about too many requests (they fade) from which on one request at a time has to do; services
/// complain now and then without a reason.
const PRESSED: f64 = 1.5;

/// For how long bytes were wanted that had not come, and how many came.
///
/// They are wanted while the consumer asks for them. Where it asks on behalf of others, to have something in store, that
/// counts only while one of those has nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    inner: Mutex<Waited>,
}

#[derive(Debug, Default)]
struct Waited {
    time: Duration,
    since: Option<Instant>,
    bytes: u64,
    asking: bool,
    for_others: bool,
    idle: usize,
}

impl Waited {
    fn change(&mut self, now: Instant, change: impl FnOnce(&mut Self)) {
        change(self);
        let wanted = self.asking && (!self.for_others || self.idle > 0);
        match self.since {
            None if wanted => self.since = Some(now),
            Some(since) if !wanted => {
                self.time += now.saturating_duration_since(since);
                self.since = None;
            }
            _ => {}
        }
    }

    fn look(&self, now: Instant) -> Look {
        let ongoing = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        Look { at: now, waited: self.time + ongoing, bytes: self.bytes }
    }
}

/// While this lives the consumer asks for bytes.
pub(super) struct Asking<'a>(&'a Waits);

/// While this lives one of the others has nothing to do.
pub(crate) struct Idle<'a>(&'a Waits);

impl Waits {
    fn with<T>(&self, act: impl FnOnce(&mut Waited) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn ask(&self) -> Asking<'_> {
        self.with(|waited| waited.change(Instant::now(), |waited| waited.asking = true));
        Asking(self)
    }

    pub(super) fn took(&self, bytes: u64) {
        self.with(|waited| waited.bytes += bytes);
    }

    pub(super) fn ask_for_others(&self) {
        self.with(|waited| waited.change(Instant::now(), |waited| waited.for_others = true));
    }

    /// One of the others has nothing to do.
    pub(crate) fn idle(&self) -> Idle<'_> {
        self.with(|waited| waited.change(Instant::now(), |waited| waited.idle += 1));
        Idle(self)
    }

    fn look(&self, now: Instant) -> Look {
        self.with(|waited| waited.look(now))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.with(|waited| waited.change(Instant::now(), |waited| waited.asking = false));
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.with(|waited| {
            waited.change(Instant::now(), |waited| waited.idle = waited.idle.saturating_sub(1));
        });
    }
}

/// The consumer at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    waited: Duration,
    bytes: u64,
}

impl Look {
    /// The part of the time since `earlier` that the consumer waited.
    fn waited_since(&self, earlier: &Self) -> f64 {
        let elapsed = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        self.waited.saturating_sub(earlier.waited).as_secs_f64() / elapsed.max(1e-6)
    }

    /// Bytes a second since `earlier`.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn rate_since(&self, earlier: &Self) -> f64 {
        let elapsed = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        self.bytes.saturating_sub(earlier.bytes) as f64 / elapsed.max(1e-6)
    }
}

/// Decides between one request and ranges side by side.
#[derive(Debug)]
struct Judge {
    looks: VecDeque<Look>,
    /// Where the trial of ranges side by side began.
    trial: Option<Look>,
    /// What one request alone brought when it was too slow, in bytes a second.
    alone: f64,
    /// How long to leave ranges alone after they brought nothing.
    pause: Duration,
    calm_until: Option<Instant>,
}

impl Default for Judge {
    fn default() -> Self {
        Self { looks: VecDeque::new(), trial: None, alone: 0.0, pause: FIRST_PAUSE, calm_until: None }
    }
}

impl Judge {
    /// One request begins.
    fn begin_one(&mut self) {
        self.looks.clear();
    }

    /// A look while there is one request: whether it is too slow.
    fn starves(&mut self, now: Look) -> bool {
        self.looks.push_back(now);
        if self.looks.len() > TICKS + 1 {
            self.looks.pop_front();
        }
        let calm = self.calm_until.is_some_and(|until| now.at < until);
        match self.looks.front() {
            Some(first) if self.looks.len() > TICKS && !calm && now.waited_since(first) > STARVING => {
                self.alone = now.rate_since(first);
                true
            }
            _ => false,
        }
    }

    /// Ranges side by side begin.
    fn begin_ranges(&mut self, now: Look) {
        self.trial = Some(now);
    }

    /// A look while there are ranges side by side: whether they are worth their requests.
    fn worth_it(&mut self, now: Look) -> bool {
        let Some(begin) = self.trial else { return true };
        if now.at.saturating_duration_since(begin.at) < TRIAL {
            return true;
        }
        self.trial = Some(now);
        if now.waited_since(&begin) < SERVED {
            return false;
        }
        if now.rate_since(&begin) < self.alone * WORTH_IT {
            self.calm_until = Some(now.at + self.pause);
            self.pause *= 2;
            return false;
        }
        true
    }
}

/// What is wanted of a span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// First byte.
    pub(crate) start: u64,
    /// Behind the last byte.
    pub(crate) end: u64,
    /// Size of one of several ranges.
    pub(crate) range_bytes: u64,
    /// Ranges side by side.
    pub(crate) max_ranges: usize,
    /// So much is needed at once, from the start.
    pub(crate) eager_bytes: u64,
}

/// Starts fetching; like [`super::fetch_in_order`], with as many requests at a time as the consumer is worth.
pub(crate) fn fetch_on_demand(source: Arc<Source>, demand: Demand, budget: Budget) -> (Pieces, Drive) {
    let (lanes, pieces) = Lanes::new(source, demand.max_ranges, budget);
    let mut fetching = Fetching { demand, lanes, at: demand.start, judge: Judge::default() };
    let drive = async move {
        let eager = demand.start.saturating_add(demand.eager_bytes).min(demand.end);
        while fetching.at < eager && !fetching.pressed() {
            if !fetching.next_range().await? {
                return Ok(());
            }
        }
        while fetching.at < demand.end {
            if !fetching.one_request().await? || !fetching.several_ranges().await? {
                return Ok(());
            }
        }
        fetching.lanes.finish().await
    };
    (pieces, Box::pin(drive))
}

struct Fetching {
    demand: Demand,
    lanes: Lanes,
    /// Everything before has been asked for.
    at: u64,
    judge: Judge,
}

impl Fetching {
    fn look(&self) -> Look {
        self.lanes.waits.look(Instant::now())
    }

    fn pressed(&self) -> bool {
        self.lanes.source().measured().is_some_and(|measured| measured.quota_pressure >= PRESSED)
    }

    /// `false`: the consumer has all it wants.
    async fn next_range(&mut self) -> Result<bool> {
        let end = self.at.saturating_add(self.demand.range_bytes).min(self.demand.end);
        let range = Range { start: self.at, end: Some(end) };
        self.at = end;
        self.lanes.start(range, None).await
    }

    /// Everything that is left in one request, for as long as that is fast enough.
    async fn one_request(&mut self) -> Result<bool> {
        let leash = Arc::new(Leash::default());
        let range = Range { start: self.at, end: Some(self.demand.end) };
        if !self.lanes.start(range, Some(Arc::clone(&leash))).await? {
            return Ok(false);
        }
        self.judge.begin_one();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.lanes.running() > 0 {
            tokio::select! {
                ended = self.lanes.one_ended() => ended?,
                _ = tick.tick() => {
                    // The way to the first byte is no sign of a slow connection, nor is what ran before.
                    let alone = leash.reached() > 0 && self.lanes.running() == 1 && self.demand.max_ranges > 1;
                    let now = self.look();
                    if alone && self.judge.starves(now) && !self.pressed() {
                        leash.pull();
                    }
                }
            }
        }
        self.at = if leash.was_pulled() { leash.reached() } else { self.demand.end };
        Ok(true)
    }

    /// Ranges side by side, for as long as they are worth it.
    async fn several_ranges(&mut self) -> Result<bool> {
        self.judge.begin_ranges(self.look());
        while self.at < self.demand.end && !self.pressed() {
            if !self.next_range().await? {
                return Ok(false);
            }
            let now = self.look();
            if !self.judge.worth_it(now) {
                break;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// Looks at a consumer that waits so much of the time and gets so many bytes a second, 100 ms apart.
    struct Consumer {
        look: Look,
    }

    impl Consumer {
        fn new() -> Self {
            Self { look: Look { at: Instant::now(), waited: Duration::ZERO, bytes: 0 } }
        }

        fn next(&mut self, waits: f64, bytes_a_second: u64) -> Look {
            self.look.at += TICK;
            self.look.waited += TICK.mul_f64(waits);
            self.look.bytes += bytes_a_second / 10;
            self.look
        }
    }

    #[test]
    fn one_request_goes_on_while_the_consumer_is_served() {
        let (mut judge, mut consumer) = (Judge::default(), Consumer::new());
        judge.begin_one();
        assert!((0..1000).all(|_| !judge.starves(consumer.next(0.3, 19 * MB))));
    }

    #[test]
    fn a_consumer_that_starves_gets_ranges_after_some_looks_and_keeps_them_while_they_bring_more() {
        let (mut judge, mut consumer) = (Judge::default(), Consumer::new());
        judge.begin_one();
        let looks = (0..100).take_while(|_| !judge.starves(consumer.next(0.9, 25 * MB))).count();
        assert_eq!(looks, TICKS);
        judge.begin_ranges(consumer.look);
        assert!((0..1000).all(|_| judge.worth_it(consumer.next(0.9, 150 * MB))));
        // It has enough now.
        let more = (0..100).take_while(|_| judge.worth_it(consumer.next(0.0, 30 * MB))).count();
        assert!(more < 20, "{more}");
        assert_eq!(judge.calm_until, None);
    }

    #[test]
    fn where_the_link_is_the_limit_ranges_are_tried_ever_more_seldom() {
        let (mut judge, mut consumer) = (Judge::default(), Consumer::new());
        let mut ranges = 0;
        for _ in 0..5 {
            judge.begin_one();
            while !judge.starves(consumer.next(1.0, 10 * MB)) {}
            judge.begin_ranges(consumer.look);
            while judge.worth_it(consumer.next(1.0, 10 * MB)) {
                ranges += 1;
            }
        }
        assert_eq!(ranges, 5 * 6, "each trial lasts 700 ms");
        assert_eq!(judge.pause, FIRST_PAUSE * 32);
    }

    #[test]
    fn what_is_asked_in_store_counts_only_while_somebody_has_nothing_to_do() {
        let begin = Instant::now();
        let at = |second: u64| begin + Duration::from_secs(second);
        let mut waited = Waited::default();
        let seconds = |waited: &Waited, second| waited.look(at(second)).waited.as_secs();
        waited.change(at(0), |waited| waited.asking = true);
        assert_eq!(seconds(&waited, 1), 1);
        waited.change(at(1), |waited| waited.asking = false);
        assert_eq!(seconds(&waited, 2), 1);
        waited.change(at(2), |waited| waited.for_others = true);
        waited.change(at(2), |waited| waited.asking = true);
        assert_eq!(seconds(&waited, 3), 1);
        waited.change(at(3), |waited| waited.idle = 2);
        waited.change(at(4), |waited| waited.idle = 1);
        assert_eq!(seconds(&waited, 5), 3);
        // Idle, but the store is full.
        waited.change(at(5), |waited| waited.asking = false);
        assert_eq!(seconds(&waited, 9), 3);
    }
}

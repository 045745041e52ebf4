//! One long request while it is fast enough, several ranges side by side while the consumer starves.
//!
//! Every request costs quota, and a consumer that encodes is often slower than one connection. So it begins with as
//! many ranges as it takes to get everybody going, goes on with one request for all the rest, and takes to ranges
//! again when the consumer had to wait for that one, and back when it no longer does or when they bring nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

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

/// How long the consumer has waited for bytes, and how many it got.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    inner: Mutex<Waited>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Waited {
    time: Duration,
    since: Option<Instant>,
    bytes: u64,
}

/// While this lives the consumer waits.
pub(super) struct Waiting<'a>(&'a Waits);

impl Waits {
    fn with<T>(&self, act: impl FnOnce(&mut Waited) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn begin(&self) -> Waiting<'_> {
        self.with(|waited| waited.since = Some(Instant::now()));
        Waiting(self)
    }

    pub(super) fn took(&self, bytes: u64) {
        self.with(|waited| waited.bytes += bytes);
    }

    fn look(&self, now: Instant) -> Look {
        let waited = self.with(|waited| *waited);
        let ongoing = waited.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        Look { at: now, waited: waited.time + ongoing, bytes: waited.bytes }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.with(|waited| {
            if let Some(since) = waited.since.take() {
                waited.time += since.elapsed();
            }
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
    let mut fetching =
        Fetching { demand, lanes, at: demand.start, alone: None, pause: FIRST_PAUSE, calm_until: None };
    let drive = async move {
        let eager = demand.start.saturating_add(demand.eager_bytes).min(demand.end);
        while fetching.at < eager {
            if !fetching.next_range().await? {
                return Ok(());
            }
        }
        while fetching.at < demand.end {
            let wanted = if demand.max_ranges > 1 {
                fetching.one_request().await? && fetching.several_ranges().await?
            } else {
                fetching.one_request().await?
            };
            if !wanted {
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
    /// What one request alone brought when it was too slow, in bytes a second.
    alone: Option<f64>,
    /// How long to leave ranges alone after they brought nothing.
    pause: Duration,
    calm_until: Option<Instant>,
}

impl Fetching {
    fn look(&self) -> Look {
        self.lanes.waits.look(Instant::now())
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
        let mut looks: Vec<Look> = Vec::with_capacity(TICKS + 1);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.lanes.all_ended() {
            tokio::select! {
                ended = self.lanes.one_ended() => ended?,
                _ = tick.tick() => {
                    // The way to the first byte is no sign of a slow connection.
                    if leash.reached() == 0 || self.demand.max_ranges < 2 {
                        continue;
                    }
                    let now = self.look();
                    looks.push(now);
                    if looks.len() > TICKS + 1 {
                        looks.remove(0);
                    }
                    let calm = self.calm_until.is_some_and(|until| now.at < until);
                    if let Some(first) = looks.first().filter(|_| looks.len() > TICKS && !calm)
                        && now.waited_since(first) > STARVING
                    {
                        self.alone = Some(now.rate_since(first));
                        leash.pull();
                    }
                }
            }
        }
        self.at = leash.reached().max(self.at);
        Ok(true)
    }

    /// Ranges side by side, for as long as the consumer eats what they bring and they bring more than one did.
    async fn several_ranges(&mut self) -> Result<bool> {
        let begin = self.look();
        let mut window = begin;
        while self.at < self.demand.end {
            if !self.next_range().await? {
                return Ok(false);
            }
            let now = self.look();
            if now.at.saturating_duration_since(window.at) < TRIAL {
                continue;
            }
            if now.waited_since(&window) < SERVED {
                break;
            }
            if self.alone.is_some_and(|alone| now.rate_since(&window) < alone * WORTH_IT) {
                self.calm_until = Some(now.at + self.pause);
                self.pause *= 2;
                break;
            }
            window = now;
        }
        Ok(true)
    }
}

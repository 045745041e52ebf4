//! Ranges fetched side by side and handed on in order, without ever holding more bytes than the budget.
//!
//! Permits are taken in the order of the ranges, so the range that the consumer waits for always has its own:
//! there is no head-of-line deadlock, and a finished range gives its connection to the next while it waits.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::demand::Waits;
use super::{Leash, Range, Room, Source};
use crate::budget::Budget;
use crate::error::{EngineError, ErrorCode, Result};

/// The pieces of one range, on their way.
struct Lane {
    start: u64,
    pieces: mpsc::UnboundedReceiver<Bytes>,
}

/// Pieces of all ranges in order, each with its offset in the recording.
pub(crate) struct Pieces {
    lanes: mpsc::UnboundedReceiver<Lane>,
    current: Option<Lane>,
    waits: Arc<Waits>,
}

impl Pieces {
    /// The pieces are for others, who tell when they have nothing to do.
    pub(crate) fn for_others(&self) -> Arc<Waits> {
        self.waits.ask_for_others();
        Arc::clone(&self.waits)
    }

    /// The next piece, or `None` after the last one.
    pub(crate) async fn next(&mut self) -> Option<(u64, Bytes)> {
        let waits = Arc::clone(&self.waits);
        let _asking = waits.ask();
        loop {
            if let Some(lane) = &mut self.current {
                if let Some(piece) = lane.pieces.recv().await {
                    waits.took(piece.len() as u64);
                    let offset = lane.start;
                    lane.start += piece.len() as u64;
                    return Some((offset, piece));
                }
                self.current = None;
            }
            self.current = Some(self.lanes.recv().await?);
        }
    }
}

/// Drives the fetching; see [`fetch_in_order`].
pub(crate) type Drive = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Starts fetching; the returned future drives it and must be polled beside the consumer of the [`Pieces`].
///
/// When a range fails the future returns its error at once, while [`Pieces`] merely ends: a consumer must not take
/// the end for success before the future has returned `Ok`.
pub(crate) fn fetch_in_order(
    source: Arc<Source>,
    ranges: Box<dyn Iterator<Item = Range> + Send>,
    max_ranges: usize,
    budget: Budget,
) -> (Pieces, Drive) {
    let (mut lanes, pieces) = Lanes::new(source, max_ranges, budget);
    let drive = async move {
        for range in ranges {
            if !lanes.start(range, None).await? {
                return Ok(());
            }
        }
        lanes.finish().await
    };
    (pieces, Box::pin(drive))
}

/// The ranges that are being fetched.
pub(super) struct Lanes {
    source: Arc<Source>,
    budget: Budget,
    /// What was free at the start. The rest is held for as long as the transfer lasts (for the upload, for the index):
    /// who waits for more than this waits for ever.
    room_bytes: u64,
    slots: Arc<Semaphore>,
    running: JoinSet<std::result::Result<(), (EngineError, mpsc::UnboundedSender<Bytes>)>>,
    out: mpsc::UnboundedSender<Lane>,
    pub(super) waits: Arc<Waits>,
}

impl Lanes {
    pub(super) fn new(source: Arc<Source>, max_ranges: usize, budget: Budget) -> (Self, Pieces) {
        let (out, lanes) = mpsc::unbounded_channel();
        let waits = Arc::new(Waits::default());
        let pieces = Pieces { lanes, current: None, waits: Arc::clone(&waits) };
        let slots = Arc::new(Semaphore::new(max_ranges.max(1)));
        let room_bytes = budget.available_bytes();
        (Self { source, budget, room_bytes, slots, running: JoinSet::new(), out, waits }, pieces)
    }

    /// Starts fetching the next range as soon as there are a slot and room for it. `false`: the consumer has all it
    /// wants.
    ///
    /// # Errors
    /// Those of the ranges that are running.
    pub(super) async fn start(&mut self, range: Range, leash: Option<Arc<Leash>>) -> Result<bool> {
        let (slots, budget) = (Arc::clone(&self.slots), self.budget.clone());
        // A request that may be given up early is not paid for as a whole: nobody knows how much of it will come.
        let prepaid_bytes = if leash.is_some() { 0 } else { self.room_bytes };
        let prepare = async move {
            // One slot a connection, one permit a byte; in this order the oldest range is always paid for.
            let slot = slots.acquire_owned().await;
            let room = match range.end.map(|end| end.saturating_sub(range.start)) {
                Some(len) if len <= prepaid_bytes => Room::prepaid(budget.acquire(len).await),
                _ => Room::Metered(budget),
            };
            (slot, room)
        };
        tokio::pin!(prepare);
        let (slot, room) = loop {
            tokio::select! {
                ready = &mut prepare => break ready,
                Some(ended) = self.running.join_next() => outcome(ended)?,
            }
        };
        let (out, pieces) = mpsc::unbounded_channel();
        if self.out.send(Lane { start: range.start, pieces }).is_err() {
            return Ok(false);
        }
        let source = Arc::clone(&self.source);
        let pool = self.budget.pool().clone();
        self.running.spawn(async move {
            let result = source.fetch(range, room, &pool, &out, leash.as_deref()).await;
            drop(slot);
            // On failure the lane must not look finished before the error was seen.
            result.map_err(|error| (error, out))
        });
        Ok(true)
    }

    /// Waits until one of the ranges has ended; at once when none is running.
    ///
    /// # Errors
    /// Its error.
    pub(super) async fn one_ended(&mut self) -> Result<()> {
        match self.running.join_next().await {
            Some(ended) => outcome(ended),
            None => Ok(()),
        }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// How many are running.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// No more ranges follow; waits for those that are running.
    ///
    /// # Errors
    /// The first of theirs.
    pub(super) async fn finish(mut self) -> Result<()> {
        // With this the consumer sees the end.
        drop(self.out);
        while let Some(ended) = self.running.join_next().await {
            outcome(ended)?;
        }
        Ok(())
    }
}

type Ended = Result<Result<(), (EngineError, mpsc::UnboundedSender<Bytes>)>, tokio::task::JoinError>;

fn outcome(ended: Ended) -> Result<()> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err((error, _lane))) => Err(error),
        Err(error) => Err(EngineError::new(ErrorCode::Bug, "fetching a range panicked").caused_by(error)),
    }
}

//! Ranges fetched side by side and handed on in order, without ever holding more bytes than the budget.
//!
//! Permits are taken in the order of the ranges, so the range that the consumer waits for always has its own:
//! there is no head-of-line deadlock, and a finished range gives its connection to the next while it waits.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Range, Room, Source};
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
}

impl Pieces {
    /// The next piece, or `None` after the last one.
    pub(crate) async fn next(&mut self) -> Option<(u64, Bytes)> {
        loop {
            if let Some(lane) = &mut self.current {
                if let Some(piece) = lane.pieces.recv().await {
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
    let (lanes_out, lanes) = mpsc::unbounded_channel();
    let drive = async move {
        let slots = Arc::new(Semaphore::new(max_ranges.max(1)));
        let mut running = JoinSet::new();
        for range in ranges {
            let prepare = async {
                // One slot a connection, one permit a byte; in this order the oldest range is always paid for.
                let slot = Arc::clone(&slots).acquire_owned().await;
                let room = match range.end.map(|end| end.saturating_sub(range.start)) {
                    Some(len) if len <= budget.limit_bytes() / 2 => Room::prepaid(budget.acquire(len).await),
                    _ => Room::Metered(budget.clone()),
                };
                (slot, room)
            };
            tokio::pin!(prepare);
            let (slot, room) = loop {
                tokio::select! {
                    ready = &mut prepare => break ready,
                    Some(ended) = running.join_next() => outcome(ended)?,
                }
            };
            let (pieces_out, pieces) = mpsc::unbounded_channel();
            if lanes_out.send(Lane { start: range.start, pieces }).is_err() {
                // The consumer has all it wants.
                return Ok(());
            }
            let source = Arc::clone(&source);
            let pool = budget.pool().clone();
            running.spawn(async move {
                let result = source.fetch(range, room, &pool, &pieces_out).await;
                drop(slot);
                // On failure the lane must not look finished before the error was seen.
                result.map_err(|error| (error, pieces_out))
            });
        }
        drop(lanes_out);
        while let Some(ended) = running.join_next().await {
            outcome(ended)?;
        }
        Ok(())
    };
    (Pieces { lanes, current: None }, Box::pin(drive))
}

type Ended = Result<Result<(), (EngineError, mpsc::UnboundedSender<Bytes>)>, tokio::task::JoinError>;

fn outcome(ended: Ended) -> Result<()> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err((error, _lane))) => Err(error),
        Err(error) => Err(EngineError::new(ErrorCode::Bug, "fetching a range panicked").caused_by(error)),
    }
}

//! The same bytes to several readers, each at its own speed, held until the slowest has had them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::source::Waits;

#[derive(Debug)]
struct State {
    held: VecDeque<Bytes>,
    held_bytes: u64,
    /// Number of the first piece that is held.
    first: usize,
    /// Number of the next piece of each reader; `None`: it wants no more.
    next: Vec<Option<usize>>,
    /// The reader that everybody waits for.
    turn: usize,
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    waits: Arc<Waits>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Shared {
    /// Looks at the state, again after each change, until there is an answer.
    async fn wait<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(answer) = self.with(&mut look) {
                return answer;
            }
            // The sender is ours and cannot be closed.
            let _ = changed.changed().await;
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the bytes come in.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    limit_bytes: u64,
}

/// Where they come out.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    number: usize,
}

/// Says which reader everybody waits for; see [`Writer::push`].
#[derive(Debug)]
pub(crate) struct Turn {
    shared: Arc<Shared>,
}

/// A writer, its readers, and the word which of them is waited for (the first, to begin with).
///
/// `waits` is told when a reader has nothing to read.
pub(crate) fn fan_out(readers: usize, limit_bytes: u64, waits: Arc<Waits>) -> (Writer, Vec<Reader>, Turn) {
    let state = State {
        held: VecDeque::new(),
        held_bytes: 0,
        first: 0,
        next: vec![Some(0); readers],
        turn: 0,
        ended: false,
    };
    let shared = Arc::new(Shared { waits, state: Mutex::new(state), changed: watch::Sender::new(()) });
    let readers = (0..readers).map(|number| Reader { shared: Arc::clone(&shared), number }).collect();
    (Writer { shared: Arc::clone(&shared), limit_bytes }, readers, Turn { shared })
}

impl Writer {
    /// Hands a piece to all readers; waits while as much is held as may be. `false`: nobody wants more.
    ///
    /// When the reader whose turn it is has had everything, the limit does not hold: the others wait for that one,
    /// and stopping here would stop all of them for ever. That is more than its segment: FFmpeg holds back some KiB of
    /// what it encoded until it has more.
    pub(crate) async fn push(&self, bytes: Bytes) -> bool {
        let wanted = self
            .shared
            .wait(|state| {
                if state.next.iter().all(Option::is_none) {
                    return Some(false);
                }
                let end = state.first + state.held.len();
                let starving = state.next.get(state.turn).is_some_and(|next| *next == Some(end));
                (starving || state.held_bytes < self.limit_bytes).then_some(true)
            })
            .await;
        if wanted && !bytes.is_empty() {
            self.shared.with(|state| {
                state.held_bytes += bytes.len() as u64;
                state.held.push_back(bytes);
            });
            self.shared.changed.send_replace(());
        }
        wanted
    }

    /// There is no more. Without this word the readers wait: a writer that failed is not an end.
    pub(crate) fn end(self) {
        self.shared.with(|state| state.ended = true);
        self.shared.changed.send_replace(());
    }
}

impl Reader {
    /// The next piece; `None` at the end.
    pub(crate) async fn next(&self) -> Option<Bytes> {
        let _idle = self.shared.waits.idle();
        let bytes = self
            .shared
            .wait(|state| {
                let next = state.next.get(self.number).copied().flatten()?;
                match state.held.get(next - state.first) {
                    Some(bytes) => Some(Some(bytes.clone())),
                    None => state.ended.then_some(None),
                }
            })
            .await?;
        self.move_on(|next| next.map(|next| next + 1));
        Some(bytes)
    }

    fn move_on(&self, step: impl FnOnce(Option<usize>) -> Option<usize>) {
        self.shared.with(|state| {
            if let Some(next) = state.next.get_mut(self.number) {
                *next = step(*next);
            }
            let end = state.first + state.held.len();
            let slowest = state.next.iter().flatten().min().copied().unwrap_or(end);
            for piece in state.held.drain(..slowest - state.first) {
                state.held_bytes -= piece.len() as u64;
            }
            state.first = slowest;
        });
        self.shared.changed.send_replace(());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.move_on(|_| None);
    }
}

impl Turn {
    /// From now on everybody waits for this reader.
    pub(crate) fn give(&self, reader: usize) {
        self.shared.with(|state| state.turn = reader);
        self.shared.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    fn piece(byte: u8) -> Bytes {
        Bytes::from(vec![byte; 10])
    }

    /// Whether a future is ready at once.
    async fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| {
            Poll::Ready(match future.as_mut().poll(context) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn every_reader_gets_everything_and_the_slowest_decides_what_is_held() {
        let (writer, readers, _turn) = fan_out(2, 20, Arc::default());
        assert_eq!(ready(writer.push(piece(1))).await, Some(true));
        assert_eq!(ready(writer.push(piece(2))).await, Some(true));
        assert_eq!(ready(writer.push(piece(3))).await, None);
        assert_eq!(ready(readers[0].next()).await, Some(Some(piece(1))));
        assert_eq!(ready(writer.push(piece(3))).await, None);
        assert_eq!(ready(readers[1].next()).await, Some(Some(piece(1))));
        assert_eq!(ready(writer.push(piece(3))).await, Some(true));
        writer.end();
        for reader in &readers {
            assert_eq!(ready(reader.next()).await, Some(Some(piece(2))));
            assert_eq!(ready(reader.next()).await, Some(Some(piece(3))));
            assert_eq!(ready(reader.next()).await, Some(None));
        }
    }

    #[tokio::test]
    async fn the_reader_that_is_waited_for_is_never_kept_waiting_by_the_limit() {
        let (writer, readers, turn) = fan_out(2, 10, Arc::default());
        assert_eq!(ready(writer.push(piece(1))).await, Some(true));
        assert_eq!(ready(readers[1].next()).await, Some(Some(piece(1))));
        assert_eq!(ready(writer.push(piece(2))).await, None);
        turn.give(1);
        assert_eq!(ready(writer.push(piece(2))).await, Some(true));
    }

    #[tokio::test]
    async fn a_reader_that_left_holds_nothing() {
        let (writer, mut readers, _turn) = fan_out(2, 10, Arc::default());
        assert_eq!(ready(writer.push(piece(1))).await, Some(true));
        readers.remove(0);
        assert_eq!(ready(readers[0].next()).await, Some(Some(piece(1))));
        assert_eq!(writer.shared.with(|state| state.held_bytes), 0);
        readers.clear();
        assert_eq!(ready(writer.push(piece(2))).await, Some(false));
    }

    #[tokio::test]
    async fn a_writer_that_fails_is_not_an_end() {
        let (writer, readers, _turn) = fan_out(1, 10, Arc::default());
        drop(writer);
        assert_eq!(ready(readers[0].next()).await, None);
    }
}

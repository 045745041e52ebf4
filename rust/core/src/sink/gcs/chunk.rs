//! Consecutive bytes of an object, and the request body that sends them without copying.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Consecutive bytes of the object, kept until acknowledged.
#[derive(Debug, Default, Clone)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) pieces: VecDeque<Bytes>,
    pub(super) len: u64,
}

impl Chunk {
    pub(super) const fn end(&self) -> u64 {
        self.start + self.len
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len() as u64;
        self.pieces.push_back(bytes);
    }

    /// What remains from the absolute offset `from` on, without copying.
    pub(super) fn rest(&self, from: u64) -> VecDeque<Bytes> {
        let mut skip = from.saturating_sub(self.start);
        let mut rest = VecDeque::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let len = piece.len() as u64;
            if skip >= len {
                skip -= len;
            } else {
                rest.push_back(piece.slice(usize::try_from(skip).unwrap_or_default()..));
                skip = 0;
            }
        }
        rest
    }
}

/// A request body of known length over pieces that are not copied.
pub(super) struct PiecesBody {
    pieces: VecDeque<Bytes>,
    len: u64,
    /// Bytes the connection has taken: a slow line is told from a dead one by it.
    taken: Arc<AtomicU64>,
}

/// The most the connection takes at once, so that progress shows on slow lines too.
const FRAME_BYTES: usize = 64 * 1024;

impl PiecesBody {
    pub(super) fn new(pieces: VecDeque<Bytes>, taken: Arc<AtomicU64>) -> Self {
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces, len, taken }
    }
}

impl Body for PiecesBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(front) = self.pieces.front_mut() else { return Poll::Ready(None) };
        let frame = front.split_to(front.len().min(FRAME_BYTES));
        if front.is_empty() {
            self.pieces.pop_front();
        }
        let len = frame.len() as u64;
        self.len -= len;
        self.taken.fetch_add(len, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_gives_exactly_its_rest() {
        let mut chunk = Chunk { start: 100, ..Chunk::default() };
        for piece in ["abc", "defg", "h"] {
            chunk.push(Bytes::from_static(piece.as_bytes()));
        }
        for (from, want) in [(100, "abcdefgh"), (101, "bcdefgh"), (103, "defgh"), (106, "gh"), (108, "")] {
            let rest: Vec<u8> = chunk.rest(from).iter().flatten().copied().collect();
            assert_eq!(rest, want.as_bytes(), "{from}");
        }
    }
}

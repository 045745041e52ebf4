//! Buffers that are used again: a transfer's memory is then what its permits say, not what an allocator keeps.
//!
//! Freed buffers of this size end up scattered over the heaps of several threads; measured on a 400 MB recording the
//! process grew to twice its permits without the pool.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut as _, Bytes};

use crate::budget::Permit;

/// Size of a buffer.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

/// The free buffers of one transfer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A buffer that is being filled.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Vec<u8>,
    limit: usize,
    pool: Pool,
}

/// A full buffer; goes back to its pool when the last slice of it is dropped, and its permit with it.
struct Filled {
    bytes: Vec<u8>,
    pool: Pool,
    _permit: Option<Permit>,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

impl Pool {
    /// A buffer for at most `limit` bytes, and at most [`PIECE_BYTES`].
    pub(crate) fn take(&self, limit: u64) -> Piece {
        let limit = usize::try_from(limit).unwrap_or(PIECE_BYTES).clamp(1, PIECE_BYTES);
        // A whole buffer for a few bytes would hold much more memory than was paid for.
        let bytes = if limit < PIECE_BYTES / 2 {
            Vec::with_capacity(limit)
        } else {
            let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            free.unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES))
        };
        Piece { bytes, limit, pool: self.clone() }
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() >= PIECE_BYTES {
            bytes.clear();
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        }
    }
}

impl Piece {
    /// Takes as much of `bytes` as there is room for; gives what is left.
    pub(crate) fn fill<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(self.room()));
        self.bytes.extend_from_slice(now);
        later
    }

    /// Where a reader may write; never beyond the limit.
    pub(crate) fn writable(&mut self) -> impl bytes::BufMut {
        let room = self.room();
        (&mut self.bytes).limit(room)
    }

    /// Fills it from a file, from `offset` on, as far as one read goes.
    pub(crate) fn read_at(&mut self, file: &std::fs::File, offset: u64) -> std::io::Result<()> {
        let filled = self.bytes.len();
        self.bytes.resize(self.limit, 0);
        let read = std::os::unix::fs::FileExt::read_at(
            file,
            self.bytes.get_mut(filled..).unwrap_or_default(),
            offset,
        );
        self.bytes.truncate(filled + *read.as_ref().unwrap_or(&0));
        read.map(drop)
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.room() == 0
    }

    const fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    /// Ends the filling.
    pub(crate) fn freeze(mut self, permit: Option<Permit>) -> Bytes {
        let bytes = std::mem::take(&mut self.bytes);
        Bytes::from_owner(Filled { bytes, pool: self.pool.clone(), _permit: permit })
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_after_its_last_slice() {
        let pool = Pool::default();
        let mut piece = pool.take(u64::MAX);
        assert_eq!(piece.fill(&vec![7; PIECE_BYTES + 3]), [7, 7, 7]);
        assert!(piece.is_full());
        let bytes = piece.freeze(None);
        let slice = bytes.slice(5..9);
        drop(bytes);
        assert_eq!(pool.free.lock().unwrap().len(), 0);
        assert_eq!(slice.as_ref(), [7; 4]);
        drop(slice);
        assert_eq!(pool.free.lock().unwrap().len(), 1);
        assert!(pool.take(PIECE_BYTES as u64).is_empty());
        assert_eq!(pool.free.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_small_range_holds_little_memory() {
        let pool = Pool::default();
        assert!(pool.take(1000).bytes.capacity() < 2000);
    }
}

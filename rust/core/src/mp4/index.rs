//! Finding and reading the `moov` box with few ranged reads.

use std::future::Future;

use bytes::Bytes;

use super::boxes::{BoxHeader, Damaged, MAX_HEADER_LEN};
use super::container::Container;
use super::moov_reader::MoovReader;
use super::movie::Movie;
use super::{HEAD_BYTES, MAX_MOOV_BYTES, MAX_TOP_LEVEL_BOXES};
use crate::error::{EngineError, ErrorCode, Result};

/// Reads pieces of a recording. Each call may be a billed request.
pub trait RangeReader: Sync {
    /// Reads `len` bytes from `offset`; fewer only where the file ends, none beyond its end.
    fn read_range(&self, offset: u64, len: u64) -> impl Future<Output = Result<Bytes>> + Send;

    /// The size of the file, when it is known.
    fn size(&self) -> Option<u64>;
}

/// What a file turned out to be.
#[derive(Debug)]
pub enum Indexed {
    /// An MP4 or QuickTime file whose index was read.
    Movie(Movie),
    /// Something else, or an MP4 without an index where one is expected: FFmpeg gets the whole file.
    Other {
        /// A guess.
        container: Container,
        /// Why there is no audio plan.
        reason: String,
    },
}

/// `ftyp` is 8 bytes and 4 per brand.
const MAX_FTYP_BYTES: u64 = 4096;
/// Read at once where the next thing of interest is likely small and near.
pub(crate) const EXPLORE_BYTES: u64 = 64 * 1024;
/// Read at the end of a large box: mostly the whole `moov` of a short recording.
const JUMP_BYTES: u64 = 256 * 1024;
/// 256 MiB in pieces are 64 reads; more than this is a file made to cost requests.
const MAX_READS: u32 = 512;

/// Reads the index of a recording.
///
/// Costs one read of 64 KiB for a file whose small index comes first, one or two more for an index at the end,
/// and some of up to 4 MiB for the tables of hours of audio.
///
/// # Errors
/// What the reader reports; `media.unreadable` for an empty file, one that ends before its index says, or one
/// that would take unreasonably many reads.
pub async fn index<R: RangeReader>(reader: &R) -> Result<Indexed> {
    let head = match reader.size().unwrap_or(HEAD_BYTES) {
        0 => Bytes::new(),
        size => reader.read_range(0, HEAD_BYTES.min(size)).await?,
    };
    if head.is_empty() {
        return Err(EngineError::new(ErrorCode::MediaUnreadable, "the file is empty"));
    }
    let container = Container::guess(&head);
    if !matches!(container, Container::Mp4 | Container::Mov) {
        let reason = format!("it is not an MP4 file but {}", container.as_str());
        return Ok(Indexed::Other { container, reason });
    }
    let mut scan = Scan { reader, window_start: 0, window: head, reads: 1 };
    match find_moov(&mut scan).await? {
        Top::Moov { ftyp, body_start, end, index_precedes_media } => {
            let moov = MoovReader::new(&mut scan, body_start, end).read().await?;
            Ok(Indexed::Movie(moov.into_movie(container, reader.size(), ftyp, index_precedes_media)))
        }
        Top::Missing(reason) => Ok(Indexed::Other { container, reason }),
    }
}

enum Top {
    Moov { ftyp: Option<Bytes>, body_start: u64, end: u64, index_precedes_media: bool },
    Missing(String),
}

pub(crate) fn truncated(size: u64, what: &str) -> EngineError {
    EngineError::new(
        ErrorCode::MediaUnreadable,
        format!("the file ends at byte {size}, {what}: truncated upload?"),
    )
}

async fn find_moov<R: RangeReader>(scan: &mut Scan<'_, R>) -> Result<Top> {
    let size = scan.reader.size();
    let mut ftyp = None;
    let mut index_precedes_media = true;
    let mut position = 0u64;
    for number in 0..MAX_TOP_LEVEL_BOXES {
        let bytes = scan.at(position, MAX_HEADER_LEN, JUMP_BYTES, u64::MAX).await?;
        let header = match BoxHeader::parse(&bytes) {
            Ok(Some(header)) => header,
            Ok(None) if number == 0 => return Ok(Top::Missing("it has no boxes".into())),
            // Fewer than eight bytes, mostly none: the end of the file.
            Ok(None) => {
                return Err(EngineError::new(
                    ErrorCode::MediaUnreadable,
                    "the file has no index (no moov box): truncated upload, or a recording that was never finished?",
                ));
            }
            Err(Damaged(reason)) => return Ok(Top::Missing(format!("{reason} at byte {position}"))),
        };
        let Some(end) = header.len.map_or(size, |len| position.checked_add(len)) else {
            return Ok(Top::Missing(format!("box '{}' at byte {position} has no known end", header.kind)));
        };
        if header.kind == b"moov" {
            if end - position > MAX_MOOV_BYTES {
                return Ok(Top::Missing(format!("its index is larger than {MAX_MOOV_BYTES} bytes")));
            }
            if let Some(size) = size.filter(|size| *size < end) {
                return Err(truncated(size, &format!("inside its index, which goes on to byte {end}")));
            }
            let body_start = position + header.header_len;
            return Ok(Top::Moov { ftyp, body_start, end, index_precedes_media });
        }
        if let Some(size) = size.filter(|size| *size < end) {
            let what = format!(
                "inside its '{}' box, which goes on to byte {end}, and before any index",
                header.kind
            );
            return Err(truncated(size, &what));
        }
        if header.kind == b"ftyp" && ftyp.is_none() && end - position <= MAX_FTYP_BYTES {
            let bytes = scan.at(position, end - position, EXPLORE_BYTES, end).await?;
            let len = usize::try_from(end - position).unwrap_or(usize::MAX);
            ftyp = bytes.get(..len).map(Bytes::copy_from_slice);
        } else if header.kind == b"mdat" {
            index_precedes_media = false;
        }
        if header.len.is_none() {
            return Ok(Top::Missing(format!(
                "box '{}' takes up the rest of the file, without an index",
                header.kind
            )));
        }
        position = end;
    }
    Ok(Top::Missing(format!("there is no index (moov) among its first {MAX_TOP_LEVEL_BOXES} boxes")))
}

/// A window over the file that moves forward.
pub(crate) struct Scan<'r, R> {
    reader: &'r R,
    window_start: u64,
    window: Bytes,
    reads: u32,
}

impl<R: RangeReader> Scan<'_, R> {
    /// What the window holds from `offset` on.
    fn held(&self, offset: u64) -> Bytes {
        let start = offset.checked_sub(self.window_start).and_then(|start| usize::try_from(start).ok());
        match start {
            Some(start) if start < self.window.len() => self.window.slice(start..),
            _ => Bytes::new(),
        }
    }

    /// At least `min` bytes from `offset`, fewer only where the file ends; more when they are there anyway.
    /// Reads `ahead` bytes where it has to read, never beyond `end`.
    pub(crate) async fn at(&mut self, offset: u64, min: u64, ahead: u64, end: u64) -> Result<Bytes> {
        let held = self.held(offset);
        let known_end = self.reader.size().unwrap_or(u64::MAX);
        if held.len() as u64 >= min || offset.saturating_add(held.len() as u64) >= known_end {
            return Ok(held);
        }
        self.reads += 1;
        if self.reads > MAX_READS {
            return Err(EngineError::new(
                ErrorCode::MediaUnreadable,
                format!("the index is scattered: it was not complete after {MAX_READS} reads"),
            ));
        }
        let limit = end.min(known_end).saturating_sub(offset);
        // The old window must be gone before the new one comes.
        drop(held);
        self.window = Bytes::new();
        let len = ahead.max(min).min(limit.max(min)).min(known_end.saturating_sub(offset));
        self.window = self.reader.read_range(offset, len).await?;
        self.window_start = offset;
        Ok(self.window.clone())
    }
}

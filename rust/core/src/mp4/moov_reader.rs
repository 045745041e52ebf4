//! Reading `moov`: headers and small boxes are kept, audio tracks are read, other tracks are skipped.

use std::sync::Arc;

use bytes::Bytes;
use mp4_atom::Mvhd;

use super::boxes::{BoxHeader, ChildBox, Damaged, FourCc, MAX_CHILDREN, MAX_HEADER_LEN};
use super::container::Container;
use super::index::{EXPLORE_BYTES, RangeReader, Scan, truncated};
use super::movie::{Movie, Shared, Unplannable};
use super::track::{TrackInfo, Trak, decode};
use super::trak_reader::TrakReader;
use super::{PIECE_BYTES, tags};
use crate::error::Result;

/// Boxes of `moov` that are neither tracks nor headers are kept up to this size together.
const MAX_OTHER_BYTES: u64 = 8 * 1024 * 1024;
const MAX_AUDIO_TRACKS: usize = 128;
/// Seconds from QuickTime's epoch (1904) to Unix' (1970).
const MAC_EPOCH_SECONDS: i64 = 2_082_844_800;

/// Reads `moov`, keeping what an audio-only copy needs.
pub(crate) struct MoovReader<'s, 'r, R> {
    scan: &'s mut Scan<'r, R>,
    body_start: u64,
    end: u64,
    mvhd: Option<ChildBox>,
    others: Vec<(usize, ChildBox)>,
    other_bytes: u64,
    traks: Vec<Arc<Trak>>,
    trak_count: usize,
    has_video: bool,
    unplannable: Option<Unplannable>,
}

impl<'s, 'r, R: RangeReader> MoovReader<'s, 'r, R> {
    pub(crate) fn new(scan: &'s mut Scan<'r, R>, body_start: u64, end: u64) -> Self {
        Self {
            scan,
            body_start,
            end,
            mvhd: None,
            others: Vec::new(),
            other_bytes: 0,
            traks: Vec::new(),
            trak_count: 0,
            has_video: false,
            unplannable: None,
        }
    }

    fn refuse(&mut self, reason: impl Into<String>) {
        self.unplannable.get_or_insert_with(|| Unplannable { reason: reason.into(), tracks_known: false });
    }

    fn refuse_known(&mut self, reason: &str) {
        self.unplannable.get_or_insert_with(|| Unplannable { reason: reason.into(), tracks_known: true });
    }

    pub(crate) async fn read(mut self) -> Result<Self> {
        let mut position = self.body_start;
        let mut count = 0;
        while self.end - position >= 8 {
            count += 1;
            if count > MAX_CHILDREN {
                self.refuse(format!("its index has more than {MAX_CHILDREN} boxes"));
                break;
            }
            let (header, end) = match self.header(position, self.end).await? {
                Ok(found) => found,
                Err(Damaged(reason)) => {
                    self.refuse(format!("its index is damaged: {reason}"));
                    break;
                }
            };
            let body = position + header.header_len;
            match &header.kind.0 {
                b"trak" => {
                    self.read_trak(body, end).await?;
                    self.trak_count += 1;
                }
                b"mvex" => self.refuse_known("it is fragmented"),
                b"cmov" => self.refuse("its index is compressed (cmov)"),
                b"mvhd" if end - position <= 4096 => self.mvhd = self.raw_box(header, position, end).await?,
                // Elementary stream ids of tracks that will not be there; room for edits.
                b"iods" | b"free" | b"skip" | b"wide" => {}
                _ => {
                    self.other_bytes += end - position;
                    // What is dropped here are pictures and other companions, never audio.
                    if self.other_bytes <= MAX_OTHER_BYTES
                        && let Some(other) = self.raw_box(header, position, end).await?
                    {
                        self.others.push((self.trak_count, other));
                    }
                }
            }
            position = end;
        }
        if self.mvhd.is_none() {
            self.refuse_known("its index has no movie header (mvhd)");
        }
        Ok(self)
    }

    /// How much to read at once from here: a small index whole, a large one as it is needed.
    pub(crate) fn ahead(&self, offset: u64) -> u64 {
        let left = self.end.saturating_sub(offset);
        if left <= PIECE_BYTES { left } else { EXPLORE_BYTES }
    }

    /// The header at `position` and the end of that box, which lies within `limit`.
    pub(crate) async fn header(
        &mut self,
        position: u64,
        limit: u64,
    ) -> Result<Result<(BoxHeader, u64), Damaged>> {
        let bytes = self.at(position, MAX_HEADER_LEN.min(limit - position), self.ahead(position)).await?;
        Ok(BoxHeader::parse(&bytes).and_then(|header| {
            let header = header.ok_or_else(|| Damaged::new("a box header is cut off"))?;
            let end = header.len.and_then(|len| position.checked_add(len)).filter(|end| *end <= limit);
            let end = end.ok_or_else(|| {
                Damaged::new(format!("box '{}' is longer than the box around it", header.kind))
            })?;
            Ok((header, end))
        }))
    }

    /// Like [`Scan::at`], but an end of the file inside the index is an error.
    pub(crate) async fn at(&mut self, offset: u64, min: u64, ahead: u64) -> Result<Bytes> {
        let bytes = self.scan.at(offset, min, ahead, self.end).await?;
        if (bytes.len() as u64) < min {
            let size = offset.saturating_add(bytes.len() as u64);
            return Err(truncated(size, &format!("inside its index, which goes on to byte {}", self.end)));
        }
        let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        Ok(if bytes.len() > left { bytes.slice(..left) } else { bytes })
    }

    /// Copies a box out of the window, so that the window can go.
    pub(crate) async fn raw_box(
        &mut self,
        header: BoxHeader,
        start: u64,
        end: u64,
    ) -> Result<Option<ChildBox>> {
        let mut raw = Vec::new();
        let mut position = start;
        while position < end {
            let piece = self.at(position, 1, PIECE_BYTES.min(end - position)).await?;
            let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(piece.len());
            let piece = piece.get(..wanted).unwrap_or_default();
            // Doubles at most, and never beyond the box: a length that lies allocates nothing.
            if raw.capacity() - raw.len() < piece.len() {
                let left = usize::try_from(end - position).unwrap_or(usize::MAX);
                raw.reserve_exact(left.min(piece.len().max(raw.len())));
            }
            raw.extend_from_slice(piece);
            position += piece.len() as u64;
        }
        let raw = Bytes::from(raw);
        let header_len = usize::try_from(header.header_len).unwrap_or(usize::MAX);
        Ok(raw.get(header_len..).map(|body| ChildBox {
            kind: header.kind,
            body: raw.slice_ref(body),
            raw: raw.clone(),
        }))
    }

    /// Looks for the handler, keeps the track if that is sound, and skips it otherwise.
    async fn read_trak(&mut self, body: u64, end: u64) -> Result<()> {
        match self.handler(body, end).await? {
            Ok(Some(handler)) if handler == b"soun" => {}
            Ok(Some(handler)) => {
                self.has_video |= handler == b"vide";
                return Ok(());
            }
            Ok(None) => return Ok(()),
            Err(Damaged(reason)) => {
                self.refuse(format!("its index is damaged: {reason}"));
                return Ok(());
            }
        }
        if self.traks.len() == MAX_AUDIO_TRACKS {
            self.refuse(format!("it has more than {MAX_AUDIO_TRACKS} audio tracks"));
            return Ok(());
        }
        let (nodes, tables) = TrakReader::new(self).read(body, end).await?;
        self.traks.push(Arc::new(Trak { number: self.trak_count, nodes, tables }));
        Ok(())
    }

    /// The media handler of a track: `mdia/hdlr`. (`minf/hdlr` is QuickTime's data handler.)
    async fn handler(&mut self, body: u64, end: u64) -> Result<Result<Option<FourCc>, Damaged>> {
        let (mut position, mut limit, mut inside_mdia) = (body, end, false);
        for _ in 0..MAX_CHILDREN {
            if limit - position < 8 {
                return Ok(Ok(None));
            }
            let (header, end) = match self.header(position, limit).await? {
                Ok(found) => found,
                Err(damaged) => return Ok(Err(damaged)),
            };
            let body = position + header.header_len;
            if header.kind == b"mdia" && !inside_mdia {
                (position, limit, inside_mdia) = (body, end, true);
                continue;
            }
            if header.kind == b"hdlr" && inside_mdia && end - body >= 12 {
                // Version, flags and (in QuickTime) the component type come first.
                let bytes = self.at(body, 12, self.ahead(body)).await?;
                return Ok(Ok(bytes.get(8..12).and_then(|kind| kind.try_into().ok()).map(FourCc)));
            }
            position = end;
        }
        Ok(Err(Damaged::new(format!("more than {MAX_CHILDREN} boxes in one track"))))
    }

    pub(crate) fn into_movie(
        self,
        container: Container,
        file_size: Option<u64>,
        ftyp: Option<Bytes>,
        index_precedes_media: bool,
    ) -> Movie {
        let header: Option<Mvhd> = self.mvhd.as_ref().and_then(|mvhd| decode(&mvhd.body));
        let mut unplannable = self.unplannable;
        if header.as_ref().is_none_or(|header| header.timescale == 0) {
            unplannable.get_or_insert_with(|| Unplannable {
                reason: "its movie header (mvhd) is damaged".into(),
                tracks_known: true,
            });
        }
        let timescale = header.as_ref().map_or(0, |header| header.timescale);
        // All ones: unknown.
        let known =
            |duration: &u64| *duration > 0 && *duration != u64::from(u32::MAX) && *duration != u64::MAX;
        let shared = Shared {
            container,
            file_size,
            ftyp,
            timescale,
            duration: header.as_ref().map(|header| header.duration).filter(known).filter(|_| timescale > 0),
            creation_time: header
                .as_ref()
                .filter(|header| header.creation_time > 0)
                .and_then(|header| i64::try_from(header.creation_time).ok())
                .map(|time| time - MAC_EPOCH_SECONDS),
            mvhd: self.mvhd,
            others: self.others,
            index_precedes_media,
        };
        let tracks = self
            .traks
            .iter()
            .enumerate()
            .map(|(index, trak)| TrackInfo::of(trak, index, timescale))
            .collect();
        Movie {
            title: tags::title(shared.others.iter().map(|(_, other)| other)),
            shared: Arc::new(shared),
            traks: self.traks,
            tracks,
            has_video: self.has_video,
            unplannable,
        }
    }
}

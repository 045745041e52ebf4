//! The decision how to copy one audio track out of a recording, made from the index alone.

use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::boxes::{ChildBox, Damaged, child, make_box};
use super::expected::{Expected, expected_samples};
use super::movie::{Movie, Shared};
use super::picker::Picker;
use super::ranges::{FetchCost, FetchRanges, Spans};
use super::remux::{HeaderPieces, HeaderPlan, m4a_ftyp};
use super::sample_entry::{Codec, SampleEntry};
use super::sample_tables::{Layout, SampleTables};
use super::tags::{Tags, m4a_udta};
use super::track::{Node, Trak, check_single_frame_sizes, has_gapless_note};
use crate::error::{EngineError, ErrorCode, Result};

/// Why there is no audio plan.
#[derive(Debug)]
pub enum PlanRefusal {
    /// No audio can come of this file: it has none, not this track, it is encrypted or cut off.
    Impossible(EngineError),
    /// FFmpeg has to look at the whole file.
    Fallback {
        /// What is unusual about the file, as part of a sentence.
        reason: String,
    },
}

/// How to make an audio-only file of one track: a header, and which bytes of the recording follow it.
///
/// Cheap to clone; the iterators it gives share its tables and outlive it.
#[derive(Debug, Clone)]
pub struct AudioPlan {
    shared: Arc<Shared>,
    trak: Arc<Trak>,
    tables: SampleTables,
    layout: Layout,
    entries: Vec<SampleEntry>,
    header_len: u64,
    expected: Expected,
}

impl AudioPlan {
    pub(crate) fn new(movie: &Movie, index: usize) -> Result<Self, PlanRefusal> {
        let fallback = |reason: String| PlanRefusal::Fallback { reason };
        let impossible = |code, message: String| PlanRefusal::Impossible(EngineError::new(code, message));
        if let Some(unplannable) = movie.unplannable.as_ref().filter(|unplannable| !unplannable.tracks_known)
        {
            return Err(fallback(unplannable.reason.clone()));
        }
        if movie.traks.is_empty() {
            return Err(impossible(ErrorCode::MediaNoAudio, "the recording has no audio track".into()));
        }
        let Some(trak) = movie.traks.get(index) else {
            let count = movie.traks.len();
            let message =
                format!("there is no audio track {index}: the recording has {count}, counted from 0");
            return Err(impossible(ErrorCode::MediaTrackNotFound, message));
        };
        if movie.tracks.get(index).is_some_and(|info| info.encrypted) {
            let message = format!("audio track {index} is encrypted");
            return Err(impossible(ErrorCode::MediaEncrypted, message));
        }
        if let Some(unplannable) = &movie.unplannable {
            return Err(fallback(unplannable.reason.clone()));
        }
        let damaged = |Damaged(reason)| fallback(format!("audio track {index} is unusual: {reason}"));
        let entries = trak.sample_entries().map_err(damaged)?;
        if entries.is_empty() {
            return Err(fallback(format!("audio track {index} has no sample description")));
        }
        if trak.refers_to_other_files(&entries) {
            return Err(fallback(format!("the media of audio track {index} is in another file")));
        }
        let tables = trak.tables.clone().map_err(damaged)?;
        check_single_frame_sizes(trak, &entries).map_err(damaged)?;
        let layout = tables.check().map_err(damaged)?;
        if layout.audio_bytes == 0 {
            return Err(impossible(ErrorCode::MediaNoAudio, format!("audio track {index} is empty")));
        }
        if let Some(size) = movie.shared.file_size.filter(|size| *size < layout.end) {
            let end = layout.end;
            let message = format!(
                "the file ends at byte {size}, before its index says: its audio goes on to byte {end}: truncated upload?"
            );
            return Err(impossible(ErrorCode::MediaUnreadable, message));
        }
        let mut plan = Self {
            shared: Arc::clone(&movie.shared),
            trak: Arc::clone(trak),
            tables,
            layout,
            entries,
            header_len: 0,
            expected: Expected::default(),
        };
        plan.header_len = plan.header().byte_len();
        if let [entry] = plan.entries.as_slice() {
            let noted = trak.has_gapless_note() || plan.others().any(|other| has_gapless_note(&other.raw));
            plan.expected = expected_samples(trak, entry, movie.shared.timescale, noted);
        }
        Ok(plan)
    }

    /// The header of the file for FFmpeg: `ftyp`, `moov` with this track alone, the `mdat` header.
    #[must_use]
    pub fn header(&self) -> HeaderPieces {
        HeaderPlan {
            ftyp: self.shared.ftyp.clone(),
            before_trak: self.shared.mvhd.iter().map(|mvhd| mvhd.raw.clone()).collect(),
            trak: self.trak.nodes.clone(),
            after_trak: self.others().map(|other| other.raw.clone()).collect(),
            tables: self.tables.clone(),
            audio_bytes: self.layout.audio_bytes,
        }
        .lay_out()
    }

    /// The length of [`AudioPlan::header`].
    #[must_use]
    pub fn header_len(&self) -> u64 {
        self.header_len
    }

    /// How many bytes of the recording are this track's audio.
    #[must_use]
    pub fn audio_bytes(&self) -> u64 {
        self.layout.audio_bytes
    }

    /// The exact length of the file for FFmpeg: header and audio.
    #[must_use]
    pub fn output_len(&self) -> u64 {
        self.header_len.saturating_add(self.layout.audio_bytes)
    }

    /// Samples per channel that an FFmpeg of that major version decodes from this file, at the track's own rate;
    /// `None` where that is not certain. `None` as a version leaves what all versions agree on. Damaged frames are
    /// not foreseen.
    #[must_use]
    pub fn expected_samples(&self, ffmpeg_major: Option<u32>) -> Option<u64> {
        let Expected { whole_packets, cut_at_edit } = self.expected;
        match ffmpeg_major {
            Some(..=7) => whole_packets,
            Some(9..) => cut_at_edit,
            // Version 8 was not tried.
            Some(8) | None => whole_packets.filter(|_| whole_packets == cut_at_edit),
        }
    }

    /// Bytes that the plan and everything made from it hold.
    #[must_use]
    pub fn retained_bytes(&self) -> u64 {
        self.shared.retained_bytes() + self.trak.retained_bytes()
    }

    /// The runs of audio bytes in the recording.
    #[must_use]
    pub fn spans(&self) -> Spans {
        Spans::new(self.tables.chunks())
    }

    /// Which ranges to fetch. With a `gap_bytes` of `u64::MAX` that is everything from the first to the last
    /// audio byte; with a small one the video between runs of audio is skipped.
    #[must_use]
    pub fn fetch_ranges(&self, gap_bytes: u64, max_range_bytes: u64) -> FetchRanges {
        FetchRanges::new(self.spans(), gap_bytes, max_range_bytes)
    }

    /// What [`AudioPlan::fetch_ranges`] would cost.
    #[must_use]
    pub fn fetch_cost(&self, gap_bytes: u64, max_range_bytes: u64) -> FetchCost {
        self.fetch_ranges(gap_bytes, max_range_bytes).cost()
    }

    /// Cuts this track's audio out of what was fetched.
    #[must_use]
    pub fn picker(&self) -> Picker {
        Picker::new(self.spans())
    }

    /// Why this audio cannot become an M4A file without FFmpeg, when that is so.
    #[must_use]
    pub fn cannot_copy_reason(&self) -> Option<String> {
        let [entry] = self.entries.as_slice() else {
            return Some("its format changes in the middle".into());
        };
        let codec = entry.codec.name().unwrap_or("unknown");
        match entry.codec {
            Codec::Aac(_) if entry.esds.is_none() => Some("its AAC has no decoder configuration".into()),
            Codec::Alac if self.cookie_box(entry).is_none() => {
                Some("its ALAC has no decoder configuration".into())
            }
            Codec::Aac(_) | Codec::Alac => None,
            // Standard boxes for these exist in MP4; QuickTime's variants of them are not translated.
            Codec::Mp3 | Codec::Opus { .. } | Codec::Flac | Codec::Ac3 | Codec::Eac3 if !entry.quicktime => {
                let quicktime_only = entry.format == b".mp3" || entry.format == b"ms\0\x55";
                quicktime_only.then(|| format!("its {codec} is described as only QuickTime does"))
            }
            _ => Some(format!("{codec} ({}) is not a codec of M4A files", entry.format)),
        }
    }

    /// Whether [`AudioPlan::m4a_header`] works.
    #[must_use]
    pub fn copyable_to_m4a(&self) -> bool {
        self.cannot_copy_reason().is_none()
    }

    /// The header of the final file of the `copy` mode: an M4A with these tags. The same audio bytes follow it.
    ///
    /// # Errors
    /// `media.cannot_copy` when this audio does not belong into an M4A.
    pub fn m4a_header(&self, tags: &Tags<'_>) -> Result<HeaderPieces> {
        let refuse = |reason: &str| {
            EngineError::new(
                ErrorCode::MediaCannotCopy,
                format!("the audio cannot be copied into an M4A file: {reason}; choose another codec"),
            )
        };
        if let Some(reason) = self.cannot_copy_reason() {
            return Err(refuse(&reason));
        }
        let entry = self.entries.first().ok_or_else(|| refuse("it has no sample description"))?;
        let mut trak = self.trak.nodes.clone();
        patch(&mut trak, &[b"tkhd"], &|tkhd| enabled_tkhd(tkhd));
        if entry.quicktime {
            patch(&mut trak, &[b"mdia", b"minf", b"stbl", b"stsd"], &|_| self.iso_stsd(entry));
        }
        let udta = self.others().find(|other| other.kind == b"udta");
        Ok(HeaderPlan {
            ftyp: Some(m4a_ftyp(matches!(entry.codec, Codec::Aac(_) | Codec::Alac))),
            before_trak: self.shared.mvhd.iter().map(|mvhd| self.shortened_mvhd(mvhd)).collect(),
            trak,
            after_trak: m4a_udta(udta, tags).into_iter().collect(),
            tables: self.tables.clone(),
            audio_bytes: self.layout.audio_bytes,
        }
        .lay_out())
    }

    /// The boxes beside the tracks that keep their meaning when the other tracks are gone.
    ///
    /// FFmpeg applies iTunes' gapless note to the track before it: without the other tracks that would be
    /// this one, and its start would be cut.
    fn others(&self) -> impl Iterator<Item = &ChildBox> {
        self.shared
            .others
            .iter()
            .filter(|(traks_before, other)| {
                *traks_before == self.trak.number + 1 || !has_gapless_note(&other.raw)
            })
            .map(|(_, other)| other)
    }

    /// The decoder configuration of ALAC, directly in the entry or in QuickTime's `wave`.
    fn cookie_box(&self, entry: &SampleEntry) -> Option<Bytes> {
        let stsd = self.trak.find(&[b"mdia", b"minf", b"stbl", b"stsd"])?;
        let raw = child(&stsd.get(8..).map(|_| stsd.slice(8..))?, entry.format.0)?;
        let extensions =
            raw.body.get(entry.extensions_at..).map(|_| raw.body.slice(entry.extensions_at..))?;
        child(&extensions, *b"alac")
            .or_else(|| child(&extensions, *b"wave").and_then(|wave| child(&wave.body, *b"alac")))
            .map(|cookie| cookie.raw)
    }

    /// A QuickTime sound description as ISO players read it: version 0, the configuration right inside.
    fn iso_stsd(&self, entry: &SampleEntry) -> Option<Bytes> {
        let configuration = match entry.codec {
            Codec::Alac => self.cookie_box(entry)?,
            _ => entry.esds.as_ref()?.raw.clone(),
        };
        let mut body = Vec::with_capacity(28 + configuration.len());
        body.put_bytes(0, 6);
        body.put_u16(entry.data_reference_index);
        body.put_bytes(0, 8);
        body.put_u16(entry.channels.and_then(|channels| u16::try_from(channels).ok()).unwrap_or(2));
        body.put_u16(16);
        body.put_bytes(0, 4);
        // 16.16; rates that do not fit stand in the configuration.
        body.put_u16(entry.sample_rate.and_then(|rate| u16::try_from(rate).ok()).unwrap_or(0));
        body.put_u16(0);
        body.put_slice(&configuration);
        let mut stsd = vec![0, 0, 0, 0, 0, 0, 0, 1];
        stsd.put_slice(&make_box(entry.format.0, &body));
        Some(make_box(*b"stsd", &stsd))
    }

    /// The movie is as long as its only track now.
    fn shortened_mvhd(&self, mvhd: &ChildBox) -> Bytes {
        let Some(duration) = self.trak.tkhd().map(|tkhd| tkhd.duration) else { return mvhd.raw.clone() };
        let mut body = mvhd.body.to_vec();
        // Version; then two times, the timescale and the duration, of 4 or 8 bytes.
        let field = if body.first() == Some(&1) { body.get_mut(24..32) } else { body.get_mut(16..20) };
        match field {
            Some(field) if field.len() == 8 => field.copy_from_slice(&duration.to_be_bytes()),
            Some(field) => field.copy_from_slice(&u32::try_from(duration).unwrap_or(u32::MAX).to_be_bytes()),
            None => return mvhd.raw.clone(),
        }
        make_box(mvhd.kind.0, &body)
    }
}

/// Flags "enabled" and "in movie": a second track is often switched off, and would stay silent alone.
fn enabled_tkhd(tkhd: &ChildBox) -> Option<Bytes> {
    let mut body = tkhd.body.to_vec();
    *body.get_mut(3)? |= 3;
    Some(make_box(tkhd.kind.0, &body))
}

/// Replaces the raw box at that path, where `with` has something better.
fn patch(nodes: &mut [Node], path: &[&[u8; 4]], with: &dyn Fn(&ChildBox) -> Option<Bytes>) {
    let Some((first, rest)) = path.split_first() else { return };
    for node in nodes {
        match node {
            Node::Raw(raw) if raw.kind == *first && rest.is_empty() => {
                if let Some(better) = with(raw) {
                    raw.raw = better;
                }
            }
            Node::Container { kind, children } if kind == first => patch(children, rest, with),
            _ => {}
        }
    }
}

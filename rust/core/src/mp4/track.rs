//! One audio track as the index holds it, and what it tells people.

use bytes::Bytes;
use mp4_atom::{Atom, Elst, Mdhd, Tkhd};

use super::boxes::{ChildBox, Damaged, Fields, FourCc, child, children};
use super::sample_entry::{SampleEntry, parse_stsd};
use super::sample_tables::{SampleTables, Sizes};

/// The boxes of a `trak`, raw but for the sample tables.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// Header and body as they stand in the file.
    Raw(ChildBox),
    /// A container that holds, at some depth, a sample table.
    Container { kind: FourCc, children: Vec<Node> },
    /// Where a sample table stood.
    Table(Table),
}

/// The tables that are kept packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// `stsz`
    Sizes,
    /// `stsc`
    ToChunk,
    /// `stco` or `co64`
    Offsets,
}

/// A `trak` whose handler is `soun`.
#[derive(Debug)]
pub(crate) struct Trak {
    /// Position among all tracks of the movie, from 0.
    pub(crate) number: usize,
    /// The children of the `trak` box.
    pub(crate) nodes: Vec<Node>,
    pub(crate) tables: Result<SampleTables, Damaged>,
}

impl Trak {
    pub(crate) fn retained_bytes(&self) -> u64 {
        fn raw_bytes(nodes: &[Node]) -> u64 {
            nodes
                .iter()
                .map(|node| match node {
                    Node::Raw(raw) => raw.raw.len() as u64,
                    Node::Container { children, .. } => raw_bytes(children),
                    Node::Table(_) => 0,
                })
                .sum()
        }
        raw_bytes(&self.nodes) + self.tables.as_ref().map_or(0, SampleTables::retained_bytes)
    }

    /// The body of the first raw box at that path below `trak`.
    pub(crate) fn find(&self, path: &[&[u8; 4]]) -> Option<Bytes> {
        find(&self.nodes, path)
    }

    pub(crate) fn tkhd(&self) -> Option<Tkhd> {
        decode(&self.find(&[b"tkhd"])?)
    }

    pub(crate) fn mdhd(&self) -> Option<Mdhd> {
        decode(&self.find(&[b"mdia", b"mdhd"])?)
    }

    /// `None` without an edit list; an error where it is damaged.
    pub(crate) fn elst(&self) -> Option<Result<Elst, Damaged>> {
        let body = self.find(&[b"edts", b"elst"])?;
        Some(decode(&body).ok_or_else(|| Damaged::new("its edit list is damaged")))
    }

    /// Runs of `(sample count, duration)` of an `stts` box that is not cut off.
    pub(crate) fn stts(&self) -> Option<SttsRuns> {
        let body = self.find(&[b"mdia", b"minf", b"stbl", b"stts"])?;
        let mut fields = Fields::new(&body);
        fields.skip(4)?;
        let count = usize::try_from(fields.u32()?).ok()?;
        let runs = body.slice(8..);
        (runs.len() / 8 >= count).then(|| SttsRuns(runs.slice(..count * 8)))
    }

    pub(crate) fn sample_entries(&self) -> Result<Vec<SampleEntry>, Damaged> {
        let body = self.find(&[b"mdia", b"minf", b"stbl", b"stsd"]);
        parse_stsd(&body.ok_or_else(|| Damaged::new("it has no sample description (stsd)"))?)
    }

    pub(crate) fn sample_count(&self) -> u64 {
        self.tables.as_ref().map_or(0, |tables| tables.sizes.count())
    }

    /// Whether its media is, at least in part, in another file (`dref`, ISO/IEC 14496-12 §8.7.2).
    pub(crate) fn refers_to_other_files(&self, entries: &[SampleEntry]) -> bool {
        let Some(body) = self.find(&[b"mdia", b"minf", b"dinf", b"dref"]) else { return false };
        let references: Vec<_> = body
            .get(8..)
            .map_or_else(Vec::new, |_| children(&body.slice(8..)).map_while(Result::ok).collect());
        entries.iter().any(|entry| {
            let reference = usize::from(entry.data_reference_index)
                .checked_sub(1)
                .and_then(|index| references.get(index));
            // Without a reference FFmpeg reads from the file itself, as with flag 1.
            reference.is_some_and(|reference| reference.body.get(3).is_some_and(|flags| flags & 1 == 0))
        })
    }

    /// Whether iTunes' gapless note is inside the track: FFmpeg may then trim more than the edit list says.
    pub(crate) fn has_gapless_note(&self) -> bool {
        self.nodes.iter().any(|node| match node {
            Node::Raw(raw) => has_gapless_note(&raw.raw),
            _ => false,
        })
    }
}

/// See [`Trak::has_gapless_note`].
pub(crate) fn has_gapless_note(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| window == b"iTunSMPB")
}

/// See [`Trak::stts`].
#[derive(Debug, Clone)]
pub(crate) struct SttsRuns(Bytes);

impl SttsRuns {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.chunks_exact(8).filter_map(|run| {
            let mut fields = Fields::new(run);
            Some((fields.u32()?, fields.u32()?))
        })
    }

    /// All durations together.
    pub(crate) fn total(&self) -> Option<u64> {
        self.iter()
            .try_fold(0u64, |sum, (count, duration)| sum.checked_add(u64::from(count) * u64::from(duration)))
    }

    /// FFmpeg reads such tracks as uncompressed audio, in packets of its own choosing.
    pub(crate) fn counts_single_frames(&self) -> bool {
        self.iter().count() == 1 && self.iter().all(|(_, duration)| duration == 1)
    }
}

fn find(nodes: &[Node], path: &[&[u8; 4]]) -> Option<Bytes> {
    let (first, rest) = path.split_first()?;
    for node in nodes {
        match node {
            Node::Raw(raw) if raw.kind == *first => {
                return rest
                    .iter()
                    .try_fold(raw.body.clone(), |body, kind| child(&body, **kind).map(|found| found.body));
            }
            Node::Container { kind, children } if kind == first => return find(children, rest),
            _ => {}
        }
    }
    None
}

/// Decodes a small header box with a fixed layout.
pub(crate) fn decode<T: Atom>(body: &Bytes) -> Option<T> {
    T::decode_body(&mut body.as_ref()).ok()
}

/// What people want to know about one audio track.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackInfo {
    /// Position among the audio tracks, from 0.
    pub index: usize,
    /// The sample format as the file names it.
    pub format: FourCc,
    /// The usual name (`aac`, `mp3`, `opus`, `alac`, `flac`, `ac-3`, `eac-3`, `pcm` …), else the format.
    pub codec: String,
    /// ISO 639-2, when it says one.
    pub language: Option<String>,
    /// Units per second of the track's own times.
    pub timescale: Option<u32>,
    /// Samples per second after decoding, as far as the headers tell.
    pub sample_rate_hz: Option<u32>,
    /// Channels after decoding, as far as the headers tell.
    pub channels: Option<u32>,
    /// Length of the media, before edits.
    pub duration_seconds: Option<f64>,
    /// Coded samples (frames of the codec; single samples for PCM).
    pub sample_count: u64,
    /// Whether the samples are encrypted (`enca`, or Apple's `drms`).
    pub encrypted: bool,
    /// What the edit list says, when there is one.
    pub edit_list: Option<EditList>,
}

/// Which part of the media plays, and when (ISO/IEC 14496-12 §8.6.6).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EditList {
    /// Number of edits, empty ones included.
    pub entries: usize,
    /// Silence before the first edit with media.
    pub delay_seconds: f64,
    /// Where in the media the first edit starts, in units of the track's timescale.
    pub media_start: u64,
    /// How long the edits with media are together.
    pub duration_seconds: f64,
}

impl TrackInfo {
    pub(crate) fn of(trak: &Trak, index: usize, movie_timescale: u32) -> Self {
        let mdhd = trak.mdhd();
        let entries = trak.sample_entries().unwrap_or_default();
        let first = entries.first();
        let format = first.map_or(FourCc(*b"none"), |entry| entry.format);
        let named = first.and_then(|entry| entry.codec.name().map(str::to_owned));
        let timescale = mdhd.as_ref().map(|mdhd| mdhd.timescale).filter(|timescale| *timescale > 0);
        let from_tables = trak.stts().and_then(|runs| runs.total());
        let duration = from_tables
            .filter(|duration| *duration > 0)
            .or_else(|| mdhd.as_ref().map(|mdhd| mdhd.duration))
            // All ones: unknown.
            .filter(|duration| *duration > 0 && *duration < u64::from(u32::MAX));
        Self {
            index,
            format,
            codec: named.unwrap_or_else(|| {
                first.map_or(format, |entry| entry.original_format).to_string().trim().to_owned()
            }),
            language: trak.find(&[b"mdia", b"mdhd"]).and_then(|body| language(&body)),
            timescale,
            sample_rate_hz: first.and_then(|entry| entry.sample_rate),
            channels: first.and_then(|entry| entry.channels),
            duration_seconds: timescale
                .zip(duration)
                .map(|(timescale, duration)| seconds(duration, timescale)),
            sample_count: trak.sample_count(),
            encrypted: entries.iter().any(SampleEntry::is_encrypted),
            edit_list: trak.elst().and_then(Result::ok).map(|elst| {
                let mut edits = EditList {
                    entries: elst.entries.len(),
                    delay_seconds: 0.0,
                    media_start: 0,
                    duration_seconds: 0.0,
                };
                let mut started = false;
                for entry in &elst.entries {
                    let length = seconds(entry.segment_duration, movie_timescale);
                    match entry.media_time {
                        None if !started => edits.delay_seconds += length,
                        None => {}
                        Some(media_time) => {
                            if !started {
                                edits.media_start = media_time;
                            }
                            started = true;
                            edits.duration_seconds += length;
                        }
                    }
                }
                edits
            }),
        }
    }
}

/// A length in seconds.
#[expect(clippy::cast_precision_loss, reason = "for people and progress, not for arithmetic on samples")]
pub(crate) fn seconds(units: u64, timescale: u32) -> f64 {
    if timescale == 0 { 0.0 } else { units as f64 / f64::from(timescale) }
}

/// The language of an `mdhd` body: three letters of five bits. QuickTime's numbers are not translated.
fn language(mdhd: &[u8]) -> Option<String> {
    let mut fields = Fields::new(mdhd);
    let version = fields.u8()?;
    fields.skip(3 + if version == 1 { 8 + 8 + 4 + 8 } else { 4 + 4 + 4 + 4 })?;
    let packed = fields.u16()?;
    let letters: Option<String> = [10, 5, 0]
        .into_iter()
        .map(|shift| u8::try_from((packed >> shift) & 0x1f).ok())
        .map(|letter| {
            letter.filter(|letter| (1..=26).contains(letter)).map(|letter| char::from(letter + 0x60))
        })
        .collect();
    letters.filter(|letters| letters != "und")
}

/// The PCM sample size that FFmpeg computes from the description must be the one in `stsz`: otherwise the
/// tables do not say where the samples are (QuickTime wrote 1 for compressed and uncompressed audio alike).
pub(crate) fn check_single_frame_sizes(trak: &Trak, entries: &[SampleEntry]) -> Result<(), Damaged> {
    let Ok(tables) = &trak.tables else { return Ok(()) };
    if !trak.stts().is_some_and(|runs| runs.counts_single_frames()) {
        return Ok(());
    }
    let agreed = match &tables.sizes {
        Sizes::Constant { size, .. } => {
            entries.iter().all(|entry| entry.frame_bytes == Some(u64::from(*size)))
        }
        Sizes::Table(_) => false,
    };
    if agreed { Ok(()) } else { Err(Damaged::new("its sample table does not state the size of its samples")) }
}

//! Reads the index of an MP4 or QuickTime recording and plans an audio-only copy of it.
//!
//! Owns: finding the `moov` box by ranged reads, the sample tables of the audio tracks, the header of the
//! audio-only file, which bytes to fetch, and cutting the audio out of the fetched bytes. It neither fetches
//! media nor starts FFmpeg.
//!
//! ```text
//! index(reader) ─▶ Movie ─ audio_plan(track) ─▶ AudioPlan ─┬─ header()        ftyp + moov + mdat header
//!                                                          ├─ fetch_ranges()  what to ask the source for
//!                                                          └─ picker()        fetched chunks → audio bytes
//! ```
//!
//! The remux copies boxes raw and changes only `stco`/`co64`, so that FFmpeg decodes from it bit for bit what
//! it decodes from the original. Box and field names are those of ISO/IEC 14496-12 and of Apple's *QuickTime
//! File Format*.
//!
//! # Memory
//! A [`Movie`] holds `ftyp`, `mvhd`, `udta` and the audio tracks; their `stsz`, `stsc` and `stco`/`co64` are
//! delta-packed as they are read (about a third of their size on disk), everything else stays raw.
//! [`Movie::retained_bytes`] says how much that is. While the index is read one piece of at most
//! [`PIECE_BYTES`] comes on top; a video track's tables are skipped unread where they are large. An
//! [`AudioPlan`] and its iterators share the tables of the movie they came from.

mod boxes;
mod container;
mod expected;
mod index;
mod moov_reader;
mod movie;
mod picker;
mod plan;
mod ranges;
mod remux;
mod sample_entry;
mod sample_tables;
mod tags;
mod track;
mod trak_reader;

pub use boxes::FourCc;
pub use container::Container;
pub use index::{Indexed, RangeReader, index};
pub use movie::Movie;
pub use picker::Picker;
pub use plan::{AudioPlan, PlanRefusal};
pub use ranges::{FetchCost, FetchRanges, Spans};
pub use remux::HeaderPieces;
pub use tags::Tags;
pub use track::{EditList, TrackInfo};

/// How much of the start of a file is read to find out what it is.
pub const HEAD_BYTES: u64 = 64 * 1024;
/// The most that is read at once while the index is read.
pub const PIECE_BYTES: u64 = 4 * 1024 * 1024;
/// The largest `moov` box that is read, wherever it stands.
pub const MAX_MOOV_BYTES: u64 = 256 * 1024 * 1024;
/// How many top-level boxes are walked in search of `moov`.
pub const MAX_TOP_LEVEL_BOXES: usize = 64;

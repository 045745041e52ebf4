//! How many samples FFmpeg will decode from a planned track.
//!
//! What FFmpeg does (`libavformat/mov.c`, `mov_fix_index`; tried with 5.1, 7.0 and 9.0, see `tests/mp4_remux.rs`):
//! - Without an edit list everything is decoded.
//! - The first edit with media at `media_time` skips exactly that many samples, in whatever packets they are.
//! - Packets that start at or after the end of the edit are dropped.
//! - The packet the end falls into is decoded whole up to FFmpeg 7: an AAC edit of 144,000 samples after 1,024 of
//!   priming decodes to 142 · 1,024 − 1,024 = 144,384. FFmpeg 9 cuts it at the end of
//!   the edit, or of what the durations add up to without an edit; but not for Opus.
//! - An empty edit before the media shifts timestamps and adds no silence. (With one, FFmpeg 9 cuts elsewhere.)
//!
//! Where a step is not certain (several edits, spectral band replication, composition offsets, another
//! timescale than the sample rate …) there is no prediction rather than a wrong one.

use mp4_atom::Elst;

use super::sample_entry::{Aac, Codec, SampleEntry};
use super::track::Trak;

/// How many samples a packet decodes to.
#[derive(Clone, Copy)]
enum PacketSamples {
    /// Always so many, whatever duration the last packet claims.
    Fixed(u32),
    /// As many as its duration.
    Duration,
}

/// What one track decodes to, at the track's own rate, by how FFmpeg treats the end of an edit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected {
    /// FFmpeg up to 7.
    pub(crate) whole_packets: Option<u64>,
    /// FFmpeg from 9.
    pub(crate) cut_at_edit: Option<u64>,
}

/// Predicts from the tables alone.
pub(crate) fn expected_samples(
    trak: &Trak,
    entry: &SampleEntry,
    movie_timescale: u32,
    gapless_note: bool,
) -> Expected {
    predict(trak, entry, movie_timescale, gapless_note).unwrap_or_default()
}

fn predict(trak: &Trak, entry: &SampleEntry, movie_timescale: u32, gapless_note: bool) -> Option<Expected> {
    let rate = entry.sample_rate?;
    let timescale = trak.mdhd()?.timescale;
    if timescale != rate || trak.find(&[b"mdia", b"minf", b"stbl", b"ctts"]).is_some() {
        return None;
    }
    let packet = match entry.codec {
        // The note overrides the edit list for AAC.
        Codec::Aac(Aac { plain_1024: true }) if !gapless_note => PacketSamples::Fixed(1024),
        // MPEG-1 Layer III, and MPEG-2 at the lower rates.
        Codec::Mp3 => PacketSamples::Fixed(if rate >= 32_000 { 1152 } else { 576 }),
        Codec::Ac3 | Codec::Eac3 => PacketSamples::Fixed(1536),
        // All packets alike, as encoders write them; the last one claims what is to be played of it.
        Codec::Opus { .. } => PacketSamples::Fixed(trak.stts()?.iter().next()?.1),
        Codec::Alac | Codec::Flac | Codec::Pcm => PacketSamples::Duration,
        Codec::Aac(_) | Codec::Other(_) | Codec::Unknown => return None,
    };
    let edit = match trak.elst() {
        None => Edit { start: 0, len: None, delayed: false },
        Some(elst) => Edit::only_one(&elst.ok()?, timescale, movie_timescale)?,
    };
    let end = edit.len.map_or(Some(u64::MAX), |len| edit.start.checked_add(len))?;
    // Recorders that lose a moment, and joined files, stretch a packet here and there: AAC decodes to as much as ever.
    let stretchable = matches!(entry.codec, Codec::Aac(_));
    let Decoded { samples: decoded, stretched } = decoded_until(trak, packet, end, stretchable)?;
    let skipped = match entry.codec {
        // The demuxer's skip replaces the decoder's own; none from the demuxer leaves that in force.
        Codec::Opus { pre_skip } if edit.start == 0 => u64::from(pre_skip),
        _ => edit.start,
    };
    let whole_packets = decoded.checked_sub(skipped).filter(|samples| *samples > 0)?;
    let cut_at_edit = match edit.len {
        // Where the end of the edit then falls was not tried.
        _ if stretched => None,
        _ if matches!(entry.codec, Codec::Opus { .. }) => Some(whole_packets).filter(|_| !edit.delayed),
        None => Some(whole_packets.min(trak.stts()?.total()?)),
        Some(_) if edit.delayed => None,
        // Packets before the edit are dropped before they are decoded, and skipped once more.
        Some(_) if matches!(entry.codec, Codec::Flac | Codec::Alac) && edit.start > 0 => None,
        Some(len) => Some(whole_packets.min(len)),
    };
    Some(Expected { whole_packets: Some(whole_packets), cut_at_edit })
}

/// The only edit with media, in units of the track's timescale.
struct Edit {
    start: u64,
    /// `None`: to the end.
    len: Option<u64>,
    /// Empty edits come first.
    delayed: bool,
}

impl Edit {
    fn only_one(elst: &Elst, timescale: u32, movie_timescale: u32) -> Option<Self> {
        let mut edits = elst.entries.iter().skip_while(|edit| edit.media_time.is_none());
        let (edit, None) = (edits.next()?, edits.next()) else { return None };
        if edit.media_rate.integer() != 1 || edit.media_rate.decimal() != 0 || edit.segment_duration == 0 {
            return None;
        }
        Some(Self {
            start: edit.media_time?,
            len: Some(rescale(edit.segment_duration, timescale, movie_timescale)?),
            delayed: elst.entries.len() > 1,
        })
    }
}

/// `av_rescale`: to the nearest, halves away from zero.
fn rescale(value: u64, to: u32, from: u32) -> Option<u64> {
    if from == 0 {
        return None;
    }
    let from = u128::from(from);
    u64::try_from((u128::from(value) * u128::from(to) + from / 2) / from).ok()
}

/// What the packets before an end decode to.
struct Decoded {
    samples: u64,
    /// Not every packet lasts as long as what it decodes to.
    stretched: bool,
}

/// Samples decoded from all packets that start before `end`; none where a packet's duration is not what it decodes to,
/// unless it is `stretchable`.
fn decoded_until(trak: &Trak, packet: PacketSamples, end: u64, stretchable: bool) -> Option<Decoded> {
    let runs = trak.stts()?;
    let single_frames = runs.counts_single_frames();
    let total = trak.sample_count();
    let (mut time, mut decoded, mut seen, mut stretched) = (0u64, 0u64, 0u64, false);
    for (count, duration) in runs.iter() {
        let (count, duration) = (u64::from(count), u64::from(duration));
        if count == 0 || duration == 0 {
            return None;
        }
        if let PacketSamples::Fixed(samples) = packet {
            // Only the last packet may claim less.
            let last = seen + count == total && count == 1 && duration < u64::from(samples);
            if duration != u64::from(samples) && !last {
                if !stretchable {
                    return None;
                }
                stretched = true;
            }
        }
        let mut kept = if time >= end { 0 } else { count.min((end - time).div_ceil(duration)) };
        if single_frames && kept < count {
            if count - kept >= last_packet_of_single_frames(trak)? {
                return None;
            }
            kept = count;
        }
        decoded += kept
            * match packet {
                PacketSamples::Fixed(samples) => u64::from(samples),
                PacketSamples::Duration => duration,
            };
        time = time.checked_add(count * duration)?;
        seen += count;
    }
    (seen == total).then_some(Decoded { samples: decoded, stretched })
}

/// FFmpeg makes packets of up to 1,024 single frames of a chunk.
fn last_packet_of_single_frames(trak: &Trak) -> Option<u64> {
    const PACKET: u64 = 1024;
    let [_, samples_in_last_chunk, _] = trak.tables.as_ref().ok()?.to_chunk.rows().last()?;
    Some(samples_in_last_chunk.checked_sub(1)? % PACKET + 1)
}

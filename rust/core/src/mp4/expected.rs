//! How many samples FFmpeg will decode from a planned track.
//!
//! What FFmpeg does (`libavformat/mov.c`, `mov_fix_index`; tried with 5.1 and 9.0 in `tests/mp4_remux.rs`):
//! - Without an edit list everything is decoded.
//! - The first edit with media at `media_time` skips exactly that many samples, in whatever packets they are.
//! - Packets that start at or after the end of the edit are dropped; the packet the end falls into is decoded
//!   whole. So an AAC edit of 144,000 samples after 1,024 of priming decodes to 142 · 1,024 − 1,024 = 144,384.
//! - An empty edit before the media shifts timestamps and adds no silence.
//!
//! Where a step is not certain (several edits, spectral band replication, composition offsets, another
//! timescale than the sample rate …) there is no prediction rather than a wrong one.

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

/// Samples per channel at the track's own rate, when that can be known.
pub(crate) fn expected_samples(
    trak: &Trak,
    entry: &SampleEntry,
    movie_timescale: u32,
    gapless_note: bool,
) -> Option<u64> {
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
    let (start, end) = match trak.elst() {
        None => (0, u64::MAX),
        Some(elst) => {
            let elst = elst.ok()?;
            let mut edits = elst.entries.iter().skip_while(|edit| edit.media_time.is_none());
            let (edit, None) = (edits.next()?, edits.next()) else { return None };
            if edit.media_rate.integer() != 1 || edit.media_rate.decimal() != 0 || edit.segment_duration == 0
            {
                return None;
            }
            let start = edit.media_time?;
            (start, start.checked_add(rescale(edit.segment_duration, timescale, movie_timescale)?)?)
        }
    };
    let decoded = decoded_until(trak, packet, end)?;
    let skipped = match entry.codec {
        // The demuxer's skip replaces the decoder's own; none from the demuxer leaves that in force.
        Codec::Opus { pre_skip } if start == 0 => u64::from(pre_skip),
        _ => start,
    };
    decoded.checked_sub(skipped).filter(|samples| *samples > 0)
}

/// `av_rescale`: to the nearest, halves away from zero.
fn rescale(value: u64, to: u32, from: u32) -> Option<u64> {
    if from == 0 {
        return None;
    }
    let from = u128::from(from);
    u64::try_from((u128::from(value) * u128::from(to) + from / 2) / from).ok()
}

/// Samples decoded from all packets that start before `end`.
fn decoded_until(trak: &Trak, packet: PacketSamples, end: u64) -> Option<u64> {
    let runs = trak.stts()?;
    let single_frames = runs.counts_single_frames();
    let total = trak.sample_count();
    let (mut time, mut decoded, mut seen) = (0u64, 0u64, 0u64);
    for (count, duration) in runs.iter() {
        let (count, duration) = (u64::from(count), u64::from(duration));
        if count == 0 || duration == 0 {
            return None;
        }
        if let PacketSamples::Fixed(samples) = packet {
            // Only the last packet may claim less.
            let last = seen + count == total && count == 1 && duration < u64::from(samples);
            if duration != u64::from(samples) && !last {
                return None;
            }
        }
        let kept = if time >= end { 0 } else { count.min((end - time).div_ceil(duration)) };
        if single_frames && kept < count {
            // FFmpeg makes packets of up to 1,024 such samples, and keeps the last one whole.
            return None;
        }
        decoded += kept
            * match packet {
                PacketSamples::Fixed(samples) => u64::from(samples),
                PacketSamples::Duration => duration,
            };
        time = time.checked_add(count * duration)?;
        seen += count;
    }
    (seen == total).then_some(decoded)
}

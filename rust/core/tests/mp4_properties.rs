//! Laws of the audio plan, over tables that no muxer writes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failed test panics"
)]

mod mp4_support;

use audio_extract_core::mp4::{FetchCost, Indexed, Movie, index};
use bytes::Bytes;
use mp4_support::run;
use mp4_support::synthetic::{AudioTrack, SparseFile, boxed, ftyp, mvhd, words};
use proptest::prelude::*;

/// A recording: the gap before each chunk and its sample sizes.
#[derive(Debug, Clone)]
struct Recording {
    chunks: Vec<(u64, Vec<u32>)>,
    wide_offsets: bool,
    index_first: bool,
    known_size: bool,
    tail: u64,
}

prop_compose! {
    fn recording()(
        chunks in prop::collection::vec(
            (prop_oneof![Just(0u64), 1..3000u64], prop::collection::vec(prop_oneof![Just(0u32), 1..600u32, 30_000..70_000u32], 1..6)),
            1..40,
        ),
        same_size in prop::option::of(1..300u32),
        wide_offsets: bool,
        index_first: bool,
        known_size: bool,
        tail in 0..2000u64,
    ) -> Recording {
        let mut chunks = chunks;
        if let Some(size) = same_size {
            chunks.iter_mut().flat_map(|(_, sizes)| sizes).for_each(|any| *any = size);
        }
        Recording { chunks, wide_offsets, index_first, known_size, tail }
    }
}

impl Recording {
    /// The file, and the runs of audio in it.
    fn file(&self) -> (SparseFile, Vec<(u64, u64)>) {
        let place = |start: u64| {
            let mut at = start;
            let mut placed = Vec::new();
            for (gap, sizes) in &self.chunks {
                at += gap;
                placed.push((at, sizes.clone()));
                at += sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
            }
            (placed, at + self.tail)
        };
        let moov = |chunks| {
            let track = AudioTrack { wide_offsets: self.wide_offsets, ..AudioTrack::new(chunks) };
            boxed(b"moov", &[&mvhd(), &track.trak()])
        };
        let index_len = moov(place(0).0).len() as u64;
        let media_start = 24 + 8 + if self.index_first { index_len } else { 0 };
        let (chunks, media_end) = place(media_start);
        let moov = moov(chunks.clone());
        let mdat = [&words([(media_end - media_start + 8) as u32])[..], b"mdat"].concat();
        let (parts, size) = if self.index_first {
            (vec![(0, [ftyp(), moov, mdat].concat().into())], media_end)
        } else {
            let size = media_end + moov.len() as u64;
            (vec![(0, [ftyp(), mdat].concat().into()), (media_end, moov.into())], size)
        };
        let mut file = SparseFile::new(parts, size);
        file.known_size = self.known_size;
        let runs = chunks.iter().map(|(at, sizes)| (*at, sizes.iter().map(|size| u64::from(*size)).sum()));
        (file, runs.filter(|(_, len)| *len > 0).collect())
    }
}

fn movie(file: &SparseFile) -> Movie {
    match run(index(file)).unwrap() {
        Indexed::Movie(movie) => movie,
        other @ Indexed::Other { .. } => panic!("{other:?}"),
    }
}

fn concatenated(file: &SparseFile, runs: &[(u64, u64)]) -> Vec<u8> {
    runs.iter().flat_map(|(at, len)| file.bytes(*at, *len)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_audio_byte_is_fetched_and_picked_exactly_once(
        recording in recording(),
        gap in prop_oneof![Just(0u64), 1..4000u64, Just(u64::MAX)],
        max in prop_oneof![1..50u64, 100..5000u64, 50_000..500_000u64, Just(u64::MAX)],
        chunk_len in prop_oneof![1..100usize, 1000..100_000usize],
    ) {
        let (file, runs) = recording.file();
        let audio = concatenated(&file, &runs);
        if audio.is_empty() {
            return Ok(());
        }
        let plan = movie(&file).audio_plan(0).unwrap();
        prop_assert_eq!(plan.audio_bytes(), audio.len() as u64);

        let ranges: Vec<_> = plan.fetch_ranges(gap, max).collect();
        let cost = FetchCost { ranges: ranges.len() as u64, bytes: ranges.iter().map(|(_, len)| len).sum() };
        prop_assert_eq!(plan.fetch_cost(gap, max), cost);
        for (offset, len) in &ranges {
            prop_assert!(*len > 0 && *len <= max && offset + len <= file.size);
        }
        for pair in ranges.windows(2) {
            prop_assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
        }
        // No gap wider than allowed is fetched, none narrower is skipped.
        let wide_gaps: u64 = runs.windows(2)
            .map(|pair| pair[1].0 - pair[0].0 - pair[0].1)
            .filter(|between| *between > gap)
            .sum();
        let span = runs[runs.len() - 1].0 + runs[runs.len() - 1].1 - runs[0].0;
        prop_assert_eq!(cost.bytes, span - wide_gaps);

        let mut picker = plan.picker();
        let (mut out, mut picked) = (Vec::new(), Vec::new());
        for (offset, len) in ranges {
            let fetched = file.bytes(offset, len);
            let mut at = 0;
            while at < fetched.len() {
                let piece = fetched.slice(at..fetched.len().min(at + chunk_len));
                picker.push(offset + at as u64, &piece, &mut out).unwrap();
                at += piece.len();
            }
            out.drain(..).for_each(|piece: Bytes| picked.push(piece));
        }
        picked.extend(picker.finish().unwrap());
        prop_assert!(picked.iter().all(|piece| !piece.is_empty()));
        prop_assert_eq!(picked.concat(), audio);
    }

    #[test]
    fn the_audio_only_file_is_an_index_of_the_same_samples(recording in recording()) {
        let (file, runs) = recording.file();
        let audio = concatenated(&file, &runs);
        if audio.is_empty() {
            return Ok(());
        }
        let plan = movie(&file).audio_plan(0).unwrap();
        let mut out: Vec<u8> = plan.header().flatten().collect();
        prop_assert_eq!(out.len() as u64, plan.header_len());
        out.extend_from_slice(&audio);
        prop_assert_eq!(out.len() as u64, plan.output_len());

        let copy = SparseFile::of(out);
        let movie_of_copy = movie(&copy);
        prop_assert!(movie_of_copy.index_precedes_media());
        let again = movie_of_copy.audio_plan(0).unwrap();
        prop_assert_eq!(again.spans().collect::<Vec<_>>(), vec![(plan.header_len(), audio.len() as u64)]);
        prop_assert_eq!(again.header().flatten().collect::<Vec<u8>>(), plan.header().flatten().collect::<Vec<u8>>());
        let (before, after) = (movie(&file), movie(&copy));
        prop_assert_eq!(&before.tracks()[0], &after.tracks()[0]);
    }

    #[test]
    fn a_picker_that_misses_audio_says_so(recording in recording(), lost in any::<prop::sample::Index>()) {
        let (file, runs) = recording.file();
        if runs.is_empty() {
            return Ok(());
        }
        let plan = movie(&file).audio_plan(0).unwrap();
        let mut ranges: Vec<_> = plan.fetch_ranges(0, 1000).collect();
        ranges.remove(lost.index(ranges.len()));
        let mut picker = plan.picker();
        let mut out = Vec::new();
        let complete = ranges
            .into_iter()
            .try_for_each(|(offset, len)| picker.push(offset, &file.bytes(offset, len), &mut out))
            .and_then(|()| picker.finish());
        prop_assert!(complete.is_err());
    }
}

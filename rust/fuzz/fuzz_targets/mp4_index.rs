//! Any bytes as a recording: the index, the plan of each track, its header and its ranges, and the picker.
//!
//! `make fuzz` runs it, with limits that make wild allocations and endless work failures.

#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use audio_extract_core::error::Result;
use audio_extract_core::mp4::{AudioPlan, HeaderPieces, Indexed, RangeReader, Tags, index};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

struct Recording {
    bytes: Bytes,
    size_is_known: bool,
}

impl Recording {
    fn at(&self, offset: u64, len: u64) -> Bytes {
        let size = self.bytes.len() as u64;
        let start = offset.min(size);
        let end = offset.saturating_add(len).min(size);
        self.bytes.slice(start as usize..end as usize)
    }
}

impl RangeReader for Recording {
    async fn read_range(&self, offset: u64, len: u64) -> Result<Bytes> {
        assert!(len > 0);
        Ok(self.at(offset, len))
    }

    fn size(&self) -> Option<u64> {
        self.size_is_known.then_some(self.bytes.len() as u64)
    }
}

/// Nothing here waits for anything.
fn finish<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the reader never waits"),
    }
}

fn check_header(header: HeaderPieces) {
    let promised = header.byte_len();
    assert_eq!(header.map(|piece| piece.len() as u64).sum::<u64>(), promised);
}

/// The picker gives exactly the spans, whatever the ranges.
fn check_picking(recording: &Recording, plan: &AudioPlan, gap: u64, max: u64) {
    let expected: Vec<u8> = plan.spans().flat_map(|(offset, len)| recording.at(offset, len)).collect();
    assert_eq!(expected.len() as u64, plan.audio_bytes());
    let mut picker = plan.picker();
    let (mut out, mut picked) = (Vec::new(), Vec::new());
    for (offset, len) in plan.fetch_ranges(gap, max) {
        picker.push(offset, &recording.at(offset, len), &mut out).expect("ranges cover the audio");
        out.drain(..).for_each(|piece| picked.extend_from_slice(&piece));
    }
    picked.extend(picker.finish().expect("ranges cover the audio").into_iter().flatten());
    assert_eq!(picked, expected);
}

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    let recording = Recording { bytes: Bytes::copy_from_slice(bytes), size_is_known: first & 1 == 0 };
    let Ok(Indexed::Movie(movie)) = finish(index(&recording)) else { return };
    let _ = (movie.title(), movie.retained_bytes(), movie.duration_seconds());
    for track in movie.tracks() {
        let Ok(plan) = movie.audio_plan(track.index) else { continue };
        check_header(plan.header());
        if let Ok(header) = plan.m4a_header(&Tags { title: Some("title"), date: None, source: Some("source") }) {
            check_header(header);
        }
        let _ = plan.expected_samples(None);
        let (gap, max) = (u64::from(first >> 4) * 100, u64::from(first >> 1) * 50 + 16);
        let cost = plan.fetch_cost(gap, max);
        // Without a known size the tables may speak of more than there is.
        if recording.size_is_known {
            assert!(cost.bytes <= recording.bytes.len() as u64);
            check_picking(&recording, &plan, gap, max);
        }
    }
});

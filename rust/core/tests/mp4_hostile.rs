//! Damaged and hostile indexes: no panic, no allocation that a few bytes could order, no endless work. And the
//! index of ten hours: how much memory, how many reads.
//!
//! One test at a time, because the allocator counts for the whole process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failed test panics"
)]
#![allow(unsafe_code, reason = "an allocator that counts can only be written so")]

mod mp4_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use audio_extract_core::mp4::{Indexed, Movie, Tags, index};
use bytes::Bytes;
use mp4_support::synthetic::{AudioTrack, SparseFile, boxed, ftyp, mvhd, trak, words};
use mp4_support::{FileReader, Folder, read, run};
use proptest::prelude::*;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

// SAFETY: everything is passed on to the system's allocator; only sizes are added up beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that was allocated beyond what there was before, and how long it took.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize, Duration) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let start = Instant::now();
    let result = work();
    (result, PEAK.load(Ordering::Relaxed).saturating_sub(before), start.elapsed())
}

/// Does everything that can be done with an index, as far as that is a bounded amount.
fn exercise(movie: &Movie) {
    for track in movie.tracks() {
        let Ok(plan) = movie.audio_plan(track.index) else { continue };
        let _ = plan.fetch_cost(0, 4 << 20);
        let _ = plan.fetch_ranges(100, 1 << 20).take(10_000).count();
        assert_eq!(plan.header().map(|piece| piece.len() as u64).sum::<u64>(), plan.header_len());
        let tags = Tags { title: Some("t"), date: Some("d"), source: Some("s") };
        if let Ok(header) = plan.m4a_header(&tags) {
            let promised = header.byte_len();
            assert_eq!(header.map(|piece| piece.len() as u64).sum::<u64>(), promised);
        }
        let _ = (plan.expected_samples(None), plan.cannot_copy_reason());
    }
}

fn look_into(file: &SparseFile) {
    if let Ok(Indexed::Movie(movie)) = run(index(file)) {
        exercise(&movie);
    }
}

/// A real recording of each kind, made once.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Folder::new();
    let rows: [(&str, &[&str]); 3] = [
        ("a.mp4", &["-c:a", "aac", "-movflags", "+faststart"]),
        ("b.mov", &["-c:a", "pcm_s16le", "-metadata", "title=x"]),
        ("c.mp4", &["-c:a", "libopus", "-strict", "-2"]),
    ];
    rows.iter().map(|(name, arguments)| read(&folder.recording(name, arguments))).collect()
}

/// Where the index is, so that damage hits it and not the media.
fn moov_range(file: &[u8]) -> std::ops::Range<usize> {
    let at = file.windows(4).rposition(|kind| kind == b"moov").unwrap() - 4;
    at..at + u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize
}

#[test]
fn damaged_indexes_neither_panic_nor_allocate_wildly() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seeds = seeds();
    let mutation = (
        any::<prop::sample::Index>(),
        prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            Just(vec![0xff; 4]),
            Just(vec![0; 4]),
            Just(vec![0x7f, 0xff, 0xff, 0xff]),
            Just(b"trak".to_vec()),
            Just(b"stbl".to_vec()),
            Just(b"co64".to_vec()),
        ],
    );
    let strategy = (
        0..seeds.len(),
        prop::collection::vec(mutation, 1..12),
        prop::option::of(any::<prop::sample::Index>()),
        any::<bool>(),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&strategy, |(seed, mutations, cut, known_size)| {
            let mut bytes = seeds[seed].clone();
            let range = moov_range(&bytes);
            for (at, new) in mutations {
                let at = range.start + at.index(range.len() - new.len());
                bytes[at..at + new.len()].copy_from_slice(&new);
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let limit = 2 * bytes.len() + (6 << 20);
            let mut file = SparseFile::of(bytes);
            file.known_size = known_size;
            let ((), peak, time) = measured(|| look_into(&file));
            prop_assert!(peak < limit, "{peak} bytes for a file of {}", file.size);
            prop_assert!(time < Duration::from_secs(2), "{time:?}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn garbage_behind_a_plausible_start_is_survived() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let kinds = prop::sample::select(vec![
        *b"moov", *b"trak", *b"mdia", *b"minf", *b"stbl", *b"stsz", *b"stsc", *b"stco", *b"hdlr", *b"stsd",
        *b"udta", *b"meta", *b"ilst", *b"edts", *b"elst", *b"mdat", *b"mvhd", *b"mdhd",
    ]);
    let piece = (kinds, 0..200u32, prop::collection::vec(any::<u8>(), 0..60));
    runner
        .run(&prop::collection::vec(piece, 0..60), |pieces| {
            let mut bytes = [ftyp(), words([100_000]), b"moov".to_vec()].concat();
            for (kind, len, body) in pieces {
                bytes.extend(words([len]));
                bytes.extend(kind);
                bytes.extend(body);
            }
            bytes.resize(100_100, 0);
            let ((), peak, _) = measured(|| look_into(&SparseFile::of(bytes)));
            prop_assert!(peak < 2 << 20, "{peak}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn lengths_that_lie_order_no_memory_and_few_reads() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A table of 60 million sizes in a file that ends at once, its size unknown.
    let mut moov = boxed(b"moov", &[&mvhd(), &AudioTrack::new(vec![(40, vec![5, 6])]).trak()]);
    let len = 250u32 << 20;
    for kind in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz"] {
        let at = moov.windows(4).position(|found| found == kind).unwrap();
        moov[at - 4..at].copy_from_slice(&(len - 20 * at as u32 / 20).to_be_bytes());
    }
    let stsz = moov.windows(4).position(|kind| kind == b"stsz").unwrap();
    moov[stsz + 12..stsz + 16].copy_from_slice(&60_000_000u32.to_be_bytes());
    let bytes = [ftyp(), moov].concat();
    let mut file = SparseFile::of(bytes);
    file.known_size = false;
    let (result, peak, _) = measured(|| run(index(&file)));
    assert!(result.is_err());
    assert!(peak < 1 << 20, "{peak}");

    // Empty tracks, each far from the other.
    let far = boxed(b"trak", &[&boxed(b"tkhd", &[]), &vec![0; 100_000]]);
    let moov = boxed(b"moov", &[&mvhd(), &vec![far; 250].concat()]);
    let file = SparseFile::of([ftyp(), moov].concat());
    let (_, peak, _) = measured(|| run(index(&file)).unwrap());
    assert!(peak < 30 << 20, "{peak}");
    assert!(file.reads.lock().unwrap().len() <= 251);
}

/// The `moov` of ten hours of 720p and 48 kHz AAC, interleaved picture by picture, 4 GB, as FFmpeg writes it.
fn ten_hours(media_start: u64) -> (Vec<u8>, u64, u64) {
    let pictures = 10 * 3600 * 30u64;
    let mut chunks = Vec::with_capacity(pictures as usize);
    let (mut at, mut samples, mut audio_bytes, mut random) = (media_start, 0u64, 0u64, 1u64);
    for picture in 0..pictures {
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 33
        };
        at += 1500 + next() % 3400;
        let due = (picture + 1) * 48_000 / 30 / 1024;
        let sizes: Vec<u32> = (samples..due).map(|_| (300 + next() % 90) as u32).collect();
        samples = due;
        let len = sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
        if len > 0 {
            chunks.push((at, sizes));
            at += len;
            audio_bytes += len;
        }
    }
    // stsz, ctts, stco, stss … of the pictures.
    let tables = boxed(b"stbl", &[&boxed(b"stsz", &[&vec![1; 25 * pictures as usize]])]);
    let picture = trak(b"vide", &boxed(b"minf", &[&tables]));
    let sound = AudioTrack { wide_offsets: true, ..AudioTrack::new(chunks) }.trak();
    (boxed(b"moov", &[&mvhd(), &picture, &sound]), at, audio_bytes)
}

#[test]
fn ten_hours_take_few_reads_and_little_memory() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (moov, media_end, audio_bytes) = ten_hours(40);
    let moov_len = moov.len();
    let mdat = [&words([1])[..], b"mdat", &(media_end - 24).to_be_bytes()].concat();
    let size = media_end + moov_len as u64;
    let file =
        SparseFile::new(vec![(0, [ftyp(), mdat].concat().into()), (media_end, Bytes::from(moov))], size);

    let (movie, index_peak, index_time) = measured(|| match run(index(&file)).unwrap() {
        Indexed::Movie(movie) => movie,
        other @ Indexed::Other { .. } => panic!("{other:?}"),
    });
    let reads = file.reads.lock().unwrap().clone();
    let read_bytes: u64 = reads.iter().map(|(_, len)| len).sum();
    let retained = movie.retained_bytes() as usize;
    let (plan, plan_peak, plan_time) = measured(|| movie.audio_plan(0).unwrap());
    let (header_len, header_peak, header_time) =
        measured(|| plan.header().map(|piece| piece.len() as u64).sum::<u64>());
    let (cost, cost_peak, cost_time) = measured(|| plan.fetch_cost(64 * 1024, 4 << 20));
    println!(
        "moov {moov_len}, {} reads of {read_bytes} bytes; retained {retained}, peak {index_peak}, {index_time:?}; \
         plan {plan_peak}, {plan_time:?}; header {header_len} bytes, {header_peak}, {header_time:?}; \
         cost {cost:?}, {cost_peak}, {cost_time:?}",
        reads.len()
    );
    assert_eq!(plan.audio_bytes(), audio_bytes);
    assert_eq!(header_len, plan.header_len());
    let tables = header_len as usize;
    assert!(reads.len() <= 10, "{reads:?}");
    assert!(read_bytes as usize <= tables * 3 / 2 + (1 << 20), "the pictures' tables were read");
    assert!(retained * 5 < tables * 2, "{retained} of {tables}");
    // What is kept and one piece.
    assert!(index_peak <= retained + (4 << 20) + (512 << 10), "{index_peak}");
    assert!(plan_peak < 1 << 20 && header_peak < 1 << 20 && cost_peak < 1 << 20);
}

#[test]
fn small_runs_leave_the_picker_as_large_pieces() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let chunks: Vec<_> = (0..20_000u64).map(|number| (40 + number * 3000, vec![300])).collect();
    let moov = boxed(b"moov", &[&mvhd(), &AudioTrack::new(chunks).trak()]);
    let size = 100 << 20;
    let mdat = [words([(size - 24 - moov.len()) as u32]), b"mdat".to_vec()].concat();
    let parts = vec![(0, [ftyp(), mdat].concat().into()), ((size - moov.len()) as u64, moov.into())];
    let file = SparseFile::new(parts, size as u64);
    let Indexed::Movie(movie) = run(index(&file)).unwrap() else { panic!("no movie") };
    let plan = movie.audio_plan(0).unwrap();
    let fetched: Vec<_> =
        plan.fetch_ranges(u64::MAX, 4 << 20).map(|(at, len)| (at, file.bytes(at, len))).collect();
    let ((pieces, bytes), peak, time) = measured(|| {
        let mut picker = plan.picker();
        let mut out = Vec::new();
        let (mut pieces, mut bytes) = (0, 0);
        for (at, chunk) in &fetched {
            picker.push(*at, chunk, &mut out).unwrap();
            for piece in out.drain(..) {
                assert!(piece.len() >= 64 * 1024);
                pieces += 1;
                bytes += piece.len();
            }
        }
        (pieces, bytes + picker.finish().unwrap().map_or(0, |rest| rest.len()))
    });
    println!("{bytes} bytes of audio out of {} in {pieces} pieces: {peak} bytes, {time:?}", 20_000 * 3000);
    assert_eq!(bytes, 6_000_000);
    assert!(pieces < 100 && peak < 1 << 20);
}

#[test]
fn a_real_index_is_small() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = Folder::new();
    let recording = folder.recording("a.mp4", &["-c:a", "aac"]);
    let reader = FileReader::open(&recording);
    let (indexed, peak, _) = measured(|| run(index(&reader)).unwrap());
    let Indexed::Movie(movie) = indexed else { panic!("no movie") };
    assert!(movie.retained_bytes() < 16_000, "{}", movie.retained_bytes());
    assert!(peak < 512 * 1024, "{peak}");
}

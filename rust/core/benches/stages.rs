//! What each stage of a transfer costs by itself: bytes per second on made-up data.
//!
//! `cargo bench -p audio-extract-core` measures time (criterion). With `--once NAME` the stage runs once and nothing is
//! measured: for a counter of instructions, which a busy machine does not disturb (`make bench-instructions`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a failed bench panics")]

#[path = "../tests/mp4_support/synthetic.rs"]
#[allow(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::trivially_copy_pass_by_ref,
    reason = "the tests'"
)]
mod synthetic;

use std::hint::black_box;
use std::path::PathBuf;

use audio_extract_core::bench;
use audio_extract_core::mp4::{AudioPlan, Indexed, index};
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use synthetic::{AudioTrack, SparseFile, boxed, ftyp, mvhd};

/// Audio after every picture, as FFmpeg interleaves: at 25 pictures a second and 400 MB an hour.
const PICTURE_BYTES: u64 = 3_800;
const SAMPLE_BYTES: u32 = 341;
const PICTURES: u64 = 8_000;
const MP3_FRAMES: usize = 60_000;
const FILE_BYTES: usize = 32 << 20;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A recording of some 35 MB and the plan of its only track.
fn recording() -> (AudioPlan, Bytes) {
    let chunk = PICTURE_BYTES + 2 * u64::from(SAMPLE_BYTES);
    let samples = vec![SAMPLE_BYTES, SAMPLE_BYTES];
    let media = ftyp().len() as u64 + 8;
    let starts = (0..PICTURES).map(|number| media + number * chunk + PICTURE_BYTES);
    let track = AudioTrack::new(starts.map(|start| (start, samples.clone())).collect());
    let body = vec![7; usize::try_from(PICTURES * chunk).unwrap()];
    let moov = boxed(b"moov", &[&mvhd(), &track.trak()]);
    let whole = Bytes::from([ftyp(), boxed(b"mdat", &[&body]), moov].concat());
    let file = SparseFile::of(whole.to_vec());
    let Indexed::Movie(movie) = runtime().block_on(index(&file)).unwrap() else { unreachable!() };
    (movie.audio_plan(0).unwrap(), whole)
}

/// Frames of MPEG-1 layer III, 48 kHz, 128 kbit/s, joint stereo.
fn encoded() -> Vec<u8> {
    let mut frame = [0; 384];
    frame[..4].copy_from_slice(&[0xff, 0xfb, 0x94, 0x64]);
    frame.repeat(MP3_FRAMES)
}

/// A minute of decoded stereo, as loud as speech now and then: syllables of noise, and pauses.
fn decoded() -> Vec<u8> {
    let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x03\0\x02\0".to_vec();
    wav.extend_from_slice(&48_000u32.to_le_bytes());
    wav.extend_from_slice(&(48_000u32 * 8).to_le_bytes());
    wav.extend_from_slice(b"\x08\0\x20\0data\xff\xff\xff\xff");
    let mut random = 1u32;
    for frame in 0..60 * 48_000u32 {
        let syllable = [0.02f32, 0.3, 0.1, 0.5, 0.05, 0.2, 0.0, 0.4][(frame / 9_600 % 8) as usize];
        for _ in 0..2 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let [low, high, ..] = random.to_le_bytes();
            let noise = f32::from(i16::from_le_bytes([low, high])) / 32768.0;
            wav.extend_from_slice(&(syllable * noise).to_le_bytes());
        }
    }
    wav
}

/// A file that goes away again.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("audio-extract-bench-{}", std::process::id()));
        std::fs::write(&path, vec![7; FILE_BYTES]).unwrap();
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A stage on its data: name, bytes that go in, one run.
type Stage = (&'static str, usize, Box<dyn FnMut()>);

fn stages() -> Vec<Stage> {
    let (plan, whole) = recording();
    let (mp3, sound) = (encoded(), decoded());
    let (file, threads) = (TemporaryFile::new(), runtime());
    let (for_md5, for_crc) = (whole.clone(), whole.clone());
    vec![
        ("remux", whole.len(), Box::new(move || _ = black_box(bench::remux(&plan, &whole).unwrap()))),
        ("join_mp3", mp3.len(), Box::new(move || _ = black_box(bench::join_mp3(&mp3).unwrap()))),
        ("md5", for_md5.len(), Box::new(move || _ = black_box(bench::md5(&for_md5)))),
        ("crc32c", for_crc.len(), Box::new(move || _ = black_box(bench::crc32c(&for_crc)))),
        ("measure", sound.len(), Box::new(move || _ = black_box(bench::measure(&sound).unwrap()))),
        (
            "reorder",
            FILE_BYTES,
            Box::new(move || {
                let read = threads.block_on(bench::reorder(&file.0, 1 << 20)).unwrap();
                assert_eq!(read, FILE_BYTES as u64);
            }),
        ),
    ]
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let Some(at) = words.iter().position(|word| word == "--once") {
        let (_, _, mut run) = stages().into_iter().find(|(name, ..)| *name == words[at + 1]).unwrap();
        return run();
    }
    let mut criterion = Criterion::default().configure_from_args();
    for (name, bytes, mut run) in stages() {
        let mut group = criterion.benchmark_group("stages");
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |bencher| bencher.iter(&mut run));
        group.finish();
    }
    criterion.final_summary();
}

//! Chunks join to exactly the whole: real encoders' files, cut, decoded by FFmpeg, compared sample by sample.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may fail where it stands"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use audio_extract_core::chunks::{ChunkFileReport, ChunkFileRequest, chunk_file};
use audio_extract_core::error::ErrorCode;
use audio_extract_core::transfer::Hooks;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Speech-like: passages between pauses of 0.7 s, some of which are noise at -50 dB.
const TALK: &str = "aevalsrc='0.5*sin(2*PI*(180+60*sin(t))*t)*gt(mod(t,5),0.7)+0.003*(random(0)-0.5)*lt(mod(t,11),4)\
    |0.4*sin(2*PI*(250+20*sin(t/2))*t)*gt(mod(t,5),0.7)+0.003*(random(1)-0.5)':s=44100:d=24";

fn ffmpeg() -> String {
    std::env::var("AUDIO_EXTRACT_TEST_FFMPEG").unwrap_or_else(|_| "ffmpeg".to_owned())
}

fn run(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(ffmpeg()).args(["-v", "error", "-y"]).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    output.stdout
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chunks-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The sound, made once.
fn sound() -> &'static str {
    static SOUND: OnceLock<String> = OnceLock::new();
    SOUND.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chunks.wav").to_str().unwrap().to_owned();
        run(&["-f", "lavfi", "-i", TALK, &path]);
        path
    })
}

fn made(folder: &Path, name: &str, arguments: &[&str]) -> String {
    let path = folder.join(name).to_str().unwrap().to_owned();
    run(&[&["-i", sound()], arguments, &[path.as_str()]].concat());
    path
}

async fn cut(path: &str, folder: &Path, chunks: Value) -> Result<ChunkFileReport, ErrorCode> {
    let request: ChunkFileRequest = serde_json::from_value(json!({
        "path": path, "name": "talk", "directory": folder.join("out"), "overwrite": true, "chunks": chunks,
        "ffmpeg": {"path": ffmpeg()},
    }))
    .unwrap();
    let report = chunk_file(request, Hooks::default()).await.map_err(|error| error.code)?;
    for chunk in &report.chunks {
        let path = folder.join("out").join(&chunk.file);
        let (crc, size) = audio_extract_core::crc32c_of(&path).unwrap();
        assert_eq!(
            (size, audio_extract_core::checksum::encode_crc32c(crc)),
            (chunk.bytes, chunk.crc32c.clone())
        );
    }
    Ok(report)
}

/// Samples as FFmpeg decodes them, all channels, as 32-bit floats; lossless formats come out as they went in.
fn decoded(path: &Path) -> Vec<u8> {
    run(&["-i", path.to_str().unwrap(), "-f", "f32le", "-"])
}

/// Every chunk by itself, one after the other.
fn joined(folder: &Path, report: &ChunkFileReport, channels: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for chunk in &report.chunks {
        let pcm = decoded(&folder.join("out").join(&chunk.file));
        assert_eq!(pcm.len() as u64, chunk.samples * 4 * channels as u64, "{chunk:?}");
        all.extend_from_slice(&pcm);
    }
    all
}

#[tokio::test]
async fn chunks_of_every_kind_of_file_decode_to_the_samples_of_the_whole() {
    let folder = folder("kinds");
    let mut cases: Vec<(&str, &str, Vec<&str>)> = vec![
        ("ours.mp3", "cbr", vec!["-c:a", "libmp3lame", "-b:a", "128k", "-reservoir", "0"]),
        ("mono.mp3", "cbr", vec!["-c:a", "libmp3lame", "-b:a", "64k", "-ac", "1", "-reservoir", "0"]),
        ("reservoir.mp3", "cbr", vec!["-c:a", "libmp3lame", "-b:a", "128k"]),
        (
            "joint.mp3",
            "cbr",
            vec!["-c:a", "libmp3lame", "-b:a", "192k", "-ar", "48000", "-joint_stereo", "1"],
        ),
        ("low.mp3", "cbr", vec!["-c:a", "libmp3lame", "-b:a", "32k", "-ac", "1", "-ar", "22050"]),
        (
            "tiny.mp3",
            "cbr",
            vec!["-c:a", "libmp3lame", "-b:a", "24k", "-ac", "1", "-ar", "11025", "-reservoir", "0"],
        ),
        ("vbr.mp3", "vbr", vec!["-c:a", "libmp3lame", "-q:a", "4"]),
        (
            "bare.mp3",
            "bare",
            vec!["-c:a", "libmp3lame", "-b:a", "96k", "-write_xing", "0", "-id3v2_version", "0"],
        ),
        ("old.mp3", "id3v1", vec!["-c:a", "libmp3lame", "-write_id3v1", "1", "-metadata", "title=x"]),
        ("plain.flac", "lossless", vec!["-c:a", "flac"]),
        ("deep.flac", "lossless", vec!["-c:a", "flac", "-sample_fmt", "s32", "-ar", "16000", "-ac", "1"]),
        ("plain.wav", "lossless", vec!["-c:a", "pcm_s16le"]),
        ("deep.wav", "lossless", vec!["-c:a", "pcm_s24le", "-ac", "1"]),
        ("float.wav", "lossless", vec!["-c:a", "pcm_f32le"]),
    ];
    cases.push(("surround.flac", "lossless", vec!["-c:a", "flac", "-ac", "6"]));
    for (name, kind, arguments) in cases {
        let path = made(&folder, name, &arguments);
        let whole = decoded(Path::new(&path));
        let channels = match name {
            "mono.mp3" | "low.mp3" | "tiny.mp3" | "deep.flac" | "deep.wav" => 1,
            "surround.flac" => 6,
            _ => 2,
        };
        let mut specs = vec![json!({"duration_seconds": 9.37})];
        if ["ours.mp3", "vbr.mp3", "deep.flac", "plain.wav"].contains(&name) {
            specs.push(json!({"duration_seconds": 8, "silence": {}}));
            specs.push(json!({"most_bytes": 300_000}));
        }
        if name == "ours.mp3" {
            specs.push(json!({"duration_seconds": 2}));
        }
        for spec in specs {
            let report = cut(&path, &folder, spec.clone())
                .await
                .unwrap_or_else(|code| panic!("{name} {spec}: {code:?}"));
            assert!(report.chunks.len() > 1 || !spec["most_bytes"].is_null(), "{name} {spec}");
            let pcm = joined(&folder, &report, channels);
            assert_eq!(pcm.len(), whole.len(), "{name} ({kind}) {spec}: another number of samples");
            assert!(pcm == whole, "{name} ({kind}) {spec}: other samples");
            let mut at = 0.0;
            for chunk in &report.chunks {
                assert!((chunk.start - at).abs() < 1e-9 && chunk.end > chunk.start, "{name}: {chunk:?}");
                at = chunk.end;
                assert!(spec["most_bytes"].is_null() || chunk.bytes < 300_000, "{name}: {chunk:?}");
                if let Some(most) = spec["duration_seconds"].as_f64() {
                    let slack = if spec["silence"].is_null() { 0.0 } else { most / 4.0 };
                    assert!(chunk.end - chunk.start <= most + slack, "{name}: {chunk:?}");
                }
            }
            let seconds = whole.len() as f64 / 4.0 / channels as f64 / f64::from(report.sample_rate_hz);
            assert!(
                (at - seconds).abs() < 1e-6 && (report.duration - seconds).abs() < 1e-6,
                "{name}: {at} {seconds}"
            );
        }
    }
}

#[tokio::test]
async fn frames_of_a_few_bytes_at_the_end_are_frames_too() {
    let folder = folder("tiny");
    let path = folder.join("quiet.flac").to_str().unwrap().to_owned();
    run(&["-f", "lavfi", "-i", "anullsrc=r=32000:cl=mono:d=6", "-c:a", "flac", &path]);
    let report = cut(&path, &folder, json!({"duration_seconds": 1})).await.unwrap();
    assert!((report.duration - 6.0).abs() < 1e-9);
    assert!(joined(&folder, &report, 1) == decoded(Path::new(&path)));
}

/// The stretches that FFmpeg calls silence.
fn silences(path: &str, threshold: f64, least: f64) -> Vec<(f64, f64)> {
    let output = Command::new(ffmpeg())
        .args(["-i", path, "-af", &format!("silencedetect=n={threshold}dB:d={least}"), "-f", "null", "-"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let after = |name: &str| -> Vec<f64> {
        said.split(name)
            .skip(1)
            .map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap())
            .collect()
    };
    after("silence_start: ").into_iter().zip(after("silence_end: ")).collect()
}

#[tokio::test]
async fn silent_cuts_lie_where_ffmpeg_finds_silence() {
    let folder = folder("silence");
    let path = made(&folder, "talk.mp3", &["-c:a", "libmp3lame", "-b:a", "128k"]);
    let quiet = silences(&path, -40.0, 0.4);
    assert!(quiet.len() > 3);
    let report = cut(
        &path,
        &folder,
        json!({"duration_seconds": 9, "silence": {"threshold_db": -40, "least_seconds": 0.4}}),
    )
    .await
    .unwrap();
    let cuts: Vec<_> = report.chunks[..report.chunks.len() - 1].iter().collect();
    assert!(cuts.len() >= 2);
    for chunk in cuts {
        assert!(chunk.silence_cut, "{chunk:?}");
        assert!(
            quiet.iter().any(|(from, to)| from - 1e-3 <= chunk.end && chunk.end <= to + 1e-3),
            "{chunk:?} {quiet:?}"
        );
    }
    // FFmpeg's own measure of the same file.
    let sound = report.sound.unwrap();
    assert!((sound.seconds - 24.0).abs() < 0.1);
    let total: f64 = quiet.iter().map(|(from, to)| to - from).sum();
    assert!((sound.silence.total_seconds - total).abs() < 0.2, "{:?} {total}", sound.silence);
    // Nothing is that quiet: the cuts are where they would be without.
    let report = cut(
        &path,
        &folder,
        json!({"duration_seconds": 9, "silence": {"threshold_db": -90, "least_seconds": 2}}),
    )
    .await
    .unwrap();
    assert!(report.chunks.iter().all(|chunk| !chunk.silence_cut));
    assert!((report.chunks[0].end - 9.0).abs() < 0.06);
}

#[tokio::test]
async fn chunks_overlap_by_what_was_asked() {
    let folder = folder("overlap");
    for (name, arguments) in [
        ("talk.mp3", ["-c:a", "libmp3lame"]),
        ("talk.flac", ["-c:a", "flac"]),
        ("talk.wav", ["-c:a", "pcm_s16le"]),
    ] {
        let path = made(&folder, name, &arguments);
        let whole = decoded(Path::new(&path));
        let report =
            cut(&path, &folder, json!({"duration_seconds": 10, "overlap_seconds": 2})).await.unwrap();
        for pair in report.chunks.windows(2) {
            let overlap = pair[0].end - pair[1].start;
            assert!((2.0..2.2).contains(&overlap), "{name}: {pair:?}");
        }
        for chunk in &report.chunks {
            assert!(chunk.end - chunk.start <= 10.0);
            let from = (chunk.start * 44_100.0).round() as usize * 8;
            let pcm = decoded(&folder.join("out").join(&chunk.file));
            assert!(pcm == whole[from..from + pcm.len()], "{name}: {chunk:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_cut_is_refused_and_leaves_nothing() {
    let folder = folder("refused");
    std::fs::write(folder.join("empty.mp3"), b"").unwrap();
    std::fs::write(folder.join("text.mp3"), "no sound ".repeat(1000)).unwrap();
    std::fs::write(folder.join("tag.mp3"), b"ID3\x04\0\0\0\0\0\x05abcde").unwrap();
    let good = std::fs::read(made(&folder, "good.mp3", &["-c:a", "libmp3lame", "-reservoir", "0"])).unwrap();
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 3000].fill(0x55);
    std::fs::write(folder.join("damaged.mp3"), damaged).unwrap();
    let aac = made(&folder, "talk.m4a", &["-c:a", "aac"]);
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    for (path, code) in [
        (path("empty.mp3"), ErrorCode::MediaUnreadable),
        (path("text.mp3"), ErrorCode::MediaCannotCopy),
        (path("tag.mp3"), ErrorCode::MediaUnreadable),
        (path("damaged.mp3"), ErrorCode::MediaCannotCopy),
        (aac, ErrorCode::MediaCannotCopy),
        (path("missing.mp3"), ErrorCode::SourceNotFound),
    ] {
        assert_eq!(cut(&path, &folder, json!({"duration_seconds": 5})).await.unwrap_err(), code, "{path}");
        let left = std::fs::read_dir(folder.join("out")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{path}");
    }
    // A file that ends within a frame has the frames before it.
    std::fs::write(folder.join("short.mp3"), &good[..good.len() - 100]).unwrap();
    let report = cut(&path("short.mp3"), &folder, json!({"duration_seconds": 5})).await.unwrap();
    assert!(report.duration > 23.0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5) })]

    #[test]
    fn any_cut_of_any_sound_joins_to_the_whole(
        seconds in 3u32..30,
        duration in 2.0f64..20.0,
        size in proptest::option::of(262_144u64..600_000),
        silence in any::<bool>(),
        seed in 0u32..1000,
        (name, encoder) in prop_oneof![
            Just(("any.mp3", "-c:a libmp3lame -b:a 128k -reservoir 0")), Just(("any.mp3", "-c:a libmp3lame -q:a 6")),
            Just(("any.mp3", "-c:a libmp3lame -b:a 160k -ar 24000")), Just(("any.flac", "-c:a flac")),
            Just(("any.wav", "-c:a pcm_s16le")),
        ],
    ) {
        let folder = folder("any");
        let path = folder.join(name).to_str().unwrap().to_owned();
        let source = format!(
            "aevalsrc='sin(2*PI*(100+{seed})*t)*gt(mod(t,{}.3),1)+0.2*(random({seed})-0.5)*lt(mod(t,7),3)':s=32000:d={seconds}",
            1 + seed % 5
        );
        let mut arguments = vec!["-f", "lavfi", "-i", &source];
        arguments.extend(encoder.split(' '));
        arguments.push(&path);
        run(&arguments);
        let mut spec = json!({"duration_seconds": duration, "most_bytes": size});
        if silence {
            spec["silence"] = json!({"least_seconds": 0.2});
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let report = runtime.block_on(cut(&path, &folder, spec)).unwrap();
        let whole = decoded(Path::new(&path));
        prop_assert!(joined(&folder, &report, 1) == whole);
    }
}

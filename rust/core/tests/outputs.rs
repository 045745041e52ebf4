//! Several outputs, chunks and measures of one decoding: each is what it would be by itself.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail where it stands"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use audio_extract_core::error::{ErrorCode, Result};
use audio_extract_core::request::{TransferReport, TransferRequest};
use audio_extract_core::transfer::{Hooks, transfer};
use serde_json::{Value, json};

const TALK: &str = "aevalsrc='0.5*sin(2*PI*(180+60*sin(t))*t)*gt(mod(t,5),0.7)+0.003*(random(0)-0.5)\
    |0.4*sin(2*PI*(250+20*sin(t/2))*t)*gt(mod(t,5),0.7)+0.002*(random(1)-0.5)':s=48000:d=62";

fn ffmpeg() -> String {
    std::env::var("AUDIO_EXTRACT_TEST_FFMPEG").unwrap_or_else(|_| "ffmpeg".to_owned())
}

fn run(arguments: &[&str]) -> (Vec<u8>, String) {
    let output =
        Command::new(ffmpeg()).args(["-hide_banner", "-nostats", "-y"]).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    (output.stdout, said)
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("outputs-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn recording(folder: &Path) -> String {
    let path = folder.join("meeting.mov").to_str().unwrap().to_owned();
    run(&["-f", "lavfi", "-i", TALK, "-c:a", "aac", "-b:a", "128k", &path]);
    path
}

async fn carry(source: &str, request: Value) -> Result<TransferReport> {
    let mut all =
        json!({"source": {"kind": "file", "path": source}, "ffmpeg": {"path": ffmpeg(), "encoders": 2}});
    all.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    let request: TransferRequest = serde_json::from_value(all).unwrap();
    transfer(request, Hooks::default()).await
}

fn file(folder: &Path, name: &str) -> Value {
    json!({"kind": "file", "path": folder.join(name), "overwrite": true})
}

fn samples(path: &Path) -> Vec<u8> {
    run(&["-v", "error", "-i", path.to_str().unwrap(), "-f", "f32le", "-"]).0
}

fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

#[tokio::test]
async fn outputs_beside_each_other_are_what_each_is_alone_and_the_recording_is_read_once() {
    let folder = folder("several");
    let source = recording(&folder);
    let mp3 = json!({"codec": "mp3", "sample_rate_hz": 44_100, "channels": 1, "tags": {"title": "Talk"}});
    let outputs = [
        ("speech.flac", json!({"codec": "flac", "sample_rate_hz": 16_000, "channels": 1})),
        (
            "small.opus",
            json!({"codec": "opus", "sample_rate_hz": 16_000, "channels": 1, "bitrate_bps": 24_000}),
        ),
        (
            "other.mp3",
            json!({"codec": "mp3", "bitrate_bps": 64_000, "sample_rate_hz": 22_050, "channels": 1}),
        ),
        ("archive.m4a", json!({"codec": "copy"})),
    ];
    let alone = carry(&source, json!({"sink": file(&folder, "alone.mp3"), "audio": mp3})).await.unwrap();
    let beside: Vec<Value> =
        outputs.iter().map(|(name, audio)| json!({"sink": file(&folder, name), "audio": audio})).collect();
    let report = carry(
        &source,
        json!({"sink": file(&folder, "main.mp3"), "audio": mp3, "outputs": beside, "measure": {}}),
    )
    .await
    .unwrap();
    assert_eq!(report.fetched_bytes, alone.fetched_bytes);
    assert!(bytes(&folder, "main.mp3") == bytes(&folder, "alone.mp3"));
    assert_eq!(report.outputs.len(), 4);
    for ((name, audio), stored) in outputs.iter().zip(&report.outputs) {
        let (crc, size) = audio_extract_core::crc32c_of(&folder.join(name)).unwrap();
        assert_eq!(
            (stored.stored.size_bytes, &stored.stored.crc32c),
            (size, &audio_extract_core::checksum::encode_crc32c(crc))
        );
        if *name != "archive.m4a" {
            let by_itself = format!("alone-{name}");
            carry(&source, json!({"sink": file(&folder, &by_itself), "audio": audio})).await.unwrap();
            // An Ogg stream has a number that is drawn.
            let same = if name.ends_with("opus") {
                samples(&folder.join(name)) == samples(&folder.join(&by_itself))
            } else {
                bytes(&folder, name) == bytes(&folder, &by_itself)
            };
            assert!(same, "{name} is another file than it is alone");
        }
    }
    let frames =
        |path: &Path| run(&["-v", "error", "-i", path.to_str().unwrap(), "-c", "copy", "-f", "adts", "-"]).0;
    assert!(frames(&folder.join("archive.m4a")) == frames(Path::new(&source)));
    let sound = report.sound.unwrap();
    assert_eq!((sound.sample_rate_hz, sound.channels), (44_100, 1));
    assert!((sound.seconds - 62.0).abs() < 0.1);
}

#[tokio::test]
async fn chunks_of_a_transfer_join_to_its_output() {
    let folder = folder("chunks");
    let source = recording(&folder);
    for (name, audio, encoders) in [
        ("one.mp3", json!({"codec": "mp3", "sample_rate_hz": 44_100, "channels": 1}), 1),
        ("two.mp3", json!({"codec": "mp3", "sample_rate_hz": 44_100, "channels": 1}), 2),
        (
            "half.mp3",
            json!({"codec": "mp3", "sample_rate_hz": 22_050, "channels": 1, "bitrate_bps": 64_000}),
            2,
        ),
        ("deep.flac", json!({"codec": "flac"}), 1),
        ("plain.wav", json!({"codec": "wav", "sample_rate_hz": 16_000, "channels": 1}), 1),
    ] {
        for rule in [
            json!({"duration_seconds": 17}),
            json!({"duration_seconds": 20, "silence": {}}),
            json!({"most_bytes": 400_000, "silence": {}}),
        ] {
            // One cut of each kind for the others: the whole table for the encoders that take turns.
            if name != "two.mp3" && rule["silence"].is_null() {
                continue;
            }
            let chunks = folder.join(format!("{name}-chunks"));
            let _ = std::fs::remove_dir_all(&chunks);
            let report = carry(
                &source,
                json!({
                    "sink": file(&folder, name), "audio": audio, "measure": {"least_seconds": 0.3},
                    "chunks": {"rule": rule, "sink": {"kind": "file", "path": chunks}},
                    "ffmpeg": {"path": ffmpeg(), "encoders": encoders},
                }),
            )
            .await
            .unwrap();
            let cut = report.chunks.unwrap();
            let mut joined = Vec::new();
            for chunk in &cut {
                joined.extend(samples(&chunks.join(&chunk.file)));
            }
            let whole = samples(&folder.join(name));
            assert_eq!(joined.len(), whole.len(), "{name} {rule}");
            assert!(joined == whole, "{name} {rule}: other samples");
            let last = cut.last().unwrap();
            assert!((last.end - report.audio_seconds.unwrap()).abs() < 0.1, "{last:?}");
            let silent = cut.iter().filter(|chunk| chunk.silence_cut).count();
            // In a lossless file 400 kB are two seconds, and a pause comes every five.
            let few = !rule["most_bytes"].is_null() && !name.ends_with("mp3");
            let wanted = if rule["silence"].is_null() { 0 } else { cut.len() - 1 };
            assert!(silent == wanted || (few && silent > 2), "{name} {rule}: {silent} of {wanted}");
            assert!(rule["most_bytes"].is_null() || cut.iter().all(|chunk| chunk.bytes < 400_000));
        }
    }
}

#[tokio::test]
async fn what_fails_leaves_neither_outputs_nor_chunks() {
    let folder = folder("fails");
    let source = folder.join("broken.mov").to_str().unwrap().to_owned();
    let whole = std::fs::read(recording(&folder)).unwrap();
    std::fs::write(&source, &whole[..whole.len() / 2]).unwrap();
    let taken = folder.join("taken.flac");
    std::fs::write(&taken, "somebody else's").unwrap();
    let request = json!({
        "sink": {"kind": "file", "path": folder.join("main.mp3")}, "audio": {"codec": "mp3"},
        "outputs": [{"sink": {"kind": "file", "path": folder.join("speech.flac")}, "audio": {"codec": "flac"}}],
        "chunks": {"rule": {"duration_seconds": 1}, "sink": {"kind": "file", "path": folder.join("main")}},
    });
    assert!(carry(&source, request.clone()).await.is_err());
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|one| one.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["broken.mov", "meeting.mov", "taken.flac"]);
    // A name that is taken is found before anything is read.
    let mut other = request;
    other["outputs"][0]["sink"]["path"] = json!(taken);
    let whole = folder.join("meeting.mov").to_str().unwrap().to_owned();
    assert_eq!(carry(&whole, other).await.unwrap_err().code, ErrorCode::SinkExists);
    assert_eq!(names(), ["broken.mov", "meeting.mov", "taken.flac"]);
    assert_eq!(std::fs::read(&taken).unwrap(), b"somebody else's");
}

/// Levels of a tone, and the integrated loudness or the range that it has.
type Signal<'a> = (&'a [(f64, f64)], Option<f64>, Option<f64>);

/// A stereo tone at some levels in turn: (dBFS, seconds).
fn tone(folder: &Path, levels: &[(f64, f64)]) -> String {
    let path = folder.join("tone.wav").to_str().unwrap().to_owned();
    let mut at = 0.0;
    let mut level = Vec::new();
    for (decibels, seconds) in levels {
        level.push(format!("{}*between(t,{at},{})", 10f64.powf(decibels / 20.0), at + seconds - 1e-6));
        at += seconds;
    }
    let level = level.join("+");
    let sine = format!("({level})*sin(2*PI*1000*t)");
    let source = format!("aevalsrc='{sine}|{sine}':s=48000:d={at}");
    run(&["-f", "lavfi", "-i", &source, "-c:a", "pcm_f32le", &path]);
    path
}

async fn measured(path: &str) -> audio_extract_core::Loudness {
    let request = json!({"sink": {"kind": "nothing"}, "audio": {"codec": "wav"}, "measure": {}});
    carry(path, request).await.unwrap().sound.unwrap().loudness
}

/// What FFmpeg's filter says: integrated, range, peak.
fn reference(path: &str) -> [f64; 3] {
    let (_, said) = run(&["-i", path, "-af", "ebur128=peak=true", "-f", "null", "-"]);
    let summary = said.rsplit_once("Summary:").unwrap().1;
    ["I:", "LRA:", "Peak:"]
        .map(|name| summary.split_once(name).unwrap().1.split_whitespace().next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn loudness_is_what_ebus_test_signals_say_and_ffmpeg_finds() {
    let folder = folder("loudness");
    // EBU Tech 3341, cases 1, 4 and 5, and Tech 3342, cases 1, 3 and 4.
    let cases: [Signal<'_>; 6] = [
        (&[(-23.0, 20.0)], Some(-23.0), None),
        (&[(-72.0, 10.0), (-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0), (-72.0, 10.0)], Some(-23.0), None),
        (&[(-26.0, 20.0), (-20.0, 20.1), (-26.0, 20.0)], Some(-23.0), None),
        (&[(-20.0, 20.0), (-30.0, 20.0)], None, Some(10.0)),
        (&[(-40.0, 20.0), (-20.0, 20.0)], None, Some(20.0)),
        (&[(-50.0, 20.0), (-35.0, 20.0), (-20.0, 20.0), (-35.0, 20.0), (-50.0, 20.0)], None, Some(15.0)),
    ];
    for (levels, integrated, range) in cases {
        let path = tone(&folder, levels);
        let ours = measured(&path).await;
        let [i, lra, peak] = reference(&path);
        let (our_i, our_range) = (ours.integrated_lufs.unwrap(), ours.range_lu.unwrap());
        assert!((our_i - i).abs() <= 0.1, "{levels:?}: {our_i} LUFS, FFmpeg {i}");
        assert!((our_range - lra).abs() <= 0.1, "{levels:?}: {our_range} LU, FFmpeg {lra}");
        assert!((ours.true_peak_dbtp.unwrap() - peak).abs() <= 0.2, "{levels:?}: {ours:?}, FFmpeg {peak}");
        assert!(integrated.is_none_or(|wanted| (our_i - wanted).abs() <= 0.1), "{levels:?}: {our_i}");
        assert!(range.is_none_or(|wanted| (our_range - wanted).abs() <= 1.0), "{levels:?}: {our_range}");
    }
    // Between the samples: Tech 3341, case 17, a tone at a quarter of the rate, 45 degrees off.
    let path = folder.join("peak.wav").to_str().unwrap().to_owned();
    let source = "aevalsrc='0.5*sin(2*PI*12000*t+PI/4)|0.5*sin(2*PI*12000*t+PI/4)':s=48000:d=2";
    run(&["-f", "lavfi", "-i", source, "-c:a", "pcm_f32le", &path]);
    let peak = measured(&path).await.true_peak_dbtp.unwrap();
    assert!((-6.4..=-5.8).contains(&peak), "{peak} dBTP");
    // Silence has no loudness.
    run(&["-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono:d=5", &path]);
    let nothing = measured(&path).await;
    assert_eq!((nothing.integrated_lufs, nothing.range_lu, nothing.true_peak_dbtp), (None, None, None));
}

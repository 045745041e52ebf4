//! Several encoders write the bytes of one, and when they cannot, one writes them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail where it stands"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use audio_extract_core::error::ErrorCode;
use audio_extract_core::request::{TransferReport, TransferRequest};
use audio_extract_core::transfer::{Hooks, transfer};
use serde_json::{Value, json};

/// Loud passages that end suddenly, quiet ones, digital silence, noise.
const HARD: &str = "aevalsrc='0.9*sin(2*PI*(220+90*sin(t/3))*t)*lt(mod(t,23),9)\
    +0.002*sin(2*PI*997*t)*gt(mod(t,31),7)+0.4*(random(0)-0.5)*lt(mod(t,47),5)\
    |0.7*sin(2*PI*330*t)*lt(mod(t,29),6)+0.1*(random(1)-0.5)*gt(mod(t,13),11)':s=48000:d=200";

fn ffmpeg() -> String {
    std::env::var("AUDIO_EXTRACT_TEST_FFMPEG").unwrap_or_else(|_| "ffmpeg".to_owned())
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("segments-{name}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The sound, made once.
fn sound() -> &'static str {
    static SOUND: OnceLock<String> = OnceLock::new();
    SOUND.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("segments.wav").to_str().unwrap().to_owned();
        run(&ffmpeg(), &["-v", "error", "-y", "-f", "lavfi", "-i", HARD, &path]);
        path
    })
}

fn recording(folder: &Folder, encoder: &[&str]) -> String {
    let path = folder.path("meeting.mov");
    let mut arguments = vec!["-v", "error", "-y", "-i", sound()];
    arguments.extend_from_slice(encoder);
    arguments.push(&path);
    run(&ffmpeg(), &arguments);
    path
}

fn request(source: &str, target: &str, audio: &Value, encoders: u32) -> TransferRequest {
    serde_json::from_value(json!({
        "source": {"kind": "file", "path": source},
        "sink": {"kind": "file", "path": target, "overwrite": true},
        "audio": audio,
        "ffmpeg": {"path": ffmpeg(), "encoders": encoders},
    }))
    .unwrap()
}

/// How many encoders worked in each pass.
fn encoders(report: &TransferReport) -> Vec<u64> {
    let stages: Value = serde_json::to_value(&report.stages).unwrap();
    let extract = |stage: &&Value| stage["name"] == "extract";
    let of = |stage: &Value| stage["attributes"]["encoders"].as_u64().unwrap();
    stages.as_array().unwrap().iter().filter(extract).map(of).collect()
}

/// How many parts of a name there are; each lies within its stage.
fn parts(report: &TransferReport, name: &str) -> usize {
    let (whole, _) = name.rsplit_once('.').unwrap();
    let parts: Vec<_> = report.stages.iter().filter(|stage| stage.name == name).collect();
    for part in &parts {
        let within = report.stages.iter().any(|stage| {
            stage.name == whole
                && stage.start_unix_nanos <= part.start_unix_nanos
                && part.end_unix_nanos <= stage.end_unix_nanos
        });
        assert!(within, "{name} lies outside its stage");
    }
    parts.len()
}

/// What one FFmpeg makes of the original file, told in its own words.
fn alone(source: &str, arguments: &[&str]) -> Vec<u8> {
    let mut all = vec!["-v", "error", "-i", source, "-map", "0:a:0", "-c:a", "libmp3lame"];
    all.extend_from_slice(arguments);
    all.extend(["-reservoir", "0", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3", "pipe:1"]);
    run(&ffmpeg(), &all)
}

/// A recording, what is asked for, and the same in FFmpeg's words.
type Case<'a> = (&'a [&'a str], Value, &'a [&'a str]);

async fn all_write_the_same(name: &str, level: u32, cases: &[Case<'_>]) {
    let folder = Folder::new(name);
    for (count, (encoder, audio, arguments)) in [2, 3, 4].into_iter().cycle().zip(cases) {
        let source = recording(&folder, encoder);
        let level_text = level.to_string();
        let expected = alone(
            &source,
            &[arguments, ["-b:a", "128k", "-compression_level", &level_text].as_slice()].concat(),
        );
        let target = folder.path("audio.mp3");
        let mut audio = audio.clone();
        audio["codec"] = json!("mp3");
        audio["compression_level"] = json!(level);
        let mut request = request(&source, &target, &audio, count);
        // PCM that waits for its turn takes room.
        request.memory_limit_bytes = 256 * 1024 * 1024;
        let report = transfer(request, Hooks::default()).await.unwrap();
        let seen = encoders(&report);
        assert!(seen.len() == 1 && seen[0] > 1, "{encoder:?} {audio}: {seen:?} encoders");
        let written = std::fs::read(&target).unwrap();
        assert!(written.ends_with(&expected), "{encoder:?} {audio} with {count} encoders");
        assert!(written.len() - expected.len() < 500, "{encoder:?} {audio}: more than a head in front");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_encoders_write_the_frames_of_one_ffmpeg() {
    let aac: &[&str] = &["-c:a", "aac", "-b:a", "128k"];
    let mono = json!({"sample_rate_hz": 44_100, "channels": 1});
    let cases: &[Case<'_>] = &[(aac, json!({}), &[]), (aac, mono, &["-ar", "44100", "-ac", "1"])];
    all_write_the_same("standard", 5, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_encoders_write_the_frames_of_one_ffmpeg_at_other_rates() {
    let aac: &[&str] = &["-c:a", "aac"];
    all_write_the_same(
        "rates",
        7,
        &[
            (aac, json!({"sample_rate_hz": 32_000, "channels": 2}), &["-ar", "32000", "-ac", "2"]),
            (aac, json!({"sample_rate_hz": 24_000}), &["-ar", "24000"]),
            (&["-c:a", "aac", "-ac", "1", "-ar", "44100"], json!({"channels": 2}), &["-ac", "2"]),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_encoders_write_the_frames_of_one_ffmpeg_from_rates_that_mp3_does_not_know() {
    all_write_the_same(
        "unknown-rates",
        9,
        &[
            (&["-c:a", "pcm_s16le", "-ar", "96000"], json!({}), &[]),
            (&["-c:a", "pcm_s24le", "-ar", "37800"], json!({"channels": 1}), &["-ac", "1"]),
            (&["-c:a", "pcm_s16le", "-ar", "44100"], json!({}), &[]),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_says_its_length_and_plays_what_was_there() {
    let folder = Folder::new("length");
    let source = recording(&folder, &["-c:a", "aac"]);
    let target = folder.path("audio.mp3");
    let audio = json!({"codec": "mp3", "quality": "fast"});
    let report = transfer(request(&source, &target, &audio, 3), Hooks::default()).await.unwrap();
    assert_eq!(encoders(&report), [3]);
    assert_eq!(parts(&report, "extract.decode"), 3);
    assert!(parts(&report, "extract.encode") >= 3, "one for each segment");
    let decoded = |path: &str| {
        run(&ffmpeg(), &["-v", "error", "-i", path, "-map", "0:a:0", "-f", "s16le", "pipe:1"]).len() / 4
    };
    assert_eq!(decoded(&target), decoded(&source));
    let seconds = report.audio_seconds.unwrap();
    assert!((seconds - 200.0).abs() < 0.03, "{seconds}");
}

/// A program in front of FFmpeg that does `what` when it encodes the segments of the second of several.
fn meddling(folder: &Folder, what: &str) -> String {
    let path = folder.path("ffmpeg");
    let script = format!(
        "#!/bin/sh\nfor word; do case \"$word\" in *aselect=*) filters=\"$word\" ;; esac; done\n\
         shift_of=${{filters#*mod(n+}} shift_of=${{shift_of%%,*}}\n\
         period=${{filters#*mod(n+$shift_of,}} period=${{period%%)*}}\n\
         if [ -n \"$filters\" ] && [ \"$shift_of\" -lt \"$period\" ]; then {what}; fi\n\
         exec {} \"$@\"\n",
        ffmpeg()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn encoders_that_disagree_are_replaced_by_one() {
    let folder = Folder::new("disagree");
    let source = recording(&folder, &["-c:a", "aac"]);
    let audio = json!({"codec": "mp3"});
    let alone = folder.path("alone.mp3");
    transfer(request(&source, &alone, &audio, 1), Hooks::default()).await.unwrap();
    let ffmpeg = ffmpeg();
    for what in [
        // Other bytes of the same length.
        format!(
            "for word; do shift; [ \"$last\" = -compression_level ] && word=7; set -- \"$@\" \"$word\"; \
             last=$word; done; exec {ffmpeg} \"$@\""
        ),
        // An end that is none.
        format!("{ffmpeg} \"$@\" | head -c 300000; exit 0"),
        "cat >/dev/null; exit 0".to_owned(),
    ] {
        let target = folder.path("audio.mp3");
        let mut request = request(&source, &target, &audio, 2);
        request.ffmpeg.path = meddling(&folder, &what);
        let report = transfer(request, Hooks::default()).await.unwrap();
        assert_eq!(encoders(&report), [2, 1], "{what}");
        assert!(std::fs::read(&target).unwrap() == std::fs::read(&alone).unwrap(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_that_dies_fails_the_transfer_and_leaves_nothing() {
    let folder = Folder::new("dies");
    let source = recording(&folder, &["-c:a", "aac"]);
    let target = folder.path("audio.mp3");
    let audio = json!({"codec": "mp3"});
    for (what, code) in [
        ("kill -9 $$", ErrorCode::FfmpegKilled),
        ("head -c 100000 >/dev/null; kill -9 $$", ErrorCode::FfmpegKilled),
        ("echo '[fatal] broken' >&2; exit 3", ErrorCode::MediaUnreadable),
    ] {
        let mut request = request(&source, &target, &audio, 2);
        request.ffmpeg.path = meddling(&folder, what);
        let error = transfer(request, Hooks::default()).await.unwrap_err();
        assert_eq!(error.code, code, "{what}: {error}");
        assert!(!Path::new(&target).exists());
    }
}

/// At a low bitrate FFmpeg holds back the end of a segment until it is well into its next one.
#[tokio::test(flavor = "multi_thread")]
async fn little_memory_and_a_low_bitrate_stop_nobody_for_ever() {
    let folder = Folder::new("low");
    let source = recording(&folder, &["-c:a", "aac", "-b:a", "192k"]);
    let audio = json!({"codec": "mp3", "quality": "fast", "bitrate_bps": 32_000, "channels": 1});
    let target = folder.path("audio.mp3");
    let mut contents = Vec::new();
    for (count, wanted, limit) in [(1, 1, 48u64 << 20), (2, 2, 12 << 20), (4, 2, 14 << 20), (4, 3, 18 << 20)]
    {
        let mut request = request(&source, &target, &audio, count);
        request.memory_limit_bytes = limit;
        let running = transfer(request, Hooks::default());
        let report =
            tokio::time::timeout(std::time::Duration::from_secs(60), running).await.unwrap().unwrap();
        assert_eq!(encoders(&report), [wanted], "{limit}");
        contents.push(std::fs::read(&target).unwrap());
    }
    assert!(contents.iter().all(|content| *content == contents[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn little_memory_means_one_encoder() {
    let folder = Folder::new("memory");
    let source = recording(&folder, &["-c:a", "aac"]);
    let target = folder.path("audio.mp3");
    let mut request = request(&source, &target, &json!({"codec": "mp3", "quality": "fast"}), 4);
    request.memory_limit_bytes = 8 * 1024 * 1024;
    let report = transfer(request, Hooks::default()).await.unwrap();
    assert_eq!(encoders(&report), [1]);
    assert_eq!((parts(&report, "extract.decode"), parts(&report, "extract.encode")), (1, 1));
}

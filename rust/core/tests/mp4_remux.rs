//! The audio that leaves is the audio that was there: FFmpeg decodes the same from the audio-only file as from
//! the recording, sample for sample.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

mod mp4_support;

use std::path::Path;

use audio_extract_core::mp4::Tags;
use mp4_support::{
    Folder, assemble, decoded_md5, decoded_samples, described, ffmpeg, ffmpeg_major, movie, piped_md5,
};

/// Whether the length must be predicted, or may be unknown.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Length {
    Predicted,
    Unknown,
}
use Length::{Predicted, Unknown};

/// Compares everything for every audio track of a recording.
fn check(folder: &Folder, recording: &Path, codec: &str, length: Length, copyable: bool) {
    let name = recording.file_name().unwrap().to_str().unwrap().to_owned();
    let movie = movie(recording);
    assert!(movie.unplannable().is_none(), "{name}: {:?}", movie.unplannable());
    assert!(!movie.tracks().is_empty(), "{name}");
    for info in movie.tracks() {
        let track = info.index;
        assert_eq!(info.codec, codec, "{name}");
        let plan = movie.audio_plan(track).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        let original = decoded_md5(recording, track);
        let out = folder.path(&format!("{name}.{track}.mp4"));
        // The whole span in pieces; the video skipped; one range for each run.
        for (gap, max) in [(u64::MAX, 50_000), (1000, 3000), (0, u64::MAX)] {
            assemble(recording, &plan, plan.header(), gap, max, &out);
            assert_eq!(std::fs::metadata(&out).unwrap().len(), plan.output_len(), "{name}");
            assert_eq!(piped_md5(&out), original, "{name}, track {track}, gap {gap}");
        }
        let decoded = decoded_samples(recording, track);
        let version = ffmpeg_major();
        match (length, plan.expected_samples(version)) {
            // What later versions do is not certain for every file; a prediction must still be right.
            (Predicted, None) => assert!(version.is_none_or(|major| major > 7), "{name}: no prediction"),
            (Predicted, expected) => assert_eq!(expected, Some(decoded), "{name}, track {track}"),
            (Unknown, expected) => assert_eq!(expected, None, "{name} decodes to {decoded}"),
        }
        assert_eq!(plan.copyable_to_m4a(), copyable, "{name}: {:?}", plan.cannot_copy_reason());
        if copyable {
            let tags =
                Tags {
                    title: Some("Réunion du mardi"), date: Some("2025-01-29"), source: Some("drive:abc")
                };
            let out = folder.path(&format!("{name}.{track}.m4a"));
            assemble(recording, &plan, plan.m4a_header(&tags).unwrap(), u64::MAX, 1 << 20, &out);
            assert_eq!(decoded_md5(&out, 0), original, "{name}, track {track} as M4A");
            let said = described(&out);
            for expected in [
                "title           : Réunion du mardi",
                "date            : 2025-01-29",
                "SOURCE          : drive:abc",
            ] {
                assert!(said.contains(expected), "{name}: {expected} is not in {said}");
            }
        }
    }
}

#[test]
fn every_codec_decodes_to_the_same_samples() {
    let folder = Folder::new();
    let rows: &[(&str, &[&str], &str, Length, bool)] = &[
        ("aac.mp4", &["-c:a", "aac"], "aac", Predicted, true),
        ("aac-first.mp4", &["-c:a", "aac", "-movflags", "+faststart"], "aac", Predicted, true),
        ("aac-44100-mono.mp4", &["-c:a", "aac", "-ar", "44100", "-ac", "1"], "aac", Predicted, true),
        ("aac-16000.mp4", &["-c:a", "aac", "-ar", "16000"], "aac", Predicted, true),
        ("aac-no-edits.mp4", &["-c:a", "aac", "-use_editlist", "0"], "aac", Predicted, true),
        ("aac.mov", &["-c:a", "aac"], "aac", Predicted, true),
        ("aac-only.m4a", &["-vn", "-c:a", "aac"], "aac", Predicted, true),
        ("mp3.mp4", &["-c:a", "libmp3lame"], "mp3", Predicted, true),
        ("mp3-22050.mp4", &["-c:a", "libmp3lame", "-ar", "22050"], "mp3", Predicted, true),
        ("mp3.mov", &["-c:a", "libmp3lame"], "mp3", Predicted, false),
        ("opus.mp4", &["-c:a", "libopus", "-strict", "-2"], "opus", Predicted, true),
        (
            "opus-60ms.mp4",
            &["-c:a", "libopus", "-frame_duration", "60", "-strict", "-2"],
            "opus",
            Predicted,
            true,
        ),
        ("alac.mp4", &["-c:a", "alac"], "alac", Predicted, true),
        ("alac.mov", &["-c:a", "alac", "-movflags", "+faststart"], "alac", Predicted, true),
        ("flac.mp4", &["-c:a", "flac", "-strict", "-2"], "flac", Predicted, true),
        ("ac3-no-edits.mp4", &["-c:a", "ac3", "-use_editlist", "0"], "ac-3", Predicted, true),
        ("ac3.mp4", &["-c:a", "ac3"], "ac-3", Predicted, true),
        ("ac3.mov", &["-c:a", "ac3"], "ac-3", Predicted, false),
        ("eac3.mp4", &["-c:a", "eac3"], "eac-3", Predicted, true),
        ("pcm16.mov", &["-c:a", "pcm_s16le"], "pcm", Predicted, false),
        ("pcm24be.mov", &["-c:a", "pcm_s24be"], "pcm", Predicted, false),
        ("pcmf32.mov", &["-c:a", "pcm_f32le", "-ac", "1"], "pcm", Predicted, false),
        ("mulaw.mov", &["-c:a", "pcm_mulaw", "-ar", "8000", "-ac", "1"], "mulaw", Unknown, false),
    ];
    for (name, arguments, codec, length, copyable) in rows {
        let recording = folder.recording(name, arguments);
        check(&folder, &recording, codec, *length, *copyable);
    }
}

#[test]
fn edit_lists_and_delays_are_kept() {
    let folder = Folder::new();
    let codecs: &[(&str, &[&str], &str)] = &[
        ("aac.mp4", &["-c:a", "aac"], "aac"),
        ("mp3.mp4", &["-c:a", "libmp3lame"], "mp3"),
        ("opus.mp4", &["-c:a", "libopus", "-strict", "-2"], "opus"),
        ("flac.mp4", &["-c:a", "flac", "-strict", "-2"], "flac"),
        ("alac.mp4", &["-c:a", "alac"], "alac"),
        ("ac3.mp4", &["-c:a", "ac3"], "ac-3"),
        ("pcm.mov", &["-c:a", "pcm_s16le"], "pcm"),
    ];
    for (name, arguments, codec) in codecs {
        let recording = folder.recording(name, arguments);
        let text = recording.to_str().unwrap();
        let copied = |label: &str, before: &[&str], after: &[&str]| {
            let out = folder.path(&format!("{label}-{name}"));
            let all = [before, &["-i", text], after, &["-c", "copy", "-strict", "-2", out.to_str().unwrap()]]
                .concat();
            ffmpeg(&all, None);
            out
        };
        // Cut at a picture that is no key frame: the copy starts earlier and hides that with its edit list.
        let cut = copied("cut", &["-ss", "1.3"], &["-map", "0"]);
        let shorter = copied("shorter", &["-ss", "1.3", "-t", "2.17"], &["-map", "0"]);
        let delayed = folder.path(&format!("delayed-{name}"));
        let out = delayed.to_str().unwrap();
        ffmpeg(
            &[
                "-i",
                text,
                "-itsoffset",
                "1.5",
                "-i",
                text,
                "-map",
                "0:v",
                "-map",
                "1:a",
                "-c",
                "copy",
                "-strict",
                "-2",
                out,
            ],
            None,
        );
        for recording in [cut, shorter, delayed] {
            assert!(movie(&recording).tracks()[0].edit_list.is_some());
            check(&folder, &recording, codec, Predicted, *codec != "pcm");
        }
    }
}

#[test]
fn aac_whose_packets_are_stretched_here_and_there_is_predicted() {
    let folder = Folder::new();
    let recording = folder.recording("aac.mp4", &["-c:a", "aac"]);
    let looped = folder.path("looped.mp4");
    let (from, to) = (recording.to_str().unwrap(), looped.to_str().unwrap());
    ffmpeg(&["-stream_loop", "3", "-i", from, "-c", "copy", to], None);
    check(&folder, &looped, "aac", Predicted, true);
    let cut = folder.path("looped-cut.mp4");
    ffmpeg(&["-ss", "1.3", "-i", to, "-t", "9.1", "-c", "copy", cut.to_str().unwrap()], None);
    check(&folder, &cut, "aac", Predicted, true);
}

//! What is found in a recording, with how few reads, and what is said of recordings that cannot be planned.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

mod mp4_support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use audio_extract_core::error::{EngineError, ErrorCode};
use audio_extract_core::mp4::{Container, Indexed, Movie, PlanRefusal, Tags, index};
use mp4_atom::{Decode, Ftyp, Moov};
use mp4_support::synthetic::{AudioTrack, SparseFile, boxed, ftyp, mp4a, mvhd, trak, words};
use mp4_support::{FileReader, Folder, assemble, decoded_md5, ffmpeg, movie, piped_md5, read, run};

fn reads(path: &Path) -> Vec<(u64, u64)> {
    let reader = FileReader::open(path);
    assert!(matches!(run(index(&reader)).unwrap(), Indexed::Movie(_)));
    reader.reads.into_inner().unwrap()
}

fn synthetic(moov: &[&[u8]]) -> SparseFile {
    let mdat = boxed(b"mdat", &[&[7; 4000]]);
    SparseFile::of([ftyp(), mdat, boxed(b"moov", moov)].concat())
}

/// 3,000 bytes of audio in the `mdat` of [`synthetic`].
fn audio_track() -> AudioTrack {
    AudioTrack::new(vec![(40, vec![500, 600]), (2000, vec![1900])])
}

fn movie_of(file: &SparseFile) -> Movie {
    match run(index(file)).unwrap() {
        Indexed::Movie(movie) => movie,
        other @ Indexed::Other { .. } => panic!("{other:?}"),
    }
}

fn impossible(movie: &Movie, track: usize) -> EngineError {
    match movie.audio_plan(track) {
        Err(PlanRefusal::Impossible(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn fallback(movie: &Movie, track: usize) -> String {
    match movie.audio_plan(track) {
        Err(PlanRefusal::Fallback { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_small_index_costs_one_read_in_front_and_two_at_the_end() {
    let folder = Folder::new();
    let first = folder.recording("first.mp4", &["-c:a", "aac", "-movflags", "+faststart"]);
    assert_eq!(reads(&first), [(0, 65_536)]);
    let last = folder.recording("last.mp4", &["-c:a", "aac"]);
    let size = std::fs::metadata(&last).unwrap().len();
    let reads = reads(&last);
    assert_eq!(reads.len(), 2, "{reads:?}");
    assert_eq!(reads[1].0 + reads[1].1, size, "to the end of the file, not beyond");
    assert!(movie(&first).index_precedes_media() && !movie(&last).index_precedes_media());
}

#[test]
fn a_file_of_unknown_size_is_read_up_to_its_end() {
    let folder = Folder::new();
    let recording = folder.recording("unknown.mp4", &["-c:a", "aac"]);
    let Indexed::Movie(unknown) = run(index(&FileReader::of_unknown_size(&recording))).unwrap() else {
        panic!("no movie");
    };
    let known = movie(&recording);
    let (unknown, known) = (unknown.audio_plan(0).unwrap(), known.audio_plan(0).unwrap());
    assert_eq!(unknown.spans().collect::<Vec<_>>(), known.spans().collect::<Vec<_>>());
}

#[test]
fn each_of_two_tracks_is_copied_alone() {
    let folder = Folder::new();
    let recording = folder.path("two.mp4");
    let (picture, low, high) =
        ("testsrc2=size=96x64:rate=10:duration=4", "sine=200:d=4", "sine=900:d=4:r=44100");
    let out = recording.to_str().unwrap();
    let inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", low, "-f", "lavfi", "-i", high];
    let maps = [
        "-map", "0", "-map", "1", "-map", "2", "-c:v", "mpeg4", "-c:a:0", "aac", "-c:a:1", "flac", "-strict",
        "-2",
    ];
    let said = [
        "-metadata:s:a:0",
        "language=fra",
        "-metadata",
        "title=Weekly",
        "-metadata",
        "creation_time=2025-01-29T10:00:00Z",
    ];
    ffmpeg(&[&inputs[..], &maps, &said, &[out]].concat(), None);
    let movie = movie(&recording);
    assert!(movie.has_video());
    assert_eq!((movie.title(), movie.creation_time()), (Some("Weekly"), Some(1_738_144_800)));
    assert!((movie.duration_seconds().unwrap() - 4.0).abs() < 0.1);
    let tracks = movie.tracks();
    let shown: Vec<_> = tracks
        .iter()
        .map(|track| (track.codec.as_str(), track.language.as_deref(), track.sample_rate_hz, track.channels))
        .collect();
    assert_eq!(shown, [("aac", Some("fra"), Some(44_100), Some(1)), ("flac", None, Some(44_100), Some(1))]);
    assert!(
        tracks.iter().all(|track| (track.duration_seconds.unwrap() - 4.0).abs() < 0.1 && !track.encrypted)
    );
    for track in 0..2 {
        let plan = movie.audio_plan(track).unwrap();
        let out = folder.path("out.mp4");
        assemble(&recording, &plan, plan.header(), 0, 10_000, &out);
        assert_eq!(piped_md5(&out), decoded_md5(&recording, track));

        // An independent reader agrees: one track, its own chunks, the same sizes.
        let bytes = read(&out);
        let mut rest = bytes.as_slice();
        Ftyp::decode(&mut rest).unwrap();
        let moov = Moov::decode(&mut rest).unwrap();
        assert_eq!(moov.trak.len(), 1);
        let offsets = moov.trak[0].mdia.minf.stbl.stco.as_ref().unwrap();
        assert_eq!(u64::from(offsets.entries[0]), plan.header_len());
    }
    // Alone, a track that was switched off beside another one is on, and as long as the movie.
    let second = movie.audio_plan(1).unwrap();
    let final_header: Vec<u8> = second.m4a_header(&Tags::default()).unwrap().flatten().collect();
    let moovs = [second.header().flatten().collect(), final_header].map(|header: Vec<u8>| {
        let mut rest = header.as_slice();
        Ftyp::decode(&mut rest).unwrap();
        Moov::decode(&mut rest).unwrap()
    });
    assert_eq!(moovs.each_ref().map(|moov| moov.trak[0].tkhd.enabled), [false, true]);
    assert_eq!(moovs[1].mvhd.duration, moovs[1].trak[0].tkhd.duration);

    let error = impossible(&movie, 2);
    assert_eq!(error.code, ErrorCode::MediaTrackNotFound);
    assert_eq!(error.message, "there is no audio track 2: the recording has 2, counted from 0");
}

#[test]
fn offsets_beyond_four_gigabytes_are_followed() {
    let folder = Folder::new();
    let small = folder.recording("small.mp4", &["-c:a", "aac"]);
    let bytes = read(&small);
    // ftyp, free and mdat come first; a hole of 5 GiB moves all media behind 32-bit offsets.
    let moov_at = bytes.windows(4).rposition(|kind| kind == b"moov").unwrap() - 4;
    let hole: u64 = 5 << 30;
    let huge = folder.path("huge.mp4");
    let file = File::create(&huge).unwrap();
    file.write_all_at(&bytes[..28], 0).unwrap();
    file.write_all_at(&[&words([1])[..], b"free", &hole.to_be_bytes()].concat(), 28).unwrap();
    file.write_all_at(&bytes[28..moov_at], 28 + hole).unwrap();
    file.write_all_at(&widened(&bytes[moov_at..], hole), moov_at as u64 + hole).unwrap();
    let movie = movie(&huge);
    let plan = movie.audio_plan(0).unwrap();
    assert!(plan.spans().next().unwrap().0 > hole);
    let out = folder.path("out.mp4");
    assemble(&huge, &plan, plan.header(), 1000, 1 << 20, &out);
    assert_eq!(piped_md5(&out), decoded_md5(&huge, 0));
    assert_eq!(piped_md5(&out), decoded_md5(&small, 0));
}

/// The same box with `co64` for `stco`, everything `shift` bytes later.
fn widened(bytes: &[u8], shift: u64) -> Vec<u8> {
    let kind: &[u8; 4] = bytes[4..8].try_into().unwrap();
    let body = &bytes[8..];
    match kind {
        b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" => {
            let mut out = Vec::new();
            let mut rest = body;
            while !rest.is_empty() {
                let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
                out.extend(widened(&rest[..len], shift));
                rest = &rest[len..];
            }
            boxed(kind, &[&out])
        }
        b"stco" => {
            let offsets = body[8..].chunks_exact(4).map(|row| u32::from_be_bytes(row.try_into().unwrap()));
            let rows: Vec<u8> =
                offsets.flat_map(|offset| (u64::from(offset) + shift).to_be_bytes()).collect();
            boxed(b"co64", &[&body[..8], &rows])
        }
        _ => bytes.to_vec(),
    }
}

#[test]
fn a_picture_without_sound_has_no_audio() {
    let folder = Folder::new();
    let silent = folder.recording("silent.mp4", &["-an"]);
    let movie = movie(&silent);
    assert!(movie.has_video() && movie.tracks().is_empty());
    assert_eq!(impossible(&movie, 0).code, ErrorCode::MediaNoAudio);

    let empty = synthetic(&[&mvhd(), &AudioTrack::new(Vec::new()).trak()]);
    assert_eq!(impossible(&movie_of(&empty), 0).code, ErrorCode::MediaNoAudio);
}

#[test]
fn a_fragmented_recording_is_left_to_ffmpeg() {
    let folder = Folder::new();
    let fragmented = folder.recording("live.mp4", &["-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov"]);
    let movie = movie(&fragmented);
    assert_eq!(movie.tracks()[0].codec, "aac");
    assert_eq!(movie.unplannable(), Some("it is fragmented"));
    assert_eq!(fallback(&movie, 0), "it is fragmented");
    assert!(movie.index_precedes_media());
}

#[test]
fn a_truncated_upload_is_called_that() {
    let folder = Folder::new();
    for (name, flags) in [("first.mp4", "+faststart"), ("last.mp4", "+write_colr")] {
        let whole = folder.recording(name, &["-c:a", "aac", "-movflags", flags]);
        let file = File::options().write(true).open(&whole).unwrap();
        file.set_len(file.metadata().unwrap().len() * 2 / 3).unwrap();
        let error = match run(index(&FileReader::open(&whole))) {
            Ok(Indexed::Movie(movie)) => impossible(&movie, 0),
            Ok(other @ Indexed::Other { .. }) => panic!("{other:?}"),
            Err(error) => error,
        };
        assert_eq!(error.code, ErrorCode::MediaUnreadable, "{name}");
        assert!(error.message.contains("truncated upload?"), "{name}: {}", error.message);
    }
    let error = run(index(&SparseFile::of(Vec::new()))).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::MediaUnreadable, "the file is empty"));
    let unfinished = [ftyp(), boxed(b"mdat", &[&[0; 500]])].concat();
    let error = run(index(&SparseFile::of(unfinished))).unwrap_err();
    assert!(error.message.contains("no index"), "{}", error.message);
}

#[test]
fn other_containers_are_named() {
    let folder = Folder::new();
    let rows: &[(&str, &[&str], Container)] = &[
        ("a.mkv", &["-c:a", "aac"], Container::Matroska),
        ("a.ts", &["-c:a", "aac"], Container::MpegTs),
        ("a.flv", &["-c:a", "aac"], Container::Flv),
        ("a.avi", &["-c:a", "libmp3lame"], Container::Avi),
        ("a.wav", &["-vn"], Container::Wav),
        ("a.flac", &["-vn"], Container::Flac),
        ("a.ogg", &["-vn", "-c:a", "libopus"], Container::Ogg),
        ("a.mp3", &["-vn"], Container::Mp3),
        ("a.aac", &["-vn", "-c:a", "aac"], Container::Adts),
        ("a.mpg", &["-c:a", "mp2", "-r", "25"], Container::MpegPs),
        ("a.asf", &["-c:a", "wmav2"], Container::Asf),
    ];
    for (name, arguments, expected) in rows {
        let path = folder.path(name);
        let base =
            ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10:duration=1", "-f", "lavfi", "-i", "sine=d=1"];
        ffmpeg(&[&base[..], arguments, &[path.to_str().unwrap()]].concat(), None);
        match run(index(&FileReader::open(&path))).unwrap() {
            Indexed::Other { container, reason } => {
                assert_eq!(container, *expected, "{name}");
                assert_eq!(reason, format!("it is not an MP4 file but {expected}"));
            }
            Indexed::Movie(_) => panic!("{name} is no MP4"),
        }
    }
}

#[test]
fn encrypted_audio_is_refused_for_good() {
    for kind in [b"enca", b"drms"] {
        let track = AudioTrack { entry: mp4a(kind), ..audio_track() };
        let movie = movie_of(&synthetic(&[&mvhd(), &track.trak()]));
        assert!(movie.tracks()[0].encrypted);
        let error = impossible(&movie, 0);
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::MediaEncrypted, "audio track 0 is encrypted")
        );
    }
}

#[test]
fn unusual_indexes_fall_back_with_a_reason() {
    let sound = audio_track();
    let renamed = |from: &[u8; 4], to: &[u8; 4]| {
        let mut trak = sound.trak();
        let at = trak.windows(4).position(|kind| kind == from).unwrap();
        trak[at..at + 4].copy_from_slice(to);
        trak
    };
    let external = AudioTrack { dref_flags: 0, ..sound.clone() };
    let backwards = AudioTrack::new(vec![(2000, vec![100]), (40, vec![100])]);
    let overlapping = AudioTrack::new(vec![(40, vec![100]), (139, vec![100])]);
    // QuickTime's "one byte per sample": the size is in the description, which is not PCM here.
    let mut single_frames = AudioTrack::new(vec![(40, vec![1; 100])]).trak();
    let stts = single_frames.windows(4).position(|kind| kind == b"stts").unwrap();
    single_frames[stts + 16..stts + 20].copy_from_slice(&1u32.to_be_bytes());
    let cmov = boxed(b"cmov", &[&[0; 20]]);
    let mvex = boxed(b"mvex", &[&[0; 8]]);
    let rows: Vec<(Vec<Vec<u8>>, &str)> = vec![
        (vec![mvhd(), external.trak()], "in another file"),
        (vec![mvhd(), backwards.trak()], "not stored in playing order"),
        (vec![mvhd(), overlapping.trak()], "not stored in playing order"),
        (vec![mvhd(), renamed(b"stsz", b"stz2")], "compact form (stz2)"),
        (vec![mvhd(), renamed(b"stsz", b"free")], "no stsz table"),
        (vec![mvhd(), renamed(b"stsc", b"stsz")], "table"),
        (vec![mvhd(), renamed(b"stco", b"free")], "no stco table"),
        (vec![mvhd(), renamed(b"stsd", b"free")], "no sample description"),
        (vec![mvhd(), single_frames], "does not state the size"),
        (vec![cmov], "compressed (cmov)"),
        (vec![mvhd(), sound.trak(), mvex], "fragmented"),
        (vec![sound.trak()], "no movie header"),
        (vec![mvhd(), boxed(b"trak", &[&words([5000]), b"mdia"])], "damaged"),
    ];
    for (moov, expected) in rows {
        let parts: Vec<&[u8]> = moov.iter().map(Vec::as_slice).collect();
        let reason = fallback(&movie_of(&synthetic(&parts)), 0);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

#[test]
fn a_handler_at_the_end_of_its_track_is_found() {
    let mut track = audio_track().trak();
    let hdlr = track.windows(4).position(|kind| kind == b"hdlr").unwrap() - 4;
    let moved: Vec<u8> = track.drain(hdlr..hdlr + 33).collect();
    track.extend(moved);
    let movie = movie_of(&synthetic(&[&mvhd(), &track]));
    assert_eq!(movie.audio_plan(0).unwrap().audio_bytes(), 3000);
    assert_eq!(movie.tracks()[0].language.as_deref(), Some("deu"));
}

#[test]
fn an_index_that_is_far_too_large_or_missing_is_not_read() {
    let moov = [&words([1])[..], b"moov", &(300u64 << 20).to_be_bytes()].concat();
    let file = SparseFile::new(vec![(0, [ftyp(), moov].concat().into())], 400 << 20);
    assert!(
        matches!(run(index(&file)).unwrap(), Indexed::Other { reason, .. } if reason.contains("larger than"))
    );
    assert_eq!(file.reads.lock().unwrap().len(), 1);

    let many = [ftyp(), vec![boxed(b"free", &[]); 100].concat()].concat();
    let other = run(index(&SparseFile::of(many))).unwrap();
    assert!(matches!(other, Indexed::Other { reason, .. } if reason.contains("first 64 boxes")));
}

/// iTunes' note about padding, which FFmpeg applies to the last track before it.
fn udta_with_gapless_note() -> Vec<u8> {
    let mean = boxed(b"mean", &[&[0; 4], b"com.apple.iTunes"]);
    let name = boxed(b"name", &[&[0; 4], b"iTunSMPB"]);
    let data = boxed(b"data", &[&words([1, 0]), b" 00000000 00000840 000001C0 0000000000046E00"]);
    let title = boxed(b"\xa9nam", &[&boxed(b"data", &[&words([1, 0]), b"Old title"])]);
    let ilst = boxed(b"ilst", &[&title, &boxed(b"----", &[&mean, &name, &data])]);
    let hdlr = boxed(b"hdlr", &[&[0; 8], b"mdirappl", &[0; 9]]);
    boxed(b"udta", &[&boxed(b"meta", &[&[0; 4], &hdlr, &ilst])])
}

#[test]
fn a_note_about_another_track_does_not_reach_the_audio() {
    let (sound, note) = (audio_track().trak(), udta_with_gapless_note());
    let picture = trak(b"vide", &boxed(b"minf", &[]));
    let has_note = |moov: &[&[u8]]| {
        let movie = movie_of(&synthetic(moov));
        assert_eq!(movie.title(), Some("Old title"));
        let header: Vec<u8> = movie.audio_plan(0).unwrap().header().flatten().collect();
        header.windows(8).any(|window| window == b"iTunSMPB")
    };
    assert!(has_note(&[&mvhd(), &picture, &sound, &note]));
    assert!(!has_note(&[&mvhd(), &sound, &picture, &note]));
}

#[test]
fn tags_replace_the_same_ones_and_keep_the_others() {
    let genre = boxed(b"\xa9gen", &[&boxed(b"data", &[&words([1, 0]), b"Speech"])]);
    let old = boxed(b"\xa9nam", &[&boxed(b"data", &[&words([1, 0]), b"Old title"])]);
    let hdlr = boxed(b"hdlr", &[&[0; 8], b"mdirappl", &[0; 9]]);
    let meta = boxed(b"meta", &[&[0; 4], &hdlr, &boxed(b"ilst", &[&old, &genre])]);
    let place = boxed(b"\xa9xyz", &[b"\0\x04\x15\xc7+1-2"]);
    let udta = boxed(b"udta", &[&place, &meta, &[0; 4]]);
    let movie = movie_of(&synthetic(&[&mvhd(), &audio_track().trak(), &udta]));
    let plan = movie.audio_plan(0).unwrap();
    let of = |tags: &Tags<'_>| plan.m4a_header(tags).unwrap().flatten().collect::<Vec<u8>>();
    let has = |header: &[u8], text: &str| header.windows(text.len()).any(|window| window == text.as_bytes());
    let untouched = of(&Tags::default());
    assert!(has(&untouched, "Old title") && has(&untouched, "Speech") && has(&untouched, "M4A "));
    let tagged = of(&Tags { title: Some("New"), ..Tags::default() });
    assert!(
        has(&tagged, "New") && !has(&tagged, "Old title") && has(&tagged, "Speech") && has(&tagged, "+1-2")
    );
}

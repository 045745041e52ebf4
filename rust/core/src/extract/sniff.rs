//! What FFmpeg says is inside a recording, from its first bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::ffmpeg::{self, Started};
use crate::about::{self, About, Chapter, MOST_CHAPTERS};
use crate::budget::Budget;
use crate::error::{EngineError, ErrorCode, Result};
use crate::pool::Pool;
use crate::request::FfmpegSpec;
use crate::source::{Range, Room, Source};

/// Enough for the headers of every container that streams.
const HEAD_BYTES: u64 = 1024 * 1024;

/// One audio track as FFmpeg describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SniffedTrack {
    /// FFmpeg's name of the codec.
    pub(crate) codec: String,
    pub(crate) language: Option<String>,
    pub(crate) sample_rate_hz: Option<u32>,
    pub(crate) channels: Option<u32>,
}

/// What is inside.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sniffed {
    pub(crate) tracks: Vec<SniffedTrack>,
    pub(crate) has_video: bool,
    pub(crate) duration_seconds: Option<f64>,
    pub(crate) about: About,
    /// FFmpeg recognised the container at all.
    pub(crate) recognised: bool,
}

/// The first bytes of a recording.
pub(crate) async fn head(source: &Arc<Source>, budget: &Budget) -> Result<Bytes> {
    let end = source.size().map_or(HEAD_BYTES, |size| size.min(HEAD_BYTES));
    let permit = budget.acquire_at_most(end).await;
    let (out, mut pieces) = mpsc::unbounded_channel();
    source
        .fetch(Range { start: 0, end: Some(end) }, Room::prepaid(permit), budget.pool(), &out, None)
        .await?;
    drop(out);
    let mut whole = BytesMut::new();
    while let Some(piece) = pieces.recv().await {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// Asks FFmpeg what is in the first bytes of a recording.
pub(crate) async fn sniff(spec: &FfmpegSpec, head: Bytes) -> Result<Sniffed> {
    let arguments = [
        "-hide_banner",
        "-nostdin",
        "-loglevel",
        "level+info",
        "-protocol_whitelist",
        "pipe",
        "-i",
        "pipe:0",
    ];
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let Started { mut child, mut input, mut output, messages, .. } =
        ffmpeg::start(spec, &arguments, &[], ffmpeg::Feed::Recording, Pool::default(), Arc::default())?;
    let feed = async {
        input.write(&head).await?;
        input.end();
        Ok::<_, EngineError>(())
    };
    let drain = async {
        while output.next().await?.is_some() {}
        Ok(())
    };
    // It exits with an error, for it was not told to make anything: only what it says counts.
    let ((), (), said, _) = tokio::try_join!(feed, drain, messages.drain_all(), child.wait())?;
    Ok(read(&said))
}

/// FFmpeg's name of one track's codec.
pub(crate) async fn codec(spec: &FfmpegSpec, head: Bytes, name: &str, track: u32) -> Result<String> {
    let sniffed = sniff(spec, head).await?;
    if !sniffed.recognised {
        return Err(EngineError::new(
            ErrorCode::MediaUnreadable,
            format!("FFmpeg cannot read {name}: it is damaged, cut off or not a recording"),
        ));
    }
    match (sniffed.tracks.get(track as usize), sniffed.tracks.len()) {
        (Some(track), _) => Ok(track.codec.clone()),
        (None, 0) => Err(EngineError::new(ErrorCode::MediaNoAudio, format!("{name} has no audio track"))),
        (None, count) => Err(EngineError::new(
            ErrorCode::MediaTrackNotFound,
            format!(
                "{name} has {count} audio track(s) and no number {track} (counted from 0); choose another with --track"
            ),
        )),
    }
}

/// Whose metadata FFmpeg lists.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Recording,
    Chapter,
    Other,
}

/// Reads `Stream #0:1(eng): Audio: opus, 48000 Hz, stereo, fltp` and `Duration: 00:01:02.50, …`.
fn read(lines: &[String]) -> Sniffed {
    let mut sniffed = Sniffed::default();
    let mut of = Of::Other;
    for line in lines {
        if line.contains("Input #0, ") {
            sniffed.recognised = true;
            of = Of::Recording;
        }
        if line.contains("Chapter #0:") || line.contains("Stream #0:") {
            of = Of::Other;
        }
        if let Some(start_seconds) = chapter_start(line)
            && sniffed.about.chapters.len() < MOST_CHAPTERS
        {
            sniffed.about.chapters.push(Chapter { start_seconds, title: String::new() });
            of = Of::Chapter;
        }
        if let Some((key, value)) = metadata(line) {
            match (of, key, sniffed.about.chapters.last_mut()) {
                (Of::Recording, "title", _) => sniffed.about.title = Some(value.to_owned()),
                (Of::Recording, "creation_time", _) => sniffed.about.created_unix_seconds = moment(value),
                (Of::Chapter, "title", Some(chapter)) => value.clone_into(&mut chapter.title),
                _ => {}
            }
        }
        if let Some((_, rest)) = line.split_once("Duration: ") {
            sniffed.duration_seconds = rest.split(',').next().and_then(clock);
        }
        if line.contains("Stream #0:") && line.contains(": Video: ") && !line.contains("(attached pic)") {
            sniffed.has_video = true;
        }
        if let Some((before, described)) = line.split_once(": Audio: ") {
            let language =
                before.rsplit_once('(').map(|(_, tail)| tail.trim_end_matches(')').to_owned()).filter(
                    |code| code.len() == 3 && code != "und" && code.chars().all(|c| c.is_ascii_alphabetic()),
                );
            let mut words = described.split(", ");
            let codec =
                words.next().and_then(|word| word.split_whitespace().next()).unwrap_or_default().to_owned();
            let sample_rate_hz = words.next().and_then(|word| word.strip_suffix(" Hz")?.parse().ok());
            let channels = words.next().and_then(|word| match word {
                "mono" => Some(1),
                "stereo" => Some(2),
                "quad" => Some(4),
                word => {
                    let word = word.split('(').next().unwrap_or(word);
                    match word {
                        "5.1" => Some(6),
                        "7.1" => Some(8),
                        _ => word.strip_suffix(" channels")?.parse().ok(),
                    }
                }
            });
            sniffed.tracks.push(SniffedTrack { codec, language, sample_rate_hz, channels });
        }
    }
    sniffed
}

/// `Chapter #0:1: start 60.000000, end 120.000000` → 60.
fn chapter_start(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once("Chapter #0:")?;
    rest.split_once(": start ")?.1.split(',').next()?.trim().parse().ok()
}

/// `    title           : Weekly` → the key and the value; values of several lines are read as far as the first.
fn metadata(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once("] ")?.1.strip_prefix("    ")?.split_once(": ")?;
    let (key, value) = (key.trim(), value.trim());
    (!key.is_empty() && !value.is_empty()).then_some((key, value))
}

/// Days from the first of March of the year 0 to the first of January 1970.
const DAYS_TO_1970: i64 = 719_468;

/// `2025-01-29T10:00:00.000000Z` in Unix seconds.
fn moment(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hours, minutes, seconds) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the odd day is the last one of a year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1;
    about::plausible((days - DAYS_TO_1970) * 86_400 + hours * 3_600 + minutes * 60 + seconds)
}

/// `00:01:02.50` → 62.5.
fn clock(text: &str) -> Option<f64> {
    text.trim().split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_other_texts_are_not() {
        let cases = [
            ("1970-01-01T00:00:00.000000Z", Some(0)),
            ("2000-02-29T23:59:59Z", Some(951_868_799)),
            ("2024-03-01T00:00:00Z", Some(1_709_251_200)),
            ("1969-12-31T23:59:59Z", None),
            ("2025-13-01T00:00:00Z", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(moment(text), seconds, "{text}");
        }
    }

    #[test]
    fn ffmpegs_description_is_read() {
        let lines = [
            "[info] Input #0, matroska,webm, from 'pipe:0':",
            "[info]   Metadata:",
            "[info]     title           : Weekly: part 1",
            "[info]     creation_time   : 2025-01-29T10:00:00.000000Z",
            "[info]   Chapters:",
            "[info]     Chapter #0:0: start 0.000000, end 30.000000",
            "[info]       Metadata:",
            "[info]         title           : Hello",
            "[info]     Chapter #0:1: start 30.500000, end 62.500000",
            "[info]   Duration: 00:01:02.50, start: 0.000000, bitrate: N/A",
            "[info]   Stream #0:0(eng): Video: vp8, yuv420p(tv), 320x240, 25 fps",
            "[info]       Metadata:",
            "[info]         title           : not the recording's",
            "[info]   Stream #0:1(deu): Audio: opus, 48000 Hz, stereo, fltp (default)",
            "[info]   Stream #0:2: Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, 5.1(side), fltp",
        ]
        .map(str::to_owned);
        let sniffed = read(&lines);
        assert!(sniffed.recognised && sniffed.has_video);
        assert_eq!(sniffed.duration_seconds, Some(62.5));
        let track = |codec: &str, language: Option<&str>, rate, channels| SniffedTrack {
            codec: codec.to_owned(),
            language: language.map(str::to_owned),
            sample_rate_hz: Some(rate),
            channels: Some(channels),
        };
        assert_eq!(sniffed.tracks, [track("opus", Some("deu"), 48_000, 2), track("aac", None, 44_100, 6)]);
        assert_eq!(sniffed.about.title.as_deref(), Some("Weekly: part 1"));
        assert_eq!(sniffed.about.created_unix_seconds, Some(1_738_144_800));
        let chapter = |start_seconds, title: &str| Chapter { start_seconds, title: title.to_owned() };
        assert_eq!(sniffed.about.chapters, [chapter(0.0, "Hello"), chapter(30.5, "")]);
        assert!(!read(&["[error] pipe:0: Invalid data found when processing input".to_owned()]).recognised);
    }
}

//! What FFmpeg says is inside a recording, from its first bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::ffmpeg::{self, Started};
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

/// Reads `Stream #0:1(eng): Audio: opus, 48000 Hz, stereo, fltp` and `Duration: 00:01:02.50, …`.
fn read(lines: &[String]) -> Sniffed {
    let mut sniffed = Sniffed::default();
    for line in lines {
        if line.contains("Input #0, ") {
            sniffed.recognised = true;
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

/// `00:01:02.50` → 62.5.
fn clock(text: &str) -> Option<f64> {
    text.trim().split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ffmpegs_description_is_read() {
        let lines = [
            "[info] Input #0, matroska,webm, from 'pipe:0':",
            "[info]   Duration: 00:01:02.50, start: 0.000000, bitrate: N/A",
            "[info]   Stream #0:0(eng): Video: vp8, yuv420p(tv), 320x240, 25 fps",
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
        assert!(!read(&["[error] pipe:0: Invalid data found when processing input".to_owned()]).recognised);
    }
}

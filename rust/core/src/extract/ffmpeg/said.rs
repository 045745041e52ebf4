//! What a child says on stderr: messages of which the last are kept, statistics, progress.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::ChildStderr;

use crate::error::{EngineError, ErrorCode, Result};
use crate::progress::Progress;

/// Lines of stderr that are kept.
const TAIL_LINES: usize = 40;
/// A longer line is cut.
const TAIL_LINE_BYTES: usize = 500;

/// The child's stderr.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(super) pipe: ChildStderr,
    pub(super) progress: Arc<Progress>,
}

/// What the child said.
#[derive(Debug, Default, Clone)]
pub(crate) struct Said {
    lines: VecDeque<String>,
    /// Messages of level error or worse, however many were kept.
    errors: u64,
    /// Of each output, as FFmpeg numbers them.
    encoded_samples: BTreeMap<usize, u64>,
    /// Likewise.
    sample_rates_hz: BTreeMap<usize, u32>,
    /// Inputs are described before.
    describes_outputs: bool,
    cpu_seconds: f64,
}

impl Said {
    /// The kept lines.
    pub(crate) fn tail(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Number of messages of level error or worse.
    pub(crate) const fn errors(&self) -> u64 {
        self.errors
    }

    /// Samples per channel that went into the encoder of an output, as FFmpeg counted them.
    pub(crate) fn encoded_samples(&self, output: usize) -> Option<u64> {
        self.encoded_samples.get(&output).copied()
    }

    /// Samples per second of an output.
    pub(crate) fn sample_rate_hz(&self, output: usize) -> Option<u32> {
        self.sample_rates_hz.get(&output).copied()
    }

    /// CPU time of the child, user and system.
    pub(crate) const fn cpu_seconds(&self) -> f64 {
        self.cpu_seconds
    }

    /// Whether a kept line contains `text`.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// FFmpeg's name of the codec that it has no decoder for, if that is what it said.
    pub(super) fn missing_decoder(&self) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            // Up to FFmpeg 6, and from then on.
            let old = line
                .split_once("Decoder (codec ")
                .and_then(|(_, rest)| rest.split_once(") not found for input stream"))
                .map(|(codec, _)| codec);
            let new =
                line.split_once("Decoding requested, but no decoder found for: ").map(|(_, codec)| codec);
            old.or(new).map(str::trim)
        })
    }

    pub(super) fn push(&mut self, line: &str) {
        if line.contains("[verbose]") || line.contains("[info]") || line.contains("[debug]") {
            self.read_description(line);
            self.read_statistics(line);
            return;
        }
        if line.contains("[error]") || line.contains("[fatal]") || line.contains("[panic]") {
            self.errors += 1;
        }
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.chars().filter(|c| !c.is_control()).take(TAIL_LINE_BYTES).collect());
    }

    /// `Output #1, flac, to 'pipe:5':` and `  Stream #1:0(eng): Audio: flac, 48000 Hz, mono, s16`.
    fn read_description(&mut self, line: &str) {
        let Some(text) = line.strip_prefix("[info]").map(str::trim_start) else { return };
        self.describes_outputs |= text.starts_with("Output #");
        if self.describes_outputs
            && text.starts_with("Stream #")
            && let Some((stream, described)) = text.split_once(": Audio: ")
        {
            let rate = described.split(", ").find_map(|word| word.strip_suffix(" Hz")?.parse().ok());
            self.sample_rates_hz.extend(numbered(stream, "Stream #").zip(rate));
        }
    }

    /// `… 130 frames encoded (149504 samples); …` and `bench: utime=0.051s stime=0.012s rtime=0.060s`.
    fn read_statistics(&mut self, line: &str) {
        if let Some((_, rest)) = line.split_once("frames encoded (") {
            let output = numbered(line, "Output stream #");
            let count: Option<u64> = rest.split_once(" samples)").and_then(|(count, _)| count.parse().ok());
            self.encoded_samples.extend(output.zip(count));
        }
        if let Some((_, rest)) = line.split_once("bench: utime=") {
            let seconds =
                |text: Option<&str>| text.and_then(|text| text.trim_end_matches('s').parse::<f64>().ok());
            let mut words = rest.split_whitespace();
            let user = seconds(words.next()).unwrap_or_default();
            let system =
                seconds(words.next().and_then(|word| word.strip_prefix("stime="))).unwrap_or_default();
            self.cpu_seconds = user + system;
        }
    }
}

/// `… Output stream #1:0 …` → 1.
fn numbered(line: &str, label: &str) -> Option<usize> {
    line.split_once(label)?.1.split_once(':')?.0.parse().ok()
}

impl Messages {
    /// Reads everything and keeps the first lines whole, for [`super::sniff`].
    ///
    /// # Errors
    /// `source.io` when the pipe fails.
    pub(crate) async fn drain_all(self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut reader = BufReader::new(self.pipe).take(1024 * 1024);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).await.map_err(|error| {
            EngineError::new(ErrorCode::SourceIo, "reading FFmpeg's messages failed").caused_by(error)
        })? > 0
        {
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
        Ok(lines)
    }

    /// Reads everything the child says until it closes stderr; progress lines feed the counters.
    ///
    /// # Errors
    /// `source.io` when the pipe fails.
    pub(crate) async fn drain(self) -> Result<Said> {
        let mut said = Said::default();
        let mut reader = BufReader::new(self.pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A child that writes without end of line must not fill the memory.
            let count =
                (&mut reader).take(16 * 1024).read_until(b'\n', &mut line).await.map_err(|error| {
                    EngineError::new(ErrorCode::SourceIo, "reading FFmpeg's messages failed").caused_by(error)
                })?;
            if count == 0 {
                return Ok(said);
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            match progress_line(text) {
                Some(("out_time_us", value)) => {
                    // `N/A` before the first packet.
                    if let Ok(micros) = value.parse::<f64>() {
                        self.progress.set_audio_seconds(micros / 1e6);
                    }
                }
                Some(_) => {}
                None if text.is_empty() => {}
                None => said.push(text),
            }
        }
    }
}

/// The keys of FFmpeg's `-progress`.
const KEYS: &[&str] = &[
    "frame",
    "fps",
    "bitrate",
    "total_size",
    "out_time_us",
    "out_time_ms",
    "out_time",
    "dup_frames",
    "drop_frames",
    "speed",
    "progress",
];

/// FFmpeg's `-progress` writes `key=value` lines; everything else is a message.
fn progress_line(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    (KEYS.contains(&key) || key.starts_with("stream_")).then_some((key, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Said {
        let mut said = Said::default();
        said.push(line);
        said
    }

    #[test]
    fn progress_lines_are_told_from_messages() {
        assert_eq!(progress_line("out_time_us=1000"), Some(("out_time_us", "1000")));
        assert_eq!(progress_line("[mov,mp4 @ 0x1] [warning] a=b"), None);
        assert_eq!(progress_line("Invalid data"), None);
    }

    #[test]
    fn statistics_are_read_from_old_and_new_versions() {
        let old = said(
            "[verbose]   Output stream #0:0 (audio): 130 frames encoded (149504 samples); 131 packets muxed",
        );
        assert_eq!(old.encoded_samples(0), Some(149_504));
        let new = said(
            "[out#0/mp3 @ 0x5] [verbose]   Output stream #0:0 (audio): 9 frames encoded (77 samples); 1 packets",
        );
        assert_eq!(new.encoded_samples(0), Some(77));
        let bench = said("[info] bench: utime=1.500s stime=0.250s rtime=2.000s");
        assert!((bench.cpu_seconds() - 1.75).abs() < 1e-9);
        assert_eq!(bench.tail(), "");
    }

    #[test]
    fn the_rate_of_an_output_is_not_that_of_an_input() {
        let mut said = Said::default();
        for line in [
            "[info] Input #0, matroska,webm, from 'pipe:0':",
            "[info]     title           : Output #0, flac, to 'pipe:1':",
            "[info]   Stream #0:0(eng): Audio: aac (LC), 44100 Hz, stereo, fltp (default)",
            "[info]   Stream #0:0 -> #0:0 (aac (native) -> opus (libopus))",
            "[info] Output #1, flac, to 'pipe:5':",
            "[info]   Stream #1:0(eng): Audio: flac, 16000 Hz, mono, s16 (default)",
            "[info] Output #0, ogg, to 'pipe:1':",
            "[info]   Stream #0:0: Audio: opus (libopus) (Opus / 0x7375704F), 48000 Hz, stereo, flt, delay 312, 96 kb/s",
            "[info]     title           : Stream #0:0: Audio: opus, 8000 Hz",
            "[info]   Stream #2:0: Video: png",
        ] {
            said.push(line);
        }
        assert_eq!([0, 1, 2].map(|output| said.sample_rate_hz(output)), [Some(48_000), Some(16_000), None]);
    }

    #[test]
    fn the_tail_is_bounded() {
        let mut said = Said::default();
        for n in 0..1000 {
            said.push(&format!("[error] {n} {}", "x".repeat(10_000)));
        }
        assert_eq!(said.errors(), 1000);
        assert!(said.tail().len() <= TAIL_LINES * (TAIL_LINE_BYTES + 1));
        assert!(said.contains("[error] 999"));
    }
}

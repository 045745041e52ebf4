//! One FFmpeg child: three pipes drained together, a stall watchdog, a bounded tail of stderr, always reaped.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdin, Command};

use crate::error::{EngineError, ErrorCode, Result};
use crate::pool::{PIECE_BYTES, Piece, Pool};
use crate::progress::Progress;
use crate::request::FfmpegSpec;

/// Lines of stderr that are kept.
const TAIL_LINES: usize = 40;
/// A longer line is cut.
const TAIL_LINE_BYTES: usize = 500;
/// The most that is read of it at once.
const PART_BYTES: usize = 64 * 1024;
/// Pipes of this size spare two thirds of the wake-ups of the 64 KiB default.
const PIPE_BYTES: usize = 1024 * 1024;
/// Compressed audio alone: some seconds of it are enough.
const AUDIO_PIPE_BYTES: usize = 256 * 1024;

/// Bytes went in or came out, and who waits for whom.
#[derive(Debug, Default)]
struct Activity {
    count: AtomicU64,
    waiting_for_child: AtomicBool,
    /// Outputs that nobody reads at the moment, because what came out of them is still being taken care of.
    waiting_for_sinks: AtomicUsize,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Ffmpeg {
    child: Child,
    activity: Arc<Activity>,
    stall: Duration,
}

/// Our end of the child's stdin. Dropping it is the end of the file for the child.
#[derive(Debug)]
pub(crate) struct Input {
    pipe: Option<ChildStdin>,
    activity: Arc<Activity>,
}

/// Our end of what the child writes into.
pub(crate) struct Output {
    pipe: Box<dyn AsyncRead + Send + Unpin>,
    is_held: bool,
    pool: Pool,
    piece: Option<Piece>,
    part: Vec<u8>,
    activity: Arc<Activity>,
}

/// The child's stderr.
#[derive(Debug)]
pub(crate) struct Messages {
    pipe: ChildStderr,
    progress: Arc<Progress>,
}

/// What the child said.
#[derive(Debug, Default, Clone)]
pub(crate) struct Said {
    lines: VecDeque<String>,
    /// Messages of level error or worse, however many were kept.
    errors: u64,
    /// Of each output, as FFmpeg numbers them.
    encoded_samples: BTreeMap<usize, u64>,
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

    /// CPU time of the child, user and system.
    pub(crate) const fn cpu_seconds(&self) -> f64 {
        self.cpu_seconds
    }

    /// Whether a kept line contains `text`.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// FFmpeg's name of the codec that it has no decoder for, if that is what it said.
    fn missing_decoder(&self) -> Option<&str> {
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

    fn push(&mut self, line: &str) {
        if line.contains("[verbose]") || line.contains("[info]") || line.contains("[debug]") {
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
}

impl Said {
    /// `… 130 frames encoded (149504 samples); …` and `bench: utime=0.051s stime=0.012s rtime=0.060s`.
    fn read_statistics(&mut self, line: &str) {
        if let Some((_, rest)) = line.split_once("frames encoded (") {
            let output: Option<usize> = line
                .split_once("Output stream #")
                .and_then(|(_, number)| number.split_once(':'))
                .and_then(|(number, _)| number.parse().ok());
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

/// What a child is fed through its stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feed {
    Nothing,
    /// A recording, or what is left of one.
    Recording,
    /// Compressed audio for one of several encoders.
    Audio,
}

/// A started child with its pipes.
pub(crate) struct Started {
    pub(crate) child: Ffmpeg,
    pub(crate) input: Input,
    pub(crate) output: Output,
    /// Beside stdout, in the order they were asked for.
    pub(crate) more: Vec<Output>,
    pub(crate) messages: Messages,
}

/// What a binary says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// For example `5.1.9-0+deb12u1`.
    pub(crate) text: String,
    /// For example 5; builds from a branch have none.
    pub(crate) major: Option<u32>,
}

/// Asks a binary for its version; once for each path in a process.
///
/// # Errors
/// `ffmpeg.not_found` when the binary cannot be started.
pub(crate) async fn version(spec: &FfmpegSpec) -> Result<Version> {
    static KNOWN: Mutex<BTreeMap<String, Version>> = Mutex::new(BTreeMap::new());
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&spec.path).cloned();
    if let Some(version) = known {
        return Ok(version);
    }
    let mut command = Command::new(&spec.path);
    command
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    set_environment(&mut command, spec);
    let stall = Duration::from_secs_f64(spec.stall_timeout_seconds);
    let child = spawn(&mut command).map_err(|error| not_found(spec, error))?;
    let output = tokio::time::timeout(stall, child.wait_with_output())
        .await
        .map_err(|_| {
            EngineError::new(ErrorCode::FfmpegStalled, format!("{} -version does not end", spec.path))
        })?
        .map_err(|error| not_found(spec, error))?;
    let version = parse_version(&String::from_utf8_lossy(&output.stdout));
    // A child that was killed has said nothing; the next transfer asks again.
    if output.status.success() {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.path.clone(), version.clone());
    }
    Ok(version)
}

/// `ffmpeg version 5.1.9-0+deb12u1 Copyright …`, `ffmpeg version n7.1 …`, `ffmpeg version N-118448-g43be8d0728 …`.
fn parse_version(text: &str) -> Version {
    let text = text.strip_prefix("ffmpeg version ").unwrap_or_default();
    let text: String = text.split_whitespace().next().unwrap_or_default().chars().take(80).collect();
    let digits = text.trim_start_matches('n').split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    Version { major: digits.parse().ok(), text }
}

fn set_environment(command: &mut Command, spec: &FfmpegSpec) {
    for (name, value) in &spec.environment {
        if value.is_empty() {
            command.env_remove(name)
        } else {
            command.env(name, value)
        };
    }
}

fn not_found(spec: &FfmpegSpec, error: std::io::Error) -> EngineError {
    EngineError::new(
        ErrorCode::FfmpegNotFound,
        format!("starting FFmpeg at {}: {error}; install FFmpeg or set processing.ffmpeg.path", spec.path),
    )
    .caused_by(error)
}

/// One child is started at a time: what one is to inherit must not be inherited by another, which would keep the
/// pipe open.
static STARTING: Mutex<()> = Mutex::new(());

fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Starts FFmpeg with a pipe for each of `more`, whose arguments end with the pipe's name.
fn spawn_with(command: &mut Command, more: &[Vec<String>]) -> std::io::Result<(Child, Vec<pipe::Receiver>)> {
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ends = Vec::with_capacity(more.len());
    let mut receivers = Vec::with_capacity(more.len());
    for arguments in more {
        let (ours, theirs): (OwnedFd, OwnedFd) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // The child has it under the same number.
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())?;
        let _ = rustix::pipe::fcntl_setpipe_size(&ours, PIPE_BYTES);
        receivers.push(pipe::Receiver::from_owned_fd(ours)?);
        command.args(arguments).arg(format!("pipe:{}", theirs.as_raw_fd()));
        ends.push(theirs);
    }
    let child = command.spawn()?;
    // From here on the child alone holds them.
    drop(ends);
    Ok((child, receivers))
}

/// Starts FFmpeg in a process group of its own.
///
/// `more`: the arguments of outputs beside stdout.
///
/// # Errors
/// `ffmpeg.not_found` when the binary cannot be started.
pub(crate) fn start(
    spec: &FfmpegSpec,
    arguments: &[String],
    more: &[Vec<String>],
    feed: Feed,
    pool: Pool,
    progress: Arc<Progress>,
) -> Result<Started> {
    let with_input = feed != Feed::Nothing;
    let mut command = Command::new(&spec.path);
    command
        .args(arguments)
        .stdin(if with_input { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A terminal's Ctrl-C is ours to handle; the child is ended by us.
        .process_group(0)
        .kill_on_drop(true);
    set_environment(&mut command, spec);
    let (mut child, receivers) = spawn_with(&mut command, more).map_err(|error| not_found(spec, error))?;
    let missing = || EngineError::new(ErrorCode::Bug, "a pipe to FFmpeg is missing");
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    if spec.nice > 0
        && let Some(pid) = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
    {
        // Less politeness is no reason to fail.
        let _ = rustix::process::setpriority_process(Some(pid), i32::from(spec.nice));
    }
    if let Some(stdin) = &stdin {
        // Smaller pipes work too, only slower: a user's pipe quota may be used up.
        let bytes = if feed == Feed::Audio { AUDIO_PIPE_BYTES } else { PIPE_BYTES };
        let _ = rustix::pipe::fcntl_setpipe_size(stdin, bytes);
    }
    let activity = Arc::new(Activity::default());
    activity.waiting_for_child.store(!with_input, Ordering::Relaxed);
    Ok(Started {
        input: Input { pipe: stdin, activity: Arc::clone(&activity) },
        more: receivers.into_iter().map(|pipe| Output::new(pipe, pool.clone(), &activity)).collect(),
        output: Output::new(stdout, pool, &activity),
        messages: Messages { pipe: stderr, progress },
        child: Ffmpeg { child, activity, stall: Duration::from_secs_f64(spec.stall_timeout_seconds) },
    })
}

impl Input {
    /// Hands bytes to the child. `false`: it wants no more, and its exit status will say why.
    ///
    /// # Errors
    /// `source.io` when the pipe fails in a way that is not the child's.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<bool> {
        let Some(pipe) = &mut self.pipe else { return Ok(false) };
        self.activity.waiting_for_child.store(true, Ordering::Relaxed);
        let mut rest = bytes;
        while !rest.is_empty() {
            match pipe.write(rest).await {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.activity.count.fetch_add(1, Ordering::Relaxed);
                    rest = rest.get(count..).unwrap_or_default();
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset
                    ) =>
                {
                    return Ok(false);
                }
                Err(error) => {
                    return Err(
                        EngineError::new(ErrorCode::SourceIo, "writing to FFmpeg failed").caused_by(error)
                    );
                }
            }
        }
        self.activity.waiting_for_child.store(false, Ordering::Relaxed);
        Ok(true)
    }

    /// The end of the recording: from here on the child has all it gets.
    pub(crate) fn end(mut self) {
        self.activity.waiting_for_child.store(true, Ordering::Relaxed);
        self.pipe = None;
    }
}

impl Output {
    /// The next bytes of audio, or `None` at the end.
    ///
    /// # Errors
    /// `source.io` when the pipe fails.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        self.hold(false);
        loop {
            let piece = self.piece.get_or_insert_with(|| self.pool.take(PIECE_BYTES as u64));
            let count = self.pipe.read_buf(&mut piece.writable()).await.map_err(|error| {
                EngineError::new(ErrorCode::SourceIo, "reading from FFmpeg failed").caused_by(error)
            })?;
            self.activity.count.fetch_add(1, Ordering::Relaxed);
            if count == 0 || piece.is_full() {
                // Until the next call the child may be held up by us.
                self.hold(true);
                return Ok(self
                    .piece
                    .take()
                    .filter(|piece| !piece.is_empty())
                    .map(|piece| piece.freeze(None)));
            }
        }
    }
}

impl Output {
    fn new(pipe: impl AsyncRead + Send + Unpin + 'static, pool: Pool, activity: &Arc<Activity>) -> Self {
        Self {
            pipe: Box::new(pipe),
            is_held: false,
            pool,
            piece: None,
            part: Vec::new(),
            activity: Arc::clone(activity),
        }
    }

    /// Says whether the child may be waiting for us.
    fn hold(&mut self, is_held: bool) {
        if self.is_held != is_held {
            self.is_held = is_held;
            if is_held {
                self.activity.waiting_for_sinks.fetch_add(1, Ordering::Relaxed);
            } else {
                self.activity.waiting_for_sinks.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// What the child has written by now; `None` at the end.
    ///
    /// # Errors
    /// `source.io` when the pipe fails.
    pub(crate) async fn next_part(&mut self) -> Result<Option<&[u8]>> {
        self.hold(false);
        self.part.clear();
        self.part.reserve(PART_BYTES);
        let count = self.pipe.read_buf(&mut (&mut self.part).limit(PART_BYTES)).await.map_err(|error| {
            EngineError::new(ErrorCode::SourceIo, "reading from FFmpeg failed").caused_by(error)
        })?;
        self.activity.count.fetch_add(1, Ordering::Relaxed);
        self.hold(true);
        Ok((count > 0).then_some(&self.part))
    }
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

impl Ffmpeg {
    /// Waits for the end of the child; kills it when it neither reads nor writes for the stall time.
    ///
    /// # Errors
    /// `ffmpeg.stalled`.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus> {
        let mut seen = self.activity.count.load(Ordering::Relaxed);
        let mut idle = Duration::ZERO;
        let tick = (self.stall / 4).clamp(Duration::from_millis(5), Duration::from_secs(5));
        loop {
            match tokio::time::timeout(tick, self.child.wait()).await {
                Ok(Ok(status)) => return Ok(status),
                Ok(Err(error)) => {
                    return Err(
                        EngineError::new(ErrorCode::Bug, "waiting for FFmpeg failed").caused_by(error)
                    );
                }
                Err(_) => {}
            }
            let now = self.activity.count.load(Ordering::Relaxed);
            let to_blame = self.activity.waiting_for_child.load(Ordering::Relaxed)
                && self.activity.waiting_for_sinks.load(Ordering::Relaxed) == 0;
            if now != seen || !to_blame {
                seen = now;
                idle = Duration::ZERO;
                continue;
            }
            idle += tick;
            if idle >= self.stall {
                self.kill().await;
                return Err(EngineError::new(
                    ErrorCode::FfmpegStalled,
                    format!(
                        "FFmpeg neither read nor wrote for {} seconds and was stopped",
                        self.stall.as_secs_f64()
                    ),
                ));
            }
        }
    }

    /// Ends the child and its process group, and reaps it.
    pub(crate) async fn kill(&mut self) {
        if let Some(pid) =
            self.child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
        {
            // It may have ended by itself in this moment.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill().await;
    }
}

/// What an exit means.
///
/// # Errors
/// One of the `media.*` and `ffmpeg.*` codes, with the tail of stderr.
pub(crate) fn judge(status: ExitStatus, said: &Said, name: &str, track: u32) -> Result<()> {
    use std::os::unix::process::ExitStatusExt as _;
    let fail = |code, message| Err(failure(said, code, message));
    if let Some(signal) = status.signal() {
        return fail(
            ErrorCode::FfmpegKilled,
            format!(
                "extracting the audio of {name}: FFmpeg was killed by signal {signal}; \
                     if that is 9, the machine may have run out of memory"
            ),
        );
    }
    if said.contains("matches no streams") {
        return if track == 0 {
            fail(ErrorCode::MediaNoAudio, format!("{name} has no audio track"))
        } else {
            fail(
                ErrorCode::MediaTrackNotFound,
                format!(
                    "{name} has no audio track number {track} (counted from 0); choose another with --track"
                ),
            )
        };
    }
    if said.contains("Unknown encoder")
        || said.contains("Unrecognized option")
        || said.contains("Option not found")
    {
        return fail(
            ErrorCode::FfmpegOptions,
            "this FFmpeg lacks an encoder or option that is needed; install a complete FFmpeg (with libmp3lame)".to_owned(),
        );
    }
    if let Some(codec) = said.missing_decoder() {
        return fail(
            ErrorCode::MediaUnsupported,
            format!(
                "the audio of {name} is {codec}, and this build of FFmpeg cannot read that; install a complete \
                 FFmpeg and set processing.ffmpeg.path to it"
            ),
        );
    }
    let refusals = [
        "does not support the sample rate",
        "Specified sample rate",
        "Specified channel layout",
        "Rematrix is needed",
        "not supported by",
        "Error while opening encoder",
    ];
    if refusals.iter().any(|refusal| said.contains(refusal)) {
        return fail(
            ErrorCode::FfmpegOptions,
            "the encoder does not support this sample rate, bitrate or number of channels; correct processing.audio_format".to_owned(),
        );
    }
    // Matroska's and WebM's way to be cut off; MP4 is found out by its index before.
    if said.contains("File ended prematurely") {
        return fail(
            ErrorCode::MediaUnreadable,
            format!("{name} is cut off: it ends before its end; upload or record it again"),
        );
    }
    if !status.success() {
        let code = status.code().unwrap_or(-1);
        return fail(
            ErrorCode::MediaUnreadable,
            format!(
                "FFmpeg cannot read {name} (exit code {code}): it is damaged, cut off, not a recording, or of a \
                 kind that this build of FFmpeg does not know"
            ),
        );
    }
    Ok(())
}

/// Something must have come out. `produced` is the number of bytes.
///
/// # Errors
/// `media.unreadable`, with the tail of stderr.
pub(crate) fn check_produced(produced: u64, said: &Said, name: &str) -> Result<()> {
    if produced > 0 {
        return Ok(());
    }
    let message = format!("{name} holds no sound that can be read: nothing came out of FFmpeg");
    Err(failure(said, ErrorCode::MediaUnreadable, message))
}

fn failure(said: &Said, code: ErrorCode, message: String) -> EngineError {
    let tail = said.tail();
    EngineError { ffmpeg_tail: (!tail.is_empty()).then_some(tail), ..EngineError::new(code, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

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
    fn versions_are_read() {
        let version = |text: &str| parse_version(text).major;
        assert_eq!(version("ffmpeg version 5.1.9-0+deb12u1 Copyright (c)"), Some(5));
        assert_eq!(version("ffmpeg version n7.1 Copyright (c)"), Some(7));
        assert_eq!(version("ffmpeg version N-118448-g43be8d0728 Copyright"), None);
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn exits_are_told_apart() {
        use ErrorCode as C;
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        for (status, line, track, want) in [
            (exit(1), "Stream map '0:a:0' matches no streams.", 0, C::MediaNoAudio),
            (exit(1), "Stream map '0:a:3' matches no streams.", 3, C::MediaTrackNotFound),
            (exit(1), "pipe:0: Invalid data found when processing input", 0, C::MediaUnreadable),
            (exit(1), "[error] Decoder (codec tta) not found for input stream #0:1", 0, C::MediaUnsupported),
            (
                exit(218),
                "[aist#0:0/wavpack @ 0x5] [fatal] Decoding requested, but no decoder found for: wavpack",
                0,
                C::MediaUnsupported,
            ),
            (exit(1), "Unknown encoder 'libmp3lame'", 0, C::FfmpegOptions),
            (
                exit(1),
                "[libmp3lame] [error] Specified channel layout '6.1' is not supported",
                0,
                C::FfmpegOptions,
            ),
            (
                exit(1),
                "[SWR @ 0x1] [error] Rematrix is needed between stereo and 9 channels",
                0,
                C::FfmpegOptions,
            ),
            (exit(0), "[matroska] [error] File ended prematurely at pos. 5", 0, C::MediaUnreadable),
            (ExitStatus::from_raw(9), "", 0, C::FfmpegKilled),
        ] {
            assert_eq!(judge(status, &said(line), "x", track).unwrap_err().code, want, "{line}");
        }
        judge(exit(0), &said("[mp3] [warning] something"), "x", 0).unwrap();
        let nothing = check_produced(0, &said("[error] no packets"), "x").unwrap_err();
        assert_eq!(
            (nothing.code, nothing.ffmpeg_tail.as_deref()),
            (C::MediaUnreadable, Some("[error] no packets"))
        );
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

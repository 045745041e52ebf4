//! One FFmpeg child: three pipes drained together, a stall watchdog, a bounded tail of stderr, always reaped.

mod said;
mod verdict;
mod version;

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};

use crate::error::{EngineError, ErrorCode, Result};
use crate::pool::{PIECE_BYTES, Piece, Pool};
use crate::progress::Progress;
use crate::request::FfmpegSpec;

pub(crate) use said::{Messages, Said};
pub(crate) use verdict::{check_produced, judge};
pub(crate) use version::{Version, version};

/// The most of an output that is read at once.
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

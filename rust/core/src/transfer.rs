//! One transfer: source → extract → sink. Wires the parts together and owns none of their work.

mod beside;
mod encode;
mod fetching;
mod flow;
mod lengths;
mod output;
mod parallel;
mod strategy;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::about::About;
use crate::auth::TokenProvider;
use crate::budget::{Budget, Permit};
use crate::checksum::SourceDigest;
use crate::cores::{self, Member};
use crate::error::{EngineError, ErrorCode, Result};
use crate::mp4::{self, AudioPlan, Indexed, Movie, PlanRefusal};
use crate::pool::{Piece, Pool};
use crate::progress::{Phase, Progress};
use crate::request::{AudioSpec, Codec, SourceSpec, Strategy, TransferReport, TransferRequest};
use crate::sink::{End, Sink};
use crate::source::{Estimates, FileSource, HttpOptions, HttpSource, IndexReader, Skip, Source};
use crate::spill::Spill;
use crate::stages::Stages;

use fetching::Pace;
use lengths::Listed;
pub(crate) use strategy::checksum_promised;
use targets::{StoredChunks, Targets};

/// Fetched ahead of each encoder, which eats 10 to 20 MB a second: more would only be held.
const ENCODER_WINDOW_BYTES: u64 = 2 * 1024 * 1024;
/// The part of the limit for compressed audio, before and after encoding, that waits for the turn of its segment: by
/// default 8 MiB, which is two minutes of it each way.
const SEGMENTS_SHARE: u64 = 6;

/// Asks the caller whether the recording is still the planned revision; may block.
pub type ConfirmCallback = dyn Fn() -> Result<()> + Send + Sync;

/// What a transfer needs from its caller besides the request.
#[derive(Default, Clone)]
pub struct Hooks {
    /// Tokens for the source.
    pub source_tokens: Option<Arc<TokenProvider>>,
    /// Tokens for the destination.
    pub sink_tokens: Option<Arc<TokenProvider>>,
    /// Asked after the last byte was read and before anything appears under the final name.
    pub before_commit: Option<Arc<ConfirmCallback>>,
    /// Counters the caller reads meanwhile.
    pub progress: Arc<Progress>,
    /// Ends the transfer.
    pub cancel: CancellationToken,
    /// What is known of the ways to the hosts.
    pub estimates: Estimates,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// Carries out one transfer.
///
/// On any error nothing stands under the final name, and no child, temporary file or upload session stays behind.
///
/// # Errors
/// Every [`ErrorCode`]; its kind says what to do next.
pub async fn transfer(request: TransferRequest, hooks: Hooks) -> Result<TransferReport> {
    request.validate()?;
    let stages = hooks.progress.start();
    let cancel = hooks.cancel.clone();
    let run = Run::new(request, hooks, stages);
    let mut targets = run.open_targets()?;
    let result = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(EngineError::new(ErrorCode::Cancelled, "the transfer was cancelled")),
        result = run.carry_out(&mut targets) => result,
    };
    if result.is_err() {
        targets.abort().await;
        run.remove_chunks(&targets);
    }
    result
}

/// How the recording's bytes reach FFmpeg.
enum Feed {
    /// Header and audio runs of an MP4.
    Remux(Box<AudioPlan>),
    /// Every byte.
    Whole,
    /// A file that FFmpeg reads itself, because it has to seek.
    Mp4File(String),
}

/// Bytes that are fetched before an encoder asks for them.
fn encoder_window_bytes(request: &TransferRequest) -> u64 {
    let encoders = request.ffmpeg.encoders.map_or_else(cores::usable, |encoders| encoders as usize);
    ENCODER_WINDOW_BYTES * u64::try_from(encoders.clamp(2, 4)).unwrap_or(2)
}

/// The recording, opened and understood.
struct Opened {
    source: Arc<Source>,
    feed: Feed,
    fallback_reason: Option<String>,
    strategy: Strategy,
    /// With `AudioOnly` over HTTP: what is skipped.
    skip: Option<Skip>,
    listed: Listed,
    about: About,
    /// Samples FFmpeg will decode, where the index tells, and their rate.
    samples: Option<(u64, u32)>,
    /// Pays for the index as long as it is held.
    _index: Option<Permit>,
    /// Removes itself.
    _spill: Option<Spill>,
}

/// What came out of the extraction.
struct Extracted {
    bytes: u64,
    audio_seconds: Option<f64>,
    sound: Option<crate::analysis::SoundReport>,
}

struct Run {
    request: TransferRequest,
    hooks: Hooks,
    budget: Budget,
    /// Beside the budget.
    segments_bytes: u64,
    stages: Stages,
    seen: std::sync::Mutex<SeenChildren>,
    /// Counts what goes to other places than the main output.
    beside: Arc<Progress>,
    stored_chunks: StoredChunks,
    /// Where this transfer encodes: it shares the cores.
    member: Option<Member>,
}

/// What the report says of the children.
#[derive(Default)]
struct SeenChildren {
    version: Option<String>,
    arguments: Vec<Vec<String>>,
    cpu_seconds: f64,
}

impl Run {
    fn new(request: TransferRequest, hooks: Hooks, stages: Stages) -> Self {
        let most = match request.audio.codec {
            Codec::Copy => u64::MAX,
            _ => encoder_window_bytes(&request),
        };
        let limit = request.memory_limit_bytes;
        let budget = Budget::new(limit.min(request.upload_reserve().saturating_add(most)));
        let segments_bytes = limit.saturating_sub(budget.limit_bytes()).min(limit / SEGMENTS_SHARE);
        let member = (request.audio.codec != Codec::Copy).then(|| Member::join(&hooks.progress));
        Self {
            request,
            hooks,
            budget,
            segments_bytes,
            stages,
            seen: std::sync::Mutex::default(),
            beside: Arc::default(),
            stored_chunks: Arc::default(),
            member,
        }
    }

    async fn carry_out(&self, targets: &mut Targets) -> Result<TransferReport> {
        // The upload's share is set aside first: fetching can then never starve it.
        let _upload = self.budget.acquire(self.request.upload_reserve()).await;
        let opened = self.open().await?;
        self.hooks.progress.set_phase(Phase::Transfer);
        self.tell_lengths(&opened, targets);
        let upload = self.stages.begin("upload");
        let extracted = match (&opened.feed, self.request.audio.codec) {
            (Feed::Remux(plan), Codec::Copy) if plan.copyable_to_m4a() && !self.request.makes_more() => {
                self.copy(&opened, plan, &mut targets.main.sink).await?
            }
            _ => Box::pin(self.extract(&opened, targets)).await?,
        };
        self.hooks.progress.set_phase(Phase::Verify);
        let verify = self.stages.begin("verify");
        opened.source.confirm_unchanged().await?;
        self.confirm().await?;
        let outputs = targets.finish_more().await?;
        let stored = targets.main.sink.finish(End { bytes: extracted.bytes }).await?;
        verify.set("size_bytes", stored.size_bytes);
        verify.set("crc32c", stored.crc32c.as_str());
        verify.end();
        upload.set("bytes", stored.size_bytes);
        upload.end();
        self.hooks.progress.set_stored(stored.size_bytes);
        self.hooks.progress.set_phase(Phase::Done);
        let mut counts = self.hooks.progress.counts();
        counts.add(self.beside.counts());
        let children = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(TransferReport {
            stored,
            strategy: opened.strategy,
            fallback_reason: opened.fallback_reason.clone(),
            source_size_bytes: opened.source.size(),
            fetched_bytes: self.hooks.progress.fetched_bytes(),
            audio_seconds: extracted.audio_seconds,
            chunks: targets.main.chunks.take(),
            about: opened.about.clone(),
            outputs,
            sound: extracted.sound,
            source_requests: counts.source_requests,
            sink_requests: counts.sink_requests,
            retries: counts.retries,
            ffmpeg_version: children.version.clone(),
            ffmpeg_arguments: children.arguments.clone(),
            ffmpeg_cpu_seconds: children.cpu_seconds,
            peak_permits_bytes: self.budget.peak_bytes(),
            stages: self.stages.snapshot(),
        })
    }

    async fn confirm(&self) -> Result<()> {
        let Some(callback) = self.hooks.before_commit.clone() else { return Ok(()) };
        tokio::task::spawn_blocking(move || callback()).await.map_err(|error| {
            EngineError::new(ErrorCode::Bug, "confirming the revision panicked").caused_by(error)
        })?
    }

    /// Opens the recording and reads its index.
    async fn open(&self) -> Result<Opened> {
        let stage = self.stages.begin("fetch.index");
        let source = Arc::new(open_source(
            &self.request.source,
            &self.hooks,
            Duration::from_secs_f64(self.request.fetch.stall_timeout_seconds),
            self.request.retry,
            &self.stages,
        )?);
        let indexed = match mp4::index(&IndexReader::new(&source, &self.budget)).await {
            Ok(indexed) => Some(indexed),
            // The server ignores Range: the file can only be read from its beginning.
            Err(error) if error.code == ErrorCode::SourceBadRange && error.status == Some(200) => None,
            Err(error) => return Err(error),
        };
        if source.size() == Some(0) {
            return Err(EngineError::new(
                ErrorCode::MediaUnreadable,
                format!(
                    "{} is empty (0 bytes): the upload did not finish; record or upload it again",
                    source.name()
                ),
            ));
        }
        let opened = match indexed {
            Some(Indexed::Movie(movie)) => self.open_movie(source, movie, &stage).await?,
            Some(Indexed::Other { container, reason }) => {
                stage.set("container", container.as_str());
                Opened { fallback_reason: Some(reason), ..self.opened(source, Feed::Whole) }
            }
            None => self.open_unranged(source).await?,
        };
        if let Some(reason) = &opened.fallback_reason {
            self.stages.event("fetch.index", "fallback", [("reason", reason.as_str().into())]);
        }
        flow::end_of_fetching(stage, &self.hooks.progress, 0);
        Ok(opened)
    }

    fn opened(&self, source: Arc<Source>, feed: Feed) -> Opened {
        Opened {
            source,
            feed,
            fallback_reason: None,
            strategy: match self.request.fetch.strategy {
                // Without a plan there are no gaps to skip.
                Strategy::AudioOnly | Strategy::Auto => Strategy::Parallel,
                strategy => strategy,
            },
            skip: None,
            listed: Listed::default(),
            about: About::default(),
            samples: None,
            _index: None,
            _spill: None,
        }
    }

    async fn open_movie(
        &self,
        source: Arc<Source>,
        movie: Movie,
        stage: &crate::stages::Stage,
    ) -> Result<Opened> {
        stage.set("container", "mp4");
        let track = self.request.audio.track as usize;
        let listed = Listed::of(&movie);
        let about = movie.about();
        let named = |error: EngineError| {
            let message = format!("{}: {}", source.name(), error.message);
            EngineError { message, ..error }
        };
        let index = self.budget.acquire_at_most(movie.retained_bytes()).await;
        let ffmpeg = self.ffmpeg_version().await?;
        for one in &self.request.outputs {
            if one.audio.mixed_tracks == 0
                && let Err(PlanRefusal::Impossible(error)) = movie.audio_plan(one.audio.track as usize)
            {
                return Err(named(error));
            }
        }
        let is_one_track =
            |audio: &AudioSpec| audio.mixed_tracks == 0 && audio.track == self.request.audio.track;
        let plan = if self.request.all_outputs().all(|(audio, _, _)| is_one_track(audio)) {
            movie.audio_plan(track)
        } else {
            Err(PlanRefusal::Fallback { reason: "outputs of several tracks are wanted".to_owned() })
        };
        match plan {
            Ok(plan) => {
                let seconds = listed.unclipped_seconds(&self.request.audio);
                let (strategy, skip) = self.choose_strategy(&source, &plan, seconds);
                let rate = movie.tracks().get(track).and_then(|info| info.sample_rate_hz);
                let samples = plan.expected_samples(ffmpeg.and_then(|version| version.major)).zip(rate);
                Ok(Opened {
                    strategy,
                    skip,
                    listed,
                    about,
                    samples,
                    _index: Some(index),
                    ..self.opened(source, Feed::Remux(Box::new(plan)))
                })
            }
            Err(PlanRefusal::Impossible(error)) => Err(named(error)),
            Err(PlanRefusal::Fallback { reason }) => {
                let (feed, spill) = match &*source {
                    _ if movie.index_precedes_media() => (Feed::Whole, None),
                    Source::File(file) => (Feed::Mp4File(file.path().display().to_string()), None),
                    Source::Http(_) => {
                        let spill = self.spill(&source).await?;
                        (Feed::Mp4File(spill.path().display().to_string()), Some(spill))
                    }
                };
                Ok(Opened {
                    listed,
                    about,
                    fallback_reason: Some(reason),
                    _spill: spill,
                    ..self.opened(source, feed)
                })
            }
        }
    }

    /// A server without ranges: whatever may need seeking goes through a temporary file.
    async fn open_unranged(&self, source: Arc<Source>) -> Result<Opened> {
        let spill = self.spill(&source).await?;
        let path = spill.path().display().to_string();
        let reason = "the server does not support ranges".to_owned();
        let local = Arc::new(Source::File(FileSource::open(&path, Some(source.name()), Arc::default())?));
        let opened = match mp4::index(&IndexReader::new(&local, &self.budget)).await? {
            Indexed::Movie(movie) => {
                let stage = self.stages.begin("fetch.index");
                Box::pin(self.open_movie(local, movie, &stage)).await?
            }
            Indexed::Other { .. } => self.opened(local, Feed::Whole),
        };
        Ok(Opened {
            fallback_reason: Some(reason),
            strategy: Strategy::Stream,
            _spill: Some(spill),
            ..opened
        })
    }

    async fn spill(&self, source: &Arc<Source>) -> Result<Spill> {
        let mut digest = self.digest();
        let (mut pieces, drive) = self.fetch_whole(source, Pace::Fast);
        let mut spill =
            Spill::create(self.request.temp_directory.as_deref(), source.name(), source.size()).await?;
        let write = async {
            while let Some((_, piece)) = pieces.next().await {
                digest.update(&piece);
                spill.write(piece).await?;
            }
            Ok(())
        };
        tokio::try_join!(drive, write)?;
        digest.verify(source.name())?;
        spill.close();
        self.stages.event("fetch.index", "spilled", [("bytes", spill.len().into())]);
        Ok(spill)
    }

    /// Copies an MP4's audio into an M4A, without FFmpeg.
    async fn copy(&self, opened: &Opened, plan: &AudioPlan, sink: &mut Sink) -> Result<Extracted> {
        let mut digest = if opened.strategy == Strategy::AudioOnly {
            SourceDigest::new(None, None)
        } else {
            self.digest()
        };
        let requests_before = flow::requests(&self.hooks.progress);
        let stage = self.stages.begin("fetch.ranges");
        let (mut pieces, drive) = self.fetch_planned(opened, plan, &digest, Pace::Fast);
        let tags = &self.request.audio.tags;
        let head = plan.m4a_header(&mp4::Tags {
            title: tags.title.as_deref(),
            date: tags.date.as_deref(),
            source: tags.source.as_deref(),
        })?;
        let carry = async {
            let mut gather = Gather::new(self.budget.pool(), sink);
            for piece in head {
                gather.add(&piece).await?;
            }
            let mut picker = plan.picker();
            let mut audio_pieces = Vec::new();
            while let Some((offset, piece)) = pieces.next().await {
                digest.update(&piece);
                picker.push(offset, &piece, &mut audio_pieces)?;
                for audio in audio_pieces.drain(..) {
                    gather.add(&audio).await?;
                }
            }
            if let Some(audio) = picker.finish()? {
                gather.add(&audio).await?;
            }
            gather.end().await
        };
        let ((), bytes) = tokio::try_join!(drive, carry)?;
        digest.verify(opened.source.name())?;
        flow::end_of_fetching(stage, &self.hooks.progress, requests_before);
        let audio_seconds = opened.listed.seconds_of(&self.request.audio);
        if let Some(seconds) = audio_seconds {
            self.hooks.progress.set_audio_seconds(seconds);
        }
        Ok(Extracted { bytes, audio_seconds, sound: None })
    }
}

/// Copied audio, gathered into buffers of its own, so that it does not hold the video around it in memory.
struct Gather<'a> {
    pool: &'a Pool,
    sink: &'a mut Sink,
    piece: Piece,
    bytes: u64,
}

impl<'a> Gather<'a> {
    fn new(pool: &'a Pool, sink: &'a mut Sink) -> Self {
        Self { pool, sink, piece: pool.take(u64::MAX), bytes: 0 }
    }

    async fn add(&mut self, mut audio: &[u8]) -> Result<()> {
        while !audio.is_empty() {
            audio = self.piece.fill(audio);
            if self.piece.is_full() {
                let full = std::mem::replace(&mut self.piece, self.pool.take(u64::MAX));
                self.bytes += full.len() as u64;
                self.sink.write(full.freeze(None)).await?;
            }
        }
        Ok(())
    }

    /// Hands on what is left; gives the number of bytes in all.
    async fn end(self) -> Result<u64> {
        let rest = self.piece.len() as u64;
        if rest > 0 {
            self.sink.write(self.piece.freeze(None)).await?;
        }
        Ok(self.bytes + rest)
    }
}

pub(crate) fn open_source(
    spec: &SourceSpec,
    hooks: &Hooks,
    stall: Duration,
    retry: crate::request::RetrySpec,
    stages: &Stages,
) -> Result<Source> {
    let progress = Arc::clone(&hooks.progress);
    Ok(match spec {
        SourceSpec::Http { url, authenticated, size_bytes, name, .. } => {
            let tokens = hooks.source_tokens.clone().filter(|_| *authenticated);
            let options = HttpOptions {
                url,
                name: name.as_deref(),
                size_bytes: *size_bytes,
                tokens,
                stall,
                retry,
                estimates: &hooks.estimates,
            };
            Source::Http(Box::new(HttpSource::new(options, progress, stages.clone())?))
        }
        SourceSpec::File { path, name } => Source::File(FileSource::open(path, name.as_deref(), progress)?),
    })
}

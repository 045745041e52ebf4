//! What is inside a recording, from its index alone, and what each way to fetch its audio would cost.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::about::About;
use crate::budget::Budget;
use crate::error::{EngineError, ErrorCode, Result};
use crate::extract::arguments::CopyContainer;
use crate::extract::sniff;
use crate::mp4::{self, AudioPlan, Indexed, Movie, PlanRefusal};
use crate::request::{FetchSpec, FfmpegSpec, RetrySpec, SourceSpec, Strategy};
use crate::source::{IndexReader, Limits, Network, Source, Way};
use crate::stages::Stages;
use crate::transfer::{Hooks, checksum_promised, open_source};

/// Memory for the index.
const PROBE_BUDGET_BYTES: u64 = 64 * 1024 * 1024;

/// What to look at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// The recording.
    pub source: SourceSpec,
    /// Asked about containers other than MP4.
    #[serde(default)]
    pub ffmpeg: Option<FfmpegSpec>,
    /// Range size and time-outs.
    #[serde(default)]
    pub fetch: FetchSpec,
    /// How failed requests are tried again.
    #[serde(default)]
    pub retry: RetrySpec,
}

/// One audio track.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeTrack {
    /// Index among the audio tracks.
    pub index: usize,
    /// Codec name.
    pub codec: String,
    /// ISO 639-2 code.
    pub language: Option<String>,
    /// Samples per second.
    pub sample_rate_hz: Option<u32>,
    /// Channels.
    pub channels: Option<u32>,
    /// Length.
    pub duration_seconds: Option<f64>,
    /// File name extension of a `copy` of this track.
    pub copy_extension: String,
}

/// One way to fetch the audio.
#[derive(Debug, Clone, Serialize)]
pub struct ProbePlan {
    /// The strategy.
    pub strategy: Strategy,
    /// Bytes it would fetch, the index not counted.
    pub fetch_bytes: u64,
    /// Requests it would make at most: with encoders, `parallel` makes fewer.
    pub requests: u64,
    /// Units of quota they cost: Drive bills 200 for each, others nothing.
    pub quota_units: u64,
    /// How long it would take at least; nothing for a local file.
    pub predicted_seconds: Option<f64>,
}

/// What is inside a recording.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeReport {
    /// Container name.
    pub container: String,
    /// Size of the recording.
    pub size_bytes: Option<u64>,
    /// Length.
    pub duration_seconds: Option<f64>,
    /// Whether there is a picture.
    pub has_video: bool,
    /// Audio tracks.
    pub tracks: Vec<ProbeTrack>,
    /// Ways to fetch the audio of the first track.
    pub plans: Vec<ProbePlan>,
    /// What the predictions rest on; nothing for a local file.
    pub network: Option<Network>,
    /// What it says of itself.
    pub about: About,
    /// Why the audio-only remux is not possible.
    pub fallback_reason: Option<String>,
}

/// Reads a recording's index.
///
/// # Errors
/// The `source.*` codes, and `media.unreadable` where FFmpeg was asked and does not know the file either.
pub async fn probe(request: ProbeRequest, hooks: Hooks) -> Result<ProbeReport> {
    let cancel = hooks.cancel.clone();
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(EngineError::new(ErrorCode::Cancelled, "looking at the recording was cancelled")),
        report = look(request, &hooks) => report,
    }
}

async fn look(request: ProbeRequest, hooks: &Hooks) -> Result<ProbeReport> {
    let stall = Duration::from_secs_f64(request.fetch.stall_timeout_seconds);
    let budget = Budget::new(PROBE_BUDGET_BYTES);
    let source = Arc::new(open_source(&request.source, hooks, stall, request.retry, &Stages::default())?);
    if source.size() == Some(0) {
        return Err(EngineError::new(
            ErrorCode::MediaUnreadable,
            format!("{} is empty (0 bytes)", source.name()),
        ));
    }
    match mp4::index(&IndexReader::new(&source, &budget)).await? {
        Indexed::Movie(movie) => Ok(of_movie(&source, &movie, &request)),
        Indexed::Other { container, reason } => {
            let sniffed = match &request.ffmpeg {
                Some(spec) => sniff::sniff(spec, sniff::head(&source, &budget).await?).await?,
                None => sniff::Sniffed::default(),
            };
            if request.ffmpeg.is_some() && !sniffed.recognised {
                return Err(EngineError::new(
                    ErrorCode::MediaUnreadable,
                    format!(
                        "{} is not a recording that FFmpeg can read: damaged, cut off or something else",
                        source.name()
                    ),
                ));
            }
            let tracks = sniffed.tracks.into_iter().enumerate().map(|(index, track)| ProbeTrack {
                index,
                copy_extension: CopyContainer::for_codec(&track.codec).extension().to_owned(),
                codec: track.codec,
                language: track.language,
                sample_rate_hz: track.sample_rate_hz,
                channels: track.channels,
                duration_seconds: sniffed.duration_seconds,
            });
            Ok(ProbeReport {
                container: container.as_str().to_owned(),
                size_bytes: source.size(),
                duration_seconds: sniffed.duration_seconds,
                has_video: sniffed.has_video,
                tracks: tracks.collect(),
                plans: Planner::new(&source, &request).whole(),
                network: Planner::new(&source, &request).network,
                about: sniffed.about,
                fallback_reason: Some(reason),
            })
        }
    }
}

fn of_movie(source: &Source, movie: &Movie, request: &ProbeRequest) -> ProbeReport {
    let planner = Planner::new(source, request);
    let plan = movie.audio_plan(0);
    let (plans, fallback_reason) = match &plan {
        Ok(plan) => (planner.of(plan), None),
        Err(PlanRefusal::Fallback { reason }) => (planner.whole(), Some(reason.clone())),
        Err(PlanRefusal::Impossible(error)) => (Vec::new(), Some(error.message.clone())),
    };
    let tracks = movie.tracks().iter().enumerate().map(|(index, track)| {
        let copyable = movie.audio_plan(index).is_ok_and(|plan| plan.copyable_to_m4a());
        let container = if copyable { CopyContainer::Mp4 } else { CopyContainer::for_codec(&track.codec) };
        ProbeTrack {
            index,
            codec: track.codec.clone(),
            language: track.language.clone(),
            sample_rate_hz: track.sample_rate_hz,
            channels: track.channels,
            duration_seconds: track.duration_seconds,
            copy_extension: container.extension().to_owned(),
        }
    });
    ProbeReport {
        container: movie.container().as_str().to_owned(),
        size_bytes: source.size(),
        duration_seconds: movie.duration_seconds(),
        has_video: movie.has_video(),
        tracks: tracks.collect(),
        plans,
        network: planner.network,
        about: movie.about(),
        fallback_reason,
    }
}

/// Says what each way costs.
struct Planner<'a> {
    source: &'a Source,
    request: &'a ProbeRequest,
    network: Option<Network>,
}

impl<'a> Planner<'a> {
    fn new(source: &'a Source, request: &'a ProbeRequest) -> Self {
        let network = source.measured().map(|measured| Network::or_assumed(&measured));
        Self { source, request, network }
    }

    /// The ways for a container whose audio cannot be told apart from its index.
    fn whole(&self) -> Vec<ProbePlan> {
        self.source.size().map_or_else(Vec::new, |size| self.both(size))
    }

    fn of(&self, plan: &AudioPlan) -> Vec<ProbePlan> {
        let fetch = &self.request.fetch;
        let limits = Limits {
            range_bytes: fetch.range_size_bytes,
            max_ranges: fetch.max_ranges,
            request_budget: fetch.request_budget,
        };
        let cost = |gap, step| plan.fetch_cost(gap, step);
        // As a transfer does: a promised checksum is compared, which takes the whole file.
        let size = self.source.size().filter(|_| checksum_promised(&self.request.source));
        let mut plans = self.both(size.unwrap_or_else(|| cost(u64::MAX, u64::MAX).bytes));
        if let Some(skip) = limits.asked_for(&self.source.measured().unwrap_or_default(), cost) {
            plans.insert(1, self.plan(Strategy::AudioOnly, skip.way));
        }
        plans
    }

    fn both(&self, bytes: u64) -> Vec<ProbePlan> {
        let fetch = &self.request.fetch;
        vec![
            self.plan(Strategy::Parallel, Way::in_ranges(bytes, fetch.range_size_bytes, fetch.max_ranges)),
            self.plan(Strategy::Stream, Way::in_ranges(bytes, u64::MAX, 1)),
        ]
    }

    fn plan(&self, strategy: Strategy, way: Way) -> ProbePlan {
        let units = match self.source {
            Source::Http(http) => http.units_a_request(),
            Source::File(_) => 0,
        };
        ProbePlan {
            strategy,
            fetch_bytes: way.cost.bytes,
            requests: way.cost.ranges,
            quota_units: way.cost.ranges.saturating_mul(units),
            predicted_seconds: self.network.as_ref().map(|network| way.seconds(network)),
        }
    }
}

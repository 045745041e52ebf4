//! What is inside a recording, from its index alone, and what each way to fetch its audio would cost.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::error::{EngineError, ErrorCode, Result};
use crate::extract::arguments::CopyContainer;
use crate::extract::sniff;
use crate::mp4::{self, Indexed, Movie, PlanRefusal};
use crate::request::{FetchSpec, FfmpegSpec, RetrySpec, SourceSpec, Strategy};
use crate::source::{IndexReader, Source};
use crate::stages::Stages;
use crate::transfer::{Hooks, REMOTE_GAP_BYTES, open_source};

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
    /// Requests it would make.
    pub requests: u64,
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
        Indexed::Movie(movie) => Ok(of_movie(&source, &movie, request.fetch.range_size_bytes)),
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
                plans: whole_plans(&source, request.fetch.range_size_bytes),
                fallback_reason: Some(reason),
            })
        }
    }
}

fn of_movie(source: &Source, movie: &Movie, range_bytes: u64) -> ProbeReport {
    let plan = movie.audio_plan(0);
    let (plans, fallback_reason) = match &plan {
        Ok(plan) => {
            let cost = |strategy, gap, step| {
                let cost = plan.fetch_cost(gap, step);
                ProbePlan { strategy, fetch_bytes: cost.bytes, requests: cost.ranges }
            };
            let plans = vec![
                cost(Strategy::Parallel, u64::MAX, range_bytes),
                cost(Strategy::AudioOnly, REMOTE_GAP_BYTES, range_bytes),
                cost(Strategy::Stream, u64::MAX, u64::MAX),
            ];
            (plans, None)
        }
        Err(PlanRefusal::Fallback { reason }) => (whole_plans(source, range_bytes), Some(reason.clone())),
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
        fallback_reason,
    }
}

fn whole_plans(source: &Source, range_bytes: u64) -> Vec<ProbePlan> {
    source.size().map_or_else(Vec::new, |size| {
        vec![
            ProbePlan {
                strategy: Strategy::Parallel,
                fetch_bytes: size,
                requests: size.div_ceil(range_bytes),
            },
            ProbePlan { strategy: Strategy::Stream, fetch_bytes: size, requests: 1 },
        ]
    })
}

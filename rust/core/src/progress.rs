//! Counters of a running transfer, readable from other threads at any time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::request::PartialReport;
use crate::stages::Stages;

/// Where a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// Reading the recording's index.
    Index = 0,
    /// Bytes move.
    Transfer = 1,
    /// Comparing what stands at the destination.
    Verify = 2,
    /// Done.
    Done = 3,
}

/// Unknown, in the atomics below.
const UNKNOWN: u64 = u64::MAX;

/// The counters of one transfer.
#[derive(Debug)]
pub struct Progress {
    phase: AtomicU8,
    fetched: AtomicU64,
    fetch_total: AtomicU64,
    source_size: AtomicU64,
    stored: AtomicU64,
    audio_micros: AtomicU64,
    audio_total_micros: AtomicU64,
    started: Mutex<Option<Instant>>,
    counts: Mutex<Counts>,
    stages: Mutex<Stages>,
}

/// Requests and retries by outcome or reason.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Outcome → requests to the source.
    pub source_requests: BTreeMap<String, u64>,
    /// Outcome → requests to the destination.
    pub sink_requests: BTreeMap<String, u64>,
    /// Reason → retries.
    pub retries: BTreeMap<String, u64>,
}

impl Counts {
    /// Adds what was counted elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        let add = |to: &mut BTreeMap<String, u64>, from: BTreeMap<String, u64>| {
            for (name, count) in from {
                *to.entry(name).or_default() += count;
            }
        };
        add(&mut self.source_requests, other.source_requests);
        add(&mut self.sink_requests, other.sink_requests);
        add(&mut self.retries, other.retries);
    }
}

/// Which service a request went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Where recordings come from.
    Source,
    /// Where audio goes.
    Sink,
}

/// The counters at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Where it stands.
    pub stage: Phase,
    /// Bytes that came.
    pub fetched_bytes: u64,
    /// Bytes that will come.
    pub fetch_total_bytes: Option<u64>,
    /// Size of the recording.
    pub source_size_bytes: Option<u64>,
    /// Bytes the destination has acknowledged.
    pub stored_bytes: u64,
    /// Seconds of audio that were made.
    pub audio_seconds: f64,
    /// Seconds of audio there will be.
    pub audio_total_seconds: Option<f64>,
    /// Since the start.
    pub elapsed_seconds: f64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(0),
            fetched: AtomicU64::new(0),
            fetch_total: AtomicU64::new(UNKNOWN),
            source_size: AtomicU64::new(UNKNOWN),
            stored: AtomicU64::new(0),
            audio_micros: AtomicU64::new(0),
            audio_total_micros: AtomicU64::new(UNKNOWN),
            started: Mutex::default(),
            counts: Mutex::default(),
            stages: Mutex::default(),
        }
    }
}

fn known(value: &AtomicU64) -> Option<u64> {
    Some(value.load(Ordering::Relaxed)).filter(|value| *value != UNKNOWN)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped at zero; saturates far beyond any recording"
)]
fn micros(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e6) as u64
}

#[expect(clippy::cast_precision_loss, reason = "exact below 285 years")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl Progress {
    /// Begins a transfer; its stages are the ones that are told from now on.
    pub(crate) fn start(&self) -> Stages {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let stages = Stages::default();
        *self.stages.lock().unwrap_or_else(PoisonError::into_inner) = stages.clone();
        stages
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn add_fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_fetch_total(&self, bytes: u64) {
        self.fetch_total.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_source_size(&self, bytes: u64) {
        self.source_size.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_stored(&self, bytes: u64) {
        self.stored.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_audio_seconds(&self, value: f64) {
        self.audio_micros.fetch_max(micros(value), Ordering::Relaxed);
    }

    /// Seconds of audio that are still to be made, where the length is known.
    pub(crate) fn audio_left_seconds(&self) -> Option<f64> {
        known(&self.audio_total_micros).map(|total| (seconds(total) - self.audio_seconds()).max(0.0))
    }

    pub(crate) fn set_audio_total_seconds(&self, value: f64) {
        self.audio_total_micros.store(micros(value), Ordering::Relaxed);
    }

    pub(crate) fn count_request(&self, service: Service, outcome: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let map = match service {
            Service::Source => &mut counts.source_requests,
            Service::Sink => &mut counts.sink_requests,
        };
        *map.entry(outcome.to_owned()).or_default() += 1;
    }

    pub(crate) fn count_retry(&self, reason: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.retries.entry(reason.to_owned()).or_default() += 1;
    }

    /// Requests and retries so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes that came so far.
    #[must_use]
    pub fn fetched_bytes(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Size of the recording, once known.
    #[must_use]
    pub fn source_size_bytes(&self) -> Option<u64> {
        known(&self.source_size)
    }

    /// Seconds of audio made so far.
    #[must_use]
    pub fn audio_seconds(&self) -> f64 {
        seconds(self.audio_micros.load(Ordering::Relaxed))
    }

    /// What the transfer did so far: the counters, and the stages of the newest try.
    #[must_use]
    pub fn partial_report(&self) -> PartialReport {
        let counts = self.counts();
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        PartialReport {
            source_size_bytes: self.source_size_bytes(),
            fetched_bytes: self.fetched_bytes(),
            source_requests: counts.source_requests,
            sink_requests: counts.sink_requests,
            retries: counts.retries,
            stages: stages.until_now(),
        }
    }

    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let started = *self.started.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            stage: match self.phase.load(Ordering::Relaxed) {
                0 => Phase::Index,
                1 => Phase::Transfer,
                2 => Phase::Verify,
                _ => Phase::Done,
            },
            fetched_bytes: self.fetched_bytes(),
            fetch_total_bytes: known(&self.fetch_total),
            source_size_bytes: self.source_size_bytes(),
            stored_bytes: self.stored.load(Ordering::Relaxed),
            audio_seconds: self.audio_seconds(),
            audio_total_seconds: known(&self.audio_total_micros).map(seconds),
            elapsed_seconds: started.map_or(0.0, |start| start.elapsed().as_secs_f64()),
        }
    }
}

//! What happened when: the raw material of spans, with wall-clock ends that a clock step cannot turn around.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A fraction.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Something that happened inside a stage.
#[derive(Debug, Clone, Serialize)]
pub struct StageEvent {
    /// For example `retry`.
    pub name: String,
    /// When.
    pub unix_nanos: u64,
    /// More.
    pub attributes: BTreeMap<String, Value>,
}

/// One stage of a transfer.
#[derive(Debug, Clone, Serialize)]
pub struct StageTiming {
    /// `fetch.index`, `fetch.ranges`, `extract`, `upload`, `verify`; and their parts, `extract.decode` (handing the
    /// recording to one FFmpeg), `extract.encode` (one segment coming out of it), `upload.chunk`.
    pub name: String,
    /// When it began.
    pub start_unix_nanos: u64,
    /// When it ended; equals the start while it runs.
    pub end_unix_nanos: u64,
    /// What it did.
    pub attributes: BTreeMap<String, Value>,
    /// What happened inside.
    pub events: Vec<StageEvent>,
}

/// Collects the stages of one transfer.
#[derive(Debug, Clone)]
pub struct Stages {
    inner: Arc<Mutex<Vec<StageTiming>>>,
    clock: Clock,
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    wall_nanos: u64,
    monotonic: Instant,
}

impl Clock {
    fn now(self) -> u64 {
        let elapsed = u64::try_from(self.monotonic.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.wall_nanos.saturating_add(elapsed)
    }
}

/// A running stage; [`Stage::end`] or dropping it sets its end.
#[derive(Debug)]
pub struct Stage {
    stages: Stages,
    index: usize,
    ended: bool,
}

/// The most events kept for a stage, so that a bad network cannot fill the memory.
const MAX_EVENTS: usize = 128;

/// The most parts of one name: a long recording has hundreds of segments and chunks.
const MAX_PARTS: usize = 32;

impl Default for Stages {
    fn default() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_nanos = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        Self { inner: Arc::default(), clock: Clock { wall_nanos, monotonic: Instant::now() } }
    }
}

impl Stages {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<StageTiming>) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a stage.
    #[must_use]
    pub fn begin(&self, name: &str) -> Stage {
        let now = self.clock.now();
        let index = self.with(|list| {
            list.push(StageTiming {
                name: name.to_owned(),
                start_unix_nanos: now,
                end_unix_nanos: now,
                attributes: BTreeMap::new(),
                events: Vec::new(),
            });
            list.len() - 1
        });
        Stage { stages: self.clone(), index, ended: false }
    }

    /// Begins a part of a stage, such as `upload.chunk`; `None` when there are enough of that name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<Stage> {
        let so_far = self.with(|list| list.iter().filter(|timing| timing.name == name).count());
        (so_far < MAX_PARTS).then(|| self.begin(name))
    }

    /// Adds an event to the newest stage called `stage`, if there is one.
    pub fn event(
        &self,
        stage: &str,
        name: &str,
        attributes: impl IntoIterator<Item = (&'static str, Value)>,
    ) {
        let unix_nanos = self.clock.now();
        self.with(|list| {
            if let Some(timing) = list.iter_mut().rev().find(|timing| timing.name == stage)
                && timing.events.len() < MAX_EVENTS
            {
                let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                timing.events.push(StageEvent { name: name.to_owned(), unix_nanos, attributes });
            }
        });
    }

    /// Everything so far, where what runs still has lasted until now; a part lasts no longer than its whole.
    #[must_use]
    pub fn until_now(&self) -> Vec<StageTiming> {
        let now = self.clock.now();
        let mut list = self.snapshot();
        for index in 0..list.len() {
            let (before, rest) = list.split_at_mut(index);
            let Some(timing) =
                rest.first_mut().filter(|timing| timing.end_unix_nanos == timing.start_unix_nanos)
            else {
                continue;
            };
            let whole = timing.name.rsplit_once('.').and_then(|(whole, _)| {
                before
                    .iter()
                    .rev()
                    .find(|earlier| earlier.name == whole)
                    .map(|earlier| earlier.end_unix_nanos)
            });
            timing.end_unix_nanos = now.min(whole.unwrap_or(now)).max(timing.start_unix_nanos);
        }
        list
    }

    /// Everything so far.
    #[must_use]
    pub fn snapshot(&self) -> Vec<StageTiming> {
        self.with(|list| list.clone())
    }
}

impl Stage {
    /// Says something about the stage.
    pub fn set(&self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        self.stages.with(|list| {
            if let Some(timing) = list.get_mut(self.index) {
                timing.attributes.insert(key.to_owned(), value);
            }
        });
    }

    /// Ends the stage now.
    pub fn end(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        if !self.ended {
            self.ended = true;
            let now = self.stages.clock.now();
            self.stages.with(|list| {
                if let Some(timing) = list.get_mut(self.index) {
                    timing.end_unix_nanos = now;
                }
            });
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_still_has_lasted_until_now_and_a_part_no_longer_than_its_whole() {
        let stages = Stages::default();
        let upload = stages.begin("upload");
        let chunk = stages.begin("upload.chunk");
        std::thread::sleep(std::time::Duration::from_millis(2));
        upload.end();
        let verify = stages.begin("verify");
        std::thread::sleep(std::time::Duration::from_millis(2));
        let [upload, part, running] = stages.until_now().try_into().unwrap();
        assert!(upload.start_unix_nanos < upload.end_unix_nanos);
        assert_eq!(part.end_unix_nanos, upload.end_unix_nanos);
        assert!(running.end_unix_nanos >= running.start_unix_nanos + 2_000_000);
        drop((chunk, verify));
    }

    #[test]
    fn parts_of_one_name_are_bounded_and_stages_are_not() {
        let stages = Stages::default();
        for number in 0..100_u64 {
            if let Some(part) = stages.part("upload.chunk") {
                part.set("offset", number);
            }
            stages.begin("upload").end();
        }
        let named = |name: &str| stages.snapshot().into_iter().filter(|timing| timing.name == name).count();
        assert_eq!((named("upload.chunk"), named("upload")), (MAX_PARTS, 100));
        assert!(stages.snapshot().iter().all(|timing| timing.end_unix_nanos >= timing.start_unix_nanos));
    }
}

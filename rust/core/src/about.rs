//! What a recording says of itself, beside its sound: title, time, chapters.

use serde::Serialize;

/// More chapters than any recording has.
pub(crate) const MOST_CHAPTERS: usize = 1_000;

/// What a recording says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct About {
    /// Its title.
    pub title: Option<String>,
    /// When it was made, in Unix seconds.
    pub created_unix_seconds: Option<i64>,
    /// Its chapters, in order.
    pub chapters: Vec<Chapter>,
}

/// One chapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chapter {
    /// Where it begins, in seconds.
    pub start_seconds: f64,
    /// What it is called; may be empty.
    pub title: String,
}

/// A moment that a calendar has, up to the year 9999; what files say may be anything.
pub(crate) fn plausible(unix_seconds: i64) -> Option<i64> {
    (0..=253_402_300_799).contains(&unix_seconds).then_some(unix_seconds)
}

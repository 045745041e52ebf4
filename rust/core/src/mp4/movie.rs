//! What the index of a recording says.

use std::sync::Arc;

use bytes::Bytes;

use crate::about::{self, About};

use super::boxes::ChildBox;
use super::container::Container;
use super::plan::{AudioPlan, PlanRefusal};
use super::track::{TrackInfo, Trak, seconds};

/// The index of an MP4 or QuickTime file: its audio tracks, and what concerns all tracks.
#[derive(Debug)]
pub struct Movie {
    pub(crate) shared: Arc<Shared>,
    pub(crate) traks: Vec<Arc<Trak>>,
    pub(crate) tracks: Vec<TrackInfo>,
    pub(crate) has_video: bool,
    pub(crate) title: Option<String>,
    pub(crate) unplannable: Option<Unplannable>,
}

/// Why no track can be planned.
#[derive(Debug)]
pub(crate) struct Unplannable {
    pub(crate) reason: String,
    /// Whether the list of tracks is complete nevertheless.
    pub(crate) tracks_known: bool,
}

/// What the audio-only files of all tracks have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) container: Container,
    pub(crate) file_size: Option<u64>,
    /// Whole; absent in old QuickTime files.
    pub(crate) ftyp: Option<Bytes>,
    pub(crate) mvhd: Option<ChildBox>,
    /// `udta`, `meta` and other small boxes of `moov`, with the number of tracks before each.
    pub(crate) others: Vec<(usize, ChildBox)>,
    pub(crate) timescale: u32,
    pub(crate) duration: Option<u64>,
    pub(crate) creation_time: Option<i64>,
    pub(crate) index_precedes_media: bool,
}

impl Movie {
    /// MP4 or QuickTime, by its brand.
    #[must_use]
    pub fn container(&self) -> Container {
        self.shared.container
    }

    /// The audio tracks, in the order of the file.
    #[must_use]
    pub fn tracks(&self) -> &[TrackInfo] {
        &self.tracks
    }

    /// Whether there is a picture.
    #[must_use]
    pub fn has_video(&self) -> bool {
        self.has_video
    }

    /// The length of the longest track.
    #[must_use]
    pub fn duration_seconds(&self) -> Option<f64> {
        self.shared.duration.map(|duration| seconds(duration, self.shared.timescale))
    }

    /// When the file was made, in Unix seconds.
    #[must_use]
    pub fn creation_time(&self) -> Option<i64> {
        self.shared.creation_time
    }

    /// The title in the file's own tags.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// What the file says of itself.
    #[must_use]
    pub fn about(&self) -> About {
        About {
            title: self.title.clone(),
            created_unix_seconds: self.shared.creation_time.and_then(about::plausible),
            chapters: super::tags::chapters(self.shared.others.iter().map(|(_, other)| other)),
        }
    }

    /// Why no track of this file can be planned, when that is so.
    #[must_use]
    pub fn unplannable(&self) -> Option<&str> {
        self.unplannable.as_ref().map(|unplannable| unplannable.reason.as_str())
    }

    /// Whether the index stands before the media: only then can FFmpeg read the whole file from a pipe.
    #[must_use]
    pub fn index_precedes_media(&self) -> bool {
        self.shared.index_precedes_media
    }

    /// How many bytes this index holds. Plans share them: drop the movie, and what the plan does not need is
    /// freed.
    #[must_use]
    pub fn retained_bytes(&self) -> u64 {
        self.shared.retained_bytes() + self.traks.iter().map(|trak| trak.retained_bytes()).sum::<u64>()
    }

    /// Plans the audio-only copy of one track (index among the audio tracks).
    ///
    /// # Errors
    /// [`PlanRefusal::Impossible`] when no audio can come of it, [`PlanRefusal::Fallback`] when FFmpeg has to
    /// look at the whole file.
    pub fn audio_plan(&self, track: usize) -> Result<AudioPlan, PlanRefusal> {
        AudioPlan::new(self, track)
    }
}

impl Shared {
    pub(crate) fn retained_bytes(&self) -> u64 {
        let others = self.others.iter().map(|(_, other)| other.raw.len()).sum::<usize>();
        (others + self.ftyp.as_ref().map_or(0, Bytes::len)) as u64
    }
}

//! From the fetched pieces through one FFmpeg to the sink; what runs at the same time, and how it ends.

use crate::analysis::SoundReport;
use crate::checksum::SourceDigest;
use crate::error::{EngineError, ErrorCode, Result};
use crate::extract::ffmpeg::{self, Said};
use crate::progress::Progress;
use crate::source::{Drive, Pieces};
use crate::stages::{Stage, Stages};

use super::Feed;
use super::output::Out;

/// Why bytes stopped flowing before the end.
pub(super) enum Stop {
    Failed(EngineError),
    JointDiffers,
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

/// How a pass came to its end without an error.
pub(super) struct Ended {
    /// Every byte was read and handed over; otherwise FFmpeg wanted no more.
    pub(super) whole: bool,
    /// What each child said.
    pub(super) said: Vec<Said>,
    /// Encoders had frames beyond the end.
    pub(super) left_over: bool,
    /// What was measured.
    pub(super) sound: Option<SoundReport>,
}

/// Everything that one pass needs, started and ready to flow.
pub(super) struct Flow<'a, Children, Beside> {
    pub(super) feed: &'a Feed,
    pub(super) pieces: Pieces,
    pub(super) drive: Drive,
    pub(super) digest: &'a mut SourceDigest,
    pub(super) fetch_stage: Stage,
    /// Requests to the source before that stage.
    pub(super) requests_before: u64,
    pub(super) stages: &'a Stages,
    pub(super) progress: &'a Progress,
    /// Our ends of the pipes of each child.
    pub(super) pipes: Vec<(ffmpeg::Input, ffmpeg::Output)>,
    /// Ends when every child has, with what each said; with an error when one failed.
    pub(super) children: Children,
    /// Ends when everything was carried away that comes out beside the main output, with what was measured.
    pub(super) beside: Beside,
}

impl<Children, Beside> Flow<'_, Children, Beside>
where
    Children: Future<Output = Result<Vec<Said>>>,
    Beside: Future<Output = Result<Option<SoundReport>>>,
{
    /// One child makes it all.
    pub(super) async fn alone(mut self, out: &mut Out<'_>) -> Result<Ended, Stop> {
        let Some((mut pipe, mut output)) = self.pipes.pop() else {
            return Err(EngineError::new(ErrorCode::Bug, "no FFmpeg was started").into());
        };
        let feed = async {
            let _part = self.stages.part("extract.decode");
            let all = feed(self.feed, self.pieces, &mut pipe, self.digest).await?;
            pipe.end();
            end_of_fetching(self.fetch_stage, self.progress, self.requests_before);
            Ok(all)
        };
        let drain = async {
            let mut part = None;
            while let Some(bytes) = output.next().await? {
                part = part.or_else(|| self.stages.part("extract.encode"));
                out.write(bytes).await?;
            }
            Ok(())
        };
        let ((), whole, (), said, sound) =
            tokio::try_join!(self.drive, feed, drain, self.children, self.beside)?;
        Ok(Ended { whole, said, left_over: false, sound })
    }
}

/// Notes what was fetched.
pub(super) fn end_of_fetching(stage: Stage, progress: &Progress, requests_before: u64) {
    stage.set("requests", requests(progress).saturating_sub(requests_before));
    stage.set("bytes", progress.fetched_bytes());
    stage.end();
}

/// Requests to the source so far.
pub(super) fn requests(progress: &Progress) -> u64 {
    progress.counts().source_requests.values().sum()
}

/// Takes the recording for FFmpeg.
pub(super) trait Consumer {
    /// `false`: no more is wanted.
    async fn take(&mut self, audio: &[u8]) -> Result<bool>;
}

impl Consumer for ffmpeg::Input {
    async fn take(&mut self, audio: &[u8]) -> Result<bool> {
        self.write(audio).await
    }
}

/// Hands the recording to FFmpeg. `true`: every byte was read and handed over; `false`: FFmpeg wanted no more, or
/// nothing of us.
pub(super) async fn feed(
    feed: &Feed,
    mut pieces: Pieces,
    consumer: &mut impl Consumer,
    digest: &mut SourceDigest,
) -> Result<bool> {
    match feed {
        Feed::Remux(plan) => {
            for piece in plan.header() {
                if !consumer.take(&piece).await? {
                    return Ok(false);
                }
            }
            let mut picker = plan.picker();
            let mut audio_pieces = Vec::new();
            while let Some((offset, piece)) = pieces.next().await {
                digest.update(&piece);
                picker.push(offset, &piece, &mut audio_pieces)?;
                for audio in audio_pieces.drain(..) {
                    if !consumer.take(&audio).await? {
                        return Ok(false);
                    }
                }
            }
            if let Some(audio) = picker.finish()? {
                return consumer.take(&audio).await;
            }
        }
        Feed::Whole => {
            while let Some((_, piece)) = pieces.next().await {
                digest.update(&piece);
                if !consumer.take(&piece).await? {
                    return Ok(false);
                }
            }
        }
        // FFmpeg reads it by itself; what was promised of it was compared while it was written there.
        Feed::Mp4File(_) => return Ok(false),
    }
    Ok(true)
}

//! Several encoders side by side, each with its segments, and their output joined in order.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, mpsc};

use super::flow::{Consumer, Ended, Flow, Stop, end_of_fetching, feed};
use super::output::Out;
use crate::analysis::SoundReport;
use crate::error::Result;
use crate::extract::fan_out::{self, fan_out};
use crate::extract::ffmpeg::{self, Output, Said};
use crate::extract::join_mp3::{Part, Splitter};
use crate::extract::segments::{Room, Segments};
use crate::pool::{Piece, Pool};
use crate::progress::Progress;
use crate::stages::{Stage, Stages};

/// The children of `flow` encode the segments, one child each `segments.encoders()`th of them.
pub(super) async fn side_by_side<Children, Beside>(
    flow: Flow<'_, Children, Beside>,
    segments: Segments,
    room: Room,
    pool: &Pool,
    out: &mut Out<'_>,
) -> Result<Ended, Stop>
where
    Children: Future<Output = Result<Vec<Said>>>,
    Beside: Future<Output = Result<Option<SoundReport>>>,
{
    let (writer, readers, turn) = fan_out(flow.pipes.len(), room.input_bytes, flow.pieces.for_others());
    let encoders = u64::try_from(flow.pipes.len()).unwrap_or(u64::MAX);
    let (inputs, outputs): (Vec<_>, Vec<_>) = flow.pipes.into_iter().unzip();
    let feed = async {
        let mut fan = Fan { writer, pool: pool.clone(), piece: None };
        let all = feed(flow.feed, flow.pieces, &mut fan, flow.digest).await?;
        fan.end().await;
        end_of_fetching(flow.fetch_stage, flow.progress, flow.requests_before);
        Ok(all)
    };
    let pump = try_join_all(readers.into_iter().zip(inputs).zip(0..).map(|(ends, encoder)| {
        let part = flow.stages.part("extract.decode");
        if let Some(part) = &part {
            part.set("encoder", encoder);
        }
        pump(ends, part)
    }));
    let (lines, tracks): (Vec<_>, Vec<_>) = outputs
        .into_iter()
        .zip(0..)
        .map(|(output, encoder)| {
            let splitter = Splitter::new(segments, encoder, pool.clone());
            let clock = SegmentClock::new(flow.stages, encoder, encoders);
            Line::new(output, splitter, clock, room.output_bytes)
        })
        .unzip();
    let split = try_join_all(lines.into_iter().map(Line::run));
    let rest = async {
        tokio::try_join!(flow.drive, feed, pump, split, flow.children, flow.beside).map_err(Stop::Failed)
    };
    let join = join(tracks, &turn, out, flow.progress);
    let (((), read, taken, _, said, sound), left_over) = tokio::try_join!(rest, join)?;
    Ok(Ended { whole: read && taken.into_iter().all(|all| all), said, left_over, sound })
}

/// Gathers audio for several children, so that it does not hold the video around it in memory.
struct Fan {
    writer: fan_out::Writer,
    pool: Pool,
    piece: Option<Piece>,
}

impl Fan {
    async fn end(mut self) {
        if let Some(piece) = self.piece.take() {
            self.writer.push(piece.freeze(None)).await;
        }
        self.writer.end();
    }
}

impl Consumer for Fan {
    async fn take(&mut self, mut audio: &[u8]) -> Result<bool> {
        while !audio.is_empty() {
            let piece = self.piece.get_or_insert_with(|| self.pool.take(u64::MAX));
            audio = piece.fill(audio);
            if piece.is_full()
                && let Some(full) = self.piece.take()
                && !self.writer.push(full.freeze(None)).await
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Hands one child what it gets; `true` when it took everything.
async fn pump((reader, mut input): (fan_out::Reader, ffmpeg::Input), _part: Option<Stage>) -> Result<bool> {
    while let Some(bytes) = reader.next().await {
        if !input.write(&bytes).await? {
            return Ok(false);
        }
    }
    input.end();
    Ok(true)
}

/// From one child's output to its segments, which wait here for their turn.
struct Line {
    output: Output,
    splitter: Splitter,
    clock: SegmentClock,
    parts: mpsc::UnboundedSender<Part>,
    room: Arc<Semaphore>,
}

/// Times each segment that comes out of one encoder.
struct SegmentClock {
    stages: Stages,
    encoder: u64,
    encoders: u64,
    segment: u64,
    bytes: u64,
    running: Option<Stage>,
}

impl SegmentClock {
    fn new(stages: &Stages, encoder: u64, encoders: u64) -> Self {
        Self { stages: stages.clone(), encoder, encoders, segment: encoder, bytes: 0, running: None }
    }

    fn see(&mut self, part: &Part) {
        match part {
            Part::Before(_) => {}
            Part::Frames(bytes) => {
                if self.bytes == 0 {
                    self.running = self.stages.part("extract.encode");
                }
                self.bytes += bytes.len() as u64;
            }
            Part::End(_) => {
                if let Some(stage) = self.running.take() {
                    stage.set("segment", self.segment);
                    stage.set("encoder", self.encoder);
                    stage.set("bytes", self.bytes);
                }
                self.segment += self.encoders;
                self.bytes = 0;
            }
        }
    }
}

/// The other end of a [`Line`].
struct Track {
    parts: mpsc::UnboundedReceiver<Part>,
    room: Arc<Semaphore>,
}

impl Line {
    fn new(output: Output, splitter: Splitter, clock: SegmentClock, room_bytes: u64) -> (Self, Track) {
        let room = usize::try_from(room_bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(room));
        let (out, parts) = mpsc::unbounded_channel();
        (Self { output, splitter, clock, parts: out, room: Arc::clone(&room) }, Track { parts, room })
    }

    async fn run(mut self) -> Result<()> {
        let mut parts = Vec::new();
        while let Some(bytes) = self.output.next_part().await? {
            self.splitter.push(bytes, &mut parts)?;
            self.hand_on(&mut parts).await;
        }
        self.splitter.end(&mut parts);
        self.hand_on(&mut parts).await;
        Ok(())
    }

    async fn hand_on(&mut self, parts: &mut Vec<Part>) {
        for part in parts.drain(..) {
            self.clock.see(&part);
            if let Part::Frames(bytes) = &part
                && let Ok(permits) =
                    self.room.acquire_many(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).await
            {
                permits.forget();
            }
            // Nobody listens any more when the transfer is about to end.
            let _ = self.parts.send(part);
        }
    }
}

impl Track {
    async fn next(&mut self) -> Option<Part> {
        let part = self.parts.recv().await?;
        if let Part::Frames(bytes) = &part {
            self.room.add_permits(bytes.len());
        }
        Some(part)
    }
}

/// Writes the segments one after the other; `true` when there were frames beyond the end.
async fn join(
    mut tracks: Vec<Track>,
    turn: &fan_out::Turn,
    out: &mut Out<'_>,
    progress: &Progress,
) -> Result<bool, Stop> {
    let mut before = Vec::new();
    'segments: for segment in 0.. {
        let encoder = segment % tracks.len().max(1);
        turn.give(encoder);
        let Some(track) = tracks.get_mut(encoder) else { break };
        loop {
            match track.next().await {
                Some(Part::Before(frames)) if frames != before => return Err(Stop::JointDiffers),
                Some(Part::Before(_)) => {}
                Some(Part::Frames(bytes)) => {
                    out.write(bytes).await?;
                    if let Some(mp3) = &out.mp3 {
                        progress.set_audio_seconds(mp3.head.seconds());
                    }
                }
                Some(Part::End(frames)) => {
                    before = frames;
                    break;
                }
                None => break 'segments,
            }
        }
    }
    // The recording has ended; who still has something saw another one.
    let mut left_over = false;
    for track in &mut tracks {
        while let Some(part) = track.next().await {
            left_over |= matches!(part, Part::Frames(_));
        }
    }
    Ok(left_over)
}

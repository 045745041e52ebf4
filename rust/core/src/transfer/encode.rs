//! The part of a transfer that goes through FFmpeg: one child, or several that encode segments side by side.

use std::sync::{Arc, PoisonError};

use futures_util::future::try_join_all;

use super::beside::promised;
use super::flow::{Ended, Flow, Stop, requests};
use super::output::Out;
use super::parallel::side_by_side;
use super::targets::Targets;
use super::{Extracted, Feed, Opened, Run};
use crate::checksum::SourceDigest;
use crate::chunks::Silences;
use crate::cores::Member;
use crate::error::{EngineError, ErrorCode, Result};
use crate::extract::arguments::{self, Input};
use crate::extract::ffmpeg::{self, Ffmpeg, Messages, Said, Started};
use crate::extract::mp3::resampled;
use crate::extract::segments::{Material, Room, Segments};
use crate::extract::sniff;
use crate::request::{AudioSpec, Codec, Strategy};
use crate::stages::Stage;

/// How one pass through FFmpeg ended.
enum Pass {
    Done(Extracted),
    /// The head said a wrong length and has left already; with these samples it would have been right.
    WrongLength {
        /// 0 is the main output.
        output: usize,
        samples: u64,
    },
    /// Two encoders did not agree about a joint: what was written is not what one encoder would have made.
    JointDiffers,
}

impl Run {
    /// Sends the recording through FFmpeg, again when what was written turned out to be wrong and could not be mended.
    pub(super) async fn extract(&self, opened: &Opened, targets: &mut Targets) -> Result<Extracted> {
        let mut encoders = match self.request.ffmpeg.encoders {
            Some(encoders) => encoders as usize,
            None => self.member.as_ref().map_or(1, Member::share),
        };
        let mut known = vec![None; 1 + self.request.outputs.len()];
        loop {
            let again = match Box::pin(self.pass(opened, targets, &known, encoders)).await? {
                Pass::Done(extracted) => return Ok(extracted),
                Pass::WrongLength { output, samples } if known.get(output) == Some(&None) => {
                    if let Some(known) = known.get_mut(output) {
                        *known = Some(samples);
                    }
                    ("wrong_length", samples)
                }
                Pass::JointDiffers if encoders > 1 => {
                    ("joint_differs", u64::try_from(std::mem::replace(&mut encoders, 1)).unwrap_or(u64::MAX))
                }
                Pass::WrongLength { .. } | Pass::JointDiffers => {
                    return Err(EngineError::new(
                        ErrorCode::Bug,
                        "the audio that FFmpeg makes differs from pass to pass",
                    ));
                }
            };
            self.stages.event("upload", again.0, [("value", again.1.into())]);
            targets.abort().await;
            self.remember_chunks(targets);
            *targets = self.open_targets()?;
            self.tell_lengths(opened, targets);
        }
    }

    /// The version of the FFmpeg that will be used; none for a copy, which may do without.
    pub(super) async fn ffmpeg_version(&self) -> Result<Option<ffmpeg::Version>> {
        if self.request.audio.codec == Codec::Copy && !self.request.makes_more() {
            return Ok(None);
        }
        let version = ffmpeg::version(&self.request.ffmpeg).await?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).version = Some(version.text.clone());
        Ok(Some(version))
    }

    /// How to cut the recording for several encoders; `None`: one encoder makes it.
    fn cut(&self, opened: &Opened, known: Option<u64>, encoders: usize) -> Option<(Segments, Room)> {
        let audio = &self.request.audio;
        let (Codec::Mp3, Feed::Remux(plan)) = (audio.codec, &opened.feed) else { return None };
        // How long it is need not be known exactly here: what the encoders counted decides in the end.
        let (samples, rate) = opened
            .samples
            .or_else(|| opened.listed.unclipped_seconds(audio).map(|whole| roughly(whole, 48_000)))?;
        let out_rate = audio.sample_rate_hz.unwrap_or(rate);
        let whole = resampled(samples, Some(rate), out_rate);
        let clipped = audio.clip.map(|(from, to)| to.min(whole).saturating_sub(from));
        let samples = known.or(clipped).unwrap_or(whole);
        let bitrate = u64::from(audio.bitrate_bps.unwrap_or(arguments::MP3_BITRATE));
        let material = Material {
            samples,
            input_bytes: plan.output_len(),
            output_bytes: samples.saturating_mul(bitrate / 8) / u64::from(out_rate.max(1)),
        };
        let segments = Segments::plan(material, u64::try_from(encoders).ok()?, self.segments_bytes)?;
        Some((segments, segments.room(material)))
    }

    async fn arguments(
        &self,
        opened: &Opened,
        input: &Input,
        track: u32,
        segments: Option<Segments>,
    ) -> Result<Vec<Vec<String>>> {
        let audio = &self.request.audio;
        if let Some(segments) = segments {
            let filters = (0..segments.encoders()).map(|encoder| segments.filters(encoder));
            return Ok(filters.map(|filters| arguments::segments(input, audio, track, &filters)).collect());
        }
        if audio.codec != Codec::Copy {
            return Ok(vec![arguments::extraction(input, audio, track)]);
        }
        let codec = self.codec_name(opened, audio.track).await?;
        Ok(vec![arguments::copy(input, audio, track, &codec)])
    }

    /// The codec of a track, as its index or, without one, the recording's first bytes name it.
    pub(super) async fn codec_name(&self, opened: &Opened, track: u32) -> Result<String> {
        if let Some(name) = opened.listed.codec_name(track) {
            return Ok(name.to_owned());
        }
        let head = sniff::head(&opened.source, &self.budget).await?;
        sniff::codec(&self.request.ffmpeg, head, opened.source.name(), track).await
    }

    /// Starts a child for each list of arguments.
    fn start(&self, arguments: &[Vec<String>], more: &[Vec<String>], input: &Input) -> Result<Vec<Started>> {
        let alone = arguments.len() == 1;
        let feed = match input {
            Input::Mp4File(_) => ffmpeg::Feed::Nothing,
            Input::Pipe if alone => ffmpeg::Feed::Recording,
            Input::Pipe => ffmpeg::Feed::Audio,
        };
        let start = |(number, arguments): (usize, &Vec<String>)| {
            let more = if number == 0 { more } else { &[] };
            // One of several cannot say how far the whole is.
            let progress = if alone { Arc::clone(&self.hooks.progress) } else { Arc::default() };
            ffmpeg::start(&self.request.ffmpeg, arguments, more, feed, self.budget.pool().clone(), progress)
        };
        arguments.iter().enumerate().map(start).collect()
    }

    async fn pass(
        &self,
        opened: &Opened,
        targets: &mut Targets,
        known: &[Option<u64>],
        encoders: usize,
    ) -> Result<Pass> {
        let audio = &self.request.audio;
        let name = opened.source.name();
        let (input, track) = input_of(&opened.feed, audio.track);
        self.ffmpeg_version().await?;
        let known = |output: usize| known.get(output).copied().flatten();
        let cut = self.cut(opened, known(0), encoders);
        let arguments = self.arguments(opened, &input, track, cut.map(|(segments, _)| segments)).await?;
        let more = self.beside_arguments(opened).await?;
        self.remember(&arguments, &more);
        let mut digest = self.digest_of(opened);
        let requests_before = requests(&self.hooks.progress);
        let fetch_stage = self.stages.begin("fetch.ranges");
        let extract_stage = self.stages.begin("extract");
        extract_stage.set("encoders", u64::try_from(arguments.len()).unwrap_or(u64::MAX));
        let mut pipes_beside = Vec::new();
        let (running, pipes): (Vec<_>, Vec<_>) = self
            .start(&arguments, &more, &input)?
            .into_iter()
            .map(|one| {
                pipes_beside.extend(one.more);
                ((one.child, one.messages), (one.input, one.output))
            })
            .unzip();
        let eager = cut.map_or(0.0, |(_, room)| room.eager);
        let (pieces, drive) = self.fetch_for_encoders(opened, &digest, eager);
        let silences = Silences::for_readers(targets.cut());
        targets.promise(|output| promised(self.audio_of(output)?, opened, known(output)));
        let Targets { main, more } = targets;
        let mut out = Out {
            mp3: Self::mp3_wrapper(audio, opened, known(0)),
            sink: &mut main.sink,
            chunking: main.chunking.as_mut(),
            silences: &silences,
        };
        let mut outs = self.outs(opened, more, known, &silences);
        let children = reap(running, name, audio.track);
        let flow = Flow {
            feed: &opened.feed,
            pieces,
            drive,
            digest: &mut digest,
            fetch_stage,
            requests_before,
            stages: &self.stages,
            progress: &self.hooks.progress,
            pipes,
            children,
            beside: self.carry_away(pipes_beside, &mut outs, &silences),
        };
        let ended = match cut {
            None => Box::pin(flow.alone(&mut out)).await,
            Some((segments, room)) => {
                Box::pin(side_by_side(flow, segments, room, self.budget.pool(), &mut out)).await
            }
        };
        let Ended { whole, said, left_over, sound } = match ended {
            Ok(ended) => ended,
            Err(Stop::JointDiffers) => return Ok(Pass::JointDiffers),
            Err(Stop::Failed(error)) => return Err(error),
        };
        if whole {
            digest.verify(name)?;
        }
        self.note(&extract_stage, &said);
        let first = said.first().ok_or_else(no_child)?;
        ffmpeg::check_produced(out.sink.written(), first, name)?;
        extract_stage.end();
        let samples = match cut {
            None => first.encoded_samples(0),
            Some((segments, _)) => {
                let total = counted(segments, &said);
                if left_over || !out.holds_all(total) {
                    // Their last word is not to be trusted; one encoder alone decides.
                    return Ok(Pass::JointDiffers);
                }
                total
            }
        };
        if let Some(mp3) = &mut out.mp3
            && let Some(samples) = mp3.after(samples, out.sink).await?
        {
            return Ok(Pass::WrongLength { output: 0, samples });
        }
        let bytes = out.sink.written();
        if let Some((output, samples)) = Self::set_right(&mut outs, first).await? {
            return Ok(Pass::WrongLength { output, samples });
        }
        self.finish_chunks(targets, &silences, samples, first, name).await?;
        let lengths = self.lengths_of(opened, samples, first);
        if let Some(longest) = lengths.iter().flatten().copied().reduce(f64::max) {
            self.hooks.progress.set_audio_seconds(longest);
        }
        let mut lengths = lengths.into_iter();
        let audio_seconds = lengths.next().flatten();
        for (target, length) in targets.more.iter_mut().zip(lengths) {
            target.audio_seconds = length;
        }
        Ok(Pass::Done(Extracted { bytes, audio_seconds, sound }))
    }

    /// The sound of an output; 0 is the main one.
    fn audio_of(&self, output: usize) -> Option<&AudioSpec> {
        self.request.all_outputs().nth(output).map(|(audio, _, _)| audio)
    }

    /// What is compared with the promised checksum, where every byte is read.
    fn digest_of(&self, opened: &Opened) -> SourceDigest {
        if opened.strategy == Strategy::AudioOnly { SourceDigest::new(None, None) } else { self.digest() }
    }

    /// Writes down how the children were called.
    fn remember(&self, arguments: &[Vec<String>], more: &[Vec<String>]) {
        let mut arguments = arguments.to_vec();
        if let Some(first) = arguments.first_mut() {
            // The pipes have other numbers each time.
            for one in more {
                first.extend(one.iter().cloned().chain(["pipe:".to_owned()]));
            }
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).arguments.extend(arguments);
    }

    /// Writes down what the children said of themselves.
    fn note(&self, stage: &Stage, said: &[Said]) {
        let cpu_seconds: f64 = said.iter().map(Said::cpu_seconds).sum();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).cpu_seconds += cpu_seconds;
        stage.set("process.exit.code", 0);
        stage.set("cpu_seconds", cpu_seconds);
        // Each of them decodes everything and complains alike.
        if let Some(first) = said.first() {
            stage.set("decode_errors", first.errors());
            if first.errors() > 0 {
                self.stages.event("extract", "ffmpeg.warnings", [("messages", first.tail().into())]);
            }
        }
    }
}

/// What FFmpeg reads, and the number that the track has there.
fn input_of(feed: &Feed, track: u32) -> (Input, u32) {
    match feed {
        Feed::Remux(_) => (Input::Pipe, 0),
        Feed::Whole => (Input::Pipe, track),
        Feed::Mp4File(path) => (Input::Mp4File(path.clone()), track),
    }
}

/// Waits for all children; gives what each said.
async fn reap(running: Vec<(Ffmpeg, Messages)>, name: &str, track: u32) -> Result<Vec<Said>> {
    try_join_all(running.into_iter().map(async |(mut child, messages)| {
        let (said, status) = tokio::try_join!(messages.drain(), child.wait())?;
        ffmpeg::judge(status, &said, name, track)?;
        Ok::<_, EngineError>(said)
    }))
    .await
}

/// The samples of the whole, from what each encoder counted.
fn counted(segments: Segments, said: &[Said]) -> Option<u64> {
    let counted: Option<Vec<u64>> = said.iter().map(|said| said.encoded_samples(0)).collect();
    counted.and_then(|counted| segments.total_samples(&counted))
}

fn no_child() -> EngineError {
    EngineError::new(ErrorCode::Bug, "no FFmpeg was started")
}

/// A number of samples, and the rate they are counted at.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds are not negative; saturates far beyond any recording"
)]
fn roughly(seconds: f64, rate: u32) -> (u64, u32) {
    ((seconds * f64::from(rate)) as u64, rate)
}

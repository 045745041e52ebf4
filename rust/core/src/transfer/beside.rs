//! What the first child of a pass makes beside the main output: other outputs, and decoded sound to measure.

use futures_util::future::try_join_all;

use super::output::{Mp3Wrapper, Out};
use super::targets::{Target, Targets};
use super::{Feed, Opened, Run};
use crate::analysis::{Analysis, SoundReport, Timeline};
use crate::chunks::Silences;
use crate::error::{EngineError, ErrorCode, Result};
use crate::extract::arguments;
use crate::extract::ffmpeg::{Output, Said};
use crate::extract::mp3::Mp3Head;
use crate::request::{AudioSpec, Codec, OutputSpec};

/// What an earlier pass counted, else what the index promises at the recording's own rate.
pub(super) fn promised(audio: &AudioSpec, opened: &Opened, known: Option<u64>) -> Option<(u64, Option<u32>)> {
    let clip = || audio.clip.map(|(from, to)| (to.saturating_sub(from), None));
    let whole = || opened.samples.map(|(samples, rate)| (samples, Some(rate)));
    known.map(|samples| (samples, None)).or_else(clip).or_else(whole)
}

impl Run {
    /// The arguments of each pipe beside stdout: the other outputs in their order, then the sound to measure.
    pub(super) async fn beside_arguments(&self, opened: &Opened) -> Result<Vec<Vec<String>>> {
        let track = |audio: &AudioSpec| if let Feed::Remux(_) = opened.feed { 0 } else { audio.track };
        let mut all = Vec::with_capacity(self.request.outputs.len() + 1);
        for (number, one) in self.request.outputs.iter().enumerate() {
            let codec = match one.audio.codec {
                Codec::Copy => Some(self.codec_name(opened, one.audio.track).await?),
                _ => None,
            };
            all.push(arguments::beside(&one.audio, track(&one.audio), number, codec.as_deref()));
        }
        if self.request.measure.is_some() {
            all.push(arguments::measured(&self.request.audio, track(&self.request.audio)));
        }
        Ok(all)
    }

    /// The MP3 head in front of an output; `known`: samples that an earlier pass counted.
    pub(super) fn mp3_wrapper(audio: &AudioSpec, opened: &Opened, known: Option<u64>) -> Option<Mp3Wrapper> {
        let promised = promised(audio, opened, known);
        (audio.codec == Codec::Mp3).then(|| Mp3Wrapper {
            head: Mp3Head::new(&audio.tags),
            promised,
            sent: None,
        })
    }

    /// Where the other outputs go.
    pub(super) fn outs<'a>(
        &self,
        opened: &Opened,
        more: &'a mut [Target],
        known: impl Fn(usize) -> Option<u64>,
        silences: &'a Silences,
    ) -> Vec<Out<'a>> {
        let numbered = more.iter_mut().zip(&self.request.outputs).zip(1..);
        let out = |((target, one), number): ((&'a mut Target, &OutputSpec), usize)| Out {
            mp3: Self::mp3_wrapper(&one.audio, opened, known(number)),
            sink: &mut target.sink,
            chunking: target.chunking.as_mut(),
            silences,
        };
        numbered.map(out).collect()
    }

    /// Carries everything away that comes out of the pipes beside stdout; gives what was measured.
    pub(super) async fn carry_away(
        &self,
        mut pipes: Vec<Output>,
        outs: &mut [Out<'_>],
        silences: &Silences,
    ) -> Result<Option<SoundReport>> {
        let to_measure = pipes.split_off(outs.len().min(pipes.len())).pop();
        let store = try_join_all(pipes.into_iter().zip(outs).map(async |(mut pipe, out)| {
            while let Some(bytes) = pipe.next().await? {
                out.write(bytes).await?;
            }
            Ok::<_, EngineError>(())
        }));
        let measure = async {
            let (Some(mut pipe), Some(spec)) = (to_measure, self.request.measure) else { return Ok(None) };
            let (mut analysis, mut spans) = (Analysis::new(spec), Vec::new());
            while let Some(bytes) = pipe.next_part().await? {
                analysis.push(bytes)?;
                analysis.take_silences(&mut spans);
                silences.look(|timeline| {
                    analysis.sample_rate_hz().into_iter().for_each(|rate| timeline.measured_at(rate));
                    timeline.add(spans.drain(..), analysis.samples());
                });
            }
            silences.look(Timeline::end);
            Ok(analysis.report())
        };
        let (_, sound) = tokio::try_join!(store, measure)?;
        Ok(sound)
    }

    /// Sets right what stands in front of the other outputs; gives the number of one and its samples when the wrong
    /// length has left already.
    pub(super) async fn set_right(outs: &mut [Out<'_>], said: &Said) -> Result<Option<(usize, u64)>> {
        for (number, out) in (1..).zip(outs) {
            let samples = said.encoded_samples(number);
            if let Some(mp3) = &mut out.mp3
                && let Some(samples) = mp3.after(samples, out.sink).await?
            {
                return Ok(Some((number, samples)));
            }
        }
        Ok(None)
    }

    /// Completes the chunks of all outputs.
    pub(super) async fn finish_chunks(
        &self,
        targets: &mut Targets,
        silences: &Silences,
        samples: Option<u64>,
        said: &Said,
        name: &str,
    ) -> Result<()> {
        let numbered = std::iter::once(&mut targets.main).chain(&mut targets.more).zip(0..);
        for (Target { chunking, chunks, .. }, number) in numbered {
            let Some(chunking) = chunking else { continue };
            chunking.end_of_encoder(if number == 0 { samples } else { said.encoded_samples(number) });
            let all = chunking.finish(silences).await?;
            if all.is_empty() {
                return Err(EngineError::new(
                    ErrorCode::MediaUnreadable,
                    format!("{name} has no sound that could be cut"),
                ));
            }
            *chunks = Some(all);
        }
        Ok(())
    }
}

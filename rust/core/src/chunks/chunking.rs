//! Writes a stream's frames into chunks while they come in.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::cutter::{Cutter, NoCut, Rule, Step, Unit};
use super::stream::{Contents, Frame, Refused, Stream};
use super::{Chunk, ChunkSpec, HOLD_SECONDS, WINDOW_SECONDS};
use crate::analysis::{Timeline, seconds};
use crate::error::{EngineError, ErrorCode, Result};
use crate::extract::mp3::resampled;
use crate::sink::{End, Sink};

/// Frames that may have to stand in front of a chunk.
const MOST_BEFORE: usize = 16;

/// Opens the destination of a chunk by its name.
pub(crate) type Open = Box<dyn FnMut(&str) -> Result<Sink> + Send>;

/// Cuts a stream into chunks.
pub(crate) struct Chunking {
    spec: ChunkSpec,
    stream: Stream,
    /// How messages call the recording.
    name: String,
    cutter: Option<Cutter>,
    undecided: VecDeque<Frame>,
    /// The last frames that were written, as far back as the next chunk may need them.
    written: VecDeque<Frame>,
    written_samples: u64,
    reach_samples: u64,
    /// Samples of all frames that were written once, from the beginning.
    position: u64,
    current: Option<Current>,
    open: Open,
    chunks: Vec<Chunk>,
    frames: Vec<Frame>,
    steps: Vec<Step>,
    promised: Option<(u64, Option<u32>)>,
    target_samples: Option<u64>,
    limit_samples: Option<u64>,
    /// Its number among those that ask about silences.
    reader: Option<usize>,
}

/// The chunk that is being written.
struct Current {
    sink: Sink,
    file: String,
    /// The bytes of its first frame, for those that are numbered.
    first: Bytes,
    head: Bytes,
    head_may_change: bool,
    /// Frames in front that are not heard, and what they hold.
    before: usize,
    before_samples: u64,
    units: u64,
    bytes: u64,
    samples: u64,
    start: u64,
}

impl Chunking {
    pub(crate) fn new(spec: ChunkSpec, stream: Stream, name: &str, open: Open) -> Self {
        Self {
            spec,
            stream,
            name: name.to_owned(),
            cutter: None,
            undecided: VecDeque::new(),
            written: VecDeque::new(),
            written_samples: 0,
            reach_samples: 0,
            position: 0,
            current: None,
            open,
            chunks: Vec::new(),
            frames: Vec::new(),
            steps: Vec::new(),
            promised: None,
            target_samples: None,
            limit_samples: None,
            reader: None,
        }
    }

    /// Takes the next bytes of the stream; `silences` as far as they are known.
    ///
    /// # Errors
    /// `media.cannot_copy` where the stream cannot be cut as it is, and those of the destination.
    pub(crate) async fn push(&mut self, bytes: &[u8], silences: &Silences) -> Result<()> {
        let mut frames = std::mem::take(&mut self.frames);
        self.stream.push(bytes, &mut frames).map_err(|why| self.refused(why))?;
        self.accept(&mut frames)?;
        self.frames = frames;
        self.go_on(silences, false).await
    }

    /// The stream has ended, and all silences are known.
    ///
    /// # Errors
    /// As [`Chunking::push`].
    pub(crate) async fn finish(&mut self, silences: &Silences) -> Result<Vec<Chunk>> {
        let mut frames = std::mem::take(&mut self.frames);
        self.stream.end(&mut frames).map_err(|why| self.refused(why))?;
        self.accept(&mut frames)?;
        self.go_on(silences, true).await?;
        self.close(true, false).await?;
        Ok(std::mem::take(&mut self.chunks))
    }

    /// Leaves nothing behind of the chunk that is being written.
    pub(crate) async fn abort(&mut self) {
        if let Some(current) = &mut self.current {
            current.sink.abort().await;
        }
    }

    /// The chunks that are complete.
    pub(crate) fn complete(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Samples per second.
    pub(crate) fn sample_rate_hz(&self) -> Option<u32> {
        self.stream.sample_rate_hz()
    }

    /// The encoder will get so many samples, at this rate or, without one, at the output's.
    pub(crate) const fn promise(&mut self, samples: Option<(u64, Option<u32>)>) {
        self.promised = samples;
    }

    /// A chunk's contents when it begins: its head may have left before its end.
    ///
    /// Of MP3 only, where a head without counts is played as a frame. Exact for the last chunk where the length of the
    /// whole is known, and for the others but in the search for silence, where it is what was asked.
    fn predicted(&mut self, before: usize, again: usize, again_samples: u64) -> Option<Contents> {
        let frame_bytes = self.stream.frame_bytes()?;
        let frame_samples = self.undecided.front().or(self.written.back())?.samples.max(1);
        let room_bytes = self.spec.most_bytes.map(|most| most.saturating_sub(self.stream.overhead_bytes()));
        let promised = self.promised.zip(self.stream.sample_rate_hz());
        let whole = promised.map(|((samples, from), to)| resampled(samples, from, to));
        let frames = whole.and_then(|samples| self.stream.promise(samples));
        let left = frames.and_then(|frames| frames.checked_sub(self.position / frame_samples));
        let contents = |units: u64, is_last: bool| {
            let units = units + before as u64;
            Contents { units, bytes: units * frame_bytes, samples: units * frame_samples, is_last }
        };
        if let Some(left) = left {
            let units = again as u64 + left;
            let fits = self.limit_samples.is_none_or(|limit| again_samples + left * frame_samples <= limit)
                && room_bytes.is_none_or(|room| units * (frame_bytes + 1) <= room);
            if fits {
                return Some(contents(units, true));
            }
        }
        let by_length = self.target_samples.map(|target| target / frame_samples);
        let by_size = room_bytes.map(|room| room / frame_bytes.max(1));
        by_length.into_iter().chain(by_size).min().map(|units| contents(units, false))
    }

    /// The encoder got so many samples, where that is known.
    pub(crate) fn end_of_encoder(&mut self, samples: Option<u64>) {
        self.stream.end_of_encoder(samples);
    }

    fn refused(&self, why: Refused) -> EngineError {
        let reason = match why {
            Refused::NotThis => "it is not MP3, FLAC or PCM in WAV",
            Refused::Damaged => "something between its frames is no frame",
        };
        self.cannot_cut(reason)
    }

    fn cannot_cut(&self, reason: &str) -> EngineError {
        EngineError::new(
            ErrorCode::MediaCannotCopy,
            format!("{} cannot be cut without encoding it again: {reason}", self.name),
        )
    }

    fn accept(&mut self, frames: &mut Vec<Frame>) -> Result<()> {
        for frame in frames.drain(..) {
            if self.cutter.is_none() {
                self.cutter = Some(Cutter::new(self.rule()?));
            }
            let earlier = self.written.iter().chain(&self.undecided);
            let may_begin = self.stream.before(earlier).is_some();
            let unit = Unit { samples: frame.samples, bytes: frame.bytes.len() as u64, may_begin };
            if let Some(cutter) = &mut self.cutter {
                cutter.push(unit);
            }
            self.undecided.push_back(frame);
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a day of samples")]
    fn rule(&mut self) -> Result<Rule> {
        let Some(rate) = self.stream.sample_rate_hz() else {
            return Err(EngineError::new(ErrorCode::Bug, "a frame came before its sample rate"));
        };
        let samples = |seconds: f64| (seconds * f64::from(rate)) as u64;
        let spec = self.spec;
        let window =
            spec.duration_seconds.map_or(WINDOW_SECONDS, |target| (target / 4.0).min(WINDOW_SECONDS));
        let hold = spec.duration_seconds.map_or(HOLD_SECONDS, |target| (target / 4.0).min(HOLD_SECONDS));
        let rule = Rule {
            target_samples: spec.duration_seconds.map(samples),
            most_bytes: spec.most_bytes.map(|most| most.saturating_sub(self.stream.overhead_bytes())),
            window_samples: spec.silence.map_or(0, |_| samples(window)),
            overlap_samples: samples(spec.overlap_seconds),
            hold_samples: samples(hold),
            delay_samples: self.stream.delay(),
        };
        self.target_samples = rule.target_samples;
        self.limit_samples = rule.target_samples.map(|target| target + rule.window_samples);
        self.reach_samples = rule.overlap_samples + 2 * rule.hold_samples;
        Ok(rule)
    }

    async fn go_on(&mut self, silences: &Silences, ended: bool) -> Result<()> {
        let Some(cutter) = &mut self.cutter else { return Ok(()) };
        let mut steps = std::mem::take(&mut self.steps);
        let rate = self.stream.sample_rate_hz().unwrap_or_default();
        let reader = *self.reader.get_or_insert_with(|| silences.new_reader());
        let (decided, past) = silences.look(|timeline| {
            let timeline = timeline.at(rate);
            let decided = cutter.decide(timeline, ended, &mut steps);
            (decided, timeline.measured(cutter.heard(cutter.position())))
        });
        silences.forget_before(reader, past);
        if decided == Err(NoCut) {
            let reason =
                "its frames depend on so many others that no place to cut was found, or are too large";
            return Err(self.cannot_cut(reason));
        }
        for step in steps.drain(..) {
            match step {
                Step::Take(units) => {
                    for _ in 0..units {
                        let Some(frame) = self.undecided.pop_front() else { break };
                        self.write(frame).await?;
                    }
                }
                Step::Cut { again, silence } => {
                    self.close(false, silence).await?;
                    self.begin_again(again).await?;
                }
            }
        }
        self.steps = steps;
        Ok(())
    }

    async fn write(&mut self, frame: Frame) -> Result<()> {
        if self.current.is_none() {
            self.begin(&frame.bytes, 0, 0, self.position)?;
        }
        self.put(&frame).await?;
        self.position += frame.samples;
        self.written_samples += frame.samples;
        self.written.push_back(frame);
        while self.written.len() > MOST_BEFORE
            && let Some(first) = self.written.front()
            && self.written_samples - first.samples > self.reach_samples
        {
            self.written_samples -= first.samples;
            self.written.pop_front();
        }
        Ok(())
    }

    /// Opens the next chunk with the last `again` frames, and those that their decoding needs.
    async fn begin_again(&mut self, again: usize) -> Result<()> {
        let from = self.written.len().saturating_sub(again);
        let before = self.stream.before(self.written.iter().take(from)).unwrap_or(0);
        let repeated: Vec<Frame> = self.written.iter().skip(from.saturating_sub(before)).cloned().collect();
        let heard_again: u64 = self.written.iter().skip(from).map(|frame| frame.samples).sum();
        let start = self.position.saturating_sub(heard_again);
        let Some(first) = repeated.first().or(self.undecided.front()) else { return Ok(()) };
        let first = first.bytes.clone();
        self.begin(&first, before, again, start)?;
        for frame in &repeated {
            self.put(frame).await?;
        }
        Ok(())
    }

    fn begin(&mut self, first: &Bytes, before: usize, again: usize, start: u64) -> Result<()> {
        let predicted = self.predicted(before, again, self.position - start);
        let index = self.chunks.len();
        let file = format!("chunk-{index:03}.{}", self.stream.extension());
        self.current = Some(Current {
            sink: (self.open)(&file)?,
            file,
            first: first.clone(),
            head: self.stream.head(index == 0, before, predicted),
            head_may_change: predicted.is_none() || self.spec.silence.is_some(),
            before,
            before_samples: 0,
            units: 0,
            bytes: 0,
            samples: 0,
            start,
        });
        Ok(())
    }

    async fn put(&mut self, frame: &Frame) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if current.units == 0 && !current.head.is_empty() {
            current.sink.write_head(current.head.clone(), current.head_may_change).await?;
        }
        if current.units < current.before as u64 {
            current.before_samples += frame.samples;
        }
        let bytes = self.stream.rendered(frame, &current.first);
        current.units += 1;
        current.bytes += bytes.len() as u64;
        current.samples += frame.samples;
        current.sink.write(bytes).await
    }

    async fn close(&mut self, is_last: bool, silence_cut: bool) -> Result<()> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let index = self.chunks.len();
        let contents =
            Contents { units: current.units, bytes: current.bytes, samples: current.samples, is_last };
        let head = self.stream.head(index == 0, current.before, Some(contents));
        if head.len() == current.head.len() && !head.is_empty() {
            // One that has left already says what was predicted; the index says what is.
            current.sink.replace_head(head).await?;
        }
        let size = current.sink.written();
        let stored = match current.sink.finish(End { bytes: size }).await {
            Ok(stored) => stored,
            Err(error) => {
                current.sink.abort().await;
                return Err(error);
            }
        };
        let rate = self.stream.sample_rate_hz().unwrap_or_default();
        let delay = self.stream.delay();
        let start = current.start.saturating_sub(delay);
        let until = current.start + current.samples - current.before_samples;
        let padding = if is_last { self.stream.padding() } else { 0 };
        let end = until.saturating_sub(delay + padding).max(start);
        self.chunks.push(Chunk {
            index,
            file: current.file,
            start: seconds(start, rate),
            end: seconds(end, rate),
            samples: end - start,
            bytes: stored.size_bytes,
            crc32c: stored.crc32c,
            silence_cut,
            generation: stored.generation,
        });
        Ok(())
    }
}

/// Silences that one task finds and others ask about.
#[derive(Debug)]
pub(crate) struct Silences {
    timeline: Mutex<Timeline>,
    /// The sample before which each of those who ask will not ask again, and how many have begun to.
    past: Mutex<(Vec<u64>, usize)>,
}

impl Silences {
    /// Silences that so many will ask about.
    pub(crate) fn for_readers(count: usize) -> Self {
        Self { timeline: Mutex::default(), past: Mutex::new((vec![0; count], 0)) }
    }

    /// Looks at them, or adds some.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Timeline) -> T) -> T {
        look(&mut self.timeline.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of one who asks.
    fn new_reader(&self) -> usize {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.1 += 1;
        past.1 - 1
    }

    /// A reader will not ask again about what lies before a sample; nobody needs what is before all of these.
    fn forget_before(&self, reader: usize, sample: u64) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_reader) = past.0.get_mut(reader) {
            *of_reader = sample;
        }
        let earliest = past.0.iter().min().copied().unwrap_or_default();
        self.look(|timeline| timeline.forget_before(earliest));
    }
}

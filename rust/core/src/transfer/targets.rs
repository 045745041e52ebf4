//! Where everything goes that one transfer makes: the main output, others, and their chunks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Run;
use crate::chunks::{Chunk, Chunking, Open, Stream};
use crate::error::{EngineError, ErrorCode, Result};
use crate::progress::Progress;
use crate::request::{
    CHUNK_GRANULARITY, ChunkTarget, Codec, GcsSpec, OutputReport, SinkSpec, TransferRequest,
};
use crate::sink::{End, FileSink, GcsOptions, GcsSink, NothingSink, Sink};
use crate::source;
use crate::stages::Stages;

/// Output (0 is the main one) and name of each chunk that this transfer has stored, and its generation: a second pass
/// replaces it.
pub(super) type StoredChunks = Arc<Mutex<BTreeMap<(usize, String), Option<i64>>>>;

/// One output.
pub(super) struct Target {
    pub(super) sink: Sink,
    pub(super) chunking: Option<Chunking>,
    /// Once they are complete.
    pub(super) chunks: Option<Vec<Chunk>>,
    pub(super) audio_seconds: Option<f64>,
}

/// All outputs.
pub(super) struct Targets {
    pub(super) main: Target,
    pub(super) more: Vec<Target>,
}

impl Targets {
    fn all(&mut self) -> impl Iterator<Item = &mut Target> {
        std::iter::once(&mut self.main).chain(&mut self.more)
    }

    /// Leaves nothing behind: no open session, no temporary file. Harmless after they were finished.
    pub(super) async fn abort(&mut self) {
        for target in self.all() {
            target.sink.abort().await;
            if let Some(chunking) = &mut target.chunking {
                chunking.abort().await;
            }
        }
    }

    /// How many outputs are cut into chunks.
    pub(super) fn cut(&mut self) -> usize {
        self.all().filter(|target| target.chunking.is_some()).count()
    }

    /// Tells the chunks of each output how many samples there will be.
    pub(super) fn promise(&mut self, of: impl Fn(usize) -> Option<(u64, Option<u32>)>) {
        for (output, target) in self.all().enumerate() {
            if let Some(chunking) = &mut target.chunking {
                chunking.promise(of(output));
            }
        }
    }

    /// Says in the metadata of each output how long it will be, where that is known.
    pub(super) fn note_durations(&mut self, lengths: &[Option<f64>]) {
        for (target, length) in self.all().zip(lengths) {
            if let (Sink::Gcs(gcs), Some(seconds)) = (&target.sink, length) {
                gcs.note_duration(*seconds);
            }
        }
    }

    /// Makes all but the main output appear: whoever sees that one can rely on the others.
    pub(super) async fn finish_more(&mut self) -> Result<Vec<OutputReport>> {
        let mut reports = Vec::with_capacity(self.more.len());
        for target in &mut self.more {
            let bytes = target.sink.written();
            reports.push(OutputReport {
                stored: target.sink.finish(End { bytes }).await?,
                audio_seconds: target.audio_seconds,
                chunks: target.chunks.take(),
            });
        }
        Ok(reports)
    }
}

impl Run {
    pub(super) fn open_targets(&self) -> Result<Targets> {
        let request = &self.request;
        let main = self.open_target(
            0,
            &request.sink,
            request.audio.codec,
            request.chunks.as_ref(),
            &self.hooks.progress,
            &self.stages,
        )?;
        let mut more = Vec::with_capacity(request.outputs.len());
        for (one, number) in request.outputs.iter().zip(1..) {
            more.push(self.open_target(
                number,
                &one.sink,
                one.audio.codec,
                one.chunks.as_ref(),
                &self.beside,
                &Stages::default(),
            )?);
        }
        Ok(Targets { main, more })
    }

    fn open_target(
        &self,
        output: usize,
        sink: &SinkSpec,
        codec: Codec,
        chunks: Option<&ChunkTarget>,
        progress: &Arc<Progress>,
        stages: &Stages,
    ) -> Result<Target> {
        let chunking = chunks
            .map(|target| {
                let stream = Stream::of_codec(codec).ok_or_else(|| {
                    EngineError::new(ErrorCode::RequestInvalid, "chunks of this codec cannot be cut")
                })?;
                Ok::<_, EngineError>(Chunking::new(
                    target.rule,
                    stream,
                    "the recording",
                    self.chunk_opener(output, target, codec),
                ))
            })
            .transpose()?;
        let sink = self.opener(codec).open(sink, progress, stages)?;
        Ok(Target { sink, chunking, chunks: None, audio_seconds: None })
    }

    fn opener(&self, codec: Codec) -> Opener {
        let used = self.budget.limit_bytes() + self.segments_bytes;
        let sinks: u64 =
            self.request.all_outputs().map(|(_, _, chunks)| 1 + u64::from(chunks.is_some())).sum();
        let room = self.request.memory_limit_bytes.saturating_sub(used) / sinks.max(1);
        Opener {
            codec,
            head_room_bytes: room - room % CHUNK_GRANULARITY,
            tokens: self.hooks.sink_tokens.clone(),
            retry: self.request.retry,
            stall: Duration::from_secs_f64(self.request.fetch.stall_timeout_seconds),
        }
    }

    fn chunk_opener(&self, output: usize, target: &ChunkTarget, codec: Codec) -> Open {
        let (opener, target) = (self.opener(codec), target.clone());
        let (progress, stored) = (Arc::clone(&self.beside), Arc::clone(&self.stored_chunks));
        Box::new(move |name| {
            let key = (output, name.to_owned());
            let earlier = stored.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
            let spec = match &target.sink {
                SinkSpec::Gcs(folder) => {
                    let generation = earlier.flatten().or(target.replace.get(name).copied());
                    let mut spec = folder.clone();
                    spec.object = format!("{}/{name}", folder.object);
                    spec.if_generation_match = generation.or(folder.if_generation_match);
                    SinkSpec::Gcs(spec)
                }
                SinkSpec::File { path, overwrite, direct } => SinkSpec::File {
                    path: format!("{path}/{name}"),
                    overwrite: *overwrite || earlier.is_some(),
                    direct: *direct,
                },
                SinkSpec::Nothing => SinkSpec::Nothing,
            };
            opener.open(&spec, &progress, &Stages::default())
        })
    }

    /// Remembers the chunks of a pass that will be made again.
    pub(super) fn remember_chunks(&self, targets: &Targets) {
        let mut stored = self.stored_chunks.lock().unwrap_or_else(PoisonError::into_inner);
        for (output, target) in std::iter::once(&targets.main).chain(&targets.more).enumerate() {
            let complete = target.chunking.iter().flat_map(Chunking::complete);
            let all = complete.chain(target.chunks.iter().flatten());
            stored.extend(all.map(|chunk| ((output, chunk.file.clone()), chunk.generation)));
        }
    }

    /// Removes the chunks on disk of a transfer that failed. In a bucket they stay: the next attempt knows them by
    /// their metadata and replaces them.
    pub(super) fn remove_chunks(&self, targets: &Targets) {
        self.remember_chunks(targets);
        let stored = self.stored_chunks.lock().unwrap_or_else(PoisonError::into_inner);
        for (output, (_, _, chunks)) in self.request.all_outputs().enumerate() {
            if let Some(ChunkTarget { sink: SinkSpec::File { path, .. }, .. }) = chunks {
                for (_, name) in stored.keys().filter(|(of, _)| *of == output) {
                    // What cannot be removed is named by no index.
                    let _ = std::fs::remove_file(std::path::Path::new(path).join(name));
                }
                // Only where nothing else is in it.
                let _ = std::fs::remove_dir(path);
            }
        }
    }
}

/// Opens sinks.
struct Opener {
    /// Of what the sinks get.
    codec: Codec,
    /// What a first chunk may be larger than the others, where its head may change.
    head_room_bytes: u64,
    tokens: Option<Arc<crate::auth::TokenProvider>>,
    retry: crate::request::RetrySpec,
    stall: Duration,
}

impl Opener {
    fn open(&self, sink: &SinkSpec, progress: &Arc<Progress>, stages: &Stages) -> Result<Sink> {
        Ok(match sink {
            SinkSpec::Gcs(spec) => {
                let chunk_size_bytes = TransferRequest::upload_chunk_bytes(self.codec, spec);
                let head_chunk_bytes = (chunk_size_bytes + self.head_room_bytes).min(spec.chunk_size_bytes);
                let options = GcsOptions {
                    head_chunk_bytes,
                    spec: GcsSpec { chunk_size_bytes, ..spec.clone() },
                    tokens: self.tokens.clone().filter(|_| spec.authenticated),
                    retry: self.retry,
                    stall: self.stall,
                };
                let client = source::client(self.stall, 0)?;
                Sink::Gcs(GcsSink::new(client, options, Arc::clone(progress), stages.clone())?)
            }
            SinkSpec::File { path, overwrite, direct } => {
                Sink::File(FileSink::new(path, *overwrite, *direct, Arc::clone(progress))?)
            }
            SinkSpec::Nothing => Sink::Nothing(NothingSink::default()),
        })
    }
}

//! Cuts an audio file on disk into chunks beside each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use super::chunking::{Chunking, Silences};
use super::stream::Stream;
use super::{Chunk, ChunkSpec};
use crate::analysis::{Analysis, SoundReport, Timeline};
use crate::error::{EngineError, ErrorCode, Result};
use crate::extract::arguments;
use crate::extract::ffmpeg::{self, Started};
use crate::pool::{PIECE_BYTES, Pool};
use crate::request::FfmpegSpec;
use crate::sink::{FileSink, Sink};
use crate::transfer::Hooks;

/// An audio file to cut.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkFileRequest {
    /// MP3, FLAC, or PCM in WAV.
    pub path: String,
    /// How messages call it.
    pub name: String,
    /// Where the chunks go.
    pub directory: String,
    /// Replace chunks that exist.
    #[serde(default)]
    pub overwrite: bool,
    /// How to cut.
    pub chunks: ChunkSpec,
    /// Decodes the file, where cuts should lie in silence.
    #[serde(default)]
    pub ffmpeg: Option<FfmpegSpec>,
}

/// What was cut.
#[derive(Debug, Clone, Serialize)]
pub struct ChunkFileReport {
    /// Length of the whole, in seconds.
    pub duration: f64,
    /// Samples per second.
    pub sample_rate_hz: u32,
    /// The chunks, in order.
    pub chunks: Vec<Chunk>,
    /// What was measured, where the file was decoded.
    pub sound: Option<SoundReport>,
}

/// Cuts a file; on an error no chunk stays behind.
///
/// # Errors
/// `media.cannot_copy` where it cannot be cut without encoding it again, `destination.*`, `source.*`.
pub async fn chunk_file(request: ChunkFileRequest, hooks: Hooks) -> Result<ChunkFileReport> {
    request.chunks.validate()?;
    if request.chunks.silence.is_some() && request.ffmpeg.is_none() {
        return Err(EngineError::new(ErrorCode::RequestInvalid, "to find silence FFmpeg is needed"));
    }
    let cancel = hooks.cancel.clone();
    let (mut file, head) = open(&request).await?;
    let stream = Stream::of_head(&head);
    let directory = PathBuf::from(&request.directory);
    let (overwrite, progress) = (request.overwrite, Arc::clone(&hooks.progress));
    let folder = directory.clone();
    let open = Box::new(move |name: &str| {
        let path = folder.join(name);
        let path = path.to_str().ok_or_else(|| {
            EngineError::new(ErrorCode::RequestInvalid, "the folder's name is not valid UTF-8")
        })?;
        FileSink::new(path, overwrite, false, Arc::clone(&progress)).map(Sink::File)
    });
    let Some(stream) = stream else {
        return Err(EngineError::new(
            ErrorCode::MediaCannotCopy,
            format!(
                "{} cannot be cut without encoding it again: it is not MP3, FLAC or PCM in WAV",
                request.name
            ),
        ));
    };
    let mut chunking = Chunking::new(request.chunks, stream, &request.name, open);
    let result = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(EngineError::new(ErrorCode::Cancelled, "cutting was cancelled")),
        result = cut(&request, &mut file, head, &mut chunking) => result,
    };
    if result.is_err() {
        chunking.abort().await;
        for chunk in chunking.complete() {
            // What cannot be removed is named by nothing: `chunks.json` was not written.
            let _ = std::fs::remove_file(directory.join(&chunk.file));
        }
    }
    result
}

async fn cut(
    request: &ChunkFileRequest,
    file: &mut tokio::fs::File,
    head: Vec<u8>,
    chunking: &mut Chunking,
) -> Result<ChunkFileReport> {
    let silences = Silences::for_readers(1);
    let mut sound = None;
    if let (Some(spec), Some(ffmpeg)) = (request.chunks.silence, &request.ffmpeg) {
        let Started { mut child, mut input, mut output, messages, .. } = ffmpeg::start(
            ffmpeg,
            &arguments::decoding(),
            &[],
            ffmpeg::Feed::Recording,
            Pool::default(),
            Arc::default(),
        )?;
        let feed = async {
            let mut pieces = Pieces { file, next: Some(head), name: &request.name };
            let mut wants_more = true;
            while let Some(piece) = pieces.next().await? {
                // Behind the sound there may be something else; FFmpeg's exit status says why it wants no more.
                wants_more = wants_more && input.write(&piece).await?;
                chunking.push(&piece, &silences).await?;
            }
            input.end();
            Ok(())
        };
        let listen = async {
            let mut analysis = Analysis::new(spec);
            let mut spans = Vec::new();
            while let Some(bytes) = output.next_part().await? {
                analysis.push(bytes)?;
                analysis.take_silences(&mut spans);
                silences.look(|timeline| timeline.add(spans.drain(..), analysis.samples()));
            }
            Ok(analysis.report())
        };
        let said = async {
            let (said, status) = tokio::try_join!(messages.drain(), child.wait())?;
            ffmpeg::judge(status, &said, &request.name, 0)
        };
        let ((), report, ()) = tokio::try_join!(feed, listen, said)?;
        sound = report;
    } else {
        let mut pieces = Pieces { file, next: Some(head), name: &request.name };
        while let Some(piece) = pieces.next().await? {
            chunking.push(&piece, &silences).await?;
        }
    }
    silences.look(Timeline::end);
    let chunks = chunking.finish(&silences).await?;
    let (Some(last), Some(sample_rate_hz)) = (chunks.last(), chunking.sample_rate_hz()) else {
        return Err(EngineError::new(
            ErrorCode::MediaUnreadable,
            format!("{} has no sound: not one frame of it is complete", request.name),
        ));
    };
    Ok(ChunkFileReport { duration: last.end, sample_rate_hz, sound, chunks })
}

/// The file's bytes, in pieces.
struct Pieces<'a> {
    file: &'a mut tokio::fs::File,
    next: Option<Vec<u8>>,
    name: &'a str,
}

impl Pieces<'_> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if let Some(head) = self.next.take() {
            return Ok(Some(head));
        }
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let count = self.file.read_buf(&mut piece).await.map_err(|error| read_error(self.name, error))?;
        Ok((count > 0).then_some(piece))
    }
}

/// Opens the file and reads as much as it takes to tell what it is.
async fn open(request: &ChunkFileRequest) -> Result<(tokio::fs::File, Vec<u8>)> {
    let failed = |error| read_error(&request.name, error);
    let mut file = tokio::fs::File::open(Path::new(&request.path)).await.map_err(failed)?;
    let mut head = Vec::with_capacity(PIECE_BYTES);
    while head.len() < 12 {
        if file.read_buf(&mut head).await.map_err(failed)? == 0 {
            break;
        }
    }
    if head.is_empty() {
        return Err(EngineError::new(
            ErrorCode::MediaUnreadable,
            format!("{} is empty (0 bytes)", request.name),
        ));
    }
    Ok((file, head))
}

fn read_error(name: &str, error: std::io::Error) -> EngineError {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorCode::SourceNotFound,
        std::io::ErrorKind::PermissionDenied => ErrorCode::SourcePermission,
        _ => ErrorCode::SourceIo,
    };
    EngineError::new(code, format!("reading {name}: {error}")).caused_by(error)
}

//! An object in Cloud Storage through one resumable session.
//!
//! Cloud Storage guide "Resumable uploads" and JSON API `objects.insert`. Every chunk is kept until the server said
//! that it has it; after anything unclear the server is asked (`Content-Range: bytes */…`) and exactly the rest is
//! sent. The last chunk carries the CRC32C, and the finished object is compared on every path.

mod chunk;
mod session;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::chunk::Chunk;
use self::session::{Last, Uploader};
use super::End;
use crate::auth::TokenProvider;
use crate::error::{EngineError, ErrorCode, Result};
use crate::progress::Progress;
use crate::request::{GcsSpec, RetrySpec, StoredObject};
use crate::stages::Stages;

/// How long cleaning up may take when the transfer has failed already.
const ABORT_DEADLINE: Duration = Duration::from_millis(900);

/// What a [`GcsSink`] is made of.
#[derive(Debug)]
pub(crate) struct GcsOptions {
    pub(crate) spec: GcsSpec,
    /// Size of the first chunk where the head in it may have to be replaced; a multiple of 256 KiB.
    pub(crate) head_chunk_bytes: u64,
    pub(crate) tokens: Option<Arc<TokenProvider>>,
    pub(crate) retry: RetrySpec,
    pub(crate) stall: Duration,
}

/// An upload in progress.
#[derive(Debug)]
pub(crate) struct GcsSink {
    uploader: Arc<Uploader>,
    filling: Chunk,
    /// When that is sent.
    full_bytes: u64,
    head: Bytes,
    /// Of everything after the head.
    crc: u32,
    written: u64,
    /// The chunk on its way; the sink fills the next one meanwhile.
    sending: Option<tokio::task::JoinHandle<Result<()>>>,
    done: bool,
}

impl GcsSink {
    pub(crate) fn new(
        client: reqwest::Client,
        options: GcsOptions,
        progress: Arc<Progress>,
        stages: Stages,
    ) -> Result<Self> {
        let full_bytes = options.spec.chunk_size_bytes;
        Ok(Self {
            uploader: Arc::new(Uploader::new(client, options, progress, stages)?),
            filling: Chunk::default(),
            full_bytes,
            head: Bytes::new(),
            crc: 0,
            written: 0,
            sending: None,
            done: false,
        })
    }

    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Says how long the recording is, in the object's metadata; before the first chunk has left.
    pub(crate) fn note_duration(&self, seconds: f64) {
        self.uploader.note_duration(seconds);
    }

    /// Takes the head; where it may change the first chunk is larger, so that more of it can.
    pub(crate) fn write_head(&mut self, bytes: Bytes, may_change: bool) -> Result<()> {
        if self.written > 0 || bytes.len() as u64 > self.uploader.options.spec.chunk_size_bytes {
            return Err(EngineError::new(
                ErrorCode::Bug,
                "the head of an object must come first and fit into a chunk",
            ));
        }
        if may_change {
            self.full_bytes = self.full_bytes.max(self.uploader.options.head_chunk_bytes);
        }
        self.written = bytes.len() as u64;
        self.filling.push(bytes.clone());
        self.head = bytes;
        Ok(())
    }

    /// The head can be replaced until the first chunk has been sent.
    pub(crate) fn replace_head(&mut self, bytes: Bytes) -> bool {
        if self.filling.start > 0 || bytes.len() != self.head.len() {
            return false;
        }
        let Some(first) = self.filling.pieces.front_mut() else { return false };
        *first = bytes.clone();
        self.head = bytes;
        true
    }

    /// CRC32C of everything written.
    fn crc_of_all(&self) -> u32 {
        let rest = self.written - self.head.len() as u64;
        crc32c::crc32c_combine(
            crc32c::crc32c(&self.head),
            self.crc,
            usize::try_from(rest).unwrap_or(usize::MAX),
        )
    }

    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            // A full chunk is sent only when more follows: the last one must carry the total.
            if self.filling.len == self.full_bytes {
                self.send_filling().await?;
            }
            let room = usize::try_from(self.full_bytes - self.filling.len).unwrap_or(usize::MAX);
            self.filling.push(bytes.split_to(room.min(bytes.len())));
        }
        Ok(())
    }

    async fn send_filling(&mut self) -> Result<()> {
        self.wait_sent().await?;
        let next = Chunk { start: self.filling.end(), ..Chunk::default() };
        let chunk = std::mem::replace(&mut self.filling, next);
        self.full_bytes = self.uploader.options.spec.chunk_size_bytes;
        let uploader = Arc::clone(&self.uploader);
        self.sending = Some(tokio::spawn(async move { uploader.send(&chunk, None).await.map(|_| ()) }));
        Ok(())
    }

    async fn wait_sent(&mut self) -> Result<()> {
        match self.sending.take() {
            Some(sending) => sending
                .await
                .map_err(|error| EngineError::new(ErrorCode::Bug, "uploading panicked").caused_by(error))?,
            None => Ok(()),
        }
    }

    pub(crate) async fn finish(&mut self, end: End) -> Result<StoredObject> {
        if end.bytes != self.written {
            return Err(EngineError::new(
                ErrorCode::Bug,
                format!("{} bytes were made and {} were handed to the upload", end.bytes, self.written),
            ));
        }
        self.wait_sent().await?;
        let last = Last { total: self.written, crc: self.crc_of_all() };
        let chunk = std::mem::take(&mut self.filling);
        let object = self
            .uploader
            .send(&chunk, Some(last))
            .await?
            .ok_or_else(|| self.uploader.protocol("the last chunk was acknowledged without an object"))?;
        self.done = true;
        self.uploader.verify(object, last).await
    }

    pub(crate) async fn abort(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
            // Its session lock must be free before the session is cancelled; the outcome no longer matters.
            let _ = sending.await;
        }
        if !self.done {
            self.done = true;
            let uploader = Arc::clone(&self.uploader);
            // Goes on by itself when the caller cannot wait: a session left open is billed storage for a week.
            let cancel = tokio::spawn(async move { uploader.cancel().await });
            let _ = tokio::time::timeout(ABORT_DEADLINE, cancel).await;
        }
    }
}

impl Drop for GcsSink {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
    }
}

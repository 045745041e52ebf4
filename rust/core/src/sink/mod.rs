//! Where audio goes. Nothing stands under the final name before [`Sink::finish`] has compared its checksum.

mod file;
mod gcs;
mod nothing;

pub(crate) use file::FileSink;
pub use file::crc32c_of;
pub(crate) use gcs::{GcsOptions, GcsSink};
pub(crate) use nothing::NothingSink;

use bytes::Bytes;

use crate::error::Result;
use crate::request::StoredObject;

/// Buffer of one write to a local file.
pub(crate) const FILE_BUFFER_BYTES: usize = 1024 * 1024;

/// Proof that everything that should be stored was handed over: a closed channel alone is never the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// Bytes written in all, as the producer counted them.
    pub(crate) bytes: u64,
}

/// An opened destination.
#[derive(Debug)]
pub(crate) enum Sink {
    Gcs(GcsSink),
    File(FileSink),
    Nothing(NothingSink),
}

impl Sink {
    /// Takes the first bytes, which may be replaced later while they are still here; `may_change` keeps them longer.
    pub(crate) async fn write_head(&mut self, bytes: Bytes, may_change: bool) -> Result<()> {
        match self {
            Self::Gcs(gcs) => gcs.write_head(bytes, may_change),
            Self::File(file) => file.write_head(bytes).await,
            Self::Nothing(nothing) => {
                nothing.write(&bytes);
                Ok(())
            }
        }
    }

    /// Replaces the head by one of the same length. `false`: it has left already.
    pub(crate) async fn replace_head(&mut self, bytes: Bytes) -> Result<bool> {
        match self {
            Self::Gcs(gcs) => Ok(gcs.replace_head(bytes)),
            Self::File(file) => file.replace_head(bytes).await,
            Self::Nothing(_) => Ok(true),
        }
    }

    /// Takes the next bytes; waits while the destination is behind.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match self {
            Self::Gcs(gcs) => gcs.write(bytes).await,
            Self::File(file) => file.write(bytes).await,
            Self::Nothing(nothing) => {
                nothing.write(&bytes);
                Ok(())
            }
        }
    }

    /// Makes the audio appear under its final name, verified.
    pub(crate) async fn finish(&mut self, end: End) -> Result<StoredObject> {
        match self {
            Self::Gcs(gcs) => gcs.finish(end).await,
            Self::File(file) => file.finish(end).await,
            Self::Nothing(nothing) => Ok(nothing.finish()),
        }
    }

    /// Leaves nothing behind: no open session, no temporary file. Harmless after [`Sink::finish`].
    pub(crate) async fn abort(&mut self) {
        match self {
            Self::Gcs(gcs) => gcs.abort().await,
            Self::File(file) => file.abort(),
            Self::Nothing(_) => {}
        }
    }

    /// Bytes taken so far.
    pub(crate) const fn written(&self) -> u64 {
        match self {
            Self::Gcs(gcs) => gcs.written(),
            Self::File(file) => file.written(),
            Self::Nothing(nothing) => nothing.written(),
        }
    }
}

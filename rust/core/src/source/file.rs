//! A recording on a local disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Range, Room};
use crate::error::{EngineError, ErrorCode, Result};
use crate::pool::Pool;
use crate::progress::Progress;

/// An opened local file and what identified it then.
#[derive(Debug)]
pub(crate) struct FileSource {
    path: PathBuf,
    name: String,
    file: Arc<std::fs::File>,
    identity: Identity,
    progress: Arc<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    size: u64,
    modified: (i64, i64),
    device: u64,
    inode: u64,
}

impl From<&std::fs::Metadata> for Identity {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl FileSource {
    /// Opens `path`; blocks for a moment.
    pub(crate) fn open(path: &str, name: Option<&str>, progress: Arc<Progress>) -> Result<Self> {
        let path = PathBuf::from(path);
        let name = name.map_or_else(|| path.display().to_string(), str::to_owned);
        let file = std::fs::File::open(&path).map_err(|error| io_error("opening", &name, error))?;
        let metadata = file.metadata().map_err(|error| io_error("reading the size of", &name, error))?;
        if !metadata.is_file() {
            return Err(EngineError::new(
                ErrorCode::SourceNotFound,
                format!("opening {name}: it is not a regular file; give a media file"),
            ));
        }
        let identity = Identity::from(&metadata);
        progress.set_source_size(identity.size);
        Ok(Self { path, name, file: Arc::new(file), identity, progress })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn size(&self) -> u64 {
        self.identity.size
    }

    pub(crate) const fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(crate) async fn fetch(
        &self,
        range: Range,
        mut room: Room,
        pool: &Pool,
        out: &mpsc::UnboundedSender<Bytes>,
    ) -> Result<()> {
        let end = range.end.unwrap_or(self.identity.size).min(self.identity.size);
        let mut at = range.start;
        while at < end {
            let taken = room.before_read().await;
            let mut piece = pool.take(end - at);
            let file = Arc::clone(&self.file);
            let piece = tokio::task::spawn_blocking(move || {
                piece.read_at(&file, at)?;
                Ok::<_, std::io::Error>(piece)
            })
            .await
            .map_err(|error| EngineError::new(ErrorCode::Bug, "reading a file panicked").caused_by(error))?
            .map_err(|error| io_error("reading", &self.name, error))?;
            if piece.is_empty() {
                return Err(changed(&self.name));
            }
            at += piece.len() as u64;
            self.progress.add_fetched(piece.len() as u64);
            let permit = room.pay(taken, piece.len());
            if out.send(piece.freeze(permit)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The file at the path is still the opened one, as long and as old.
    pub(crate) async fn confirm_unchanged(&self) -> Result<()> {
        let path = self.path.clone();
        let now = tokio::task::spawn_blocking(move || std::fs::metadata(path))
            .await
            .map_err(|error| EngineError::new(ErrorCode::Bug, "reading a file panicked").caused_by(error))?;
        match now {
            Ok(metadata) if Identity::from(&metadata) == self.identity => Ok(()),
            _ => Err(changed(&self.name)),
        }
    }
}

fn changed(name: &str) -> EngineError {
    EngineError::new(
        ErrorCode::SourceChanged,
        format!("reading {name}: the file changed while it was read; it is tried again once it has settled"),
    )
}

fn io_error(operation: &str, name: &str, error: std::io::Error) -> EngineError {
    let (code, said) = match error.kind() {
        std::io::ErrorKind::NotFound => (ErrorCode::SourceNotFound, "there is no such file".to_owned()),
        std::io::ErrorKind::PermissionDenied => {
            (ErrorCode::SourcePermission, "permission denied; make it readable for this user".to_owned())
        }
        _ => (ErrorCode::SourceIo, error.to_string()),
    };
    EngineError::new(code, format!("{operation} {name}: {said}")).caused_by(error)
}

//! The last resort: a recording on the local disk, because FFmpeg has to seek in it and ranges cannot help.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::error::{EngineError, ErrorCode, Result};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Left free on the disk beside the spilled recording.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;

/// A temporary file that removes itself.
#[derive(Debug)]
pub(crate) struct Spill {
    path: PathBuf,
    name: String,
    file: Option<File>,
    len: u64,
}

impl Spill {
    /// Creates it in `folder`, or in the system's temporary folder, after looking whether there is room.
    pub(crate) async fn create(folder: Option<&str>, name: &str, size: Option<u64>) -> Result<Self> {
        let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
        let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("audio-extract-{}-{serial}.spill", std::process::id()));
        let name = name.to_owned();
        blocking(move || {
            std::fs::create_dir_all(&folder).map_err(|error| failed(&name, &folder, error))?;
            if let (Some(size), Ok(room)) = (size, rustix::fs::statvfs(&folder)) {
                let free = room.f_bavail.saturating_mul(room.f_frsize);
                if free < size.saturating_add(SPARE_BYTES) {
                    return Err(EngineError::new(
                        ErrorCode::SinkNoSpace,
                        format!(
                            "{name} has to be stored temporarily: it needs {size} bytes and {} has {free} free; \
                             free some or set processing.temp_directory",
                            folder.display()
                        ),
                    ));
                }
            }
            let file = File::create_new(&path).map_err(|error| failed(&name, &folder, error))?;
            Ok(Self { path, name, file: Some(file), len: 0 })
        })
        .await
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.len += bytes.len() as u64;
        let Some(mut file) = self.file.take() else {
            return Err(EngineError::new(ErrorCode::Bug, "a temporary file was written after its end"));
        };
        let (name, path) = (self.name.clone(), self.path.clone());
        let file = blocking(move || {
            file.write_all(&bytes).map_err(|error| failed(&name, &path, error))?;
            Ok(file)
        })
        .await?;
        self.file = Some(file);
        Ok(())
    }

    /// Closes it for writing.
    pub(crate) fn close(&mut self) {
        self.file = None;
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.file = None;
        // Nothing is left to do about a folder that has vanished.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        EngineError::new(ErrorCode::Bug, "writing a temporary file panicked").caused_by(error)
    })?
}

fn failed(name: &str, path: &Path, error: std::io::Error) -> EngineError {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorCode::SinkNoSpace,
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            ErrorCode::SinkPermission
        }
        _ => ErrorCode::SinkIo,
    };
    EngineError::new(
        code,
        format!(
            "storing {name} temporarily in {}: {error}; set processing.temp_directory to a folder with room",
            path.display()
        ),
    )
    .caused_by(error)
}

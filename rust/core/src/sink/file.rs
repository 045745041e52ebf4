//! A local file: temporary name, fsync, read back, rename, fsync of the folder.
//!
//! On gcsfuse (`direct`) a rename is a copy and a file appears when it is closed: there the final name is written
//! at once and read back after closing.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{End, FILE_BUFFER_BYTES};
use crate::checksum::encode_crc32c;
use crate::error::{EngineError, ErrorCode, Result};
use crate::progress::Progress;
use crate::request::StoredObject;

/// Tells temporary files of one process apart.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct FileSink {
    target: PathBuf,
    writing: PathBuf,
    overwrite: bool,
    direct: bool,
    /// Empty until the first bytes arrive, so that a bad recording leaves no trace.
    file: Option<File>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    head: Bytes,
    /// Of everything after the head.
    crc: u32,
    written: u64,
    progress: Arc<Progress>,
}

impl FileSink {
    pub(crate) fn new(target: &str, overwrite: bool, direct: bool, progress: Arc<Progress>) -> Result<Self> {
        let target = PathBuf::from(target);
        let name = target.file_name().ok_or_else(|| {
            EngineError::new(ErrorCode::RequestInvalid, "the destination path has no file name")
        })?;
        let writing = if direct {
            target.clone()
        } else {
            let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
            // Names may be as long as the file system allows; the temporary one is short on purpose.
            let short: String = name.to_string_lossy().chars().take(40).collect();
            target.with_file_name(format!(".{short}.{}-{serial}.audio-extract.part", std::process::id()))
        };
        let exists = target.symlink_metadata().is_ok();
        if exists && !overwrite {
            return Err(exists_error(&target));
        }
        Ok(Self {
            target,
            writing,
            overwrite,
            direct,
            file: None,
            pending: Vec::new(),
            pending_bytes: 0,
            head: Bytes::new(),
            crc: 0,
            written: 0,
            progress,
        })
    }

    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    pub(crate) async fn write_head(&mut self, bytes: Bytes) -> Result<()> {
        if self.written > 0 {
            return Err(EngineError::new(ErrorCode::Bug, "the head of a file must come first"));
        }
        self.head = bytes.clone();
        self.push(bytes).await
    }

    pub(crate) async fn replace_head(&mut self, bytes: Bytes) -> Result<bool> {
        if bytes.len() != self.head.len() {
            return Ok(false);
        }
        self.flush().await?;
        let Some(file) = self.file.take() else { return Ok(false) };
        let (target, head) = (self.target.clone(), bytes.clone());
        let file = blocking(move || {
            std::os::unix::fs::FileExt::write_all_at(&file, &head, 0)
                .map_err(|error| io_error("writing", &target, error))?;
            Ok(file)
        })
        .await?;
        self.file = Some(file);
        self.head = bytes;
        Ok(true)
    }

    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        self.push(bytes).await
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

    async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.written += bytes.len() as u64;
        self.pending_bytes += bytes.len();
        self.pending.push(bytes);
        if self.pending_bytes >= FILE_BUFFER_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.create().await?,
        };
        let target = self.target.clone();
        let file = blocking(move || {
            for piece in &pending {
                file.write_all(piece).map_err(|error| io_error("writing", &target, error))?;
            }
            Ok(file)
        })
        .await?;
        self.file = Some(file);
        self.progress.set_stored(self.written);
        Ok(())
    }

    async fn create(&self) -> Result<File> {
        let (writing, overwrite_direct) = (self.writing.clone(), self.direct && self.overwrite);
        let target = self.target.clone();
        blocking(move || {
            if let Some(folder) = writing.parent() {
                std::fs::create_dir_all(folder)
                    .map_err(|error| io_error("creating the folder of", &target, error))?;
            }
            let mut options = OpenOptions::new();
            options.write(true);
            if overwrite_direct {
                options.create(true).truncate(true)
            } else {
                options.create_new(true)
            };
            options.open(&writing).map_err(|error| io_error("creating", &target, error))
        })
        .await
    }

    pub(crate) async fn finish(&mut self, end: End) -> Result<StoredObject> {
        if end.bytes != self.written {
            return Err(EngineError::new(
                ErrorCode::Bug,
                format!("{} bytes were made and {} were written to the file", end.bytes, self.written),
            ));
        }
        self.flush().await?;
        let Some(file) = self.file.take() else {
            return Err(EngineError::new(ErrorCode::Bug, "no file was created"));
        };
        let (writing, target) = (self.writing.clone(), self.target.clone());
        let (want_size, want_crc) = (self.written, self.crc_of_all());
        let (overwrite, direct) = (self.overwrite, self.direct);
        blocking(move || {
            file.sync_all().map_err(|error| io_error("writing", &target, error))?;
            drop(file);
            let (crc, size) = crc32c_of(&writing).map_err(|error| io_error("reading back", &target, error))?;
            if (size, crc) != (want_size, want_crc) {
                return Err(EngineError::new(
                    ErrorCode::SinkChecksum,
                    format!(
                        "writing {}: {want_size} bytes with CRC32C {} were written and {size} bytes with {} stand there; \
                         check the disk",
                        target.display(),
                        encode_crc32c(want_crc),
                        encode_crc32c(crc)
                    ),
                ));
            }
            if !direct {
                rename(&writing, &target, overwrite)?;
            }
            if let Some(folder) = target.parent().filter(|_| !direct) {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                File::open(folder)
                    .and_then(|folder| folder.sync_all())
                    .map_err(|error| io_error("writing the folder of", &target, error))?;
            }
            Ok(())
        })
        .await?;
        // From here on `abort` has nothing to remove.
        self.writing = PathBuf::new();
        Ok(StoredObject {
            size_bytes: want_size,
            crc32c: encode_crc32c(want_crc),
            md5: None,
            generation: None,
            content_type: None,
        })
    }

    pub(crate) fn abort(&mut self) {
        self.pending.clear();
        let created = self.file.take().is_some();
        // A direct file is only ours to remove when we made it.
        if !self.writing.as_os_str().is_empty() && (created || !self.direct) {
            // It may never have been created; then there is nothing to remove.
            let _ = std::fs::remove_file(&self.writing);
        }
        self.writing = PathBuf::new();
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        self.abort();
    }
}

/// CRC32C and size of a file.
///
/// # Errors
/// When it cannot be read.
pub fn crc32c_of(path: &Path) -> std::io::Result<(u32, u64)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 * 1024];
    let (mut crc, mut size) = (0, 0);
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok((crc, size)),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        crc = crc32c::crc32c_append(crc, buffer.get(..count).unwrap_or_default());
        size += count as u64;
    }
}

/// Renames without replacing anything unless that is wanted, even when two writers finish at once.
fn rename(from: &Path, to: &Path, overwrite: bool) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    if overwrite {
        return std::fs::rename(from, to).map_err(|error| io_error("renaming to", to, error));
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            // File systems without RENAME_NOREPLACE: a hard link never replaces either.
            std::fs::hard_link(from, to)
                .and_then(|()| std::fs::remove_file(from))
                .map_err(|error| io_error("renaming to", to, error))
        }
        Err(error) => Err(io_error("renaming to", to, error.into())),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| EngineError::new(ErrorCode::Bug, "writing a file panicked").caused_by(error))?
}

fn exists_error(target: &Path) -> EngineError {
    EngineError::new(
        ErrorCode::SinkExists,
        format!("writing {}: it exists already; choose another name or allow overwriting", target.display()),
    )
}

fn io_error(operation: &str, target: &Path, error: std::io::Error) -> EngineError {
    let (code, said) = match error.kind() {
        ErrorKind::AlreadyExists => return exists_error(target),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            (ErrorCode::SinkNoSpace, "no space left; free some or choose another folder".to_owned())
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => (
            ErrorCode::SinkPermission,
            "permission denied; make the folder writable for this user".to_owned(),
        ),
        ErrorKind::NotADirectory | ErrorKind::NotFound => {
            (ErrorCode::SinkNotFound, format!("{error}; check the path"))
        }
        _ => (ErrorCode::SinkIo, error.to_string()),
    };
    EngineError::new(code, format!("{operation} {}: {said}", target.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("audio-extract-sink-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn sink(target: &Path, overwrite: bool) -> Result<FileSink> {
        FileSink::new(target.to_str().unwrap(), overwrite, false, Arc::default())
    }

    fn listing(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_finished_file_has_its_name_and_leaves_no_other() {
        let folder = folder("finish");
        let target = folder.join("new/a.mp3");
        let mut file = sink(&target, false).unwrap();
        file.write(Bytes::from_static(b"123456789")).await.unwrap();
        let stored = file.finish(End { bytes: 9 }).await.unwrap();
        assert_eq!((stored.size_bytes, stored.crc32c.as_str()), (9, "4waSgw=="));
        assert_eq!(listing(&folder.join("new")), ["a.mp3"]);
    }

    #[tokio::test]
    async fn a_dropped_file_leaves_nothing() {
        let folder = folder("drop");
        let mut file = sink(&folder.join("a.mp3"), false).unwrap();
        file.write(Bytes::from(vec![1; FILE_BUFFER_BYTES])).await.unwrap();
        assert_eq!(listing(&folder).len(), 1);
        drop(file);
        assert_eq!(listing(&folder), [""; 0]);
    }

    #[tokio::test]
    async fn of_two_writers_of_one_name_the_second_is_refused() {
        let folder = folder("race");
        let target = folder.join("a.mp3");
        let (mut one, mut two) = (sink(&target, false).unwrap(), sink(&target, false).unwrap());
        one.write(Bytes::from_static(b"one")).await.unwrap();
        two.write(Bytes::from_static(b"two")).await.unwrap();
        one.finish(End { bytes: 3 }).await.unwrap();
        assert_eq!(two.finish(End { bytes: 3 }).await.unwrap_err().code, ErrorCode::SinkExists);
        drop(two);
        assert_eq!(std::fs::read(&target).unwrap(), b"one");
        assert_eq!(listing(&folder), ["a.mp3"]);
        assert_eq!(sink(&target, false).unwrap_err().code, ErrorCode::SinkExists);
    }

    #[tokio::test]
    async fn an_end_that_does_not_match_makes_no_file() {
        let folder = folder("end");
        let mut file = sink(&folder.join("a.mp3"), false).unwrap();
        file.write(Bytes::from_static(b"123")).await.unwrap();
        assert_eq!(file.finish(End { bytes: 4 }).await.unwrap_err().code, ErrorCode::Bug);
        drop(file);
        assert_eq!(listing(&folder), [""; 0]);
    }

    #[tokio::test]
    async fn a_full_disk_is_told_as_such() {
        let mut file = FileSink::new("/dev/full", true, true, Arc::default()).unwrap();
        file.write(Bytes::from(vec![1; FILE_BUFFER_BYTES])).await.map_or_else(
            |error| assert_eq!(error.code, ErrorCode::SinkNoSpace),
            |()| panic!("/dev/full took bytes"),
        );
    }
}

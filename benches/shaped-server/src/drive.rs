//! Drive's side: folders, file resources and media, as far as one discovery and its downloads need them.

use std::collections::HashMap;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::{Body, not_found, query, text};

const PIECE_BYTES: usize = 256 * 1024;
/// Between a folder's name and a file's, in the id of a file that stands in a folder.
const SEPARATOR: &str = "~";

/// A folder of recordings as a Drive.
pub(crate) struct Drive {
    folder: PathBuf,
    created_time: String,
    downloads: AtomicU64,
    /// By the file itself: links to one recording are many recordings, whose checksum is made once.
    checksums: Mutex<HashMap<PathBuf, String>>,
}

impl Drive {
    /// `created_time`: of every recording, as Drive writes it.
    pub(crate) fn new(folder: PathBuf, created_time: String) -> Self {
        Self { folder, created_time, downloads: AtomicU64::new(0), checksums: Mutex::default() }
    }

    /// Requests for media so far; HEAD does not count.
    pub(crate) fn downloads(&self) -> u64 {
        self.downloads.load(Ordering::Relaxed)
    }

    /// Answers what follows `/drive/v3/`.
    pub(crate) async fn answer(&self, path: &[&str], request: &Request<Incoming>) -> Response<Body> {
        let document = match path {
            ["files", id] if query(request, "alt").as_deref() == Some("media") => {
                return self.media(id, request).await;
            }
            ["files", id] => self.resource(id),
            ["files"] => query(request, "q").and_then(|search| self.children(&search)),
            // Nothing ever changes.
            ["changes", "startPageToken"] => Some(json!({"startPageToken": "1"})),
            ["changes"] => Some(json!({"newStartPageToken": "1", "changes": []})),
            _ => None,
        };
        document.map_or_else(not_found, |document| crate::json(StatusCode::OK, &document))
    }

    fn path(&self, id: &str) -> PathBuf {
        // One path component each: nothing outside the folder is served.
        let parts = id.split(SEPARATOR).filter(|part| !part.contains('/') && *part != "..");
        self.folder.join(parts.collect::<PathBuf>())
    }

    fn resource(&self, id: &str) -> Option<Value> {
        let path = self.path(id);
        let metadata = std::fs::metadata(&path).ok()?;
        let name = id.rsplit(SEPARATOR).next()?;
        if metadata.is_dir() {
            return Some(json!({"id": id, "name": name, "mimeType": "application/vnd.google-apps.folder"}));
        }
        Some(json!({
            "id": id, "name": format!("{name}.mp4"), "mimeType": "video/mp4", "trashed": false,
            "size": metadata.len().to_string(), "md5Checksum": self.checksum(&path)?, "headRevisionId": "1",
            "createdTime": self.created_time, "modifiedTime": self.created_time, "capabilities": {"canDownload": true},
        }))
    }

    /// The files of the folder that a search like `'ID' in parents and …` names.
    fn children(&self, search: &str) -> Option<Value> {
        let folder = search.split('\'').nth(1)?;
        let mut names: Vec<String> = std::fs::read_dir(self.path(folder))
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        let files: Vec<Value> =
            names.iter().filter_map(|name| self.resource(&format!("{folder}{SEPARATOR}{name}"))).collect();
        Some(json!({"files": files}))
    }

    fn checksum(&self, path: &std::path::Path) -> Option<String> {
        let file = path.canonicalize().ok()?;
        let mut known = self.checksums.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(checksum) = known.get(&file) {
            return Some(checksum.clone());
        }
        let mut digest = Md5::new();
        let mut reader = std::io::BufReader::with_capacity(PIECE_BYTES, std::fs::File::open(&file).ok()?);
        loop {
            let piece = reader.fill_buf().ok()?;
            if piece.is_empty() {
                break;
            }
            digest.update(piece);
            let len = piece.len();
            reader.consume(len);
        }
        let checksum = digest.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        known.insert(file, checksum.clone());
        Some(checksum)
    }

    /// A whole file, or the one range that was asked for.
    pub(crate) async fn media(&self, id: &str, request: &Request<Incoming>) -> Response<Body> {
        let Ok(mut file) = tokio::fs::File::open(self.path(id)).await else { return not_found() };
        let Ok(size) = file.metadata().await.map(|metadata| metadata.len()) else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "");
        };
        let head = request.method() == Method::HEAD;
        if !head {
            self.downloads.fetch_add(1, Ordering::Relaxed);
        }
        let range = request.headers().get(RANGE).and_then(|range| range_of(range.to_str().ok()?, size));
        let (first, last) = range.unwrap_or((0, size.saturating_sub(1)));
        let len = (last + 1).saturating_sub(first);
        if first >= size || file.seek(std::io::SeekFrom::Start(first)).await.is_err() {
            return text(StatusCode::RANGE_NOT_SATISFIABLE, "");
        }
        let mut answer = if head { text(StatusCode::OK, "") } else { Response::new(stream(file, len)) };
        let headers = answer.headers_mut();
        headers.insert(CONTENT_LENGTH, len.into());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if range.is_some() {
            if let Ok(value) = format!("bytes {first}-{last}/{size}").parse() {
                headers.insert(CONTENT_RANGE, value);
            }
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        answer
    }
}

/// First and last byte of `bytes=A-B` or `bytes=A-`.
fn range_of(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = size.checked_sub(1)?;
    let last = if last.is_empty() { end } else { last.parse::<u64>().ok()?.min(end) };
    Some((first.parse().ok()?, last))
}

fn stream(mut file: tokio::fs::File, len: u64) -> Body {
    let (out, pieces) = tokio::sync::mpsc::channel(2);
    tokio::spawn(async move {
        let mut rest = usize::try_from(len).unwrap_or(usize::MAX);
        while rest > 0 {
            let mut buffer = vec![0; rest.min(PIECE_BYTES)];
            let read = file.read_exact(&mut buffer).await;
            rest -= buffer.len();
            if out.send(read.map(|_| Frame::data(Bytes::from(buffer)))).await.is_err() {
                return;
            }
        }
    });
    StreamBody::new(Receiver(pieces)).boxed()
}

/// A channel as a stream of body frames.
struct Receiver(tokio::sync::mpsc::Receiver<std::io::Result<Frame<Bytes>>>);

impl futures_core::Stream for Receiver {
    type Item = std::io::Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_with_the_file() {
        assert_eq!(range_of("bytes=2-5", 10), Some((2, 5)));
        assert_eq!(range_of("bytes=2-", 10), Some((2, 9)));
        assert_eq!(range_of("bytes=2-99", 10), Some((2, 9)));
        assert_eq!(range_of("bytes=0-0", 0), None);
        assert_eq!(range_of("items=0-1", 10), None);
    }

    #[test]
    fn an_id_never_leads_out_of_the_folder() {
        let drive = Drive::new("/served".into(), String::new());
        assert_eq!(drive.path("thirty~meeting-001"), PathBuf::from("/served/thirty/meeting-001"));
        assert_eq!(drive.path("..~..~etc~passwd"), PathBuf::from("/served/etc/passwd"));
        assert_eq!(drive.path("/etc~/etc/passwd"), PathBuf::from("/served"));
    }
}

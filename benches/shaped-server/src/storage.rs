//! Cloud Storage's side: resumable and multipart uploads, of which size, checksum and time are kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, HOST, LOCATION, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use crate::{Body, not_found, query, text};

struct Upload {
    bucket: String,
    name: String,
    size: u64,
    crc: u32,
    md5: Md5,
}

/// All buckets.
#[derive(Default)]
pub(crate) struct Storage {
    uploads: Mutex<HashMap<u64, Upload>>,
    finished: Mutex<Vec<Value>>,
    next: AtomicU64,
    start: std::sync::OnceLock<Instant>,
}

impl Storage {
    /// Name, size and time of what was stored, in the order of its end.
    pub(crate) fn finished(&self) -> Vec<Value> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a resumable session, or takes a multipart upload.
    pub(crate) async fn upload(&self, bucket: &str, request: Request<Incoming>) -> Response<Body> {
        if request.method() != Method::POST {
            return not_found();
        }
        let name = query(&request, "name");
        let multipart = query(&request, "uploadType").as_deref() == Some("multipart");
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let location = format!("http://{host}/session/{id}");
        let Ok(body) = request.into_body().collect().await.map(http_body_util::Collected::to_bytes) else {
            return text(StatusCode::BAD_REQUEST, "");
        };
        let (document, content) = if multipart {
            let Some(parts) = parts(&body) else { return text(StatusCode::BAD_REQUEST, "") };
            parts
        } else {
            (body, Bytes::new())
        };
        let named = serde_json::from_slice::<Value>(&document).unwrap_or_default();
        let name = name.or_else(|| Some(named.get("name")?.as_str()?.to_owned())).unwrap_or_default();
        let mut upload = Upload { bucket: bucket.to_owned(), name, size: 0, crc: 0, md5: Md5::new() };
        if multipart {
            upload.take(&content);
            return self.end(&upload);
        }
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).insert(id, upload);
        let mut answer = text(StatusCode::OK, "");
        if let Ok(location) = location.parse() {
            answer.headers_mut().insert(LOCATION, location);
        }
        answer
    }

    /// Takes one chunk of a resumable session; its clients send every byte once.
    pub(crate) async fn chunk(&self, id: &str, request: Request<Incoming>) -> Response<Body> {
        let upload = id.parse::<u64>().ok().and_then(|id| {
            Some((id, self.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)?))
        });
        let Some((id, mut upload)) = upload else { return not_found() };
        let total = request
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|range| range.to_str().ok()?.rsplit_once('/')?.1.parse::<u64>().ok());
        let no_308 = request.headers().contains_key("x-guploader-no-308");
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return text(StatusCode::BAD_REQUEST, "") };
            if let Ok(data) = frame.into_data() {
                upload.take(&data);
            }
        }
        if total == Some(upload.size) {
            return self.end(&upload);
        }
        // Google's Go client, and with it rclone, asks for an answer that no proxy takes for a redirect.
        let mut answer = text(if no_308 { StatusCode::OK } else { StatusCode::PERMANENT_REDIRECT }, "");
        if no_308 {
            answer.headers_mut().insert("x-http-status-code-override", 308.into());
        }
        if let Ok(range) = format!("bytes=0-{}", upload.size.saturating_sub(1)).parse() {
            answer.headers_mut().insert(RANGE, range);
        }
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).insert(id, upload);
        answer
    }

    fn end(&self, upload: &Upload) -> Response<Body> {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = self.start.get_or_init(Instant::now).elapsed().as_secs_f64();
        finished.push(json!({"name": upload.name, "size": upload.size, "seconds": seconds}));
        crate::json(StatusCode::OK, &upload.resource())
    }
}

/// The metadata and the content of a `multipart/related` body.
fn parts(body: &Bytes) -> Option<(Bytes, Bytes)> {
    let find = |from: usize, what: &[u8]| {
        let rest = body.get(from..)?;
        rest.windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let boundary = body.slice(..find(0, b"\r\n")?);
    let first = find(0, b"\r\n\r\n")? + 4;
    let first_end = find(first, &boundary)?;
    let second = find(first_end, b"\r\n\r\n")? + 4;
    let tail = [b"\r\n", boundary.as_ref(), b"--"].concat();
    let end = body.windows(tail.len()).rposition(|window| window == tail)?;
    (second <= end).then(|| (body.slice(first..first_end), body.slice(second..end)))
}

impl Upload {
    fn take(&mut self, data: &[u8]) {
        self.size += data.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, data);
        self.md5.update(data);
    }

    fn resource(&self) -> Value {
        json!({
            "kind": "storage#object", "bucket": self.bucket, "name": self.name,
            "generation": "1", "metageneration": "1",
            "size": self.size.to_string(), "crc32c": STANDARD.encode(self.crc.to_be_bytes()),
            "md5Hash": STANDARD.encode(self.md5.clone().finalize()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multipart_body_gives_its_metadata_and_its_content_to_the_byte() {
        let content = b"\r\n--not the boundary\r\n\r\n\0\xff";
        let body = [
            b"--b\r\ncontent-type: application/json\r\n\r\n{\"name\":\"a\"}\r\n--b\r\ncontent-type: audio/mpeg\r\n\r\n"
                .as_slice(),
            content,
            b"\r\n--b--\r\n",
        ]
        .concat();
        let (document, found) = parts(&body.into()).unwrap_or_default();
        assert_eq!(document.trim_ascii_end(), b"{\"name\":\"a\"}");
        assert_eq!(found.as_ref(), content);
        assert!(parts(&Bytes::from_static(b"--b\r\nno content")).is_none());
    }

    #[test]
    fn what_arrived_in_pieces_has_the_checksums_of_the_whole() {
        let mut upload = Upload { bucket: String::new(), name: "a".into(), size: 0, crc: 0, md5: Md5::new() };
        upload.take(b"1234");
        upload.take(b"56789");
        let resource = upload.resource();
        // RFC 3720 B.4: the check value of CRC32C; `printf 123456789 | md5sum`.
        assert_eq!(resource["crc32c"], STANDARD.encode(0xe306_9283_u32.to_be_bytes()));
        assert_eq!(resource["md5Hash"], "JfnnlDI7RTiF9RgfG2JNCw==");
        assert_eq!(resource["size"], "9");
    }
}

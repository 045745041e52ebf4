//! The protocol of one resumable session: its start, its chunks, what the server has of them, and its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE,
};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::GcsOptions;
use super::chunk::{Chunk, PiecesBody};
use crate::auth::Access;
use crate::checksum::encode_crc32c;
use crate::error::{EngineError, ErrorCode, Result};
use crate::progress::{Progress, Service};
use crate::request::StoredObject;
use crate::retry::{Backoff, MAX_ERROR_BODY, Verdict, classify, from_reqwest};
use crate::stages::Stages;

/// The answer to a successful cancel.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Talks to the server.
pub(super) struct Uploader {
    client: reqwest::Client,
    pub(super) options: GcsOptions,
    start_url: Url,
    name: String,
    /// The session URI is a secret: who has it can write.
    session: tokio::sync::Mutex<Option<Url>>,
    duration_seconds: Mutex<Option<f64>>,
    progress: Arc<Progress>,
    stages: Stages,
}

impl std::fmt::Debug for Uploader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploader").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The parts of an object resource that are compared. Numbers come as strings.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectResource {
    size: Option<String>,
    crc32c: Option<String>,
    md5_hash: Option<String>,
    generation: Option<String>,
    content_type: Option<String>,
}

/// What the server has.
enum Standing {
    /// Bytes `0..persisted`; the session goes on.
    Open { persisted: u64 },
    /// The object is finished.
    Finished(ObjectResource),
}

/// The end of the object, sent with its last chunk.
#[derive(Clone, Copy)]
pub(super) struct Last {
    pub(super) total: u64,
    pub(super) crc: u32,
}

impl Uploader {
    /// Makes what talks to the server; it asks nothing yet.
    pub(super) fn new(
        client: reqwest::Client,
        options: GcsOptions,
        progress: Arc<Progress>,
        stages: Stages,
    ) -> Result<Self> {
        let spec = &options.spec;
        let invalid =
            || EngineError::new(ErrorCode::RequestInvalid, "the storage endpoint is not an http(s) URL");
        let mut start_url = Url::parse(&spec.endpoint).map_err(|_| invalid())?;
        start_url.path_segments_mut().map_err(|()| invalid())?.pop_if_empty().extend([
            "upload",
            "storage",
            "v1",
            "b",
            spec.bucket.as_str(),
            "o",
        ]);
        start_url.query_pairs_mut().append_pair("uploadType", "resumable").append_pair("name", &spec.object);
        if let Some(generation) = spec.if_generation_match {
            start_url.query_pairs_mut().append_pair("ifGenerationMatch", &generation.to_string());
        }
        if let Some(project) = &spec.user_project {
            start_url.query_pairs_mut().append_pair("userProject", project);
        }
        let name = format!("gs://{}/{}", spec.bucket, spec.object);
        Ok(Self {
            client,
            options,
            start_url,
            name,
            session: tokio::sync::Mutex::default(),
            duration_seconds: Mutex::default(),
            progress,
            stages,
        })
    }

    pub(super) fn note_duration(&self, seconds: f64) {
        *self.duration_seconds.lock().unwrap_or_else(PoisonError::into_inner) = Some(seconds);
    }

    /// Sends a chunk until the server has all of it; with `last` until the object is finished.
    pub(super) async fn send(&self, chunk: &Chunk, last: Option<Last>) -> Result<Option<ObjectResource>> {
        let mut backoff = Backoff::new(self.options.retry);
        let session = self.session(&mut backoff).await?;
        let part = self.stages.part("upload.chunk");
        if let Some(part) = &part {
            part.set("offset", chunk.start);
            part.set("bytes", chunk.len);
        }
        let mut from = chunk.start;
        loop {
            let standing = match self.put(&session, chunk, from, last).await {
                Ok(standing) => standing,
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Unclear(error)) => {
                    self.pause(&mut backoff, error).await?;
                    self.ask(&session, last, &mut backoff).await?
                }
            };
            match standing {
                Standing::Finished(object) if last.is_some() => {
                    self.progress.set_stored(chunk.end());
                    *self.session.lock().await = None;
                    return Ok(Some(object));
                }
                Standing::Finished(_) => {
                    return Err(self.protocol("the object was finished before its end was sent"));
                }
                Standing::Open { persisted } if persisted < chunk.start => {
                    return Err(EngineError::new(
                        ErrorCode::SinkSessionGone,
                        format!(
                            "uploading {}: the server lost bytes it had acknowledged; the transfer starts over",
                            self.name
                        ),
                    ));
                }
                Standing::Open { persisted } if persisted > chunk.end() => {
                    return Err(self.protocol("the server claims more bytes than were sent"));
                }
                Standing::Open { persisted } => {
                    self.progress.set_stored(persisted);
                    if persisted == chunk.end() && last.is_none() {
                        return Ok(None);
                    }
                    if persisted > from {
                        backoff.progressed();
                    } else {
                        // Nothing was kept although nothing failed: do not turn in a circle at full speed.
                        let error = EngineError::new(
                            ErrorCode::SinkServerError,
                            format!("uploading {}: the server kept nothing of a chunk", self.name),
                        );
                        self.pause(&mut backoff, error).await?;
                    }
                    from = persisted;
                }
            }
        }
    }

    async fn session(&self, backoff: &mut Backoff) -> Result<Url> {
        let mut held = self.session.lock().await;
        if let Some(url) = held.as_ref() {
            return Ok(url.clone());
        }
        loop {
            match self.start().await {
                Ok(url) => {
                    *held = Some(url.clone());
                    return Ok(url);
                }
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Unclear(error)) => self.pause(backoff, error).await?,
            }
        }
    }

    async fn start(&self) -> Result<Url, Trouble> {
        let spec = &self.options.spec;
        let mut metadata = spec.metadata.clone();
        if let Some(seconds) = *self.duration_seconds.lock().unwrap_or_else(PoisonError::into_inner) {
            metadata.insert("duration-seconds".to_owned(), format!("{seconds:.3}"));
        }
        let mut resource = serde_json::json!({
            "name": spec.object,
            "contentType": spec.content_type,
            "metadata": metadata,
        });
        if let (Some(disposition), Some(map)) = (&spec.content_disposition, resource.as_object_mut()) {
            map.insert("contentDisposition".to_owned(), disposition.clone().into());
        }
        let body = Bytes::from(resource.to_string());
        let answer = self
            .exchange("starting the upload of", Method::POST, &self.start_url, |request, _| {
                request
                    .header(CONTENT_TYPE, "application/json; charset=UTF-8")
                    .header("x-upload-content-type", &spec.content_type)
                    .body(body.clone())
            })
            .await?;
        let (status, headers, body) = answer;
        if !status.is_success() {
            return Err(self.trouble("starting the upload of", status, &headers, &body));
        }
        headers
            .get(LOCATION)
            .and_then(|value| Url::parse(value.to_str().ok()?).ok())
            .ok_or_else(|| Trouble::Fatal(self.protocol("the session was started without a usable Location")))
    }

    async fn put(
        &self,
        session: &Url,
        chunk: &Chunk,
        from: u64,
        last: Option<Last>,
    ) -> Result<Standing, Trouble> {
        let rest = chunk.rest(from);
        let range = match last {
            Some(last) if from >= chunk.end() => format!("bytes */{}", last.total),
            Some(last) => format!("bytes {from}-{}/{}", chunk.end().saturating_sub(1), last.total),
            None => format!("bytes {from}-{}/*", chunk.end().saturating_sub(1)),
        };
        let answer = self
            .exchange("uploading", Method::PUT, session, |mut request, taken| {
                request = request.header(CONTENT_RANGE, &range);
                if let Some(last) = last {
                    request = request.header("x-goog-hash", format!("crc32c={}", encode_crc32c(last.crc)));
                }
                request.body(reqwest::Body::wrap(PiecesBody::new(rest.clone(), taken)))
            })
            .await?;
        self.standing(answer)
    }

    /// Asks what the server has, until it answers.
    async fn ask(&self, session: &Url, last: Option<Last>, backoff: &mut Backoff) -> Result<Standing> {
        let range = last.map_or_else(|| "bytes */*".to_owned(), |last| format!("bytes */{}", last.total));
        loop {
            let asked = self
                .exchange("asking how far the upload is of", Method::PUT, session, |request, _| {
                    let request = request.header(CONTENT_RANGE, &range).header(CONTENT_LENGTH, 0);
                    match last {
                        // With everything there this query is what finishes the object: it needs the checksum too.
                        Some(last) => {
                            request.header("x-goog-hash", format!("crc32c={}", encode_crc32c(last.crc)))
                        }
                        None => request,
                    }
                })
                .await
                .and_then(|answer| self.standing(answer));
            match asked {
                Ok(standing) => return Ok(standing),
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Unclear(error)) => self.pause(backoff, error).await?,
            }
        }
    }

    fn standing(&self, (status, headers, body): Answer) -> Result<Standing, Trouble> {
        match status.as_u16() {
            200 | 201 => serde_json::from_slice(&body)
                .map(Standing::Finished)
                // The object may stand: asking again tells.
                .map_err(|error| {
                    Trouble::Unclear(self.protocol("the finished object cannot be read").caused_by(error))
                }),
            308 => match headers.get(RANGE).map(|value| persisted(value.to_str().unwrap_or_default())) {
                None => Ok(Standing::Open { persisted: 0 }),
                Some(Some(persisted)) => Ok(Standing::Open { persisted }),
                Some(None) => Err(Trouble::Fatal(self.protocol("a 308 with an unreadable Range"))),
            },
            404 | 410 | CLIENT_CLOSED_REQUEST => Err(Trouble::Fatal(EngineError {
                status: Some(status.as_u16()),
                ..EngineError::new(
                    ErrorCode::SinkSessionGone,
                    format!(
                        "uploading {}: the upload session is gone ({status}); the transfer starts over",
                        self.name
                    ),
                )
            })),
            _ => Err(self.trouble("uploading", status, &headers, &body)),
        }
    }

    /// One request with one token refresh. The session URI never gets into an error.
    async fn exchange(
        &self,
        operation: &str,
        method: Method,
        url: &Url,
        build: impl Fn(reqwest::RequestBuilder, Arc<AtomicU64>) -> reqwest::RequestBuilder,
    ) -> Result<Answer, Trouble> {
        let operation = format!("{operation} {}", self.name);
        let mut refused: Option<Access> = None;
        loop {
            let access = match &self.options.tokens {
                Some(tokens) => Some(tokens.access_after(refused.as_ref()).await.map_err(Trouble::Fatal)?),
                None => None,
            };
            let taken = Arc::new(AtomicU64::new(0));
            let mut request = build(self.client.request(method.clone(), url.clone()), Arc::clone(&taken));
            if let Some(access) = &access {
                request = request.header(AUTHORIZATION, access.bearer());
            }
            let exchange = async {
                let mut answer = request.send().await?;
                let (status, headers) = (answer.status(), answer.headers().clone());
                let mut body = Vec::new();
                while let Some(piece) = answer.chunk().await? {
                    if body.len() + piece.len() > MAX_ERROR_BODY {
                        break;
                    }
                    body.extend_from_slice(&piece);
                }
                Ok::<_, reqwest::Error>((status, headers, body))
            };
            let answer = match while_moving(self.options.stall, &taken, exchange).await {
                Some(Ok(answer)) => answer,
                Some(Err(error)) => {
                    self.progress.count_request(Service::Sink, "error");
                    return Err(Trouble::Unclear(from_reqwest(Service::Sink, &operation, error)));
                }
                None => {
                    self.progress.count_request(Service::Sink, "error");
                    return Err(Trouble::Unclear(EngineError::new(
                        ErrorCode::SinkStalled,
                        format!("{operation}: no answer for {} seconds", self.options.stall.as_secs_f64()),
                    )));
                }
            };
            let ok = answer.0.is_success() || answer.0.as_u16() == 308;
            self.progress.count_request(Service::Sink, if ok { "ok" } else { "error" });
            if answer.0 == StatusCode::UNAUTHORIZED && access.is_some() && refused.is_none() {
                refused = access;
                continue;
            }
            return Ok(answer);
        }
    }

    fn trouble(&self, operation: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Trouble {
        let operation = format!("{operation} {}", self.name);
        match classify(Service::Sink, &operation, status, headers, body) {
            Verdict::Retry(error) => Trouble::Unclear(error),
            Verdict::Fatal(error) if status == StatusCode::BAD_REQUEST && speaks_of_hash(body) => {
                Trouble::Fatal(EngineError { code: ErrorCode::SinkChecksum, ..error })
            }
            Verdict::Reauthenticate(error) | Verdict::Fatal(error) => Trouble::Fatal(error),
        }
    }

    async fn pause(&self, backoff: &mut Backoff, error: EngineError) -> Result<()> {
        let Some(wait) = backoff.next(error.retry_after) else {
            let attempts = backoff.failures();
            let message = format!("{} (given up after {attempts} tries)", error.message);
            return Err(EngineError { message, attempts, ..error });
        };
        self.progress.count_request(Service::Sink, "retry");
        self.progress.count_retry(error.code.as_str());
        let attributes = [
            ("error.type", error.code.as_str().into()),
            ("message", error.message.as_str().into()),
            ("wait_seconds", wait.as_secs_f64().into()),
        ];
        self.stages.event("upload", "retry", attributes);
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Compares the finished object; a wrong one is removed by its generation and reported.
    pub(super) async fn verify(&self, object: ObjectResource, last: Last) -> Result<StoredObject> {
        let size = object.size.as_deref().and_then(|size| size.parse::<u64>().ok());
        let generation = object.generation.as_deref().and_then(|generation| generation.parse::<i64>().ok());
        let want = encode_crc32c(last.crc);
        match (size, object.crc32c) {
            (Some(size), Some(crc32c)) if size == last.total && crc32c == want => Ok(StoredObject {
                size_bytes: size,
                crc32c,
                md5: object.md5_hash,
                generation,
                content_type: object.content_type,
            }),
            (size, crc32c) => {
                if let Some(generation) = generation {
                    self.delete(generation).await;
                }
                Err(EngineError::new(
                    ErrorCode::SinkChecksum,
                    format!(
                        "uploading {}: {} bytes with CRC32C {want} were sent and {} bytes with {} were stored; \
                         the wrong object was removed",
                        self.name,
                        last.total,
                        size.map_or_else(|| "unknown".to_owned(), |size| size.to_string()),
                        crc32c.unwrap_or_else(|| "none".to_owned()),
                    ),
                ))
            }
        }
    }

    async fn delete(&self, generation: i64) {
        let spec = &self.options.spec;
        let Ok(mut url) = Url::parse(&spec.endpoint) else { return };
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([
                "storage",
                "v1",
                "b",
                spec.bucket.as_str(),
                "o",
                spec.object.as_str(),
            ]);
        }
        // The precondition keeps anybody else's newer object safe. The checksum error is what the caller gets,
        // whether this succeeds or not.
        url.query_pairs_mut().append_pair("ifGenerationMatch", &generation.to_string());
        let _ = self.exchange("removing", Method::DELETE, &url, |request, _| request).await;
    }

    pub(super) async fn cancel(&self) {
        let Some(session) = self.session.lock().await.take() else { return };
        // A session that cannot be cancelled now ends by itself after a week.
        let _ = self
            .exchange("cancelling the upload of", Method::DELETE, &session, |request, _| {
                request.header(CONTENT_LENGTH, 0)
            })
            .await;
    }

    pub(super) fn protocol(&self, what: &str) -> EngineError {
        EngineError::new(ErrorCode::SinkProtocol, format!("uploading {}: {what}", self.name))
    }
}

/// Waits for `exchange` as long as bytes are being taken; `None` when none was for a whole `stall`.
async fn while_moving<T>(stall: Duration, taken: &AtomicU64, exchange: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(exchange);
    let mut before = taken.load(Ordering::Relaxed);
    loop {
        if let Ok(done) = tokio::time::timeout(stall, &mut exchange).await {
            return Some(done);
        }
        let now = taken.load(Ordering::Relaxed);
        if now == before {
            return None;
        }
        before = now;
    }
}

type Answer = (StatusCode, HeaderMap, Vec<u8>);

/// How a request to the server ended without a usable answer.
enum Trouble {
    /// Something may or may not have happened: ask before going on.
    Unclear(EngineError),
    /// Give up.
    Fatal(EngineError),
}

/// `bytes=0-524287` → 524,288 bytes are there.
fn persisted(range: &str) -> Option<u64> {
    let last: u64 = range.strip_prefix("bytes=0-")?.parse().ok()?;
    last.checked_add(1)
}

fn speaks_of_hash(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    ["crc32c", "hash", "md5", "checksum"].iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_persisted_range_is_read_strictly() {
        assert_eq!(persisted("bytes=0-262143"), Some(262_144));
        assert_eq!(persisted("bytes=5-9"), None);
        assert_eq!(persisted("0-9"), None);
    }
}

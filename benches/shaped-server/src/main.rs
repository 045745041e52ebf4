//! The other side of the benchmarks: Drive's media and metadata, Cloud Storage's uploads, behind a shaped network.
//!
//! `shaped-server PORT FOLDER [--latency-ms N] [--connection-mb-s N] [--all-mb-s N]` serves each file `ID` of FOLDER
//! as the Drive file ID, and takes uploads of any bucket and object, of which only size and CRC32C are kept. It prints
//! `listening on PORT` and ends on Ctrl-C or SIGTERM. Protocol corner cases are the emulators' business
//! (`audio_extract.emulator`); this is as fast as the loopback, so that its own work does not count.

mod shape;

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use shape::{Rate, Shaped};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

const PIECE_BYTES: usize = 256 * 1024;

type Body = BoxBody<Bytes, std::io::Error>;

struct Options {
    port: u16,
    folder: PathBuf,
    latency: Duration,
    connection: Option<f64>,
    all: Option<f64>,
}

#[derive(Default)]
struct Upload {
    name: String,
    bucket: String,
    size: u64,
    crc: u32,
}

struct Server {
    options: Options,
    uploads: Mutex<HashMap<u64, Upload>>,
    next: AtomicU64,
    requests: AtomicU64,
    media_requests: AtomicU64,
}

fn arguments() -> Result<Options, String> {
    let usage = "usage: shaped-server PORT FOLDER [--latency-ms N] [--connection-mb-s N] [--all-mb-s N]";
    let mut words = std::env::args().skip(1);
    let port = words.next().and_then(|word| word.parse().ok()).ok_or(usage)?;
    let folder = words.next().map(PathBuf::from).ok_or(usage)?;
    let mut options = Options { port, folder, latency: Duration::ZERO, connection: None, all: None };
    while let Some(flag) = words.next() {
        let value: f64 = words.next().and_then(|word| word.parse().ok()).ok_or(usage)?;
        match flag.as_str() {
            "--latency-ms" => options.latency = Duration::from_secs_f64(value / 1000.0),
            "--connection-mb-s" => options.connection = Some(value * 1e6),
            "--all-mb-s" => options.all = Some(value * 1e6),
            _ => return Err(usage.to_owned()),
        }
    }
    Ok(options)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = arguments()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", options.port)).await?;
    println!("listening on {}", listener.local_addr()?.port());
    let all = options.all.map(|rate| (Arc::new(Rate::new(rate)), Arc::new(Rate::new(rate))));
    let server = Arc::new(Server {
        options,
        uploads: Mutex::default(),
        next: AtomicU64::new(1),
        requests: AtomicU64::new(0),
        media_requests: AtomicU64::new(0),
    });
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        stream.set_nodelay(true)?;
        let server = Arc::clone(&server);
        let io = TokioIo::new(Shaped::new(stream, server.options.connection, all.clone()));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let server = Arc::clone(&server);
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            // A peer that goes away is none of the server's business.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(io, service)
                .await;
        });
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut answer = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed());
    *answer.status_mut() = status;
    answer
}

fn query<'a>(request: &'a Request<Incoming>, key: &str) -> Option<&'a str> {
    request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        tokio::time::sleep(self.options.latency).await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method(), segments.as_slice()) {
            (&Method::GET, ["drive", "v3", "files", id]) if query(&request, "alt") == Some("media") => {
                self.media_requests.fetch_add(1, Ordering::Relaxed);
                self.media(id, &request).await
            }
            (&Method::GET, ["drive", "v3", "files", id]) => self.metadata(id).await,
            (&Method::POST, ["upload", "storage", "v1", "b", bucket, "o"]) => {
                if query(&request, "uploadType") == Some("multipart") {
                    return self.multipart(bucket, request).await;
                }
                let id = self.next.fetch_add(1, Ordering::Relaxed);
                let host =
                    request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
                let location = format!("http://{host}/session/{id}");
                let name = query(&request, "name").unwrap_or("object").to_owned();
                // The metadata is read to its end, so that the connection can be used again.
                let _ = request.into_body().collect().await;
                let upload = Upload { name, bucket: (*bucket).to_owned(), ..Upload::default() };
                self.uploads.lock().unwrap_or_else(PoisonError::into_inner).insert(id, upload);
                let mut answer = text(StatusCode::OK, "");
                if let Ok(location) = location.parse() {
                    answer.headers_mut().insert("location", location);
                }
                answer
            }
            (&Method::PUT, ["session", id]) => match id.parse() {
                Ok(id) => self.chunk(id, request).await,
                Err(_) => text(StatusCode::NOT_FOUND, ""),
            },
            (&Method::GET, ["requests"]) => {
                let counts = serde_json::json!({
                    "all": self.requests.load(Ordering::Relaxed),
                    "media": self.media_requests.load(Ordering::Relaxed),
                });
                text(StatusCode::OK, counts.to_string())
            }
            _ => text(StatusCode::NOT_FOUND, "{}"),
        }
    }

    async fn metadata(&self, id: &str) -> Response<Body> {
        match tokio::fs::metadata(self.options.folder.join(id)).await {
            Ok(metadata) => {
                let body = serde_json::json!({"id": id, "name": id, "mimeType": "video/mp4", "size": metadata.len().to_string()});
                let mut answer = text(StatusCode::OK, body.to_string());
                answer
                    .headers_mut()
                    .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
                answer
            }
            Err(_) => text(StatusCode::NOT_FOUND, "{}"),
        }
    }

    async fn media(&self, id: &str, request: &Request<Incoming>) -> Response<Body> {
        let Ok(mut file) = tokio::fs::File::open(self.options.folder.join(id)).await else {
            return text(StatusCode::NOT_FOUND, "{}");
        };
        let Ok(size) = file.metadata().await.map(|metadata| metadata.len()) else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "{}");
        };
        let range = request.headers().get("range").and_then(|range| {
            let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
            let last = if last.is_empty() {
                size.checked_sub(1)?
            } else {
                last.parse::<u64>().ok()?.min(size.checked_sub(1)?)
            };
            Some((first.parse::<u64>().ok()?, last))
        });
        let (first, last) = range.unwrap_or((0, size.saturating_sub(1)));
        let len = (last + 1).saturating_sub(first);
        if first >= size || file.seek(std::io::SeekFrom::Start(first)).await.is_err() {
            return text(StatusCode::RANGE_NOT_SATISFIABLE, "");
        }
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
        let stream = StreamBody::new(Receiver(pieces));
        let mut answer = Response::new(stream.boxed());
        let headers = answer.headers_mut();
        headers.insert("content-length", len.into());
        headers.insert("content-type", hyper::header::HeaderValue::from_static("video/mp4"));
        if range.is_some() {
            if let Ok(value) = format!("bytes {first}-{last}/{size}").parse() {
                headers.insert("content-range", value);
            }
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        answer
    }

    /// Reads a body and gives its size and CRC32C on top of `crc`.
    async fn swallow(request: Request<Incoming>, mut crc: u32) -> Option<(u64, u32)> {
        let mut body = request.into_body();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.ok()?.into_data() {
                size += data.len() as u64;
                crc = crc32c::crc32c_append(crc, &data);
            }
        }
        Some((size, crc))
    }

    async fn chunk(&self, id: u64, request: Request<Incoming>) -> Response<Body> {
        let total = request
            .headers()
            .get("content-range")
            .and_then(|range| range.to_str().ok()?.rsplit_once('/')?.1.parse::<u64>().ok());
        let Some(crc) =
            self.uploads.lock().unwrap_or_else(PoisonError::into_inner).get(&id).map(|upload| upload.crc)
        else {
            return text(StatusCode::NOT_FOUND, "");
        };
        let Some((size, crc)) = Self::swallow(request, crc).await else {
            return text(StatusCode::BAD_REQUEST, "");
        };
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(upload) = uploads.get_mut(&id) else { return text(StatusCode::NOT_FOUND, "") };
        upload.size += size;
        upload.crc = crc;
        if total == Some(upload.size) {
            return text(StatusCode::OK, upload.resource());
        }
        let mut answer = text(StatusCode::PERMANENT_REDIRECT, "");
        if let Ok(range) = format!("bytes=0-{}", upload.size.saturating_sub(1)).parse() {
            answer.headers_mut().insert("range", range);
        }
        answer
    }

    async fn multipart(&self, bucket: &str, request: Request<Incoming>) -> Response<Body> {
        match Self::swallow(request, 0).await {
            Some((size, crc)) => text(
                StatusCode::OK,
                Upload { name: "object".to_owned(), bucket: bucket.to_owned(), size, crc }.resource(),
            ),
            None => text(StatusCode::BAD_REQUEST, ""),
        }
    }
}

impl Upload {
    fn resource(&self) -> String {
        let crc32c = base64::engine::general_purpose::STANDARD.encode(self.crc.to_be_bytes());
        serde_json::json!({
            "kind": "storage#object", "name": self.name, "bucket": self.bucket, "generation": "1", "metageneration": "1",
            "size": self.size.to_string(), "crc32c": crc32c, "contentType": "audio/mpeg",
        })
        .to_string()
    }
}

/// A channel as a stream of body frames.
struct Receiver(tokio::sync::mpsc::Receiver<std::io::Result<Frame<Bytes>>>);

impl futures_core::Stream for Receiver {
    type Item = std::io::Result<Frame<Bytes>>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

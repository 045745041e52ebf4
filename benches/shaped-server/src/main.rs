//! The other side of the benchmarks: Drive's media and metadata, Cloud Storage's uploads, behind a shaped network.
//!
//! `shaped-server PORT FOLDER CREATED [--latency-ms N] [--connection-mb-s N] [--all-mb-s N]` serves each file `ID` of
//! FOLDER, created at CREATED, as the Drive file ID, each folder in it as a Drive folder, and takes uploads of any bucket and object, of which only
//! size and CRC32C are kept. It prints `listening on PORT` and ends on Ctrl-C or SIGTERM. Protocol corner cases are the
//! emulators' business (`audio_extract.emulator`); this is as fast as the loopback, so that its own work does not count.

mod drive;
mod shape;
mod storage;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use shape::{Rate, Shaped};

type Body = BoxBody<Bytes, std::io::Error>;

struct Options {
    port: u16,
    folder: PathBuf,
    created_time: String,
    latency: Duration,
    connection: Option<f64>,
    all: Option<f64>,
}

struct Server {
    latency: Duration,
    drive: drive::Drive,
    storage: storage::Storage,
    requests: AtomicU64,
}

fn arguments() -> Result<Options, String> {
    let usage =
        "usage: shaped-server PORT FOLDER CREATED [--latency-ms N] [--connection-mb-s N] [--all-mb-s N]";
    let mut words = std::env::args().skip(1);
    let port = words.next().and_then(|word| word.parse().ok()).ok_or(usage)?;
    let folder = words.next().map(PathBuf::from).ok_or(usage)?;
    let created_time = words.next().ok_or(usage)?;
    let mut options =
        Options { port, folder, created_time, latency: Duration::ZERO, connection: None, all: None };
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
    let connection = options.connection;
    let server = Arc::new(Server {
        latency: options.latency,
        drive: drive::Drive::new(options.folder, options.created_time),
        storage: storage::Storage::default(),
        requests: AtomicU64::new(0),
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
        let io = TokioIo::new(Shaped::new(stream, connection, all.clone()));
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

fn json(status: StatusCode, document: &serde_json::Value) -> Response<Body> {
    let mut answer = text(status, document.to_string());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn page(html: &'static str) -> Response<Body> {
    let mut answer = text(StatusCode::OK, html);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    answer
}

fn not_found() -> Response<Body> {
    json(StatusCode::NOT_FOUND, &serde_json::json!({"error": {"code": 404, "message": "not found"}}))
}

fn query(request: &Request<Incoming>, key: &str) -> Option<String> {
    let value =
        request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
    Some(percent_encoding::percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        // The bench's own questions are not part of the network.
        if request.uri().path() == "/counts" {
            return json(StatusCode::OK, &self.counts());
        }
        tokio::time::sleep(self.latency).await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match segments.as_slice() {
            // A web server's folder with one recording in it, for peers that read plain addresses.
            ["plain", _] => page(r#"<a href="recording">recording</a>"#),
            ["plain", id, "recording"] => self.drive.media(id, &request).await,
            ["drive", "v3", rest @ ..] => self.drive.answer(rest, &request).await,
            ["upload", "storage", "v1", "b", bucket, "o"] => self.storage.upload(bucket, request).await,
            ["session", id] => self.storage.chunk(id, request).await,
            // A bucket in which nothing stands: what was uploaded is not kept.
            ["storage", "v1", "b", _, "o"] => {
                json(StatusCode::OK, &serde_json::json!({"kind": "storage#objects"}))
            }
            _ => not_found(),
        }
    }

    fn counts(&self) -> serde_json::Value {
        serde_json::json!({
            "requests": self.requests.load(Ordering::Relaxed),
            "downloads": self.drive.downloads(),
            "uploads": self.storage.finished(),
        })
    }
}

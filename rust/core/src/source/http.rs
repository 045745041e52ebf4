//! A recording behind HTTP: ranged GETs, resumed after broken bodies, pinned to one revision.
//!
//! RFC 9110 §14 (ranges), §13.1.5 (`If-Range`); Drive guide "Download files", "Resolve errors".

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use tokio::sync::mpsc;

use super::estimate::{Estimates, Host, Measured};
use super::{DRIVE_UNITS, Leash, Range, Room};
use crate::auth::{Access, TokenProvider};
use crate::budget::Permit;
use crate::error::{EngineError, ErrorCode, Result};
use crate::pool::{PIECE_BYTES, Piece, Pool};
use crate::progress::{Progress, Service};
use crate::request::RetrySpec;
use crate::retry::{Backoff, MAX_ERROR_BODY, Verdict, classify, from_reqwest};
use crate::stages::Stages;

/// Where a link may lead in the end; credentials are not sent along to another host.
const MAX_REDIRECTS: usize = 5;
/// Google's checksum header, on Cloud Storage and on media of Drive.
const X_GOOG_HASH: HeaderName = HeaderName::from_static("x-goog-hash");

/// An HTTP/1.1 client: its ranges get connections of their own, so that a limit per connection does not bind them.
///
/// # Errors
/// `request.invalid` when TLS cannot be set up, with the remedy.
pub(crate) fn client(stall: Duration, redirects: usize) -> Result<reqwest::Client> {
    // A second installation is refused and harmless: the first provider is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .http1_only()
        .redirect(if redirects > 0 { Policy::limited(redirects) } else { Policy::none() })
        .connect_timeout(stall.min(Duration::from_secs(20)))
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        .user_agent(concat!("audio-extract/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| {
            EngineError::new(
                ErrorCode::RequestInvalid,
                "setting up HTTPS: no usable CA certificates; install the package ca-certificates or set SSL_CERT_FILE",
            )
            .caused_by(error)
        })
}

/// What every answer must have in common.
#[derive(Debug, Default, Clone)]
struct Pins {
    total: Option<u64>,
    etag: Option<String>,
    last_modified: Option<String>,
    hash: Option<String>,
    /// A 206 was seen: ranges work here.
    ranges_work: bool,
}

/// A recording behind HTTP.
#[derive(Debug)]
pub(crate) struct HttpSource {
    client: reqwest::Client,
    url: Url,
    tokens: Option<Arc<TokenProvider>>,
    name: String,
    pins: Mutex<Pins>,
    stall: Duration,
    retry: RetrySpec,
    progress: Arc<Progress>,
    stages: Stages,
    host: Arc<Host>,
}

/// Where bytes go: gathered into pieces of exact size, because the client's own buffers are larger than what is in
/// them; so the permits are the truth and its buffers can be used again.
struct Outlet<'a> {
    room: Room,
    pool: &'a Pool,
    out: &'a mpsc::UnboundedSender<Bytes>,
    piece: Option<Piece>,
    taken: Option<Permit>,
    leash: Option<&'a Leash>,
}

impl Outlet<'_> {
    /// Ends when the leash is pulled; never without one.
    async fn pulled(&self) {
        match self.leash {
            Some(leash) => leash.stop.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Takes bytes; `remaining` are still to come, these included. `false`: the consumer has all it wants.
    async fn take(&mut self, mut bytes: &[u8], mut remaining: Option<u64>) -> bool {
        while !bytes.is_empty() {
            let mut piece = if let Some(piece) = self.piece.take() {
                piece
            } else {
                self.taken = self.room.before_read().await;
                self.pool.take(remaining.unwrap_or(PIECE_BYTES as u64))
            };
            let before = bytes.len();
            bytes = piece.fill(bytes);
            remaining = remaining.map(|remaining| remaining.saturating_sub((before - bytes.len()) as u64));
            let full = piece.is_full();
            self.piece = Some(piece);
            if full && !self.flush() {
                return false;
            }
        }
        true
    }

    /// Hands on what is there. `false`: nobody wants it.
    fn flush(&mut self) -> bool {
        let Some(piece) = self.piece.take().filter(|piece| !piece.is_empty()) else { return true };
        let permit = self.room.pay(self.taken.take(), piece.len());
        self.out.send(piece.freeze(permit)).is_ok()
    }
}

/// How one try of a request ended without success.
enum Failure {
    Retry(EngineError),
    Reauthenticate(EngineError, Option<Access>),
    Fatal(EngineError),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Fatal(error)
    }
}

/// What an [`HttpSource`] is made of.
pub(crate) struct HttpOptions<'a> {
    pub(crate) url: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) tokens: Option<Arc<TokenProvider>>,
    pub(crate) stall: Duration,
    pub(crate) retry: RetrySpec,
    pub(crate) estimates: &'a Estimates,
}

impl HttpSource {
    pub(crate) fn new(options: HttpOptions<'_>, progress: Arc<Progress>, stages: Stages) -> Result<Self> {
        let url = Url::parse(options.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                EngineError::new(ErrorCode::RequestInvalid, "the source URL is not an http(s) URL")
            })?;
        let name = options.name.map_or_else(|| path_of(&url), str::to_owned);
        if let Some(size) = options.size_bytes {
            progress.set_source_size(size);
        }
        let host = format!(
            "{}:{}",
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or_default()
        );
        Ok(Self {
            host: options.estimates.host(&host, Instant::now()),
            client: client(options.stall, MAX_REDIRECTS)?,
            url,
            tokens: options.tokens,
            name,
            pins: Mutex::new(Pins { total: options.size_bytes, ..Pins::default() }),
            stall: options.stall,
            retry: options.retry,
            progress,
            stages,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn size(&self) -> Option<u64> {
        self.pins().total
    }

    /// What is known of the way to the host.
    pub(crate) fn measured(&self) -> Measured {
        self.host.measured(Instant::now())
    }

    /// Units of quota that a request costs.
    pub(crate) fn units_a_request(&self) -> u64 {
        if self.url.path().starts_with("/drive/v3/") { DRIVE_UNITS } else { 0 }
    }

    /// Whether a 206 was seen.
    pub(crate) fn ranges_work(&self) -> bool {
        self.pins().ranges_work
    }

    fn pins(&self) -> Pins {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads a range, resuming where a body broke.
    ///
    /// # Errors
    /// The `source.*` codes. A server that ignores `Range` gives `source.bad_range` with status 200, unless the range
    /// begins at 0 and is open-ended: then the whole file is what was asked for.
    pub(crate) async fn fetch(
        &self,
        range: Range,
        room: Room,
        pool: &Pool,
        out: &mpsc::UnboundedSender<Bytes>,
        leash: Option<&Leash>,
    ) -> Result<()> {
        let mut outlet = Outlet { room, pool, out, piece: None, taken: None, leash };
        let mut at = range.start;
        let mut backoff = Backoff::new(self.retry);
        let mut refused: Option<Access> = None;
        loop {
            let before = at;
            let failure = match self.attempt(&mut at, range, &mut outlet, refused.as_ref()).await {
                Ok(()) => {
                    self.progress.count_request(Service::Source, "ok");
                    return Ok(());
                }
                Err(failure) => failure,
            };
            if at > before {
                backoff.progressed();
                refused = None;
            }
            let error = match failure {
                Failure::Fatal(mut error) => {
                    self.progress.count_request(Service::Source, "error");
                    error.attempts = backoff.failures() + 1;
                    return Err(error);
                }
                Failure::Reauthenticate(error, access) if refused.is_none() && access.is_some() => {
                    self.retrying(&error, Duration::ZERO);
                    refused = access;
                    continue;
                }
                Failure::Reauthenticate(error, _) => {
                    self.progress.count_request(Service::Source, "error");
                    return Err(error);
                }
                Failure::Retry(error) => error,
            };
            let Some(wait) = backoff.next(error.retry_after) else {
                self.progress.count_request(Service::Source, "error");
                let mut error = error;
                error.attempts = backoff.failures();
                error.message = format!("{} (given up after {} tries)", error.message, error.attempts);
                return Err(error);
            };
            self.retrying(&error, wait);
            tokio::time::sleep(wait).await;
        }
    }

    fn retrying(&self, error: &EngineError, wait: Duration) {
        self.progress.count_request(Service::Source, "retry");
        self.progress.count_retry(error.code.as_str());
        let attributes = [
            ("error.type", error.code.as_str().into()),
            ("message", error.message.as_str().into()),
            ("wait_seconds", wait.as_secs_f64().into()),
        ];
        let stage = if self.progress.snapshot().stage == crate::progress::Phase::Index {
            "fetch.index"
        } else {
            "fetch.ranges"
        };
        self.stages.event(stage, "retry", attributes);
    }

    async fn attempt(
        &self,
        at: &mut u64,
        range: Range,
        outlet: &mut Outlet<'_>,
        refused: Option<&Access>,
    ) -> Result<(), Failure> {
        let operation = format!("reading {}", self.name);
        let access = match &self.tokens {
            Some(tokens) => Some(tokens.access_after(refused).await?),
            None => None,
        };
        let pins = self.pins();
        let mut request = self.client.get(self.url.clone()).header(ACCEPT_ENCODING, "identity");
        let bytes = range
            .end
            .map_or_else(|| format!("bytes={at}-"), |end| format!("bytes={at}-{}", end.saturating_sub(1)));
        request = request.header(RANGE, bytes);
        if let Some(etag) = pins.etag.as_deref().filter(|etag| !etag.starts_with("W/")) {
            request = request.header(IF_RANGE, etag);
        }
        if let Some(access) = &access {
            request = request.header(AUTHORIZATION, access.bearer());
        }
        let asked = Instant::now();
        self.host.asked(asked);
        let answer = tokio::time::timeout(self.stall, request.send())
            .await
            .map_err(|_| Failure::Retry(self.stalled(&operation)))?
            .map_err(|error| Failure::Retry(from_reqwest(Service::Source, &operation, error)))?;
        let status = answer.status();
        let headers = answer.headers().clone();
        // An empty file has no satisfiable range at all.
        if status == StatusCode::RANGE_NOT_SATISFIABLE && *at == 0 && total_of(&headers) == Some(0) {
            self.pin(&headers, 0, status)?;
            return Ok(());
        }
        if !status.is_success() {
            let body = error_body(answer, self.stall).await;
            let verdict = classify(Service::Source, &operation, status, &headers, &body);
            if let Verdict::Retry(error) | Verdict::Fatal(error) = &verdict
                && error.code == ErrorCode::SourceRateLimited
            {
                self.host.refused(Instant::now());
            }
            return Err(match verdict {
                Verdict::Retry(error) => Failure::Retry(error),
                Verdict::Reauthenticate(error) => Failure::Reauthenticate(error, access),
                Verdict::Fatal(error) => Failure::Fatal(error),
            });
        }
        let now = Instant::now();
        self.host.answered(now, now.saturating_duration_since(asked));
        let mut skip = 0;
        let end = if status == StatusCode::PARTIAL_CONTENT {
            self.check_partial(&headers, *at, range)?
        } else {
            if pins.ranges_work {
                return Err(self
                    .changed("ranges were answered before and now the whole file is sent")
                    .into());
            }
            if range.start != 0 || range.end.is_some() {
                let mut error = self.bad_range("the server ignores Range and sends the whole file");
                error.status = Some(200);
                return Err(error.into());
            }
            skip = *at;
            let total =
                headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            match total {
                Some(total) => self.pin(&headers, total, status)?,
                None => self.pin_headers(&headers)?,
            }
            total
        };
        self.receive(answer, &operation, at, end, skip, outlet).await
    }

    async fn receive(
        &self,
        mut answer: reqwest::Response,
        operation: &str,
        at: &mut u64,
        end: Option<u64>,
        mut skip: u64,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Failure> {
        let mut receiving = self.host.receive(Instant::now(), end.map(|end| end.saturating_sub(*at)));
        loop {
            let chunk = tokio::select! {
                biased;
                () = outlet.pulled() => {
                    outlet.flush();
                    return Ok(());
                }
                chunk = tokio::time::timeout(self.stall, answer.chunk()) => chunk,
            };
            let chunk = chunk
                .map_err(|_| Failure::Retry(self.stalled(operation)))?
                .map_err(|error| Failure::Retry(from_reqwest(Service::Source, operation, error)))?;
            let Some(mut chunk) = chunk else { break };
            let came = Instant::now();
            receiving.got(came, chunk.len() as u64);
            self.progress.add_fetched(chunk.len() as u64);
            let drop_bytes = skip.min(chunk.len() as u64);
            skip -= drop_bytes;
            chunk = chunk.split_off(usize::try_from(drop_bytes).unwrap_or(chunk.len()));
            if end.is_some_and(|end| *at + chunk.len() as u64 > end) {
                return Err(Failure::Retry(self.bad_range("the body is longer than its Content-Range")));
            }
            let len = chunk.len() as u64;
            // What the consumer was given or holds back is never asked for again.
            let wanted = outlet.take(&chunk, end.map(|end| end - *at)).await;
            receiving.held(came.elapsed());
            *at += len;
            if let Some(leash) = outlet.leash {
                leash.reach(*at);
            }
            if !wanted {
                return Ok(());
            }
        }
        match end {
            Some(end) if *at < end => Err(Failure::Retry(EngineError::new(
                ErrorCode::SourceTruncated,
                format!("{operation}: the body ended at byte {at} of {end}"),
            ))),
            _ => {
                outlet.flush();
                Ok(())
            }
        }
    }

    /// Checks a 206; gives the end of what its body holds.
    fn check_partial(&self, headers: &HeaderMap, at: u64, range: Range) -> Result<Option<u64>, Failure> {
        let text = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((first, last, total)) = parse_content_range(text) else {
            return Err(Failure::Retry(self.bad_range("a 206 without a usable Content-Range")));
        };
        let Some(total) = total.or_else(|| self.size()) else {
            return Err(Failure::Retry(self.bad_range("a 206 that does not say how long the file is")));
        };
        self.pin(headers, total, StatusCode::PARTIAL_CONTENT)?;
        let want_end = range.end.map_or(total, |end| end.min(total));
        if first != at || last.checked_add(1) != Some(want_end) {
            return Err(Failure::Retry(self.bad_range(&format!(
                "bytes {at}-{} were asked for and {first}-{last} came",
                want_end.saturating_sub(1)
            ))));
        }
        Ok(Some(want_end))
    }

    /// Holds this answer against the earlier ones.
    fn pin(&self, headers: &HeaderMap, total: u64, status: StatusCode) -> Result<()> {
        {
            let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
            match pins.total {
                Some(known) if known != total => {
                    drop(pins);
                    let known = self.size().unwrap_or_default();
                    return Err(self.changed(&format!("its size was {known} bytes and is {total} now")));
                }
                _ => pins.total = Some(total),
            }
            pins.ranges_work |= status == StatusCode::PARTIAL_CONTENT;
        }
        self.progress.set_source_size(total);
        self.pin_headers(headers)
    }

    fn pin_headers(&self, headers: &HeaderMap) -> Result<()> {
        let text =
            |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let Pins { etag, last_modified, hash, .. } = &mut *pins;
        for (pin, name) in [(etag, &ETAG), (last_modified, &LAST_MODIFIED), (hash, &X_GOOG_HASH)] {
            let now = text(name);
            match (&*pin, &now) {
                (Some(before), Some(now)) if before != now => {
                    return Err(self.changed(&format!("its {name} changed")));
                }
                (None, Some(_)) => *pin = now,
                _ => {}
            }
        }
        Ok(())
    }

    fn changed(&self, how: &str) -> EngineError {
        EngineError::new(
            ErrorCode::SourceChanged,
            format!(
                "reading {}: the recording changed while it was read ({how}); it is planned again",
                self.name
            ),
        )
    }

    fn bad_range(&self, how: &str) -> EngineError {
        EngineError::new(
            ErrorCode::SourceBadRange,
            format!("reading {}: wrong answer to a range request: {how}", self.name),
        )
    }

    fn stalled(&self, operation: &str) -> EngineError {
        EngineError::new(
            ErrorCode::SourceStalled,
            format!("{operation}: nothing arrived for {} seconds", self.stall.as_secs_f64()),
        )
    }
}

fn path_of(url: &Url) -> String {
    // Without query and credentials: both can hold secrets.
    format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

async fn error_body(mut answer: reqwest::Response, stall: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_ERROR_BODY {
        match tokio::time::timeout(stall, answer.chunk()).await {
            Ok(Ok(Some(piece))) => body.extend_from_slice(&piece),
            // The status alone decides then.
            _ => break,
        }
    }
    body.truncate(MAX_ERROR_BODY);
    body
}

fn total_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes */")?.parse().ok()
}

/// `bytes 0-99/1234` → (0, 99, Some(1234)); `bytes 0-99/*` → (0, 99, None).
fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read_strictly() {
        assert_eq!(parse_content_range("bytes 0-99/1234"), Some((0, 99, Some(1234))));
        assert_eq!(parse_content_range("bytes 5-5/*"), Some((5, 5, None)));
        for wrong in ["", "bytes", "bytes 9-5/10", "bytes */10", "items 0-1/2", "bytes -1-2/3", "bytes 0-1/x"]
        {
            assert_eq!(parse_content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_url_is_named_without_its_secrets() {
        let url = Url::parse("https://user:pw@example.com/a/b.mp4?X-Goog-Signature=abc").unwrap();
        assert_eq!(path_of(&url), "https://example.com/a/b.mp4");
    }
}

//! The one place that decides whether a failed request is tried again, and when.
//!
//! Reasons follow Drive's "Resolve errors" guide and Cloud Storage's "Retry strategy" guide.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use crate::error::{EngineError, ErrorCode};
use crate::progress::Service;
use crate::request::RetrySpec;

/// The longest wait a server may ask for inside a transfer; longer is the caller's business.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);
/// Error bodies are read up to this size.
pub(crate) const MAX_ERROR_BODY: usize = 64 * 1024;

/// Counts tries of one request and computes waits.
#[derive(Debug)]
pub(crate) struct Backoff {
    spec: RetrySpec,
    failures: u32,
    since_progress: u32,
}

/// A body that keeps breaking after a little progress is not tried for ever.
const MAX_FAILURES_IN_ALL: u32 = 100;

impl Backoff {
    pub(crate) const fn new(spec: RetrySpec) -> Self {
        Self { spec, failures: 0, since_progress: 0 }
    }

    /// Bytes arrived: the count of tries starts over, up to a bound.
    pub(crate) const fn progressed(&mut self) {
        self.since_progress = 0;
    }

    /// How often it failed so far.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait before the next try, or `None` when it is given up.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        self.failures += 1;
        self.since_progress += 1;
        if self.since_progress >= self.spec.max_attempts || self.failures >= MAX_FAILURES_IN_ALL {
            return None;
        }
        let exponent = i32::try_from(self.since_progress - 1).unwrap_or(16).min(16);
        let wait = (self.spec.base_seconds * 2f64.powi(exponent)).min(self.spec.max_seconds);
        // Jitter is only added: a wait is never shorter than the documented one.
        let jitter = wait.min(1.0) * unit_random();
        Some(Duration::from_secs_f64(wait + jitter).max(retry_after.unwrap_or_default()))
    }
}

/// A number in `[0, 1)`, good enough to spread retries; std's hasher keys are seeded by the system.
fn unit_random() -> f64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

/// What to do about an answer that is not the wanted one.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Wait and try the same again.
    Retry(EngineError),
    /// Refresh the token, then try once more.
    Reauthenticate(EngineError),
    /// Give up.
    Fatal(EngineError),
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    #[serde(default)]
    message: String,
    #[serde(default)]
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    reason: String,
}

/// Reads `error.message` and `error.errors[0].reason` of Google's JSON errors.
fn parse_body(body: &[u8]) -> (String, String) {
    serde_json::from_slice::<ErrorBody>(body).map_or_else(
        |_| (String::new(), String::new()),
        |parsed| {
            let reason =
                parsed.error.errors.into_iter().next().map(|reason| reason.reason).unwrap_or_default();
            // Messages of servers can be long or hold control characters; a person reads one line.
            let message = parsed.error.message.chars().filter(|c| !c.is_control()).take(300).collect();
            (message, reason)
        },
    )
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

/// Classifies an HTTP answer that is not a success. `operation` and `subject` begin the message.
pub(crate) fn classify(
    service: Service,
    operation: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Verdict {
    use ErrorCode as C;
    let (message, reason) = parse_body(body);
    let source = service == Service::Source;
    let pick = |for_source: ErrorCode, for_sink: ErrorCode| if source { for_source } else { for_sink };
    let wait = retry_after(headers, SystemTime::now());
    let said = match (message.is_empty(), reason.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!(" “{message}”"),
        (true, false) => format!(" ({reason})"),
        (false, false) => format!(" “{message}” ({reason})"),
    };
    let error = |code: ErrorCode, remedy: &str| {
        let mut error =
            EngineError::new(code, format!("{operation}: the server answered {status}{said}{remedy}"));
        error.status = Some(status.as_u16());
        error.retry_after = wait;
        error
    };
    let retry = |code: ErrorCode| {
        if wait.is_some_and(|wait| wait > MAX_RETRY_AFTER) {
            Verdict::Fatal(error(code, "; it asks for a long wait"))
        } else {
            Verdict::Retry(error(code, ""))
        }
    };
    match (status.as_u16(), reason.as_str()) {
        (401, _) => Verdict::Reauthenticate(error(
            pick(C::SourceUnauthenticated, C::SinkUnauthenticated),
            "; check the key file or the login",
        )),
        (_, "downloadQuotaExceeded") if source => Verdict::Fatal(error(
            C::SourceQuotaExceeded,
            "; this file was downloaded too often, Drive lifts that within a day",
        )),
        (403 | 429, "dailyLimitExceeded" | "quotaExceeded") => Verdict::Fatal(error(
            pick(C::SourceRateLimited, C::SinkRateLimited),
            "; the quota for today is used up",
        )),
        (429, _) | (403, "rateLimitExceeded" | "userRateLimitExceeded" | "sharingRateLimitExceeded") => {
            retry(pick(C::SourceRateLimited, C::SinkRateLimited))
        }
        (403, _) => Verdict::Fatal(error(
            pick(C::SourcePermission, C::SinkPermission),
            if source {
                "; share the file with the account as a viewer, and allow viewers to download"
            } else {
                "; give the account the role Storage Object User on the bucket"
            },
        )),
        (404 | 410, _) if source => {
            Verdict::Fatal(error(C::SourceNotFound, "; it was deleted or is not shared with the account"))
        }
        (404, _) => Verdict::Fatal(error(C::SinkNotFound, "; create the bucket or correct its name")),
        (412, _) if !source => Verdict::Fatal(error(C::SinkExists, "; another object has this name")),
        (416, _) if source => Verdict::Fatal(error(C::SourceChanged, "; the file is shorter than it was")),
        (408 | 500..=599, _) => retry(pick(C::SourceServerError, C::SinkServerError)),
        _ if source => Verdict::Fatal(error(C::SourceServerError, "; this answer was not expected")),
        _ => Verdict::Fatal(error(C::SinkProtocol, "; this answer was not expected")),
    }
}

/// What a failed exchange means: no connection, a reset, a time-out. The URL stays out of it.
pub(crate) fn from_reqwest(service: Service, operation: &str, error: reqwest::Error) -> EngineError {
    let code = match (service, error.is_timeout()) {
        (Service::Source, true) => ErrorCode::SourceStalled,
        (Service::Source, false) => ErrorCode::SourceNetwork,
        (Service::Sink, true) => ErrorCode::SinkStalled,
        (Service::Sink, false) => ErrorCode::SinkNetwork,
    };
    let what = if error.is_connect() {
        "no connection to the server"
    } else if error.is_timeout() {
        "the server did not answer in time"
    } else {
        "the connection broke"
    };
    EngineError::new(code, format!("{operation}: {what}")).caused_by(error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(reason: &str) -> Vec<u8> {
        format!(r#"{{"error":{{"code":403,"message":"No.","errors":[{{"reason":"{reason}"}}]}}}}"#)
            .into_bytes()
    }

    fn judged(service: Service, status: u16, reason: &str) -> (&'static str, ErrorCode) {
        let status = StatusCode::from_u16(status).unwrap();
        match classify(service, "op", status, &HeaderMap::new(), &body(reason)) {
            Verdict::Retry(error) => ("retry", error.code),
            Verdict::Reauthenticate(error) => ("login", error.code),
            Verdict::Fatal(error) => ("fatal", error.code),
        }
    }

    #[test]
    fn drives_reasons_decide_and_not_the_status_alone() {
        use ErrorCode as C;
        for (status, reason, want) in [
            (403, "userRateLimitExceeded", ("retry", C::SourceRateLimited)),
            (403, "rateLimitExceeded", ("retry", C::SourceRateLimited)),
            (429, "", ("retry", C::SourceRateLimited)),
            (403, "downloadQuotaExceeded", ("fatal", C::SourceQuotaExceeded)),
            (403, "dailyLimitExceeded", ("fatal", C::SourceRateLimited)),
            (403, "insufficientFilePermissions", ("fatal", C::SourcePermission)),
            (404, "notFound", ("fatal", C::SourceNotFound)),
            (401, "authError", ("login", C::SourceUnauthenticated)),
            (416, "requestedRangeNotSatisfiable", ("fatal", C::SourceChanged)),
            (500, "internalError", ("retry", C::SourceServerError)),
            (503, "backendError", ("retry", C::SourceServerError)),
        ] {
            assert_eq!(judged(Service::Source, status, reason), want, "{status} {reason}");
        }
    }

    #[test]
    fn cloud_storages_answers_are_told_apart() {
        use ErrorCode as C;
        for (status, want) in [
            (412, ("fatal", C::SinkExists)),
            (404, ("fatal", C::SinkNotFound)),
            (403, ("fatal", C::SinkPermission)),
            (408, ("retry", C::SinkServerError)),
            (429, ("retry", C::SinkRateLimited)),
            (503, ("retry", C::SinkServerError)),
            (400, ("fatal", C::SinkProtocol)),
        ] {
            assert_eq!(judged(Service::Sink, status, ""), want, "{status}");
        }
    }

    #[test]
    fn waits_grow_and_never_fall_below_the_documented_ones() {
        let mut backoff = Backoff::new(RetrySpec { max_attempts: 10, base_seconds: 0.5, max_seconds: 4.0 });
        for least in [0.5, 1.0, 2.0, 4.0, 4.0] {
            let wait = backoff.next(None).unwrap().as_secs_f64();
            assert!((least..least + 1.0).contains(&wait), "{wait} for {least}");
        }
    }

    #[test]
    fn progress_starts_the_count_over_but_not_for_ever() {
        let mut backoff = Backoff::new(RetrySpec { max_attempts: 2, base_seconds: 0.0, max_seconds: 1.0 });
        assert!(backoff.next(None).is_some());
        backoff.progressed();
        assert!(backoff.next(None).is_some());
        assert!(backoff.next(None).is_none());
        let mut endless = Backoff::new(RetrySpec { max_attempts: 2, base_seconds: 0.0, max_seconds: 1.0 });
        let tries = std::iter::repeat_with(|| {
            endless.progressed();
            endless.next(None)
        });
        assert_eq!(tries.take_while(Option::is_some).count(), 99);
    }

    #[test]
    fn a_servers_wait_is_honoured_as_seconds_and_as_a_date() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after(&headers, SystemTime::now()), Some(Duration::from_secs(7)));
        headers.insert(RETRY_AFTER, "Wed, 21 Oct 2015 07:28:00 GMT".parse().unwrap());
        let before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_470);
        assert_eq!(retry_after(&headers, before), Some(Duration::from_secs(10)));
        let mut backoff = Backoff::new(RetrySpec::default());
        assert!(backoff.next(Some(Duration::from_secs(9))).unwrap() >= Duration::from_secs(9));
    }
}

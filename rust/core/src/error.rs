//! What can go wrong in a transfer, grouped by what the caller does next.
//!
//! [`ErrorCode`] is closed and matched exhaustively: a new way to fail forces a decision about its
//! [`ErrorKind`] here and about its Python exception in `rust/python`. Codes are stable; messages may change.

use std::time::Duration;

use serde::Serialize;

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The network or a server failed for a while: try again later.
    Transient,
    /// A quota is used up: wait, longer than for a transient failure.
    Quota,
    /// The credentials were refused: authenticate again.
    Authentication,
    /// The account may not do this: somebody has to grant it.
    Permission,
    /// The recording is gone: skip it.
    NotFound,
    /// The media can never work: skip this recording.
    Media,
    /// Bytes differ from what a checksum or a length promised: try again from the start.
    Corruption,
    /// The source holds another revision now: plan again.
    SourceChanged,
    /// The object name is taken: adopt the object or choose the next name.
    DestinationExists,
    /// A setting or the installation is wrong: stop and say so.
    Configuration,
    /// The destination has no room: pause until there is some.
    NoSpace,
    /// The caller asked to stop.
    Cancelled,
    /// This should not happen: report it.
    Bug,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal => $kind:ident),+ $(,)?) => {
        /// The stable name of one way to fail.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name),+ }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),+];

            /// The stable text, for example `source.changed`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $text),+ }
            }

            /// What the caller does next.
            #[must_use]
            pub const fn kind(self) -> ErrorKind {
                match self { $(ErrorCode::$name => ErrorKind::$kind),+ }
            }
        }
    };
}

error_codes! {
    /// Connection refused, reset, name not resolved, TLS failure.
    SourceNetwork = "source.network" => Transient,
    /// No byte arrived for the stall time-out.
    SourceStalled = "source.stalled" => Transient,
    /// A 5xx or 408 answer.
    SourceServerError = "source.server_error" => Transient,
    /// The body ended before its announced end.
    SourceTruncated = "source.truncated" => Transient,
    /// The answer is not the range that was asked for.
    SourceBadRange = "source.bad_range" => Corruption,
    /// Another revision stands at the source.
    SourceChanged = "source.changed" => SourceChanged,
    /// The whole file was read and its checksum differs from the promised one.
    SourceChecksum = "source.checksum_mismatch" => Corruption,
    /// 404 or 410, or no such local file.
    SourceNotFound = "source.not_found" => NotFound,
    /// 403 without a quota reason, or a local permission error.
    SourcePermission = "source.permission_denied" => Permission,
    /// 401 after a token refresh.
    SourceUnauthenticated = "source.unauthenticated" => Authentication,
    /// 429 or 403 with a rate-limit reason, after all waits.
    SourceRateLimited = "source.rate_limited" => Quota,
    /// Drive's `downloadQuotaExceeded`: about this one file, for hours.
    SourceQuotaExceeded = "source.quota_exceeded" => Quota,
    /// Reading a local file failed.
    SourceIo = "source.io" => Transient,
    /// The recording has no audio track.
    MediaNoAudio = "media.no_audio" => Media,
    /// The audio is encrypted (`enca`).
    MediaEncrypted = "media.encrypted" => Media,
    /// The asked-for track does not exist.
    MediaTrackNotFound = "media.track_not_found" => Media,
    /// FFmpeg cannot read it: damaged, cut off, or not a recording.
    MediaUnreadable = "media.unreadable" => Media,
    /// This FFmpeg was built without a decoder for the audio.
    MediaUnsupported = "media.unsupported" => Media,
    /// The audio of this recording cannot be copied into the wanted container.
    MediaCannotCopy = "media.cannot_copy" => Media,
    /// The FFmpeg binary could not be started.
    FfmpegNotFound = "ffmpeg.not_found" => Configuration,
    /// FFmpeg refused its options, for example an unknown encoder.
    FfmpegOptions = "ffmpeg.bad_options" => Configuration,
    /// FFmpeg was killed by a signal that was not ours.
    FfmpegKilled = "ffmpeg.killed" => Transient,
    /// FFmpeg neither read nor wrote for the stall time-out.
    FfmpegStalled = "ffmpeg.stalled" => Transient,
    /// An object or file with that name exists.
    SinkExists = "destination.exists" => DestinationExists,
    /// Connection refused, reset, name not resolved, TLS failure.
    SinkNetwork = "destination.network" => Transient,
    /// No answer for the stall time-out.
    SinkStalled = "destination.stalled" => Transient,
    /// A 5xx or 408 answer, after all waits.
    SinkServerError = "destination.server_error" => Transient,
    /// The resumable session is gone (404, 410): the transfer starts over.
    SinkSessionGone = "destination.session_gone" => Transient,
    /// The bucket or folder does not exist.
    SinkNotFound = "destination.not_found" => Configuration,
    /// The account may not write there.
    SinkPermission = "destination.permission_denied" => Permission,
    /// 401 after a token refresh.
    SinkUnauthenticated = "destination.unauthenticated" => Authentication,
    /// 429, or 403 with a rate-limit reason, after all waits.
    SinkRateLimited = "destination.rate_limited" => Quota,
    /// The stored object's size or CRC32C is not what was sent.
    SinkChecksum = "destination.checksum_mismatch" => Corruption,
    /// The disk or quota of the destination is full.
    SinkNoSpace = "destination.no_space" => NoSpace,
    /// Writing a local file failed.
    SinkIo = "destination.io" => Transient,
    /// The destination answered with something its protocol does not have.
    SinkProtocol = "destination.protocol" => Transient,
    /// The token callback failed.
    TokenFailed = "token.failed" => Authentication,
    /// The request to the engine is wrong.
    RequestInvalid = "request.invalid" => Configuration,
    /// The caller cancelled.
    Cancelled = "cancelled" => Cancelled,
    /// A panic or a broken invariant.
    Bug = "internal.bug" => Bug,
}

/// One failure, with everything a person or the retry policy needs.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// The stable name.
    pub code: ErrorCode,
    /// Operation, subject, what was expected, what came. Never a secret.
    pub message: String,
    /// How often the operation was tried before it was given up.
    pub attempts: u32,
    /// How long the server asked to wait.
    pub retry_after: Option<Duration>,
    /// The HTTP status, when a server answered.
    pub status: Option<u16>,
    /// The end of FFmpeg's stderr, when FFmpeg failed.
    pub ffmpeg_tail: Option<String>,
    /// What lies beneath.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything that can fail in the engine.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

impl EngineError {
    /// A failure with a code and a message.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            attempts: 1,
            retry_after: None,
            status: None,
            ffmpeg_tail: None,
            cause: None,
        }
    }

    /// The same failure with what lies beneath.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What the caller does next.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.code.kind()
    }
}

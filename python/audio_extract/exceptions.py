"""Every error of the service, grouped by what the caller does next.

This file owns the exception classes and the table from the engine's error kinds to them. It does not own
texts: a message is written where the error is raised, with its operation, subject, cause and remedy.
"""

from __future__ import annotations

from typing import ClassVar

from audio_extract.telemetry.redaction import redact


class AudioExtractError(Exception):
    """Base of all errors this program raises on purpose.

    Attributes:
        code: Stable name, for example ``source.quota_exceeded``. Messages may change, codes may not.
        kind: What the caller does next, as the engine's ``ErrorKind`` spells it.
        attempts: How often the operation was tried before it was given up.
        retry_after_seconds: How long the server asked to wait, if it did.
        status: HTTP status, when a server answered.
        ffmpeg_tail: The end of FFmpeg's stderr, when FFmpeg failed.
    """

    kind: ClassVar[str] = "bug"
    default_code: ClassVar[str] = "internal.bug"
    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        attempts: int = 1,
        retry_after_seconds: float | None = None,
        status: int | None = None,
        ffmpeg_tail: str | None = None,
    ) -> None:
        # Servers echo what they were sent: what is kept, shown and sent on is free of secrets from here on.
        message = redact(message)
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.attempts = attempts
        self.retry_after_seconds = retry_after_seconds
        self.status = status
        self.ffmpeg_tail = None if ffmpeg_tail is None else redact(ffmpeg_tail)


class TransientError(AudioExtractError):
    """The network or a server failed for a while: try again later."""

    kind = "transient"
    default_code = "source.network"
    exit_code = 5


class QuotaError(AudioExtractError):
    """A quota is used up: wait, longer than for a transient failure."""

    kind = "quota"
    default_code = "source.rate_limited"
    exit_code = 5


class AuthenticationError(AudioExtractError):
    """The credentials are missing or were refused."""

    kind = "authentication"
    default_code = "token.failed"
    exit_code = 3


class PermissionDeniedError(AudioExtractError):
    """The account may not do this: somebody has to grant it."""

    kind = "permission"
    default_code = "source.permission_denied"
    exit_code = 3


class NotFoundError(AudioExtractError):
    """The recording is gone: skip it."""

    kind = "not_found"
    default_code = "source.not_found"
    exit_code = 1


class MediaError(AudioExtractError):
    """The media can never work: quarantine this recording."""

    kind = "media"
    default_code = "media.unreadable"
    exit_code = 1


class CorruptionError(AudioExtractError):
    """Bytes differ from what a checksum or a length promised: try again from the start."""

    kind = "corruption"
    default_code = "source.checksum_mismatch"
    exit_code = 5


class SourceChangedError(AudioExtractError):
    """The source holds another revision now: plan again."""

    kind = "source_changed"
    default_code = "source.changed"
    exit_code = 5


class DestinationExistsError(AudioExtractError):
    """The object name is taken: adopt the object or choose the next name."""

    kind = "destination_exists"
    default_code = "destination.exists"
    exit_code = 1


class ConfigurationError(AudioExtractError):
    """A setting or the installation is wrong: stop and say so."""

    kind = "configuration"
    default_code = "config.invalid"
    exit_code = 2


class NoSpaceError(AudioExtractError):
    """The destination or the temporary folder is full: pause until there is room."""

    kind = "no_space"
    default_code = "destination.no_space"
    exit_code = 5


class CancelledError(AudioExtractError):
    """The caller asked to stop."""

    kind = "cancelled"
    default_code = "cancelled"
    exit_code = 130


class InternalError(AudioExtractError):
    """This should not happen: report it."""

    kind = "bug"


#: The engine's ``ErrorKind`` (snake case) → the exception ``_engine`` raises. A test compares the two lists.
ERROR_KINDS: dict[str, type[AudioExtractError]] = {
    error.kind: error
    for error in (
        TransientError,
        QuotaError,
        AuthenticationError,
        PermissionDeniedError,
        NotFoundError,
        MediaError,
        CorruptionError,
        SourceChangedError,
        DestinationExistsError,
        ConfigurationError,
        NoSpaceError,
        CancelledError,
        InternalError,
    )
}

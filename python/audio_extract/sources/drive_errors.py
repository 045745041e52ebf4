"""What Drive's refusals mean: one function from status and reason to an exception with its remedy.

Reasons: https://developers.google.com/workspace/drive/api/guides/handle-errors. The engine has the same table
for media downloads (``rust/core/src/source/http.rs``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from audio_extract.exceptions import (
    AudioExtractError,
    AuthenticationError,
    ConfigurationError,
    InternalError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

#: Asking for less per minute helps: wait and try again.
RATE_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "sharingRateLimitExceeded"})
#: Used up until tomorrow.
DAILY_REASONS = frozenset({"dailyLimitExceeded", "quotaExceeded"})
API_OFF_REASONS = frozenset({"accessNotConfigured", "SERVICE_DISABLED"})
SCOPE_REASONS = frozenset({"insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"})

_HOUR_SECONDS = 3600.0
#: ``downloadQuotaExceeded`` is about one file and lasts for hours.
DOWNLOAD_QUOTA_WAIT_SECONDS = 6 * _HOUR_SECONDS
DAILY_WAIT_SECONDS = 6 * _HOUR_SECONDS


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error answer of Drive.

    Attributes:
        status: HTTP status.
        reason: The first ``error.errors[].reason``; empty where a load balancer answered.
        message: Google's own words.
        retry_after_seconds: What the server asked for.
    """

    status: int
    reason: str
    message: str
    retry_after_seconds: float | None = None

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed soon."""
        return self.status in {408, 429} or self.status >= 500 or self.reason in RATE_REASONS


def read_refusal(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Refusal:
    """Read an error answer; what is not Google's JSON has no reason."""
    reason = message = ""
    try:
        document: Any = json.loads(body)
        error = document["error"]
        message = str(error.get("message", ""))
        reasons = [str(one["reason"]) for one in error.get("errors", []) if "reason" in one]
        reasons += [str(one["reason"]) for one in error.get("details", []) if "reason" in one]
        reason = reasons[0] if reasons else ""
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"an answer that is not from Drive ({len(body)} bytes)"
    return Refusal(status, reason, message, retry_after(headers.get("retry-after"), now))


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds a server asks to wait (RFC 9110, section 10.2.3): a number, or a date."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (moment - now).total_seconds())


def classify(refusal: Refusal, *, subject: str, account: str, attempts: int = 1) -> AudioExtractError:
    """The exception of a refusal.

    Args:
        refusal: What Drive answered.
        subject: What was asked for, as ``the folder 'Meet Recordings' (1AbC)``.
        account: E-mail address of who asked.
        attempts: How often it was tried.
    """
    status, reason = refusal.status, refusal.reason
    facts: dict[str, Any] = {
        "attempts": attempts,
        "status": status,
        "retry_after_seconds": refusal.retry_after_seconds,
    }
    error: AudioExtractError
    if status == 401:
        error = AuthenticationError(
            f"Drive refuses the credentials of {account} for {subject}. Make a new key, or sign in again.",
            code="source.unauthenticated",
            **facts,
        )
    elif reason in RATE_REASONS or status == 429:
        error = QuotaError(
            f"Drive has had too many requests of {account}; {subject} could not be read. "
            "It is tried again later.",
            code="source.rate_limited",
            **facts,
        )
    elif reason in DAILY_REASONS:
        facts["retry_after_seconds"] = facts["retry_after_seconds"] or DAILY_WAIT_SECONDS
        error = QuotaError(
            f"Drive's daily quota is used up; {subject} could not be read. It is tried again in some hours; "
            "raise the quota of the Drive API in the Google Cloud console.",
            code="source.rate_limited",
            **facts,
        )
    elif reason == "downloadQuotaExceeded":
        facts["retry_after_seconds"] = facts["retry_after_seconds"] or DOWNLOAD_QUOTA_WAIT_SECONDS
        error = QuotaError(
            f"Drive's download quota of {subject} is used up. It is tried again in some hours; others go on.",
            code="source.quota_exceeded",
            **facts,
        )
    elif status in {404, 410}:
        error = NotFoundError(
            f"Drive has nothing for {account} under {subject}: it was deleted, or is no longer shared.",
            code="source.not_found",
            **facts,
        )
    elif status == 403:
        error = _forbidden(refusal, subject, account, facts)
    elif refusal.is_retryable:
        error = TransientError(
            f"Drive could not answer about {subject} (HTTP {status}, {attempts} attempts). "
            "It is tried again later.",
            code="source.server_error",
            **facts,
        )
    else:
        error = InternalError(
            f"Drive does not understand the request about {subject} (HTTP {status}, {refusal.message}).",
            **facts,
        )
    return error


def _forbidden(refusal: Refusal, subject: str, account: str, facts: dict[str, Any]) -> AudioExtractError:
    reason = refusal.reason
    if reason in API_OFF_REASONS:
        return ConfigurationError(
            f"The Drive API is not enabled in the project of {account}. Enable it in the Google Cloud "
            "console (APIs & Services > Library > Google Drive API) and wait some minutes.",
            **facts,
        )
    remedies = {
        "cannotDownloadFile": "its owner forbids downloading. Ask the owner to allow it (Share > Settings).",
        "cannotDownloadAbusiveFile": "Drive has marked it as malware or spam. Have its owner look at it.",
        "fileNotDownloadable": "it is a Google document without content of its own.",
        "domainPolicy": "the organisation's policy does not allow it. Ask its Workspace administrator.",
    }
    remedy = remedies.get(reason)
    if reason in SCOPE_REASONS:
        remedy = (
            "the credentials do not have the scope https://www.googleapis.com/auth/drive.readonly. Sign in "
            "with that scope, or use the key of a service account (google_drive.service_account_file)."
        )
    if remedy is None:
        remedy = f"the account lacks the permission. Share it with {account} as Viewer."
    return PermissionDeniedError(
        f"Drive does not let {account} read {subject}: {remedy}",
        code="source.permission_denied",
        **facts,
    )

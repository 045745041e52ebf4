"""What Drive's refusals mean, and how long to wait."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from audio_extract.emulator.errors import ANSWERS
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
from audio_extract.sources.drive_errors import Refusal, classify, read_refusal, retry_after

NOW = datetime(2025, 1, 29, 10, 0, tzinfo=UTC)
ACCOUNT = "extractor@demo-project.iam.gserviceaccount.com"
SUBJECT = "'Weekly.mp4' (1AbC)"


def answer(status: int, reason: str | None, headers: dict[str, str] | None = None) -> Refusal:
    errors = [] if reason is None else [{"reason": reason, "message": "why", "domain": "global"}]
    body = {"error": {"code": status, "message": "why", "errors": errors}}
    return read_refusal(status, headers or {}, json.dumps(body).encode(), now=NOW)


@pytest.mark.parametrize(
    ("status", "reason", "kind", "code", "retryable"),
    [
        (401, "authError", AuthenticationError, "source.unauthenticated", False),
        (403, "userRateLimitExceeded", QuotaError, "source.rate_limited", True),
        (403, "rateLimitExceeded", QuotaError, "source.rate_limited", True),
        (429, "rateLimitExceeded", QuotaError, "source.rate_limited", True),
        (429, None, QuotaError, "source.rate_limited", True),
        (403, "dailyLimitExceeded", QuotaError, "source.rate_limited", False),
        (403, "downloadQuotaExceeded", QuotaError, "source.quota_exceeded", False),
        (403, "accessNotConfigured", ConfigurationError, "config.invalid", False),
        (403, "insufficientFilePermissions", PermissionDeniedError, "source.permission_denied", False),
        (403, "cannotDownloadFile", PermissionDeniedError, "source.permission_denied", False),
        (403, "domainPolicy", PermissionDeniedError, "source.permission_denied", False),
        (403, "something new", PermissionDeniedError, "source.permission_denied", False),
        (403, None, PermissionDeniedError, "source.permission_denied", False),
        (404, "notFound", NotFoundError, "source.not_found", False),
        (410, None, NotFoundError, "source.not_found", False),
        (408, None, TransientError, "source.server_error", True),
        (500, "internalError", TransientError, "source.server_error", True),
        (502, None, TransientError, "source.server_error", True),
        (503, "backendError", TransientError, "source.server_error", True),
        (400, "invalid", InternalError, "internal.bug", False),
    ],
)
def test_each_refusal_has_one_meaning(
    status: int, reason: str | None, kind: type[AudioExtractError], code: str, retryable: bool
) -> None:
    refusal = answer(status, reason)
    error = classify(refusal, subject=SUBJECT, account=ACCOUNT, attempts=3)
    assert type(error) is kind
    assert (error.code, error.status, error.attempts) == (code, status, 3)
    assert refusal.is_retryable is retryable


@pytest.mark.parametrize("reason", [row.reason for row in ANSWERS.values() if row.status in {401, 403, 404}])
def test_every_refusal_names_what_it_is_about_or_whom(reason: str) -> None:
    error = classify(answer(403, reason), subject=SUBJECT, account=ACCOUNT)
    assert SUBJECT in error.message or ACCOUNT in error.message
    assert not isinstance(error, InternalError)


@pytest.mark.parametrize("reason", ["downloadQuotaExceeded", "dailyLimitExceeded"])
def test_a_quota_of_hours_is_waited_for_in_hours(reason: str) -> None:
    error = classify(answer(403, reason), subject=SUBJECT, account=ACCOUNT)
    assert error.retry_after_seconds == 6 * 3600
    told = classify(answer(403, reason, {"retry-after": "60"}), subject=SUBJECT, account=ACCOUNT)
    assert told.retry_after_seconds == 60


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("insufficientFilePermissions", f"Share it with {ACCOUNT} as Viewer"),
        ("accessNotConfigured", "Google Drive API"),
        ("insufficientPermissions", "drive.readonly"),
        ("cannotDownloadAbusiveFile", "malware"),
    ],
)
def test_a_refusal_says_what_to_do(reason: str, remedy: str) -> None:
    assert remedy in classify(answer(403, reason), subject=SUBJECT, account=ACCOUNT).message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": "text"}', b'{"error": null}', b"\xff"])
def test_an_answer_that_is_not_googles_is_judged_by_its_status(body: bytes) -> None:
    refusal = read_refusal(503, {}, body, now=NOW)
    assert (refusal.reason, refusal.is_retryable) == ("", True)


def test_reasons_of_the_newer_form_are_read_too() -> None:
    details: dict[str, Any] = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "SERVICE_DISABLED",
    }
    body = json.dumps({"error": {"code": 403, "message": "off", "details": [{}, details]}}).encode()
    error = classify(read_refusal(403, {}, body, now=NOW), subject=SUBJECT, account=ACCOUNT)
    assert isinstance(error, ConfigurationError)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("20", 20.0),
        (" 0 ", 0.0),
        ("Wed, 29 Jan 2025 10:00:30 GMT", 30.0),
        ("Wed, 29 Jan 2025 09:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
    ],
)
def test_a_server_may_say_how_long_to_wait_in_seconds_or_as_a_date(
    value: str | None, seconds: float | None
) -> None:
    assert retry_after(value, NOW) == seconds

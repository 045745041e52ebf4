"""Google's JSON errors: the answers that both emulators give when a request cannot be served.

Owns the table of reasons, each with the page that documents it, and their JSON form. When an error is given
is decided by the emulators and by fault scripts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DRIVE_ERRORS = "https://developers.google.com/workspace/drive/api/guides/handle-errors"
STORAGE_ERRORS = "https://cloud.google.com/storage/docs/json_api/v1/status-codes"
STORAGE_RESUMABLE = "https://cloud.google.com/storage/docs/performing-resumable-uploads"


@dataclass(frozen=True)
class ErrorAnswer:
    """One documented error.

    Attributes:
        status: HTTP status.
        reason: ``error.errors[].reason``, what clients decide by.
        message: Text; ``{subject}`` is replaced by what the request was about.
        documentation: Page that describes it.
        domain: ``error.errors[].domain``.
        location: Parameter or header that is to blame.
        location_type: ``parameter`` or ``header``.
        headers: Headers that come with it.
    """

    status: int
    reason: str
    message: str
    documentation: str
    domain: str = "global"
    location: str | None = None
    location_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


#: Drive's and Storage's errors by reason. A fault script names a row by its key.
ANSWERS: dict[str, ErrorAnswer] = {
    "badRequest": ErrorAnswer(400, "badRequest", "Bad Request: {subject}", DRIVE_ERRORS),
    "invalid": ErrorAnswer(400, "invalid", "Invalid Value: {subject}", DRIVE_ERRORS),
    "invalidParameter": ErrorAnswer(400, "invalidParameter", "{subject}", DRIVE_ERRORS),
    "fieldNotWritable": ErrorAnswer(403, "fieldNotWritable", "{subject}", DRIVE_ERRORS),
    "required": ErrorAnswer(400, "required", "Required parameter: {subject}", STORAGE_ERRORS),
    "authError": ErrorAnswer(
        401,
        "authError",
        "Invalid Credentials",
        DRIVE_ERRORS,
        location="Authorization",
        location_type="header",
        headers=(("WWW-Authenticate", 'Bearer realm="https://accounts.google.com/", error="invalid_token"'),),
    ),
    "loginRequired": ErrorAnswer(
        401,
        "required",
        "Login Required.",
        STORAGE_ERRORS,
        location="Authorization",
        location_type="header",
        headers=(("WWW-Authenticate", 'Bearer realm="https://accounts.google.com/"'),),
    ),
    "forbidden": ErrorAnswer(403, "forbidden", "{subject}", STORAGE_ERRORS),
    "insufficientFilePermissions": ErrorAnswer(
        403,
        "insufficientFilePermissions",
        "The user does not have sufficient permissions for file {subject}.",
        DRIVE_ERRORS,
    ),
    "cannotDownloadFile": ErrorAnswer(
        403, "cannotDownloadFile", "This file cannot be downloaded by the user.", DRIVE_ERRORS
    ),
    "cannotDownloadAbusiveFile": ErrorAnswer(
        403,
        "cannotDownloadAbusiveFile",
        "This file has been identified as malware or spam and cannot be downloaded.",
        DRIVE_ERRORS,
    ),
    "fileNotDownloadable": ErrorAnswer(
        403,
        "fileNotDownloadable",
        "Only files with binary content can be downloaded. Use Export with Docs Editors files.",
        DRIVE_ERRORS,
        location="alt",
        location_type="parameter",
    ),
    "fileNotExportable": ErrorAnswer(
        403, "fileNotExportable", "Export only supports Docs Editors files.", DRIVE_ERRORS
    ),
    "downloadQuotaExceeded": ErrorAnswer(
        403,
        "downloadQuotaExceeded",
        "The download quota for this file has been exceeded.",
        DRIVE_ERRORS,
    ),
    "userRateLimitExceeded": ErrorAnswer(
        403, "userRateLimitExceeded", "User Rate Limit Exceeded.", DRIVE_ERRORS, domain="usageLimits"
    ),
    "dailyLimitExceeded": ErrorAnswer(
        403, "dailyLimitExceeded", "Daily Limit Exceeded.", DRIVE_ERRORS, domain="usageLimits"
    ),
    "rateLimitExceeded": ErrorAnswer(
        429, "rateLimitExceeded", "Rate Limit Exceeded.", DRIVE_ERRORS, domain="usageLimits"
    ),
    "notFound": ErrorAnswer(404, "notFound", "Not Found: {subject}", STORAGE_ERRORS),
    "fileNotFound": ErrorAnswer(
        404,
        "notFound",
        "File not found: {subject}.",
        DRIVE_ERRORS,
        location="fileId",
        location_type="parameter",
    ),
    "driveNotFound": ErrorAnswer(
        404,
        "notFound",
        "Shared drive not found: {subject}",
        DRIVE_ERRORS,
        location="driveId",
        location_type="parameter",
    ),
    "bucketNotFound": ErrorAnswer(404, "notFound", "The specified bucket does not exist.", STORAGE_ERRORS),
    "objectNotFound": ErrorAnswer(404, "notFound", "No such object: {subject}", STORAGE_ERRORS),
    "requestTimeout": ErrorAnswer(408, "requestTimeout", "Request Timeout", STORAGE_ERRORS),
    "conflict": ErrorAnswer(409, "conflict", "{subject}", STORAGE_ERRORS),
    "uploadGone": ErrorAnswer(410, "gone", "The upload session is gone.", STORAGE_RESUMABLE),
    "uploadNotFound": ErrorAnswer(404, "notFound", "The upload session was not found.", STORAGE_RESUMABLE),
    "conditionNotMet": ErrorAnswer(
        412,
        "conditionNotMet",
        "At least one of the pre-conditions you specified did not hold.",
        STORAGE_ERRORS,
        location="If-Match",
        location_type="header",
    ),
    "requestedRangeNotSatisfiable": ErrorAnswer(
        416,
        "requestedRangeNotSatisfiable",
        "Request range not satisfiable",
        STORAGE_ERRORS,
        location="Range",
        location_type="header",
    ),
    "internalError": ErrorAnswer(500, "internalError", "Internal Error", DRIVE_ERRORS),
    "backendError": ErrorAnswer(503, "backendError", "Backend Error", STORAGE_ERRORS),
}


class GoogleError(Exception):
    """An error answer on its way to the client.

    Args:
        key: Row of :data:`ANSWERS`.
        subject: What the request was about; becomes part of the message.
        status: Another status than the row's.
        location: Another parameter or header than the row's.
        headers: Headers besides the row's.
    """

    def __init__(
        self,
        key: str,
        subject: str = "",
        *,
        status: int | None = None,
        location: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        row = ANSWERS[key]
        self.row = row
        self.status = row.status if status is None else status
        self.message = row.message.replace("{subject}", subject)
        self.location = row.location if location is None else location
        self.headers = {**dict(row.headers), **(headers or {})}
        super().__init__(self.message)

    def body(self) -> dict[str, object]:
        """The JSON document that Google's APIs send."""
        location_type = self.row.location_type
        if self.location is not None and location_type is None:
            location_type = "parameter"
        return error_body(
            self.status,
            self.row.reason,
            self.message,
            domain=self.row.domain,
            location=self.location,
            location_type=location_type,
        )


def error_body(
    status: int,
    reason: str,
    message: str,
    *,
    domain: str = "global",
    location: str | None = None,
    location_type: str | None = None,
) -> dict[str, object]:
    """Build the JSON error document of Google's APIs."""
    detail = {"domain": domain, "reason": reason, "message": message}
    if location is not None:
        detail["location"] = location
        detail["locationType"] = location_type or "parameter"
    return {"error": {"code": status, "message": message, "errors": [detail]}}

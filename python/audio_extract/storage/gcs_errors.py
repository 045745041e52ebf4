"""What Cloud Storage's refusals mean: from the client library's exceptions to ours, with the remedy.

Status codes: https://cloud.google.com/storage/docs/json_api/v1/status-codes
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from audio_extract.exceptions import (
    AudioExtractError,
    AuthenticationError,
    ConfigurationError,
    CorruptionError,
    DestinationExistsError,
    InternalError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audio_extract.credentials import GoogleCredentials

BUCKET_SETTING = "storage.gcs.bucket_name"
ANONYMOUS = "the anonymous account"


@contextmanager
def gcs_errors(bucket: str, name: str, credentials: GoogleCredentials | None) -> Iterator[None]:
    """Give the exceptions of google-cloud-storage their meaning.

    Args:
        bucket: The bucket.
        name: The object that it is about; empty: the bucket itself.
        credentials: Who asked.
    """
    import requests
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    try:
        yield
    except GoogleAuthError as error:
        if credentials is None:
            # The server wants somebody to sign in, and there is nobody who could.
            raise _of_status(401, error, bucket, name, None) from error
        raise credentials.refused(error) from error
    except DataCorruption as error:
        raise CorruptionError(
            f"{_subject(bucket, name)} does not have the checksum it should have. It is tried again.",
            code="destination.checksum_mismatch",
        ) from error
    except (requests.RequestException, ConnectionError, TimeoutError) as error:
        raise _unreachable(bucket, name) from error
    except (GoogleAPIError, InvalidResponse) as error:
        raise _meaning(error, bucket, name, credentials) from error


def bucket_missing(bucket: str) -> ConfigurationError:
    """The bucket does not exist."""
    return ConfigurationError(
        f"The bucket {bucket} ({BUCKET_SETTING}) does not exist. Create it "
        f"(gcloud storage buckets create gs://{bucket}), or correct {BUCKET_SETTING}.",
        code="destination.not_found",
        status=404,
    )


def not_allowed(bucket: str, name: str, account: str, what: str) -> PermissionDeniedError:
    """The account lacks a permission."""
    return PermissionDeniedError(
        f"{account} may not {what} {_subject(bucket, name)}. Give it the role Storage Object User on the "
        f"bucket: gcloud storage buckets add-iam-policy-binding gs://{bucket} "
        f"--member=serviceAccount:{account} --role=roles/storage.objectUser",
        code="destination.permission_denied",
        status=403,
    )


def _subject(bucket: str, name: str) -> str:
    return f"gs://{bucket}/{name}" if name else f"the bucket {bucket} ({BUCKET_SETTING})"


def _unreachable(bucket: str, name: str) -> TransientError:
    return TransientError(
        f"Cloud Storage cannot be reached for {_subject(bucket, name)}. Look at the network; it is tried "
        "again later.",
        code="destination.network",
    )


def _meaning(
    error: Exception, bucket: str, name: str, credentials: GoogleCredentials | None
) -> AudioExtractError:
    """The exception of an error answer, or of retries that came to their end."""
    import requests
    from google.api_core.exceptions import RetryError

    if isinstance(error, RetryError):
        cause = error.cause
        if cause is None or isinstance(cause, (requests.RequestException, ConnectionError)):
            return _unreachable(bucket, name)
        return _meaning(cause, bucket, name, credentials)
    return _of_status(_status(error), error, bucket, name, credentials)


def _of_status(  # noqa: PLR0911 - one row for each status
    status: int | None, error: Exception, bucket: str, name: str, credentials: GoogleCredentials | None
) -> AudioExtractError:
    account = ANONYMOUS if credentials is None else credentials.account
    facts: dict[str, Any] = {"status": status}
    subject = _subject(bucket, name)
    match status:
        case 401:
            return AuthenticationError(
                f"Cloud Storage refuses the credentials of {account} for {subject}. Make a new key "
                "(storage.gcs.credentials_path), or sign in again.",
                code="destination.unauthenticated",
                **facts,
            )
        case 403:
            return not_allowed(bucket, name, account, "use")
        case 404:
            # The message is the only thing that tells them apart.
            if "bucket does not exist" in str(error) or not name:
                return bucket_missing(bucket)
            return NotFoundError(f"There is no {subject}.", **facts)
        case 409 | 412:
            return DestinationExistsError(f"{subject} is there already, or was changed meanwhile.", **facts)
        case 429:
            return QuotaError(
                f"Cloud Storage has had too many requests for {subject}. It is tried again later.",
                code="destination.rate_limited",
                **facts,
            )
    if status is None or status == 408 or status >= 500:
        return TransientError(
            f"Cloud Storage could not answer about {subject} (HTTP {status}). It is tried again later.",
            code="destination.server_error",
            **facts,
        )
    return InternalError(f"Cloud Storage does not understand the request about {subject}: {error}", **facts)


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    code = getattr(error, "code", None)
    if code is None:
        code = getattr(response, "status_code", None)
    return None if code is None else int(code)

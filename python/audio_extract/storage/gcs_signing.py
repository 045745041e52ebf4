"""Signed links (V4): with a private key, else by asking IAM to sign.

Reference: https://cloud.google.com/storage/docs/access-control/signed-urls
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from audio_extract.exceptions import ConfigurationError, PermissionDeniedError, TransientError

if TYPE_CHECKING:
    from datetime import timedelta

    from google.cloud.storage import Blob

    from audio_extract.credentials import GoogleCredentials


def attachment(name: str) -> str:
    """The ``Content-Disposition`` under which browsers store an object by the last part of its name."""
    # RFC 6266: the form that holds any name.
    return f"attachment; filename*=UTF-8''{quote(name.rsplit('/', 1)[-1], safe='')}"


def sign_url(
    blob: Blob,
    credentials: GoogleCredentials,
    lifetime: timedelta,
    endpoint: str,
    *,
    as_attachment: bool = False,
) -> str:
    """A link to an object that everybody can use who has it.

    Args:
        blob: The object.
        credentials: Who signs.
        lifetime: How long it works.
        endpoint: The server that answers it.
        as_attachment: Whether browsers are to store it under the last part of its name.

    Raises:
        ConfigurationError: These credentials cannot sign.
        PermissionDeniedError: IAM does not sign for them.
    """
    from google.auth.credentials import Signing

    how: dict[str, Any] = {
        "version": "v4",
        "expiration": lifetime,
        "method": "GET",
        "api_access_endpoint": endpoint,
    }
    if as_attachment:
        how["response_disposition"] = attachment(str(blob.name))
    current = credentials.current()
    if isinstance(current, Signing) and current.signer_email:
        return str(blob.generate_signed_url(credentials=current, **how))
    token, _expiry = credentials.token()
    email = getattr(current, "service_account_email", None)
    if not isinstance(email, str) or "@" not in email:
        raise ConfigurationError(
            "These credentials cannot sign links: they belong to no service account. Set "
            "storage.gcs.credentials_path to the key of one, or storage.gcs.public_access for a bucket that "
            "everybody may read."
        )
    return _signed_by_iam(blob, email, token, how)


def _signed_by_iam(blob: Blob, email: str, token: str, how: dict[str, Any]) -> str:
    from google.api_core.exceptions import RetryError
    from google.auth.exceptions import TransportError

    try:
        return str(blob.generate_signed_url(service_account_email=email, access_token=token, **how))
    except (TransportError, RetryError) as error:
        if "PERMISSION_DENIED" in str(error) or "403" in str(error):
            raise PermissionDeniedError(
                f"IAM does not sign links for {email}. Give it the role Service Account Token Creator on "
                f"itself: gcloud iam service-accounts add-iam-policy-binding {email} "
                f"--member=serviceAccount:{email} --role=roles/iam.serviceAccountTokenCreator",
                code="destination.permission_denied",
            ) from error
        raise TransientError(
            "IAM cannot be reached to sign a link. Look at the network; it is tried again later.",
            code="destination.network",
        ) from error

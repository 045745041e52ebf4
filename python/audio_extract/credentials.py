"""How this program signs in to Google: a key file, the machine's own credentials, impersonation.

Owns loading, renewing and replacing credentials. It does not know what they are used for: sources and
destinations say which setting names the key file and which scopes they need.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from audio_extract.exceptions import AuthenticationError, ConfigurationError, TransientError

if TYPE_CHECKING:
    from pathlib import Path

    from google.auth.credentials import Credentials

#: Gives an access token and when it expires, in Unix seconds; what the engine asks for tokens.
TokenProvider: TypeAlias = Callable[[], tuple[str, float]]

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"

#: For tokens that do not say; far away, and still a date.
_NO_EXPIRY = datetime(9999, 1, 1, tzinfo=UTC).timestamp()

_log = logging.getLogger(__name__)


class GoogleCredentials:
    """One way to sign in to Google. May be used from several threads.

    Args:
        key_file: Key of a service account; None: the machine's own credentials (ADC). Read again when it is
            replaced.
        scopes: What the tokens allow.
        setting: Name of the setting with the key file, for messages.
        impersonate: Service account to act as.
        subject: User to act as (domain-wide delegation).
    """

    def __init__(
        self,
        *,
        key_file: Path | None,
        scopes: tuple[str, ...],
        setting: str,
        impersonate: str | None = None,
        subject: str | None = None,
    ) -> None:
        self._key_file = key_file
        self._scopes = scopes
        self._setting = setting
        self._impersonate = impersonate
        self._subject = subject
        self._lock = threading.RLock()
        self._credentials: Credentials | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._given: str | None = None

    @property
    def account(self) -> str:
        """Whose credentials these are, for messages and for sharing folders with."""
        if self._subject is not None:
            return self._subject
        if self._impersonate is not None:
            return self._impersonate
        email = getattr(self.current(), "service_account_email", None)
        # Compute Engine says "default" until it was asked.
        return (
            email if isinstance(email, str) and "@" in email else "the account of this machine's credentials"
        )

    def current(self) -> Credentials:
        """The credentials to use now; not necessarily with a valid token.

        Raises:
            ConfigurationError: The key file cannot be used.
            AuthenticationError: There are no credentials on this machine.
        """
        with self._lock:
            if self._key_file is None:
                if self._credentials is None:
                    self._credentials = self._acting_as(
                        _machine_credentials(self._setting, self._base_scopes)
                    )
                return self._credentials
            try:
                status = self._key_file.stat()
                stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
                if self._credentials is None or stamp != self._stamp:
                    self._credentials = self._acting_as(self._read_key(self._key_file))
                    self._stamp = stamp
            except (OSError, ConfigurationError) as error:
                if self._credentials is None:
                    raise (
                        error if isinstance(error, ConfigurationError) else self._unreadable(error)
                    ) from error
                # While a key is being replaced it may be absent or half written for a moment.
                _log.warning(
                    "the key file %s cannot be read: using the key that was read before",
                    self._key_file,
                    extra={"event": "credentials.unreadable"},
                )
            return self._credentials

    def token(self) -> tuple[str, float]:
        """A valid access token and when it expires, in Unix seconds.

        Raises:
            AuthenticationError: Google refuses the credentials.
            TransientError: Google cannot be reached.
        """
        with self._lock:
            credentials = self.current()
            # `valid` is false some minutes before the expiry, so that a token never runs out on its way.
            if not credentials.valid:
                self.refresh(credentials)
            return str(credentials.token), expiry_of(credentials)

    def refresh(self, credentials: Credentials) -> None:
        """Get a new token, whatever the old one is.

        Raises:
            AuthenticationError: Google refuses the credentials.
            TransientError: Google cannot be reached.
        """
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        try:
            with self._lock:
                credentials.refresh(Request())  # type: ignore[no-untyped-call]
        except GoogleAuthError as error:
            raise self.refused(error) from error

    def for_client(self) -> Credentials:
        """The same account for one of Google's clients.

        Tokens come from here, so that there is one lock around all refreshes, a replaced key counts for
        clients that exist, and no client looks up regional access boundaries in a thread that nobody waits
        for.
        """
        from google.oauth2.credentials import Credentials as TokenCredentials

        client: Credentials = TokenCredentials(  # type: ignore[no-untyped-call]
            token=None, refresh_handler=self._give_token
        )
        return client

    def _give_token(self, _request: object, scopes: object) -> tuple[str, datetime]:  # noqa: ARG002
        """A token for a client that has none, or whose last one was refused."""
        with self._lock:
            token, expiry = self.token()
            if token == self._given:
                self.refresh(self.current())
                token, expiry = self.token()
            self._given = token
        # google-auth keeps UTC without a time zone.
        return token, datetime.fromtimestamp(expiry, UTC).replace(tzinfo=None)

    def refused(self, error: Exception) -> AuthenticationError | TransientError:
        """What a failure of google-auth means, with the remedy."""
        from google.auth.exceptions import TransportError

        if isinstance(error, TransportError) or getattr(error, "retryable", False):
            return TransientError(
                "Google's sign-in cannot be reached. Look at the network; it is tried again later.",
                code="source.network",
            )
        how = (
            f"the key file {self._key_file} ({self._setting})"
            if self._key_file
            else "this machine's credentials"
        )
        if self._impersonate is not None:
            how += f", acting as {self._impersonate}"
        if self._subject is not None:
            how += f", acting as the user {self._subject}"
        return AuthenticationError(
            f"Google refuses {how}: {_reason(error)}. {self._remedy()}", code="token.failed"
        )

    def _remedy(self) -> str:
        if self._subject is not None:
            return (
                "Allow domain-wide delegation of the service account for "
                f"{' '.join(self._scopes)} in the Workspace admin console."
            )
        if self._impersonate is not None:
            return f"Give the account the role Service Account Token Creator on {self._impersonate}."
        if self._key_file is not None:
            return "Make a new key for the service account, put it there, and check this machine's clock."
        return f"Sign in again (gcloud auth application-default login) or set {self._setting}."

    @property
    def _base_scopes(self) -> tuple[str, ...]:
        # Tokens for somebody else are asked of IAM, which wants its own scope.
        return (CLOUD_PLATFORM,) if self._impersonate is not None else self._scopes

    def _acting_as(self, credentials: Any) -> Credentials:
        if self._impersonate is not None:
            from google.auth.impersonated_credentials import Credentials as Impersonated

            impersonated: Credentials = Impersonated(  # type: ignore[no-untyped-call]
                credentials, self._impersonate, list(self._scopes), subject=self._subject
            )
            return impersonated
        if self._subject is not None:
            if not hasattr(credentials, "with_subject"):
                raise ConfigurationError(
                    "google_drive.subject needs the key of a service account, or another account to act as: "
                    f"set {self._setting} or google_drive.impersonate_service_account."
                )
            credentials = credentials.with_subject(self._subject)
        delegated: Credentials = credentials
        return delegated

    def _read_key(self, path: Path) -> Credentials:
        from google.oauth2.service_account import Credentials as ServiceAccount

        try:
            document = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise self._not_a_key("it is not JSON") from error
        if not isinstance(document, dict) or document.get("type") != "service_account":
            raise self._not_a_key('it has no "type": "service_account"')
        try:
            credentials: Credentials = ServiceAccount.from_service_account_info(  # type: ignore[no-untyped-call]
                document, scopes=list(self._base_scopes)
            )
        except ValueError as error:
            # The text of google-auth's error can hold parts of the key.
            raise self._not_a_key("the key in it is damaged or a part is missing") from error
        return credentials

    def _not_a_key(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._key_file} is not the key of a service account: {why}. Download a JSON key in the Google "
            f"Cloud console (IAM > Service accounts > Keys) and name it in {self._setting}.",
            code="config.key_file",
        )

    def _unreadable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"The key file {self._key_file} cannot be read: {error.strerror}. Correct {self._setting}, "
            "or give this process's user the right to read the file.",
            code="config.key_file",
        )


def expiry_of(credentials: Credentials) -> float:
    """When a token expires, in Unix seconds; google-auth keeps it as UTC without a time zone."""
    if credentials.expiry is None:
        return _NO_EXPIRY
    return float(credentials.expiry.replace(tzinfo=UTC).timestamp())


def _machine_credentials(setting: str, scopes: tuple[str, ...]) -> Any:
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, _project = google.auth.default(scopes=list(scopes))
    except (GoogleAuthError, OSError, ValueError) as error:
        raise AuthenticationError(
            f"There are no Google credentials on this machine ({_reason(error)}). Set {setting} to the key "
            "file of a service account, or sign in with: gcloud auth application-default login",
            code="token.failed",
        ) from error
    return credentials


def _reason(error: Exception) -> str:
    """The first line of an error; answers of token endpoints follow as further arguments."""
    text = str(error.args[0]) if error.args else type(error).__name__
    return text.strip().splitlines()[0].rstrip(".")[:200] if text.strip() else type(error).__name__

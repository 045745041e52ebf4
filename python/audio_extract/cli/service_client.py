"""Asks a running service over its API, as ``top`` does."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from audio_extract.exceptions import (
    AudioExtractError,
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    TransientError,
)

if TYPE_CHECKING:
    from audio_extract.settings import Settings

#: A service that is well answers in milliseconds; one whose database hangs says so after a while.
_TIMEOUT_SECONDS: Final = 5.0
#: A thousand rows take two megabytes.
_MOST_BYTES: Final = 16 * 1024 * 1024
#: Addresses that mean "every one of this machine" → one that can be asked.
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104


def address_of(settings: Settings) -> str:
    """Return where the settings' service serves its page.

    Raises:
        ConfigurationError: They do not say.
    """
    monitoring = settings.monitoring
    if not monitoring.enable_dashboard:
        message = (
            "monitoring.enable_dashboard is false, so the service answers nobody; "
            "name another one with --url, or see `audio-extract list`"
        )
        raise ConfigurationError(message, code="service.no_address")
    if monitoring.dashboard_port == 0:
        message = (
            "monitoring.dashboard_port is 0, so the service takes any free port: "
            "name the one it said at its start with --url http://127.0.0.1:PORT"
        )
        raise ConfigurationError(message, code="service.no_address")
    host = _EVERYWHERE.get(monitoring.dashboard_host, monitoring.dashboard_host)
    return (
        f"http://[{host}]:{monitoring.dashboard_port}"
        if ":" in host
        else f"http://{host}:{monitoring.dashboard_port}"
    )


def token_of(settings: Settings) -> str | None:
    """Return a token that the settings' service knows, an operator's if there is one; None: none."""
    tokens = sorted(settings.security.tokens, key=lambda one: one.role != "operator")
    return next((one.token.get_secret_value() for one in tokens if one.token is not None), None)


class ServiceClient:
    """One connection to one service. Not for several threads at once.

    Args:
        url: Where its page is; the link that the service prints at its start does, with the token in it.
        token: Sent with every request; None where nobody has to sign in.
        timeout_seconds: How long an answer may take.

    Raises:
        ConfigurationError: ``url`` is none.
    """

    def __init__(
        self, url: str, token: str | None = None, *, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError as error:
            raise _no_url() from error
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise _no_url()
        token = token or next(iter(parse_qs(parts.query).get("token", [])), None)
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ConfigurationError("--token: this is not a token", code="usage.invalid")
        # Without what stands before an @, and the printed link's token: messages name this.
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.url = f"{parts.scheme}://{host}" + ("" if port is None else f":{port}") + parts.path.rstrip("/")
        self._path = parts.path.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, port, timeout=timeout_seconds, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout_seconds)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, path: str) -> Any:
        """Return the JSON that is at ``path``.

        Raises:
            TransientError: Nobody answers, or the service cannot answer now.
            AuthenticationError: It wants to know who asks, or does not believe it.
            PermissionDeniedError: Who asks may not.
            ConfigurationError: Something else answers there.
        """
        return self._ask("GET", path)

    def post(self, path: str, body: object) -> Any:
        """Ask for something to be done; returns and raises what :meth:`get` does."""
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        try:
            self._connection.request(method, self._path + path, body, headers)
            answer = self._connection.getresponse()
            content = answer.read(_MOST_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            # The next question begins with a new connection.
            self._connection.close()
            raise self._unreachable(error) from error
        if answer.will_close or len(content) > _MOST_BYTES:
            self._connection.close()
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        if 200 <= answer.status < 300 and value is not None:
            return value
        raise self._refused(answer.status, value)

    def _unreachable(self, error: Exception) -> AudioExtractError:
        if isinstance(error, ssl.SSLError):
            message = f"{self.url} cannot be trusted: {error.reason or error}"
            return ConfigurationError(message, code="service.not_ours")
        if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
            return self._not_ours(f"it does not speak HTTP ({type(error).__name__})")
        said = (
            "no answer in time"
            if isinstance(error, TimeoutError)
            else getattr(error, "strerror", None) or error
        )
        return TransientError(f"no service answers at {self.url}: {said}", code="service.unreachable")

    def _refused(self, status: int, value: object) -> AudioExtractError:
        detail = value.get("detail") if isinstance(value, dict) else None
        said = f"HTTP {status}" if not isinstance(detail, str) else detail
        match status:
            case 401:
                return AuthenticationError(
                    f"{self.url} wants to know who asks: {said}", code="service.unauthenticated"
                )
            case 403 if detail is not None:
                return PermissionDeniedError(
                    f"{self.url} does not allow it: {said}", code="service.forbidden"
                )
            case _ if status >= 500 and detail is not None:
                return TransientError(said, code="service.unavailable")
        return self._not_ours(f"it answers {said}")

    def _not_ours(self, why: str) -> ConfigurationError:
        message = f"what listens at {self.url} is not the page of this version of audio-extract: {why}"
        return ConfigurationError(message, code="service.not_ours")


def _no_url() -> ConfigurationError:
    return ConfigurationError("--url: give http://host:port or https://host", code="usage.invalid")

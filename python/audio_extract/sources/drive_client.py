"""Calls to the Drive API: connections, access tokens, retries.

Owns how a call is made, and none of what is asked: that is ``drive.py``.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import deque
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from audio_extract.exceptions import AudioExtractError, TransientError
from audio_extract.sources.drive_errors import classify, read_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audio_extract.credentials import GoogleCredentials, TokenProvider

SCOPES = ("https://www.googleapis.com/auth/drive.readonly",)
GOOGLE_ENDPOINT = "https://www.googleapis.com"
ANONYMOUS = "the anonymous account"

_TIMEOUT_SECONDS = 60.0
_MAX_ATTEMPTS = 6
_MAX_WAIT_SECONDS = 64.0

_log = logging.getLogger(__name__)


class DriveClient:
    """Makes calls to Drive. May be used from several threads.

    Args:
        endpoint: ``http(s)://host``, without a path.
        credentials: Who asks; None: nobody in particular, as emulators allow.
        sleep: Waits between two attempts.
        jitter: Gives a number between 0 and 1, which is added to each wait.
        now: Gives the present time.
        max_attempts: Tries of one call.

    Attributes:
        on_request: Told of each attempt: ``ok``, ``retry`` or ``error``, and the error's code.
    """

    def __init__(
        self,
        *,
        endpoint: str = GOOGLE_ENDPOINT,
        credentials: GoogleCredentials | None = None,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_attempts: int = _MAX_ATTEMPTS,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._credentials = credentials
        self._sleep = sleep
        self._jitter = jitter
        self._now = now
        self._max_attempts = max_attempts
        self.on_request: Callable[[str, str | None], None] = lambda _outcome, _code: None
        self._lock = threading.Lock()
        self._service: Any = None
        self._idle: deque[Any] = deque()
        self._account: str | None = None

    @property
    def token_provider(self) -> TokenProvider | None:
        """What the engine asks for access tokens."""
        return None if self._credentials is None else self._credentials.token

    @property
    def account(self) -> str:
        """E-mail address of who asks, as folders are shared with it; Drive itself is asked where need be."""
        if self._account is None:
            known = ANONYMOUS if self._credentials is None else self._credentials.account
            # Set before Drive is asked: should that fail, its message needs a name too.
            self._account = known
            if "@" not in known:
                try:
                    about = self.call(lambda api: api.about().get(fields="user(emailAddress)"), "the account")
                    self._account = str(about["user"]["emailAddress"])
                except (AudioExtractError, KeyError) as error:
                    _log.debug(
                        "Drive does not say whose credentials these are: %s",
                        error,
                        extra={"event": "drive.account_unknown"},
                    )
        return self._account

    def call(self, make: Callable[[Any], Any], subject: str) -> Any:
        """Make one call, again after failures that pass: all calls here only read.

        Args:
            make: From the API to the request.
            subject: What is asked for, for messages.

        Returns:
            The JSON document of the answer.

        Raises:
            AudioExtractError: By what the caller does next.
        """
        refreshed = False
        attempt = 1
        while True:
            try:
                answer = self._attempt(make, subject, attempt)
            except AudioExtractError as error:
                if error.status == 401 and self._credentials is not None and not refreshed:
                    # The token was taken back before its end; once a new one may help.
                    self._credentials.refresh(self._credentials.current())
                    refreshed = True
                    self.on_request("retry", error.code)
                    continue
                wait = self._wait_before_next(attempt, error)
                self.on_request("error" if wait is None else "retry", error.code)
                if wait is None:
                    raise
                _log.info(
                    "Drive: %s; attempt %d follows in %.1f s",
                    error.code,
                    attempt + 1,
                    wait,
                    extra={"event": "drive.retry", "code": error.code, "wait_seconds": wait},
                )
                self._sleep(wait)
                attempt += 1
            else:
                self.on_request("ok", None)
                return answer

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            idle, self._idle = self._idle, deque()
            service, self._service = self._service, None
        for http in idle:
            http.close()
        if service is not None:
            service.close()

    def _attempt(self, make: Callable[[Any], Any], subject: str, attempt: int) -> Any:
        import httplib2
        from googleapiclient.errors import HttpError

        request = make(self._api())
        if self._credentials is not None:
            # By hand and not with google_auth_httplib2: one lock around all refreshes, and no look-up of
            # regional access boundaries in a thread that nobody waits for.
            request.headers["authorization"] = f"Bearer {self._credentials.token()[0]}"
        try:
            with self._connection() as http:
                return request.execute(http=http)
        except HttpError as error:
            refusal = read_refusal(error.status_code, error.resp, error.content, now=self._now())
            account = self._account or (ANONYMOUS if self._credentials is None else self._credentials.account)
            raise classify(refusal, subject=subject, account=account, attempts=attempt) from error
        except (OSError, HTTPException, httplib2.HttpLib2Error, ValueError) as error:
            raise TransientError(
                f"Drive cannot be reached to read {subject} ({_in_words(error)}, {attempt} attempts). "
                "Look at the network; it is tried again later.",
                code="source.network",
                attempts=attempt,
            ) from error

    def _wait_before_next(self, attempt: int, error: AudioExtractError) -> float | None:
        """Seconds until the next attempt; None: it makes no sense."""
        retryable = error.kind == "transient" or error.code == "source.rate_limited"
        if not retryable or attempt >= self._max_attempts:
            return None
        backoff = min(2.0 ** (attempt - 1) + self._jitter(), _MAX_WAIT_SECONDS)
        asked = error.retry_after_seconds or 0.0
        # Whoever called can wait that long without holding a thread.
        return None if asked > _MAX_WAIT_SECONDS else max(backoff, asked)

    def _api(self) -> Any:
        with self._lock:
            if self._service is None:
                from googleapiclient.discovery import build

                self._service = build(
                    "drive",
                    "v3",
                    http=self._new_connection(),
                    static_discovery=True,
                    cache_discovery=False,
                    client_options={"api_endpoint": f"{self.endpoint}/drive/v3/"},
                )
            return self._service

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """A connection for one call: httplib2 is not thread-safe, so no two calls share one at a time."""
        with self._lock:
            http = self._idle.pop() if self._idle else None
        if http is None:
            http = self._new_connection()
        try:
            yield http
        except BaseException:
            # It may stand in the middle of an answer.
            http.close()
            raise
        with self._lock:
            self._idle.append(http)

    def _new_connection(self) -> Any:
        import httplib2

        return httplib2.Http(timeout=_TIMEOUT_SECONDS, ca_certs=os.environ.get("SSL_CERT_FILE") or None)


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionError):
        return "the connection broke"
    if isinstance(error, ValueError):
        return "the answer is not JSON"
    return str(error).strip() or type(error).__name__

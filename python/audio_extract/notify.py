"""Tells people by e-mail what failed, and what was stored if they want to know.

A mail server that is slow or down delays and fails nothing: messages are sent in a thread of their own, and
one that cannot be sent is logged.
"""

from __future__ import annotations

import logging
import queue
import smtplib
import threading
from email.message import EmailMessage
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.settings.service_sections import Email

_log = logging.getLogger(__name__)

_SEND_SECONDS: Final = 30
#: At the end, this long for what still waits.
_DRAIN_SECONDS: Final = 10
#: Implicit TLS (RFC 8314); on other ports the connection is upgraded with STARTTLS.
_SMTPS_PORT: Final = 465


class EmailNotifier:
    """Sends e-mail as ``monitoring.notifications.email`` says.

    Args:
        settings: Who is told what; nothing is sent unless ``enabled``.
        send: Delivers one message; by default to the configured mail server.
    """

    def __init__(self, settings: Email, *, send: Callable[[EmailMessage], None] | None = None) -> None:
        self._settings = settings
        self._send = send or self._deliver
        self._lock = threading.Lock()
        self._failures: list[str] = []
        self._waiting: queue.Queue[EmailMessage | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def failed(self, text: str) -> None:
        """A recording failed. When ``failure_threshold`` have, one message tells of all of them.

        Args:
            text: Which, why and what to do, for people.
        """
        if not (self._settings.enabled and self._settings.on_failure):
            return
        with self._lock:
            self._failures.append(text)
            if len(self._failures) < self._settings.failure_threshold:
                return
            failures, self._failures = self._failures, []
        count = "1 recording" if len(failures) == 1 else f"{len(failures)} recordings"
        self._enqueue(f"audio-extract: {count} failed", "\n\n".join(failures))

    def stored(self, name: str) -> None:
        """A recording of this name was stored."""
        if self._settings.enabled and self._settings.on_success:
            text = f"The audio of {name} is stored and verified. The dashboard has its link."
            self._enqueue(f"audio-extract: stored {name}", text)

    def close(self) -> None:
        """Send what waits, for at most some seconds."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(_DRAIN_SECONDS)
            self._thread = None

    def _enqueue(self, subject: str, text: str) -> None:
        message = EmailMessage()
        # A name may hold line breaks; a header must not.
        message["Subject"] = " ".join(subject.split())[:200]
        message["From"] = self._settings.from_address or ""
        message["To"] = ", ".join(self._settings.to_addresses)
        message.set_content(text)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
                self._thread.start()
        self._waiting.put(message)

    def _work(self) -> None:
        while (message := self._waiting.get()) is not None:
            try:
                self._send(message)
            except (OSError, smtplib.SMTPException) as error:
                _log.warning(
                    "an e-mail could not be sent by %s: %s; check monitoring.notifications.email",
                    self._settings.smtp_host,
                    error,
                    extra={"event": "notify.failed"},
                )

    def _deliver(self, message: EmailMessage) -> None:
        settings = self._settings
        host, port = settings.smtp_host or "", settings.smtp_port
        encrypted = port == _SMTPS_PORT
        kind = smtplib.SMTP_SSL if encrypted else smtplib.SMTP
        with kind(host, port, timeout=_SEND_SECONDS) as server:
            server.ehlo()
            if not encrypted and server.has_extn("starttls"):
                server.starttls()
                encrypted = True
            if settings.smtp_user and settings.smtp_password:
                # A password never goes over a connection that others can read.
                if not encrypted:
                    raise smtplib.SMTPNotSupportedError(
                        "the mail server offers no TLS, so no password is sent"
                    )
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            server.send_message(message)

"""Tells people by e-mail what failed, and what was stored if they want to know."""

from __future__ import annotations

import logging
import smtplib
from email.message import EmailMessage
from typing import TYPE_CHECKING, Final

from audio_extract.notify.digest import Digest
from audio_extract.notify.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.notify.ending import Ending
    from audio_extract.settings.service_sections import Email

_log = logging.getLogger(__name__)

_SEND_SECONDS: Final = 30
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
        self._outbox = Outbox("monitoring.notifications.email")
        self._digest = Digest(settings, self._enqueue)

    def tell(self, ending: Ending) -> None:
        """A transfer ended."""
        if self._settings.enabled:
            self._digest.tell(ending)

    def close(self) -> None:
        """Send what waits, for at most some seconds."""
        self._outbox.close()

    def _enqueue(self, subject: str, text: str) -> None:
        message = EmailMessage()
        # A name may hold line breaks; a header must not.
        message["Subject"] = " ".join(subject.split())[:200]
        message["From"] = self._settings.from_address or ""
        message["To"] = ", ".join(self._settings.to_addresses)
        message.set_content(text)
        self._outbox.put(lambda: self._send_one(message))

    def _send_one(self, message: EmailMessage) -> None:
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

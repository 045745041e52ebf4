from __future__ import annotations

import logging
import smtplib
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any

import pytest
from pydantic import SecretStr

from audio_extract.notify import EmailNotifier
from audio_extract.settings.service_sections import Email


def settings(**changes: Any) -> Email:
    values: dict[str, Any] = {
        "enabled": True,
        "smtp_host": "127.0.0.1",
        "from_address": "service@example.com",
        "to_addresses": ["a@example.com", "b@example.com"],
    }
    return Email(**{**values, **changes})


def sent(notifier_settings: Email, failures: int, successes: int = 0) -> list[EmailMessage]:
    messages: list[EmailMessage] = []
    notifier = EmailNotifier(notifier_settings, send=messages.append)
    for number in range(failures):
        notifier.failed(f"recording {number}: no sound")
    for number in range(successes):
        notifier.stored(f"recording {number}")
    notifier.close()
    return messages


def test_failures_are_told_in_one_message_when_there_are_enough() -> None:
    assert sent(settings(failure_threshold=3), 2) == []
    [message] = sent(settings(failure_threshold=3), 4)
    assert message["Subject"] == "audio-extract: 3 recordings failed"
    assert message["To"] == "a@example.com, b@example.com"
    assert "recording 0: no sound" in message.get_content()
    assert "recording 3" not in message.get_content()


def test_success_is_told_only_when_asked() -> None:
    assert sent(settings(), 0, 1) == []
    [message] = sent(settings(on_success=True, on_failure=False), 1, 1)
    assert "recording 0 is stored" in message.get_content()


def test_nothing_is_sent_unless_enabled() -> None:
    assert sent(settings(enabled=False, on_success=True), 5, 5) == []


def test_a_name_with_line_breaks_cannot_add_a_header() -> None:
    messages: list[EmailMessage] = []
    notifier = EmailNotifier(settings(on_success=True), send=messages.append)
    notifier.stored("x\r\nBcc: everybody@example.com")
    notifier.close()
    assert messages[0]["Bcc"] is None


def test_a_mail_server_that_fails_is_logged_and_the_next_message_is_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages: list[EmailMessage] = []

    def send(message: EmailMessage) -> None:
        messages.append(message)
        if len(messages) == 1:
            raise smtplib.SMTPServerDisconnected("gone")

    notifier = EmailNotifier(settings(), send=send)
    with caplog.at_level(logging.WARNING):
        notifier.failed("one")
        notifier.failed("two")
        notifier.close()
    assert len(messages) == 2
    assert "gone" in caplog.text


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server that takes everything and knows no TLS."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.received: list[bytes] = []
        self.commands: list[str] = []


class _Session(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line.split()[0].upper().decode()
            self.server.commands.append(word)
            if word == "DATA":
                self.wfile.write(b"354 go\r\n")
                body = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    body += part
                self.server.received.append(body)
            if word == "QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_message_arrives_at_a_mail_server(mailbox: Mailbox) -> None:
    notifier = EmailNotifier(settings(smtp_port=mailbox.server_address[1]))
    notifier.failed("Weekly.mp4: no sound")
    notifier.close()
    [raw] = mailbox.received
    assert "Weekly.mp4: no sound" in message_from_bytes(raw).get_payload()


def test_a_password_is_not_sent_over_a_connection_without_tls(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    port = mailbox.server_address[1]
    notifier = EmailNotifier(settings(smtp_port=port, smtp_user="me", smtp_password=SecretStr("canary")))
    with caplog.at_level(logging.WARNING):
        notifier.failed("Weekly.mp4")
        notifier.close()
    assert mailbox.received == []
    assert "AUTH" not in mailbox.commands
    assert "no TLS" in caplog.text
    assert "canary" not in caplog.text

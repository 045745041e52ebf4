from __future__ import annotations

import base64
import json
import logging
import smtplib
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.discovery_cache import get_static_doc
from pydantic import SecretStr

from audio_extract.exceptions import ConfigurationError
from audio_extract.notify import (
    AppriseNotifier,
    EmailNotifier,
    Ending,
    FileNotifier,
    Notifiers,
    PubSubNotifier,
    WebhookNotifier,
)
from audio_extract.settings import load_settings
from audio_extract.settings.hand_over_sections import EventFile, PubSub, Webhook
from audio_extract.settings.service_sections import AppriseSettings, Email
from support.engine import wait_until


def settings(**changes: Any) -> Email:
    values: dict[str, Any] = {
        "enabled": True,
        "smtp_host": "127.0.0.1",
        "from_address": "service@example.com",
        "to_addresses": ["a@example.com", "b@example.com"],
    }
    return Email(**{**values, **changes})


def stored(name: str = "Weekly.mp4") -> Ending:
    return Ending(
        id="7-2",
        at=datetime(2026, 1, 29, 10, 0, tzinfo=UTC),
        recording_id="7",
        name=name,
        source="drive",
        source_id="1AbC",
        status="completed",
        storage_type="gcs",
        bucket="audio",
        storage_path="dev/2026/01/Weekly_audio.mp3",
        size_bytes=100,
        crc32c="AAAAAA==",
        generation=5,
        audio_seconds=60.0,
        trace_id="00ff",
    )


def failed(text: str) -> Ending:
    return Ending(
        id="7-3",
        at=datetime(2026, 1, 29, 10, 0, tzinfo=UTC),
        recording_id="7",
        name="Weekly.mp4",
        source="drive",
        source_id="1AbC",
        status="failed",
        text=text,
        code="source.network",
        next_attempt_at=datetime(2026, 1, 29, 10, 5, tzinfo=UTC),
    )


def sent(notifier_settings: Email, failures: int, successes: int = 0) -> list[EmailMessage]:
    messages: list[EmailMessage] = []
    notifier = EmailNotifier(notifier_settings, send=messages.append)
    for number in range(failures):
        notifier.tell(failed(f"recording {number}: no sound"))
    for number in range(successes):
        notifier.tell(stored(f"recording {number}"))
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
    notifier.tell(stored("x\r\nBcc: everybody@example.com"))
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
        notifier.tell(failed("one"))
        notifier.tell(failed("two"))
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
    notifier.tell(failed("Weekly.mp4: no sound"))
    notifier.close()
    [raw] = mailbox.received
    assert "Weekly.mp4: no sound" in message_from_bytes(raw).get_payload()


def test_a_password_is_not_sent_over_a_connection_without_tls(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    port = mailbox.server_address[1]
    notifier = EmailNotifier(settings(smtp_port=port, smtp_user="me", smtp_password=SecretStr("canary")))
    with caplog.at_level(logging.WARNING):
        notifier.tell(failed("Weekly.mp4"))
        notifier.close()
    assert mailbox.received == []
    assert "AUTH" not in mailbox.commands
    assert "no TLS" in caplog.text
    assert "canary" not in caplog.text


class Receiver(ThreadingHTTPServer):
    """A program that is told; answers what it was told to answer, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.answers: list[int] = []
        self.received: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.paths: list[str] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Post(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.received.append((dict(self.headers), json.loads(body)))
        status = self.server.answers.pop(0) if self.server.answers else 200
        self.send_response(status)
        if status == 307:
            self.send_header("Location", f"http://{self.server.place}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Not to stderr."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def webhook(receiver: Receiver, **changes: Any) -> WebhookNotifier:
    values = {"url": f"http://{receiver.place}/hook", **changes}
    return WebhookNotifier(Webhook(**values), source="//host/audio-extract/development", waits=(0.01, 0.01))


def test_a_program_gets_a_cloud_event_for_each_ending(receiver: Receiver) -> None:
    notifier = webhook(receiver, headers={"Authorization": "Bearer canary"})
    notifier.tell(stored())
    notifier.tell(failed("no network"))
    notifier.close()
    (headers, done), (_, wrong) = receiver.received
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["Authorization"] == "Bearer canary"
    assert done == {
        "specversion": "1.0",
        "id": "7-2",
        "source": "//host/audio-extract/development",
        "type": "audio-extract.recording.completed",
        "subject": "dev/2026/01/Weekly_audio.mp3",
        "time": "2026-01-29T10:00:00+00:00",
        "datacontenttype": "application/json",
        "data": {
            "recording_id": "7",
            "name": "Weekly.mp4",
            "source": "drive",
            "source_id": "1AbC",
            "status": "completed",
            "storage_type": "gcs",
            "bucket": "audio",
            "storage_path": "dev/2026/01/Weekly_audio.mp3",
            "size_bytes": 100,
            "crc32c": "AAAAAA==",
            "generation": 5,
            "audio_seconds": 60.0,
            "trace_id": "00ff",
        },
    }
    assert wrong["type"] == "audio-extract.recording.failed"
    assert wrong["data"]["message"] == "no network"
    assert wrong["data"]["next_attempt_at"] == "2026-01-29T10:05:00+00:00"


def test_an_event_that_is_not_wanted_is_not_posted(receiver: Receiver) -> None:
    notifier = webhook(receiver, on_success=False)
    notifier.tell(stored())
    notifier.tell(failed("no network"))
    notifier.close()
    assert [event["id"] for _, event in receiver.received] == ["7-3"]


def test_a_program_that_is_busy_is_asked_again_with_the_same_id(receiver: Receiver) -> None:
    receiver.answers = [503, 429]
    notifier = webhook(receiver)
    notifier.tell(stored())
    while len(receiver.received) < 3:
        threading.Event().wait(0.01)
    notifier.close()
    assert [event["id"] for _, event in receiver.received] == ["7-2"] * 3


@pytest.mark.parametrize("status", [400, 307])
def test_a_refusal_is_final_is_logged_and_the_next_event_is_posted(
    receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [status]
    notifier = webhook(receiver, url=f"http://user:canary@{receiver.place}/hook?token=canary")
    with caplog.at_level(logging.WARNING):
        notifier.tell(stored())
        notifier.tell(failed("no network"))
        notifier.close()
    assert [event["id"] for _, event in receiver.received] == ["7-2", "7-3"]
    assert f"HTTP {status}" in caplog.text
    assert "canary" not in caplog.text


def test_a_program_that_is_away_delays_nothing_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with Receiver() as server:
        gone = server.place
    notifier = WebhookNotifier(Webhook(url=SecretStr(f"http://{gone}/?token=canary")), source="x", waits=())
    with caplog.at_level(logging.WARNING):
        notifier.tell(stored())
        notifier.close()
    assert "127.0.0.1 took no event: ConnectionError" in caplog.text
    assert "canary" not in caplog.text


def test_apprise_tells_its_services_in_words(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    urls = [SecretStr(f"json://canary:canary@{receiver.place}/a"), SecretStr(f"json://{receiver.place}/b")]
    receiver.answers = [500]
    notifier = AppriseNotifier(AppriseSettings(urls=urls, failure_threshold=2))
    with caplog.at_level(logging.DEBUG):
        notifier.tell(stored())
        notifier.tell(failed("one"))
        notifier.tell(failed("two"))
        notifier.close()
    assert [event["title"] for _, event in receiver.received] == ["audio-extract: 2 recordings failed"] * 2
    assert receiver.received[1][1]["message"] == "one\n\ntwo"
    assert "number 1 (JSON) took no message" in caplog.text
    assert "canary" not in caplog.text


def test_a_url_that_apprise_does_not_know_is_named_by_its_number() -> None:
    urls = [SecretStr("json://127.0.0.1"), SecretStr("nonsense://canary")]
    with pytest.raises(ConfigurationError, match="number 2") as caught:
        AppriseNotifier(AppriseSettings(urls=urls))
    assert "canary" not in str(caught.value)


def test_nobody_is_told_unless_somebody_is_configured() -> None:
    assert not Notifiers.from_settings(load_settings(overrides={}, environ={}))
    everybody = {
        "email": {
            "enabled": True,
            "smtp_host": "h",
            "from_address": "a@b.example",
            "to_addresses": ["c@d.example"],
        },
        "apprise": {"urls": ["json://127.0.0.1"]},
        "webhook": {"url": "http://127.0.0.1"},
    }
    settings = load_settings(overrides={"monitoring": {"notifications": everybody}}, environ={})
    assert len(Notifiers.from_settings(settings)._notifiers) == 3


TOPIC = "projects/p/topics/audio"


def as_pubsub_takes_it(message: dict[str, Any]) -> None:
    """Look whether Google's own description of the API knows every key of a message."""
    document = get_static_doc("pubsub", "v1")
    schemas = json.loads(document)["schemas"]
    assert set(message) <= set(schemas["PubsubMessage"]["properties"])


def test_pubsub_gets_a_cloud_event_with_attributes_to_filter_by(receiver: Receiver) -> None:
    notifier = PubSubNotifier(
        PubSub(topic=TOPIC),
        source="//host",
        token=lambda: ("canary", 0.0),
        endpoint=f"http://{receiver.place}",
        waits=(0.01,),
    )
    receiver.answers = [503]
    notifier.tell(stored())
    assert wait_until(lambda: len(receiver.received) == 2)
    notifier.close()
    (_, first), (headers, second) = receiver.received
    assert first == second
    assert headers["Authorization"] == "Bearer canary"
    assert receiver.paths == [f"/v1/{TOPIC}:publish"] * 2
    (message,) = second["messages"]
    as_pubsub_takes_it(message)
    assert message["attributes"]["ce-type"] == "audio-extract.recording.completed"
    event = json.loads(base64.b64decode(message["data"]))
    assert (event["id"], event["data"]["storage_path"]) == ("7-2", "dev/2026/01/Weekly_audio.mp3")


def test_pubsub_that_refuses_is_named_and_the_token_is_not(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [403]
    notifier = PubSubNotifier(
        PubSub(topic=TOPIC),
        source="//host",
        token=lambda: ("canary", 0.0),
        endpoint=f"http://{receiver.place}",
    )
    notifier.tell(stored())
    notifier.close()
    assert f"{TOPIC} took no event: HTTP 403" in caplog.text
    assert "canary" not in caplog.text


def test_a_file_gets_a_line_for_each_event_also_after_it_was_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    notifier = FileNotifier(EventFile(path=path, on_failure=False), path, source="//host")
    name = 'a "name"\nwith a line break.mp4'
    notifier.tell(stored(name))
    notifier.tell(failed("no network"))
    notifier.close()
    (line,) = path.read_text("utf-8").splitlines()
    assert json.loads(line)["data"]["name"] == name
    path.rename(tmp_path / "taken")
    notifier = FileNotifier(EventFile(path=path), path, source="//host")
    notifier.tell(failed("no network"))
    notifier.close()
    assert json.loads(path.read_text("utf-8"))["type"] == "audio-extract.recording.failed"


def test_an_event_is_one_line_also_for_who_takes_more_signs_for_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    notifier = FileNotifier(EventFile(path=path), path, source="//host")
    name = "Über\u2028Öl\u2029\x85\x0b\x1c \U0001f399.mp4"
    notifier.tell(stored(name))
    # No text, but a file may be called so.
    notifier.tell(stored("half a sign \udc80"))
    notifier.close()
    first, second = path.read_text("ascii").splitlines()
    assert json.loads(first)["data"]["name"] == name
    assert json.loads(second)["data"]["name"] == "half a sign ?"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = FileNotifier(EventFile(path=tmp_path), tmp_path, source="//host")
    notifier.tell(stored())
    notifier.close()
    assert f"{tmp_path} took no event: Is a directory" in caplog.text


def test_what_stands_beside_the_audio_and_its_pieces_are_in_the_event(receiver: Receiver) -> None:
    notifier = webhook(receiver)
    piece = {"storage_path": "a/chunk-000.mp3", "start_seconds": 0.0}
    notifier.tell(replace(stored(), outputs=({"name": "speech"},), chunks=(piece,), url="gs://audio/a.mp3"))
    notifier.close()
    data = receiver.received[0][1]["data"]
    assert (data["outputs"], data["chunks"]) == ([{"name": "speech"}], [piece])
    assert data["url"] == "gs://audio/a.mp3"
    assert "link" not in data

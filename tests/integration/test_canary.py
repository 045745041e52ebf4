"""No secret leaves the program: known strings in every credential, servers that echo them, faults, -vv."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from audio_extract.cli.serving import web_server
from audio_extract.emulator.faults import Answer, LoseAnswer, Reset, Truncate
from support.cli import run_cli
from support.engine import make_recording
from support.otlp import receiver
from support.service import BUCKET, World, world

CANARY = "canary7f3a91c2"

#: What a server that echoes requests, or a proxy's page of errors, could say.
ECHO = (
    f"Authorization: Bearer ya29.{CANARY}-token refused; refresh_token={CANARY}-refresh at "
    f"https://storage.googleapis.com/upload/storage/v1/b/x/o?uploadType=resumable&upload_id={CANARY}-session "
    f"or https://storage.googleapis.com/x?X-Goog-Credential=me&X-Goog-Signature={CANARY}-signature "
    f"postgresql://audio:{CANARY}-db@db/audio "
    f'{{"private_key": "-----BEGIN PRIVATE KEY-----\\n{CANARY}-key\\n-----END PRIVATE KEY-----\\n"}}'
)


class _Echo(BaseHTTPRequestHandler):
    """Refuses everything, and says what it was sent."""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        body = f"refused: {self.path} {dict(self.headers)}".encode()
        self.send_response(400, f"refused {self.path}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextmanager
def echoing() -> Iterator[str]:
    """A server on loopback that echoes; yields host and port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def secrets(echo: str) -> dict[str, dict[str, Any]]:
    """Settings in which whatever can be secret is."""
    return {
        "redis": {"url": f"redis://user:{CANARY}-redis@127.0.0.1:9/0"},
        "security": {
            "tokens": [{"name": "ci", "token": f"{CANARY}-dashboard"}],
            "cookie_secret": f"{CANARY}-cookie-secret-that-is-long-enough",
        },
        "monitoring": {
            "notifications": {
                "email": {
                    "enabled": True,
                    "smtp_host": "127.0.0.1",
                    "smtp_port": 9,
                    "smtp_user": "me",
                    "smtp_password": f"{CANARY}-smtp",
                    "from_address": "me@example.com",
                    "to_addresses": ["you@example.com"],
                },
                "apprise": {"urls": [f"json://me:{CANARY}-apprise@{echo}/hooks/{CANARY}-path"]},
                "webhook": {
                    "url": f"http://{echo}/hooks/{CANARY}-webhook?token={CANARY}-query",
                    "headers": {"X-Api-Key": f"{CANARY}-header"},
                },
            }
        },
    }


def add_faults(here: World) -> None:
    """Make every stage fail at least once, with echoes where a server can say something."""
    drive, storage = here.drive.emulator.faults, here.storage.emulator.faults
    for reason in ("rateLimitExceeded", "backendError", "authError", "forbidden"):
        drive.add(Answer(reason=reason, message=ECHO), kind="drive.media")
        storage.add(Answer(reason=reason, message=ECHO), kind="storage.upload_chunk")
    drive.add(Reset(), kind="drive.media")
    drive.add(Truncate(after_bytes=1000), kind="drive.media")
    drive.add(Answer(reason="backendError", message=ECHO), kind="drive.list")
    storage.add(LoseAnswer(), kind="storage.upload_chunk")
    storage.add(Answer(reason="backendError", message=ECHO), kind="storage.upload_start")


def leaks(text: str) -> list[str]:
    """Where a canary, or the address of a resumable session, stands in a text."""
    return [
        text[max(0, found.start() - 60) : found.end() + 30]
        for found in re.finditer(rf"{CANARY}|upload_id=(?!\[redacted\])[\w%-]", text)
    ]


@pytest.mark.timeout(300)
def test_no_secret_is_in_anything_that_the_service_writes_or_shows(ffmpeg: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    media = make_recording(tmp_path / "meeting.mp4", ffmpeg, seconds=4)
    seen: dict[str, str] = {}
    with world(site) as here, echoing() as echo, receiver() as spans:
        changes = secrets(echo)
        document: dict[str, Any] = {
            **changes,
            "google_drive": {"recordings_folder_id": here.folder, "days_to_look_back": 0},
            "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
        }
        document["monitoring"] = {
            **changes["monitoring"],
            "database_path": str(site / "audio.db"),
            "log_file": str(site / "audio-extract.log"),
        }
        (site / "audio_extract_config.yaml").write_text(yaml.safe_dump(document))
        env = {
            "DRIVE_EMULATOR_HOST": here.drive.url,
            "STORAGE_EMULATOR_HOST": here.storage.url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={CANARY}-otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
        }
        for number in range(3):
            here.add(media, f"weekly {number}.mp4")
        add_faults(here)
        for words in (
            ("once", "-vv", "--log-format", "json"),
            ("once", "-vv", "--json"),
            ("list", "--json"),
            ("show", "1"),
            ("show", "2", "--json"),
            ("syncs",),
            ("config", "show"),
            ("check",),
        ):
            done = run_cli(*words, cwd=site, env=env)
            seen["$ " + " ".join(words)] = done.out + done.err
        for path, body in spans.requests:
            seen[path] = seen.get(path, "") + body.decode("latin-1")
        senders = [one["service.instance.id"] for one in spans.resources("metrics")]
        for item in here.storage.emulator.objects(BUCKET):
            seen[f"object {item.name}"] = json.dumps(item.metadata, default=str)
        for file in (*site.glob("audio.db*"), *site.glob("audio-extract.log*")):
            seen[file.name] = file.read_bytes().decode("latin-1")
        overrides = {
            "monitoring": {"dashboard_port": 0, "health_port": 0, "database_path": str(site / "audio.db")},
            "security": changes["security"],
        }
        with here.service(overrides) as service, web_server(service, health_seconds=0.2) as web:
            service.run_once()
            headers = {"Authorization": f"Bearer {CANARY}-dashboard"}
            with httpx.Client(headers=headers) as client:
                for port, paths in (
                    ("dashboard", ("/", "/settings", "/recordings", "/recordings/1", "/api/recent",
                                   "/api/failed", "/api/health", "/api/recordings/1", "/api/nothing",
                                   "/metrics")),
                    ("health", ("/health", "/ready", "/metrics")),
                ):  # fmt: skip
                    for path in paths:
                        seen[f"{port} {path}"] = client.get(f"http://127.0.0.1:{web.ports[port]}{path}").text
    found = {where: leaks(text)[:3] for where, text in seen.items() if leaks(text)}
    assert not found, json.dumps(found, indent=1)
    # The faults were met, and the strings were there to be said.
    log = seen["audio-extract.log"]
    assert "[redacted]" in log
    assert log.count("notify.failed") >= 2
    assert "transfer.failed" in log
    assert "transfer" in seen["/v1/traces"]
    assert "files_processed" in seen["/v1/metrics"]
    # Each process is one of its own for who adds them up.
    assert len(senders) == len(set(senders)) == 2
    assert "weekly" in seen["dashboard /api/recent"] + seen["dashboard /api/failed"]

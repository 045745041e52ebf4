from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from audio_extract.exceptions import ConfigurationError, TransientError
from audio_extract.telemetry.metrics import Metrics
from audio_extract.web.dashboard import Dashboard
from audio_extract.web.health import ComponentHealth, HealthMonitor, Status
from audio_extract.web.probes import Probes
from audio_extract.web.server import Listener, WebServer
from audio_extract.web.view import ActiveView, AudioLocation, PageOfRecordings, RecordingView, StatsView

NOW = datetime(2026, 1, 29, 10, 0, tzinfo=UTC)
NASTY = '<script>alert("x")</script> & "Wöchentlich" 🎙\n\u202egnp.exe'


def recording(recording_id: str, **changes: Any) -> RecordingView:
    values: dict[str, Any] = {
        "id": recording_id,
        "name": f"{recording_id}.mp4",
        "status": "completed",
        "file_path": f"drive://{recording_id}",
        "source": "drive",
        "source_id": recording_id,
        "revision": "aa",
        "recorded_at": NOW,
        "discovered_at": NOW,
        "processed_at": NOW,
        "storage_type": "gcs",
        "storage_path": f"dev/2026/01/{recording_id}_audio.mp3",
        "source_size_bytes": 1000,
        "fetched_bytes": 500,
        "stored_size_bytes": 100,
        "crc32c": "AAAAAA==",
        "audio_seconds": 3600.0,
        "elapsed_seconds": 3.0,
        "strategy": "parallel",
        "attempts": 1,
        "next_attempt_at": None,
        "error_code": None,
        "error_message": None,
        "remedy": None,
        "trace_id": None,
        "metadata": {},
    }
    return RecordingView(**{**values, **changes})


class Known:
    """Recordings held in memory: what the page shows is under test here, not the database."""

    def __init__(self, audio: Path) -> None:
        self.rows = [recording(f"r{number}") for number in range(5)]
        self.bad = [recording("bad", name=NASTY, status="failed", error_message=f"cannot read {NASTY}")]
        self.audio_file = audio

    def recent(self, *, days: int, limit: int, cursor: str | None) -> PageOfRecordings:
        start = int(cursor or 0)
        more = start + limit < len(self.rows)
        return PageOfRecordings(self.rows[start : start + limit], str(start + limit) if more else None)

    def failed(self, *, limit: int, cursor: str | None) -> PageOfRecordings:
        return PageOfRecordings(self.bad[:limit], None)

    def get(self, recording_id: str) -> RecordingView | None:
        return next((row for row in [*self.rows, *self.bad] if row.id == recording_id), None)

    def stats(self) -> StatsView:
        return StatsView(
            total=6,
            completed=5,
            failed=1,
            pending=0,
            in_progress=0,
            skipped=0,
            audio_seconds=18_000,
            source_bytes=5000,
            stored_bytes=500,
        )

    def active(self) -> list[ActiveView]:
        return [
            ActiveView(
                id="r9",
                name=NASTY,
                stage="transfer",
                fraction=0.25,
                text="1 MB of 4 MB",
                fetched_bytes=1,
                source_size_bytes=4,
                stored_bytes=0,
                audio_seconds=1.0,
                elapsed_seconds=1.0,
            )
        ]

    def audio(self, recording_id: str) -> AudioLocation | None:
        match recording_id:
            case "r0":
                return AudioLocation(file=self.audio_file)
            case "r1":
                return AudioLocation(url="https://storage.example/o?X-Goog-Signature=aa")
            case "r2":
                raise TransientError("the bucket does not answer")
            case _:
                return None


class Service:
    """A dashboard and probes that listen on loopback."""

    def __init__(self, audio: Path) -> None:
        self.component = ComponentHealth(Status.HEALTHY, "fine")
        names = ("database", "storage", "drive", "ffmpeg", "temp_storage")
        self.health = HealthMonitor({name: lambda: self.component for name in names})
        self.health.refresh()
        metrics = Metrics()
        self.server = WebServer(
            Listener(
                "dashboard",
                Dashboard(Known(audio), self.health, metrics, "1.2.3", now=lambda: NOW).app(),
                "127.0.0.1",
                0,
                "monitoring.dashboard_port",
            ),
            Listener(
                "health",
                Probes(self.health, metrics, now=lambda: NOW).app(),
                "127.0.0.1",
                0,
                "monitoring.health_port",
            ),
        )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    audio = tmp_path / "weekly_audio.mp3"
    audio.write_bytes(bytes(range(200)))
    made = Service(audio)
    with made.server:
        yield made


@pytest.fixture
def page(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.ports['dashboard']}") as client:
        yield client


@pytest.fixture
def probe(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.ports['health']}") as client:
        yield client


def test_recent_is_an_array_whose_rows_have_every_key_of_the_contract(page: httpx.Client) -> None:
    rows = page.get("/api/recent").raise_for_status().json()
    assert [row["id"] for row in rows] == ["r0", "r1", "r2", "r3", "r4"]
    contract = {
        "file_path",
        "status",
        "processed_at",
        "metadata",
        "storage_url",
        "storage_path",
        "storage_type",
    }
    for row in rows:
        assert contract <= row.keys()
        assert row["metadata"]["file_name"] == row["name"]
    assert {frozenset(row) for row in rows} == {frozenset(rows[0])}


def test_pages_follow_one_another_by_the_link_header(page: httpx.Client) -> None:
    seen: list[str] = []
    url = "/api/recent?limit=2&days=30"
    while url:
        answer = page.get(url).raise_for_status()
        seen += [row["id"] for row in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert seen == ["r0", "r1", "r2", "r3", "r4"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=1001", "days=-1", "days=999999999999999", "cursor=x"]
)
def test_a_wrong_parameter_is_a_problem_document_that_names_it(page: httpx.Client, query: str) -> None:
    answer = page.get(f"/api/recent?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert query.split("=", maxsplit=1)[0] in answer.json()["detail"]


def test_what_is_not_there_is_a_problem_document(page: httpx.Client) -> None:
    for path in ("/api/recordings/none", "/nothing", "/recordings/r4/audio"):
        answer = page.get(path)
        assert answer.status_code == 404
        assert answer.json()["status"] == 404


def test_one_recording_failed_ones_active_ones_and_numbers_are_answered(page: httpx.Client) -> None:
    assert page.get("/api/recordings/r3").json()["crc32c"] == "AAAAAA=="
    assert [row["status"] for row in page.get("/api/failed").json()] == ["failed"]
    assert page.get("/api/active").json()[0]["fraction"] == 0.25
    stats = page.get("/api/stats").json()
    assert {"total": 6, "completed": 5, "failed": 1}.items() <= stats.items()
    assert stats["success_rate"] == pytest.approx(5 / 6)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_every_name_as_text_and_asks_nothing_of_other_hosts(page: httpx.Client) -> None:
    answer = page.get("/").raise_for_status()
    html = _Text()
    html.feed(answer.text)
    assert html.tags.count("script") == 1
    assert html.text.count(NASTY) == 3
    assert "🟢 healthy" in html.text
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", answer.text)
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        assert page.get(path).status_code == 200


def test_audio_of_a_folder_is_served_with_ranges_and_of_a_bucket_by_a_fresh_link(page: httpx.Client) -> None:
    part = page.get("/recordings/r0/audio", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-type"] == "audio/mpeg"
    link = page.get("/recordings/r1/audio")
    assert link.status_code == 307
    assert link.headers["location"].startswith("https://storage.example/")
    assert link.headers["cache-control"] == "no-store"


def test_a_destination_that_fails_is_a_problem_document_with_its_message(page: httpx.Client) -> None:
    answer = page.get("/recordings/r2/audio")
    assert answer.status_code == 502
    assert answer.json()["detail"] == "the bucket does not answer"


def test_health_of_the_api_names_each_component(page: httpx.Client) -> None:
    body = page.get("/api/health").json()
    assert body["status"] == "healthy"
    assert body["components"]["ffmpeg"] == {"status": "healthy", "message": "fine"}


def test_probes_have_the_shapes_that_existing_probes_read(probe: httpx.Client) -> None:
    health = probe.get("/health")
    assert health.status_code == 200
    assert health.json() == {
        "status": "healthy",
        "checks": {"database": True, "gcs": True, "drive": True, "ffmpeg": True},
        "timestamp": NOW.isoformat(),
    }
    assert probe.get("/ready").json()["ready"] is True
    live = probe.get("/live").json()
    assert live["alive"] is True
    assert live["uptime_seconds"] >= 0
    assert "audio_extract_active_downloads" in probe.get("/metrics").text


def test_a_failed_component_makes_the_probe_fail_and_is_named_but_the_process_lives(
    service: Service, probe: httpx.Client
) -> None:
    service.component = ComponentHealth(Status.UNHEALTHY, "gone")
    service.health.refresh()
    health = probe.get("/health")
    assert health.status_code == 503
    assert health.json()["failed_checks"] == ["database", "gcs", "drive", "ffmpeg"]
    assert probe.get("/ready").status_code == 503
    assert probe.get("/live").status_code == 200


def test_the_health_port_names_no_recording(probe: httpx.Client) -> None:
    for path in ("/health", "/ready", "/live", "/metrics"):
        assert "r0" not in probe.get(path).text
    assert probe.get("/api/recent").status_code == 404


def test_a_port_that_is_taken_is_a_configuration_error_that_names_the_setting(service: Service) -> None:
    port = service.server.ports["dashboard"]
    second = WebServer(
        Listener("dashboard", Probes(service.health, Metrics()).app(), "127.0.0.1", port, "a.b")
    )
    with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}.*a\.b") as caught:
        second.start()
    assert caught.value.exit_code == 2


def test_stopping_ends_the_servers_even_while_a_client_keeps_its_connection(tmp_path: Path) -> None:
    service = Service(tmp_path / "none.mp3")
    service.server.start()
    client = http.client.HTTPConnection("127.0.0.1", service.server.ports["health"])
    client.request("GET", "/live")
    assert json.loads(client.getresponse().read())["alive"] is True
    service.server.stop()
    service.server.stop()
    client.close()
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", service.server.ports["health"]).connect()

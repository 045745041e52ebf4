from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from audio_extract.exceptions import ConfigurationError
from audio_extract.telemetry.metrics import Metrics
from audio_extract.tracker import Owner, Stored, StoredChunk
from audio_extract.web.health import ComponentHealth, Status
from audio_extract.web.probes import Probes
from audio_extract.web.server import Listener, WebServer, _bind
from support.dashboard import NASTY, NOW, Shown, listed
from support.engine import wait_until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Shown]:
    audio = tmp_path / "weekly_audio.mp3"
    audio.write_bytes(bytes(range(200)))
    made = Shown(audio)
    with made.server, made.tracker:
        yield made


@pytest.fixture
def page(service: Shown) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.ports['dashboard']}") as client:
        yield client


@pytest.fixture
def probe(service: Shown) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.server.ports['health']}") as client:
        yield client


def test_recent_is_an_array_whose_rows_have_every_key_of_the_contract(page: httpx.Client) -> None:
    rows = page.get("/api/recent").raise_for_status().json()
    assert [row["source_id"] for row in rows] == ["r4", "r3", "r2", "r1", "r0", "bad"]
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
        assert row["file_path"] == f"drive://{row['source_id']}"
    assert {frozenset(row) for row in rows} == {frozenset(rows[0])}


def test_pages_follow_one_another_by_the_link_header(page: httpx.Client) -> None:
    seen: list[str] = []
    url = "/api/recent?limit=2&days=30"
    while url:
        answer = page.get(url).raise_for_status()
        seen += [row["source_id"] for row in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert seen == ["r4", "r3", "r2", "r1", "r0", "bad"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=1001", "days=-1", "days=999999999999999", "cursor=x"]
)
def test_a_wrong_parameter_is_a_problem_document_that_names_it(page: httpx.Client, query: str) -> None:
    answer = page.get(f"/api/recent?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert query.split("=", maxsplit=1)[0] in answer.json()["detail"]


def test_what_is_not_there_is_a_problem_document(service: Shown, page: httpx.Client) -> None:
    for path in ("/api/recordings/none", "/api/recordings/999", "/nothing", service.audio_path("r4")):
        answer = page.get(path)
        assert answer.status_code == 404
        assert answer.json()["status"] == 404


def test_one_recording_failed_ones_active_ones_and_numbers_are_answered(
    service: Shown, page: httpx.Client
) -> None:
    row = page.get(f"/api/recordings/{service.ids['r3']}").json()
    assert (row["crc32c"], row["storage_path"]) == ("AAAAAA==", "dev/2026/01/r3_audio.mp3")
    assert row["storage_url"] == f"http://{page.base_url.netloc.decode()}{service.audio_path('r3')}"
    [failed] = page.get("/api/failed").json()
    assert failed["status"] == "quarantined"
    assert "has no sound" in failed["reason"]
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
    assert html.text.count(NASTY) >= 3
    assert "🟢 healthy" in html.text
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", answer.text)
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        assert page.get(path).status_code == 200


def test_audio_of_a_folder_has_ranges_and_of_a_bucket_a_fresh_link(
    service: Shown, page: httpx.Client
) -> None:
    part = page.get(service.audio_path("r0"), headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-type"] == "audio/mpeg"
    link = page.get(service.audio_path("r1"))
    assert link.status_code == 307
    assert link.headers["location"].startswith("https://storage.example/")
    assert link.headers["cache-control"] == "no-store"


def test_a_destination_that_fails_is_a_problem_document_with_its_message(
    service: Shown, page: httpx.Client
) -> None:
    answer = page.get(service.audio_path("r2"))
    assert answer.status_code == 502
    assert answer.json()["detail"] == "the bucket does not answer"


def test_health_of_the_api_names_each_component(page: httpx.Client) -> None:
    body = page.get("/api/health").json()
    assert body["status"] == "healthy"
    assert body["components"]["ffmpeg"] == {
        "status": "healthy", "message": "fine", "meaning": None, "remedy": None
    }  # fmt: skip


def test_a_component_that_fails_says_what_no_longer_works_and_what_to_do(
    service: Shown, page: httpx.Client
) -> None:
    service.component = ComponentHealth(Status.UNHEALTHY, "no space left", "make room")
    service.health.refresh()
    found = page.get("/api/health").json()["components"]["database"]
    assert found == {
        "status": "unhealthy", "message": "no space left", "remedy": "make room",
        "meaning": "Nothing new is started, and no list can be shown; what is stored stays stored.",
    }  # fmt: skip
    text = page.get("/").text
    assert "No space left. Nothing new is started" in text
    assert "<strong>To do:</strong> Make room." in text


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
    service: Shown, probe: httpx.Client
) -> None:
    service.component = ComponentHealth(Status.UNHEALTHY, "gone")
    service.health.refresh()
    health = probe.get("/health")
    assert health.status_code == 503
    assert health.json()["failed_checks"] == ["database", "gcs", "drive", "ffmpeg"]
    assert probe.get("/ready").status_code == 503
    assert probe.get("/live").status_code == 200


def test_what_is_kept_is_not_given_while_the_database_is_away(
    service: Shown, page: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = service.tracker.stats
    monkeypatch.setattr(service.tracker, "stats", lambda: wait_until(lambda: False, 0.1) or stats())
    for healthy, status in ((True, 200), (False, 503), (True, 200)):
        service.component = ComponentHealth(Status.HEALTHY if healthy else Status.UNHEALTHY, "as it is")
        service.health.refresh()
        for path in ("/api/stats", "/api/recent", "/api/failed"):
            assert page.get(path).status_code == status, path
        shown = page.get("/")
        assert shown.status_code == 200
        assert ("The database does not answer" in shown.text) is not healthy


def test_the_health_port_names_no_recording(probe: httpx.Client) -> None:
    for path in ("/health", "/ready", "/live", "/metrics"):
        assert "r0" not in probe.get(path).text
    assert probe.get("/api/recent").status_code == 404


def test_a_port_that_is_taken_is_a_configuration_error_that_names_the_setting(service: Shown) -> None:
    port = service.server.ports["dashboard"]
    second = WebServer(
        Listener("dashboard", Probes(service.health, Metrics()).app(), "127.0.0.1", port, "a.b")
    )
    with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}.*a\.b") as caught:
        second.start()
    assert caught.value.exit_code == 2


def test_small_answers_are_sent_at_once(service: Shown) -> None:
    # asyncio sets TCP_NODELAY only for sockets that say they are TCP; without it each answer waits 40 ms.
    bound = _bind(
        Listener("one", service.server._listeners[0].app, "127.0.0.1", 0, "monitoring.dashboard_port")
    )
    with bound:
        assert bound.proto == socket.IPPROTO_TCP


def test_the_page_of_a_recording_leads_to_its_trace(service: Shown, page: httpx.Client) -> None:
    text = page.get(f"/recordings/{service.ids['r3']}").text
    assert f'href="https://traces.example/trace/{3:032x}?from=page"' in text


def test_the_page_of_a_recording_draws_its_sound_and_lists_its_chunks(
    service: Shown, page: httpx.Client
) -> None:
    assert "waveform" not in page.get(f"/recordings/{service.ids['r3']}").text
    moment = NOW + timedelta(minutes=1)
    service.tracker.record([listed("r9")], moment)
    [claim] = service.tracker.claim(Owner.current(), moment)
    stored = Stored(
        storage_type="gcs", storage_path="r9_audio.mp3", storage_url=None, size_bytes=9, crc32c="AAAAAA=="
    )
    chunk = StoredChunk(
        index=0,
        object_name="r9_audio/chunk-000.mp3",
        start_seconds=0.0,
        end_seconds=61.0,
        size_bytes=1000,
        crc32c="AAAAAA==",
        silence_cut=True,
    )
    sound = {
        "seconds": 120.0,
        "loudness": {"integrated_lufs": -18.25, "range_lu": 6.0, "true_peak_dbtp": -1.5},
        "silence": {"leading_seconds": 1.5, "trailing_seconds": 0.0, "total_seconds": 30.0},
        "waveform": {"samples_per_pixel": 64, "length": 2, "data": [-100, 90, -3, 4]},
    }
    service.tracker.complete(claim, stored, moment, report={"sound": sound}, chunks=[chunk])
    shown = page.get(f"/recordings/{claim.id}").text
    assert '<svg class="waveform" viewBox="0 0 2 256"' in shown
    assert '<path d="M0,38 1,124 L1,131 0,228 Z"/>' in shown
    assert "-18.2 LUFS, range 6.0 LU, true peak -1.5 dBTP" in shown
    assert "0:30 of 2:00" in shown
    assert "r9_audio/chunk-000.mp3" in shown
    assert page.get(f"/api/recordings/{claim.id}").json()["chunks"][0]["silence_cut"] is True


@pytest.mark.parametrize(("message", "said"), [(None, "Why is not known."), ("it broke", "It broke.")])
def test_what_failed_in_the_earlier_service_is_shown_without_a_code_and_without_a_reason(
    service: Shown, page: httpx.Client, message: str | None, said: str
) -> None:
    values = "error_code = NULL, state_reason = NULL, error_message = :message"
    with service.tracker._database.write() as connection:
        connection.execute(
            text(f"UPDATE recordings SET {values} WHERE state = 'quarantined'"),  # noqa: S608
            {"message": message},
        )
    for path in ("/", "/recordings?status=failed", f"/recordings/{service.ids['bad']}"):
        answer = page.get(path)
        assert answer.status_code == 200
        assert said in answer.text
    assert page.get("/api/failed").json()[0]["reason"] == said.lower().rstrip(".")


def test_stopping_ends_the_servers_even_while_a_client_keeps_its_connection(tmp_path: Path) -> None:
    service = Shown(tmp_path / "none.mp3")
    service.server.start()
    client = http.client.HTTPConnection("127.0.0.1", service.server.ports["health"])
    client.request("GET", "/live")
    assert json.loads(client.getresponse().read())["alive"] is True
    service.server.stop()
    service.server.stop()
    client.close()
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", service.server.ports["health"]).connect()

"""The API: what it does when asked, what it refuses, and that it is as its description says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from audio_extract.web.access.policy import Access
from support.access import TOKEN, guarded, security
from support.dashboard import HALF, NOW, Shown, listed


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    yield from started(tmp_path_factory.mktemp("api"))


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    yield from started(tmp_path)


def started(folder: Path) -> Iterator[Shown]:
    audio = folder / "weekly_audio.mp3"
    audio.write_bytes(b"audio")
    made = Shown(audio)
    with made.server, made.tracker:
        yield made
        made.events.close()


@pytest.fixture
def client(shown: Shown) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{shown.server.ports['dashboard']}") as opened:
        yield opened


def refused(answer: httpx.Response, status: int) -> str:
    """The detail of a problem document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert set(problem) == {"type", "title", "status", "detail"}
    return str(problem["detail"])


def test_a_fresh_link_is_given_for_what_is_stored_and_for_nothing_else(
    shown: Shown, client: httpx.Client
) -> None:
    answer = client.post("/api/refresh-url", json={"storage_path": "dev/2026/01/r1_audio.mp3"})
    assert answer.json() == {"url": "https://storage.example/o?X-Goog-Signature=aa", "expires_at": None}
    local = client.post("/api/refresh-url", json={"storage_path": "dev/2026/01/r0_audio.mp3"}).json()
    assert httpx.get(local["url"]).content == b"audio"
    assert local["expires_at"] is None
    for path in ("dev/2026/01/r2_audio.mp4", "../../etc/passwd", "dev/metadata/processing-logs/x.json"):
        assert path in refused(client.post("/api/refresh-url", json={"storage_path": path}), 404)
    failing = client.post("/api/refresh-url", json={"storage_path": "dev/2026/01/r2_audio.mp3"})
    assert refused(failing, 503) == "the bucket does not answer"
    assert failing.headers["retry-after"] == "5"


def test_a_recording_is_extracted_again_by_id_or_path_and_the_log_says_who_asked(
    shown: Shown, client: httpx.Client
) -> None:
    answer = client.post("/api/reprocess", json={"id": shown.ids["r0"]})
    assert answer.json() == {"success": True, "ids": [shown.ids["r0"]], "count": 1}
    assert client.post("/api/reprocess", json={"file_path": "drive://r1"}).json()["count"] == 1
    assert shown.asked == ["due", "due"]
    for source_id in ("r0", "r1"):
        entry = shown.tracker.audit(shown.ids[source_id])[-1]
        assert (entry.event, entry.actor, entry.to_state) == ("retried", "dashboard", "pending")
    from audio_extract.tracker import Owner

    shown.tracker.claim(Owner.current(), NOW, limit=5)
    assert "in progress" in refused(client.post("/api/reprocess", json={"id": shown.ids["r0"]}), 409)
    assert "nobody" in refused(client.post("/api/reprocess", json={"file_path": "drive://nobody"}), 404)


def wanted_of(shown: Shown, source_id: str) -> list[dict[str, Any]]:
    from audio_extract.tracker import Owner

    claim = shown.tracker.claim_one(shown.ids[source_id], Owner.current(), NOW)
    assert claim is not None
    return list(claim.wanted_outputs)


def test_more_outputs_of_a_recording_are_asked_for(shown: Shown, client: httpx.Client) -> None:
    small = {"name": "small", "preset": "speech-small", "track": "deu", "normalize": -16}
    body = {"id": shown.ids["r0"], "outputs": [{"preset": "speech"}, small]}
    assert client.post("/api/reprocess", json=body).json()["count"] == 1
    entry = shown.tracker.audit(shown.ids["r0"])[-1]
    assert (entry.actor, entry.detail) == ("dashboard", {"outputs": ["speech", "small"]})
    speech, small = wanted_of(shown, "r0")
    assert (speech["name"], speech["codec"], speech["sample_rate"]) == ("speech", "flac", 16_000)
    assert (small["track"], small["normalize"], small["bitrate"]) == ("deu", -16, "24k")


def test_outputs_add_up_and_none_takes_them_back(shown: Shown, client: httpx.Client) -> None:
    which = {"id": shown.ids["r0"]}
    for preset in ("speech", "archive"):
        client.post("/api/reprocess", json={**which, "outputs": [{"preset": preset}]})
    client.post("/api/reprocess", json=which)
    assert [one["name"] for one in wanted_of(shown, "r0")] == ["speech", "archive"]
    which = {"id": shown.ids["r1"]}
    client.post("/api/reprocess", json={**which, "outputs": [{"preset": "speech"}]})
    client.post("/api/reprocess", json={**which, "outputs": []})
    assert wanted_of(shown, "r1") == []


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([{"preset": "speechy"}], "'speech'"),
        ([{"codec": "opus", "sample_rate": 44_100}], "opus knows"),
        ([{"codec": "mp3", "bitrate": "129k"}], "mp3 knows"),
        ([{"preset": "speech", "sample_rate": 8_000}], "give one or the others"),
        ([{"preset": "speech", "track": 64}], "track"),
        ([{"preset": "archive", "normalize": -16}], "a copy is as loud"),
        ([{"preset": "speech"}, {"preset": "speech"}], "two are called speech"),
        ([{"preset": "speech", "name": "Speech!"}], "name"),
        ([{"preset": "speech", "volume": 11}], "volume"),
        ([{"preset": "speech", "chunks": {"duration_seconds": 0.1}}], "greater than or equal to 1"),
        ([{"preset": "speech-small", "chunks": {"duration_seconds": 60}}], "only mp3, flac and wav"),
        ([{"codec": "opus", "bitrate": "1000k"}], "opus knows 6k to 256k"),
    ],
)
def test_outputs_that_cannot_be_made_are_refused_before_anything_is_due(
    shown: Shown, client: httpx.Client, outputs: list[dict[str, Any]], said: str
) -> None:
    answer = client.post("/api/reprocess", json={"id": shown.ids["r0"], "outputs": outputs})
    assert said in refused(answer, 422)
    assert shown.asked == []


def test_the_page_takes_a_form_for_one_more_output(shown: Shown, client: httpx.Client) -> None:
    address = f"/recordings/{shown.ids['r0']}"
    assert "speech-small" in client.get(address).text
    form = {"preset": "speech", "track": "1", "normalize": "-16"}
    assert client.post(f"{address}/outputs", data=form).headers["location"] == address
    (wanted,) = wanted_of(shown, "r0")
    assert (wanted["name"], wanted["track"], wanted["normalize"]) == ("speech-1", 1, -16)
    bad = client.post(f"{address}/outputs", data={"preset": "speech", "track": "first one"})
    assert "such as eng, all, or mix" in refused(bad, 422)
    assert client.get(f"{address}/outputs/speech").status_code == 404


def test_the_page_takes_a_form_for_chunks(shown: Shown, client: httpx.Client) -> None:
    address = f"/recordings/{shown.ids['r1']}/outputs"
    # With a track as no browser sends it: the name is made of what was understood.
    form = {"preset": "speech", "track": " ENG", "chunk_minutes": "15", "chunk_size": "24"}
    assert client.post(address, data=form).status_code == 303
    (wanted,) = wanted_of(shown, "r1")
    assert (wanted["name"], wanted["track"]) == ("speech-eng-chunks", "eng")
    assert (wanted["chunks"]["duration_seconds"], wanted["chunks"]["max_size_mb"]) == (900, 24)
    for fields, said in (
        ({"chunk_minutes": "many"}, "a number"),
        ({"chunk_minutes": "nan"}, "chunks.duration_seconds"),
        ({"chunk_minutes": "1e300"}, "chunks.duration_seconds"),
        ({"chunk_size": "0.1"}, "chunks.max_size_mb"),
        ({"preset": "archive", "chunk_size": "24"}, "only mp3, flac and wav"),
    ):
        assert said in refused(client.post(address, data={"preset": "speech", **fields}), 422)


def test_more_outputs_than_are_made_of_one_recording_are_refused(shown: Shown, client: httpx.Client) -> None:
    which = {"id": shown.ids["r0"]}
    wavs = [{"name": f"o{number}", "codec": "wav"} for number in range(7)]
    assert client.post("/api/reprocess", json={**which, "outputs": wavs}).status_code == 200
    one_more = client.post("/api/reprocess", json={**which, "outputs": [{"preset": "speech"}]})
    assert "there would be 8" in refused(one_more, 422)
    again = client.post("/api/reprocess", json={**which, "outputs": [{"name": "o0", "codec": "flac"}]})
    assert again.status_code == 200
    assert client.post(f"/recordings/{which['id']}/outputs", data={"preset": "speech"}).status_code == 422


@pytest.mark.parametrize(("path", "body"), [("/api/retry", {"failed": True}), ("/api/clear-failed", None)])
def test_all_that_failed_becomes_due_and_none_counts_as_failed(
    shown: Shown, client: httpx.Client, path: str, body: dict[str, Any] | None
) -> None:
    answer = client.post(path, json=body)
    assert answer.json() == {"success": True, "ids": [shown.ids["bad"]], "count": 1}
    assert client.get("/api/failed").json() == []
    assert client.get("/api/stats").json()["failed"] == 0
    assert client.post(path, json=body).json() == {"success": True, "ids": [], "count": 0}
    assert shown.asked == ["due"]


def test_retrying_by_ids_leaves_out_what_is_stored_or_unknown(shown: Shown, client: httpx.Client) -> None:
    body = {"ids": [shown.ids["bad"], shown.ids["r0"], "999999"]}
    assert client.post("/api/retry", json=body).json()["ids"] == [shown.ids["bad"]]


def test_cleaning_up_forgets_nothing_that_was_processed(shown: Shown, client: httpx.Client) -> None:
    before = client.get("/api/stats").json()
    assert client.post("/api/cleanup", json={"days": 1}).json()["success"] is True
    assert client.get("/api/stats").json() == before
    entry = shown.tracker.audit()[-1]
    assert (entry.event, entry.actor, entry.recording_id) == ("cleaned_up", "dashboard", None)
    assert entry.detail == {"days": 1, "deleted": 0}


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        (b'{"days": 1', "application/json", 400, "not JSON"),
        (b"days=1", "application/x-www-form-urlencoded", 415, "Content-Type: application/json"),
        (b'{"days": 0}', "application/json", 422, "days: Input should be greater than or equal to 1"),
        (b'{"days": true}', "application/json", 422, "days: Input should be a valid integer"),
        (b'{"days": "7"}', "application/json", 422, "days: Input should be a valid integer"),
        (b'{"days": 1, "all": true}', "application/json", 422, "all: Extra inputs are not permitted"),
        (b"[]", "application/json", 422, "valid dictionary"),
        (b"[" * 100_000, "application/json", 400, "not JSON"),
        (b" " * 300_000, "application/json", 413, "longer than"),
        (b"", "application/json", 400, "not JSON"),
    ],
)
def test_a_body_that_is_not_as_described_is_refused_with_the_reason(
    client: httpx.Client, content: bytes, kind: str, status: int, said: str
) -> None:
    answer = client.post("/api/cleanup", content=content, headers={"Content-Type": kind})
    assert said in refused(answer, status)


def test_lists_are_limited_to_a_state_and_to_words_of_a_name(shown: Shown, client: httpx.Client) -> None:
    def names(**query: Any) -> list[str]:
        return [row["source_id"] for row in client.get("/api/recent", params=query).json()]

    assert names(status="quarantined") == ["bad"]
    assert names(q="R3.MP") == ["r3"]
    assert names(status="completed", q="r", limit=2) == ["r4", "r3"]
    assert "status: Input should be" in refused(client.get("/api/recent?status=broken"), 400)
    following = client.get("/api/recent?status=completed&q=r&limit=2").links["next"]["url"]
    assert [row["source_id"] for row in client.get(following).json()] == ["r2", "r1"]


def test_recent_ones_are_limited_to_a_time(shown: Shown, client: httpx.Client) -> None:
    def names(**query: Any) -> list[str]:
        return [row["source_id"] for row in client.get("/api/recent", params=query).json()]

    second = "2026-01-29T10:00:0{}+00:00"
    assert names(since=second.format(2)) == ["r4", "r3", "r2"]
    assert names(since=second.format(1), until=second.format(3)) == ["r2", "r1"]
    # The same moment in another zone; days count only where no other beginning is named.
    assert names(since="2026-01-29T15:30:03+05:30", days=1) == ["r4", "r3"]
    assert names(since="0001-01-01T00:00:00+14:00", until=second.format(0)) == ["bad"]
    assert "since: " in refused(client.get("/api/recent?since=2026-01-29T10:00:00"), 400)
    following = client.get("/api/recent", params={"since": second.format(2), "limit": 2}).links["next"]["url"]
    assert [row["source_id"] for row in client.get(following).json()] == ["r2"]


def test_a_recording_comes_with_its_attempts_and_what_happened(shown: Shown, client: httpx.Client) -> None:
    found = client.get(f"/api/recordings/{shown.ids['bad']}").json()
    assert [attempt["outcome"] for attempt in found["transfers"]] == ["failed"]
    assert [entry["event"] for entry in found["audit"]] == ["recorded", "claimed", "failed"]
    assert found["chunks"] == []
    refused(client.get("/api/recordings/999"), 404)


def test_a_name_that_is_not_valid_unicode_is_shown_everywhere(shown: Shown, client: httpx.Client) -> None:
    shown.tracker.record([listed("half", HALF)], NOW)
    [row] = client.get("/api/recent", params={"q": "not UTF"}).json()
    assert row["name"] == HALF
    for path in ("/", f"/recordings/{row['id']}"):
        assert "not UTF-8 ?.mp4" in client.get(path).text
    body, kind = b'{"file_path": "\\udcff"}', {"Content-Type": "application/json"}
    refused(client.post("/api/reprocess", content=body, headers=kind), 422)


def test_the_history_has_every_day(shown: Shown, client: httpx.Client) -> None:
    days = client.get("/api/history?days=2").json()
    assert days == [
        {"day": "2026-01-28", "completed": 0, "failed": 0, "audio_seconds": 0.0},
        {"day": "2026-01-29", "completed": 5, "failed": 1, "audio_seconds": 18_000.0},
    ]


#: What the contract names; each is described.
CONTRACT = {
    ("get", "/api/recent"), ("get", "/api/failed"), ("get", "/api/stats"), ("get", "/api/health"),
    ("get", "/api/active"), ("get", "/api/recordings/{id}"), ("get", "/api/events"),
    ("post", "/api/refresh-url"), ("post", "/api/reprocess"), ("post", "/api/clear-failed"),
    ("post", "/api/cleanup"),
}  # fmt: skip


def test_the_description_names_every_endpoint_and_each_has_an_id(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert described >= CONTRACT
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))


def operations(url: str, **sent: str) -> list[Any]:
    """Everything that is described but the stream, which has no end and is told in test_events.py."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", headers=sent)
    described = [found.ok() for found in schema.exclude(path="/api/events").get_all_operations()]
    assert len(described) >= len(CONTRACT) - 1
    return described


def check(operation: Any, url: str, mode: GenerationMode, **sent: str) -> None:
    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: schemathesis.Case) -> None:
        # What of a codec, its rate and its bitrate goes together no schema can say; 422 does.
        unsaid = [positive_data_acceptance] if operation.path == "/api/reprocess" else []
        case.call_and_validate(base_url=url, headers=sent, excluded_checks=unsaid)

    answers()


def test_every_endpoint_answers_as_described_whatever_is_sent(shared: Shown) -> None:
    url = f"http://127.0.0.1:{shared.server.ports['dashboard']}"
    # Recordings with names that are markup, so that answers hold more than nothing.
    shared.tracker.record([listed("markup", "<b>&\"'\u202e\n🎙" + "x" * 240), listed("half", HALF)], NOW)
    for operation in operations(url):
        check(operation, url, GenerationMode.POSITIVE)


def test_what_is_not_as_described_is_refused_whatever_it_is(shared: Shown) -> None:
    url = f"http://127.0.0.1:{shared.server.ports['dashboard']}"
    for operation in operations(url):
        # An identifier may be any text, and where nothing is sent nothing can be wrong.
        if operation.query or operation.body:
            check(operation, url, GenerationMode.NEGATIVE)


def test_the_description_says_how_to_sign_in_and_what_is_answered_to_who_did_not(tmp_path: Path) -> None:
    tokens = [{"name": name, "token": f"{TOKEN}-{name}", "role": name} for name in ("viewer", "operator")]
    with guarded(tmp_path, Access(security(tokens=tokens))) as page:
        asking = {"Authorization": f"Bearer {TOKEN}-operator"}
        document = httpx.get(f"{page.url}/openapi.json", headers=asking).json()
        assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
        for operation in operations(page.url, **asking):
            check(operation, page.url, GenerationMode.POSITIVE, **asking)
        viewing = {"Authorization": f"Bearer {TOKEN}-viewer"}
        for path, methods in document["paths"].items():
            for method, described in methods.items():
                assert {"401", "403", "421", "503"} <= described["responses"].keys()
                refused(httpx.request(method, page.url + path), 401)
                if method == "post" and path != "/api/refresh-url":
                    refused(httpx.post(page.url + path, headers=viewing), 403)

"""Where a request comes from: the name it was sent to, the page that sent it, the proxy that passed it on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from audio_extract.web.access.policy import Access
from support.access import PAGE, SAME, TOKEN, USERS, Guarded, guarded, security, sign_in


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[Guarded]:
    with guarded(tmp_path, Access()) as made:
        yield made


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Guarded]:
    access = Access(security(users=USERS, tokens=[{"name": "ci", "token": TOKEN, "role": "operator"}]))
    with guarded(tmp_path, access) as made:
        yield made


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Guarded]:
    with guarded(tmp_path, Access(security(users=USERS, proxy={"networks": ["127.0.0.0/8"]}))) as made:
        yield made


def raw(
    page: Guarded, headers: list[tuple[str, str]], method: str = "GET", path: str = "/api/stats"
) -> tuple[int, str]:
    """Send exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:{port}",
        "127.0.0.1",
        "127.1.2.3:80",
        "[::1]:{port}",
        "a.localhost",
        "localhost.",
    ],
)
def test_a_page_without_sign_in_answers_to_the_names_of_loopback(open_page: Guarded, host: str) -> None:
    assert raw(open_page, [("Host", host.format(port=open_page.port))])[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "xlocalhost",
        "192.0.2.1",
        "[2001:db8::1]",
    ],
)
def test_a_page_without_sign_in_does_not_answer_to_a_name_that_another_site_gave_this_address(
    open_page: Guarded, host: str
) -> None:
    for path in ("/api/stats", "/", "/login", "/static/app.js", "/metrics"):
        status, text = raw(open_page, [("Host", host.format(port=open_page.port))], path=path)
        assert status == 421, path
        assert "security.allowed_hosts" in text


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["a b"],
        ["localhost@evil.example"],
        ["localhost/evil"],
        ["localhost", "evil.example"],
        [""],
        ["localhost:x"],
        ["é"],
        ["evil,localhost"],
    ],
)
def test_a_request_that_does_not_say_for_whom_it_is_is_refused(
    open_page: Guarded, page: Guarded, hosts: list[str]
) -> None:
    assert raw(open_page, [("Host", host) for host in hosts])[0] == 400
    assert raw(page, [("Host", host) for host in hosts])[0] == 400


def test_allowed_hosts_are_answered_and_no_others(tmp_path: Path) -> None:
    allowed = ["audio.example.com", "*.internal", "192.0.2.7"]
    with guarded(tmp_path, Access(security(allowed_hosts=allowed))) as page:
        for host, status in (
            ("audio.example.com", 200),
            ("AUDIO.example.com:8080", 200),
            ("x.internal", 200),
            ("192.0.2.7", 200),
            ("localhost", 200),
            ("internal", 421),
            ("xinternal", 421),
            ("example.com", 421),
            ("audio.example.com.evil", 421),
        ):
            assert raw(page, [("Host", host)])[0] == status, host


def test_with_sign_in_any_name_is_answered_until_names_are_set(page: Guarded, tmp_path: Path) -> None:
    assert raw(page, [("Host", "audio.example.com")])[0] == 401
    access = Access(security(users=USERS, allowed_hosts="audio.example.com"))
    with guarded(tmp_path, access) as named:
        assert raw(named, [("Host", "audio.example.com")])[0] == 401
        assert raw(named, [("Host", "evil.example")])[0] == 421


@pytest.mark.parametrize(
    "trace", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via", "X-Forwarded-Host", "X-Forwarded-Proto"]
)
def test_a_page_without_sign_in_is_not_given_to_the_world_by_a_proxy(open_page: Guarded, trace: str) -> None:
    status, text = raw(open_page, [("Host", "localhost"), (trace, "192.0.2.1")])
    assert status == 403
    assert "security.users" in text


#: What a browser says of the page that made it post → whether that is ours.
SENDERS = [
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:{port}"}, False),
    ({"Sec-Fetch-Site": "nonsense"}, False),
    ({"Origin": "http://127.0.0.1:{port}"}, True),
    ({"Origin": "HTTP://127.0.0.1:{port}"}, True),
    ({"Origin": "http://127.0.0.1:1"}, False),
    ({"Origin": "http://127.0.0.1"}, False),
    ({"Origin": "http://127.0.0.1:{port}.evil.example"}, False),
    ({"Origin": "http://evil.example"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": ""}, False),
]


@pytest.mark.parametrize(("headers", "is_ours"), SENDERS)
def test_what_another_site_makes_a_browser_send_changes_nothing(
    open_page: Guarded, page: Guarded, headers: dict[str, str], is_ours: bool
) -> None:
    for where in (open_page, page):
        with where.client() as client:
            if where is page:
                sign_in(client)
            sent = {name: value.format(port=where.port) for name, value in headers.items()}
            answer = client.post("/api/clear-failed", headers=sent)
            assert answer.status_code == (200 if is_ours else 403)
            assert where.shown.asked == (["due"] if is_ours else [])
            assert client.post("/logout", headers=sent).status_code == (303 if is_ours else 403)


def test_the_port_that_browsers_leave_out_makes_no_other_site(proxied: Guarded) -> None:
    with proxied.client() as client:
        sign_in(client)
        for origin, host, status in (
            ("https://audio.example.com", "audio.example.com:443", 200),
            ("http://audio.example.com", "audio.example.com:80", 200),
            ("http://audio.example.com:8000", "audio.example.com", 403),
            ("http://audio.example.com", "audio.example.com:8000", 403),
        ):
            headers = {"Origin": origin, "X-Forwarded-Host": host}
            assert client.post("/api/clear-failed", headers=headers).status_code == status, origin


def test_another_site_cannot_sign_somebody_in(page: Guarded) -> None:
    with page.client() as client:
        answer = client.post("/login", data={"name": "ann"}, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403


def test_a_cookie_alone_does_not_say_that_a_person_meant_it_and_a_token_does(page: Guarded) -> None:
    with page.client() as client:
        sign_in(client)
        refused = client.post("/api/clear-failed")
        assert refused.status_code == 403
        assert "token" in refused.json()["detail"]
    assert page.shown.asked == []
    bearer = {"Authorization": f"Bearer {TOKEN}", "Origin": "https://tool.example"}
    assert httpx.post(f"{page.url}/api/clear-failed", headers=bearer).status_code == 200


def test_programs_on_this_machine_may_act_where_nobody_signs_in(open_page: Guarded) -> None:
    assert httpx.post(f"{open_page.url}/api/clear-failed").status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_what_a_form_of_any_site_can_send_is_no_json(open_page: Guarded, kind: str | None) -> None:
    headers = {**SAME, **({} if kind is None else {"Content-Type": kind})}
    answer = httpx.post(f"{open_page.url}/api/retry", content=b'{"failed": true}', headers=headers)
    assert answer.status_code == 415


def test_a_trusted_proxy_says_name_scheme_and_client(proxied: Guarded) -> None:
    forwarded = {
        "X-Forwarded-Host": "audio.example.com",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "192.0.2.1",
    }
    with proxied.client(headers=forwarded) as client:
        done = sign_in(client)
        assert done.headers["set-cookie"].startswith("__Host-audio-extract=")
        assert "; Secure" in done.headers["set-cookie"]
        assert done.headers["strict-transport-security"] == "max-age=31536000"
        client.headers["Cookie"] = done.headers["set-cookie"].partition(";")[0]
        row = client.get("/api/recent").json()[0]
        assert row["storage_url"].startswith("https://audio.example.com/recordings/")
        origin = {"Origin": "https://audio.example.com"}
        assert client.post("/api/clear-failed", headers=origin).status_code == 200
        assert client.post("/api/clear-failed", headers={"Origin": proxied.url}).status_code == 403


def test_nobody_else_says_name_scheme_and_client(page: Guarded) -> None:
    forwarded = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "192.0.2.1",
    }
    with page.client(headers=forwarded) as client:
        done = sign_in(client)
        assert "Secure" not in done.headers["set-cookie"]
        assert "strict-transport-security" not in done.headers
        assert client.get("/api/recent").json()[0]["storage_url"].startswith(page.url)
        statuses = []
        for number in range(12):
            client.headers["X-Forwarded-For"] = f"192.0.2.{number}"
            statuses.append(sign_in(client, f"name{number}", "wrong").status_code)
        assert statuses[-2:] == [429, 429]


def test_the_client_is_the_last_address_that_is_no_proxy_of_ours(proxied: Guarded) -> None:
    """What a client writes into X-Forwarded-For itself stands before what the proxy adds."""
    statuses = []
    with proxied.client() as client:
        for number in range(12):
            client.headers["X-Forwarded-For"] = f"192.0.2.{number}, 198.51.100.1, 127.0.0.9"
            statuses.append(sign_in(client, f"name{number}", "wrong").status_code)
    assert statuses == [401] * 10 + [429] * 2


@pytest.mark.parametrize("written", ["192.0.2.{0}:4711", "[2001:db8:{0}::1]:4711", "2001:db8:{0}::1"])
def test_clients_are_told_apart_however_a_proxy_writes_them(proxied: Guarded, written: str) -> None:
    with proxied.client() as client:
        for number in range(1, 12):
            client.headers["X-Forwarded-For"] = written.format(number)
            assert sign_in(client, f"name{number}", "wrong").status_code == 401


@pytest.mark.parametrize("scheme", ["javascript", "https, http", "HTTPS", "", "file"])
def test_a_scheme_that_a_proxy_does_not_say_clearly_is_the_connections(proxied: Guarded, scheme: str) -> None:
    with proxied.client(headers={"X-Forwarded-Proto": scheme}) as client:
        assert "Secure" not in sign_in(client).headers["set-cookie"]


@pytest.mark.parametrize("host", ["evil/..", "a b", "a@b"])
def test_a_name_that_is_none_is_refused_from_a_proxy_too(proxied: Guarded, host: str) -> None:
    assert raw(proxied, [("Host", "localhost"), ("X-Forwarded-Host", host)])[0] == 400


def test_every_answer_carries_the_headers_that_keep_it_safe(page: Guarded) -> None:
    with page.client() as client:
        answers = [
            client.get("/login", headers=PAGE),
            client.get("/", headers=PAGE),
            client.get("/api/stats"),
            client.get("/static/app.js"),
            client.post("/login", content=b"x"),
            client.request("PROPFIND", "/"),
        ]
        assert [answer.status_code for answer in answers] == [200, 303, 401, 200, 415, 401]
    for answer in answers:
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "microphone=()" in answer.headers["permissions-policy"]
        is_static = answer.request.url.path.startswith("/static/")
        assert answer.headers.get("cache-control") == (None if is_static else "no-store")


def test_audio_is_played_from_this_server_and_where_signed_links_lead_and_from_nowhere_else(
    page: Guarded,
) -> None:
    policy = httpx.get(f"{page.url}/login").headers["content-security-policy"]
    assert "media-src 'self' https://storage.example;" in policy


def test_probes_need_no_sign_in(page: Guarded) -> None:
    port = page.shown.server.ports["health"]
    for path in ("/live", "/ready", "/health", "/metrics"):
        assert httpx.get(f"http://127.0.0.1:{port}{path}").status_code == 200


def test_the_error_of_a_bug_is_safe_too(open_page: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(open_page.shown.tracker, "recording", lambda _: broken())
    answer = httpx.get(f"{open_page.url}/api/recordings/1")
    assert answer.status_code == 500
    assert "content-security-policy" in answer.headers
    assert json.loads(answer.text)["status"] == 500

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from audio_extract.web.access.policy import Access
from support.access import (
    OTHERS,
    PAGE,
    PASSWORD,
    SAME,
    TOKEN,
    USERS,
    Clock,
    Guarded,
    guarded,
    security,
    sign_in,
)
from support.dashboard import NOW


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def page(tmp_path: Path, clock: Clock) -> Iterator[Guarded]:
    access = Access(
        security(users=USERS, tokens=[{"name": "ci", "token": TOKEN, "role": "operator"}]),
        key_path=tmp_path / "key",
        now=clock,
    )
    with guarded(tmp_path, access) as made:
        yield made


@pytest.fixture
def client(page: Guarded) -> Iterator[httpx.Client]:
    with page.client() as made:
        yield made


def audit(page: Guarded, source_id: str) -> list[str]:
    return [entry.actor for entry in page.shown.tracker.audit(page.shown.ids[source_id])]


def test_a_person_is_led_to_the_form_and_back_to_where_they_wanted(client: httpx.Client) -> None:
    led = client.get("/recordings?q=r1", headers=PAGE)
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=%2Frecordings%3Fq%3Dr1")
    form = client.get(led.headers["location"], headers=PAGE)
    assert form.status_code == 200
    assert 'value="/recordings?q=r1"' in form.text
    done = sign_in(client, next="/recordings?q=r1")
    assert (done.status_code, done.headers["location"]) == (303, "/recordings?q=r1")
    assert client.get("/recordings?q=r1", headers=PAGE).status_code == 200
    assert "ann" in client.get("/", headers=PAGE).text


@pytest.mark.parametrize(
    "path", ["/api/recent", "/api/events", "/metrics", "/openapi.json", "/api/nothing", "/nothing"]
)
def test_without_proof_programs_get_401_and_learn_how(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers={"Accept": "application/json"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_a_script_of_the_page_fetches_is_not_led_to_the_form(client: httpx.Client) -> None:
    assert client.get("/", headers={**PAGE, "Sec-Fetch-Mode": "cors"}).status_code == 401


def test_styles_need_no_sign_in_and_nothing_else_hides_behind_their_path(client: httpx.Client) -> None:
    assert client.get("/static/style.css").status_code == 200
    for path in (
        "/static/../settings",
        "/static/%2e%2e/settings",
        "/static//settings",
        "/static%2f..%2fapi/recent",
    ):
        raw = client.build_request("GET", path, headers={"Accept": "application/json"})
        raw.url = raw.url.copy_with(raw_path=path.encode())
        assert client.send(raw).status_code in {401, 404}, path


def test_a_wrong_password_and_an_unknown_name_look_the_same(client: httpx.Client) -> None:
    wrong, unknown = sign_in(client, password="not it"), sign_in(client, name="eve")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace("ann", "eve") == unknown.text
    assert "set-cookie" not in wrong.headers


@pytest.mark.parametrize("password", ["", "x" * 5000, PASSWORD + "\0", PASSWORD[:-1], OTHERS])
def test_only_the_whole_password_of_that_name_is_right(client: httpx.Client, password: str) -> None:
    assert sign_in(client, password=password).status_code == 401


def test_a_password_of_more_than_72_bytes_counts_to_its_end(tmp_path: Path) -> None:
    from audio_extract.web.access.passwords import hash_of

    long = "ü" * 100
    access = Access(security(username="zoë", password_hash=hash_of(long + "1")))
    with guarded(tmp_path, access) as page, page.client() as client:
        assert sign_in(client, "zoë", long + "2").status_code == 401
        assert sign_in(client, "zoë", long + "1").status_code == 303


def test_letters_typed_in_pieces_are_the_same_password(client: httpx.Client) -> None:
    in_pieces = OTHERS.replace("ü", "u\u0308")
    assert in_pieces != OTHERS
    assert sign_in(client, "bob", in_pieces).status_code == 303


def test_the_cookie_is_kept_from_scripts_and_other_sites(client: httpx.Client, page: Guarded) -> None:
    cookie = sign_in(client).headers["set-cookie"]
    assert cookie.startswith(f"audio-extract-{page.port}=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie


def test_a_session_ends_after_its_hours(client: httpx.Client, clock: Clock) -> None:
    sign_in(client)
    clock.seconds += 12 * 3600 - 1
    assert client.get("/api/stats").status_code == 200
    clock.seconds += 1
    assert client.get("/api/stats").status_code == 401


def test_a_session_survives_a_restart_but_not_another_password(tmp_path: Path) -> None:
    key = tmp_path / "key"
    with guarded(tmp_path, Access(security(users=USERS), key_path=key)) as page, page.client() as client:
        sign_in(client)
        [cookie] = client.cookies.jar
        value = cookie.value
    assert key.stat().st_mode & 0o777 == 0o600

    def status(access: Access) -> int:
        with guarded(tmp_path, access) as page, page.client() as client:
            return client.get(
                "/api/stats", headers={"Cookie": f"audio-extract-{page.port}={value}"}
            ).status_code

    from audio_extract.web.access.passwords import hash_of

    assert status(Access(security(users=USERS), key_path=key)) == 200
    changed = [{**USERS[0], "password_hash": hash_of(PASSWORD)}, USERS[1]]
    assert status(Access(security(users=changed), key_path=key)) == 401
    assert status(Access(security(users=USERS[1:]), key_path=key)) == 401
    assert status(Access(security(users=USERS), key_path=tmp_path / "other")) == 401
    secret = "s" * 32
    assert status(Access(security(users=USERS, cookie_secret=secret), key_path=key)) == 401


def test_a_role_that_changed_holds_for_those_who_are_signed_in(tmp_path: Path) -> None:
    key = tmp_path / "key"
    with guarded(tmp_path, Access(security(users=USERS), key_path=key)) as page, page.client() as client:
        sign_in(client)
        [cookie] = client.cookies.jar
    less = [{**USERS[0], "role": "viewer"}]
    with (
        guarded(tmp_path, Access(security(users=less), key_path=key)) as page,
        page.client() as client,
    ):
        headers = {"Cookie": f"audio-extract-{page.port}={cookie.value}", **SAME}
        assert client.get("/api/stats", headers=headers).status_code == 200
        assert client.post("/retry-failed", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        lambda cookie: cookie[:-9] + ("A" if cookie[-9] != "A" else "B") + cookie[-8:],
        lambda cookie: "x" + cookie,
        lambda cookie: cookie.split(".")[0],
        lambda cookie: cookie.split(".")[0] + ".",
        lambda cookie: "WyJ4IiwidXNlciBhbm4iLCJ4IiwxXQ." + cookie.split(".")[1],
        lambda _: "",
        lambda _: "." * 4000,
        lambda _: "ü",
    ],
)
def test_a_cookie_that_we_did_not_make_is_worth_nothing(
    client: httpx.Client, page: Guarded, change: object
) -> None:
    sign_in(client)
    [cookie] = client.cookies.jar
    assert callable(change)
    forged = f"audio-extract-{page.port}={change(str(cookie.value))}"
    client.cookies.clear()
    assert client.get("/api/stats", headers={"Cookie": forged.encode()}).status_code == 401


def test_signing_out_ends_the_session_also_for_a_copy_of_its_cookie(
    client: httpx.Client, page: Guarded
) -> None:
    sign_in(client)
    [cookie] = client.cookies.jar
    copy = {"Cookie": f"{cookie.name}={cookie.value}"}
    out = client.post("/logout", headers=SAME)
    assert (out.status_code, out.headers["location"]) == (303, "/login")
    assert len(client.cookies) == 0
    assert httpx.get(f"{page.url}/api/stats", headers=copy).status_code == 401


def test_signing_in_again_ends_the_session_that_was(client: httpx.Client, page: Guarded) -> None:
    sign_in(client)
    [cookie] = client.cookies.jar
    copy = {"Cookie": f"{cookie.name}={cookie.value}"}
    sign_in(client, "bob", OTHERS)
    assert httpx.get(f"{page.url}/api/stats", headers=copy).status_code == 401
    assert client.get("/api/stats").status_code == 200


def test_the_audit_log_says_who_did_it(client: httpx.Client, page: Guarded) -> None:
    sign_in(client)
    bad = page.shown.ids["bad"]
    assert client.post(f"/recordings/{bad}/retry", headers=SAME).status_code == 303
    assert audit(page, "bad")[-1] == "ann"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx.post(f"{page.url}/api/reprocess", json={"id": page.shown.ids["r0"]}, headers=bearer)
    assert answer.status_code == 200
    assert audit(page, "r0")[-1] == "ci"


def test_a_viewer_sees_and_listens_but_neither_acts_nor_sees_settings(
    client: httpx.Client, page: Guarded
) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    lists = ("/", "/recordings?status=failed")
    # An operator's lists, drawn just before, are not given to a viewer.
    for path in lists:
        assert '/retry"' in httpx.get(page.url + path, headers=bearer).text
    sign_in(client, "bob", OTHERS)
    for path in lists:
        shown = client.get(path, headers=PAGE)
        assert shown.status_code == 200
        assert f"/recordings/{page.shown.ids['bad']}" in shown.text
        assert '/retry"' not in shown.text
        assert "/retry-failed" not in shown.text
        assert "/settings" not in shown.text
    assert client.get("/settings", headers=PAGE).status_code == 403
    assert client.get("/settings/", headers=PAGE, follow_redirects=True).status_code == 403
    bad = page.shown.ids["bad"]
    for path, body in (
        (f"/recordings/{bad}/retry", None),
        (f"/recordings/{bad}/reprocess", None),
        ("/retry-failed", None),
        ("/api/retry", {"failed": True}),
        ("/api/reprocess", {"id": bad}),
        ("/api/cleanup", {"days": 1}),
        ("/api/clear-failed", None),
        ("/api/nothing", {}),
    ):
        answer = client.post(path, json=body, headers=SAME)
        assert answer.status_code == 403, path
        assert "operator" in answer.json()["detail"]
    assert page.shown.asked == []
    path = {"storage_path": "dev/2026/01/r1_audio.mp3"}
    assert client.post("/api/refresh-url", json=path, headers=SAME).status_code == 200
    assert client.get(page.shown.audio_path("r0")).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer wrong-token-of-a-program",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN} x",
        "Bearer ü",
    ],
)
def test_a_wrong_token_is_refused(client: httpx.Client, header: str) -> None:
    assert client.get("/api/stats", headers={"Authorization": header.encode()}).status_code == 401


def test_a_token_is_known_by_its_hash_too(tmp_path: Path) -> None:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    access = Access(security(tokens=[{"name": "grafana", "token_sha256": digest}]))
    with (
        guarded(tmp_path, access) as page,
        page.client(headers={"Authorization": f"bearer {TOKEN}"}) as client,
    ):
        assert client.get("/metrics").status_code == 200
        assert client.post("/api/clear-failed").status_code == 403


def test_wrong_tries_of_an_address_are_slowed_down(client: httpx.Client, clock: Clock) -> None:
    answers = [sign_in(client, f"name{number}", "wrong") for number in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert 0 < int(answers[-1].headers["retry-after"]) <= 30
    assert sign_in(client).status_code == 429
    clock.seconds += 30
    assert sign_in(client).status_code == 303
    assert sign_in(client).status_code == 303


def test_wrong_tries_of_a_name_are_slowed_down_from_wherever_they_come(tmp_path: Path, clock: Clock) -> None:
    access = Access(security(users=USERS, proxy={"networks": ["127.0.0.1"]}), now=clock)
    with guarded(tmp_path, access) as page, page.client() as client:
        statuses = []
        for number in range(22):
            client.headers["X-Forwarded-For"] = f"192.0.2.{number}"
            statuses.append(sign_in(client, password="wrong").status_code)
        assert statuses == [401] * 20 + [429] * 2
        assert sign_in(client, "bob", OTHERS).status_code == 303


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"x" * 20_000, "application/x-www-form-urlencoded", 413),
        (b"{}", "application/json", 415),
        (b"name=%ED%A0%80&password=x", "application/x-www-form-urlencoded", 400),
        (b"name=\xff&password=x", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=b" for _ in range(50)), "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 401),
    ],
)
def test_what_is_no_sign_in_form_is_refused(
    client: httpx.Client, content: bytes, kind: str, status: int
) -> None:
    answer = client.post("/login", content=content, headers={**SAME, "Content-Type": kind})
    assert answer.status_code == status


def test_a_name_is_text_on_the_page_and_in_headers(client: httpx.Client) -> None:
    answer = sign_in(client, '"><script>x\r\nSet-Cookie: a=b', "wrong")
    assert "<script>x" not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "following",
    [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "\\\\evil",
        "/a\r\nX: y",
        "",
        "/login",
    ],
)
def test_nobody_is_led_to_another_site_after_signing_in(client: httpx.Client, following: str) -> None:
    done = sign_in(client, next=following)
    assert (done.status_code, done.headers["location"]) == (303, "/")
    signed_in = client.get("/login", params={"next": following})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")


def test_live_events_end_with_the_session(client: httpx.Client, page: Guarded) -> None:
    sign_in(client)
    with client.stream("GET", "/api/events", timeout=20) as events:
        lines = events.iter_lines()
        assert next(line for line in lines if line.startswith("event: "))
        [cookie] = client.cookies.jar
        copy = {"Cookie": f"{cookie.name}={cookie.value}", **SAME}
        assert httpx.post(f"{page.url}/logout", headers=copy).status_code == 303
        page.shown.tracker.retry([page.shown.ids["bad"]], NOW, actor="somebody else")
        told = list(lines)
    assert not any("pending" in line for line in told)

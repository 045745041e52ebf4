"""People whom a proxy signed in: oauth2-proxy and the like by a header, Google's IAP by a signature."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.auth import crypt, jwt

from audio_extract.web.access.policy import Access
from support.access import PAGE, SAME, TOKEN, Clock, Guarded, guarded, security

HEADER = "X-Forwarded-Email"
AUDIENCE = "/projects/123/global/backendServices/456"
ANN = "Ann@example.com"


def behind(folder: Path, **proxy: Any) -> Any:
    values = {"networks": ["127.0.0.1"], "user_header": HEADER, "operators": ["ann@example.com"], **proxy}
    return guarded(folder, Access(security(proxy=values)))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Guarded]:
    with behind(tmp_path) as made:
        yield made


def test_who_the_proxy_says_comes_in_with_their_role(page: Guarded) -> None:
    with page.client(headers={HEADER: ANN}) as client:
        assert client.get("/settings", headers=PAGE).status_code == 200
        bad = page.shown.ids["bad"]
        assert client.post(f"/recordings/{bad}/retry", headers=SAME).status_code == 303
        assert page.shown.tracker.audit(bad)[-1].actor == ANN
        shown = client.get("/", headers=PAGE).text
        assert "Sign out" not in shown
    with page.client(headers={HEADER: "bob@example.com"}) as client:
        assert client.get("/", headers=PAGE).status_code == 200
        assert client.get("/settings", headers=PAGE).status_code == 403
        assert client.post("/api/clear-failed", headers=SAME).status_code == 403


def test_another_site_cannot_use_what_the_proxy_adds_to_every_request(page: Guarded) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}):
        answer = httpx.post(f"{page.url}/api/clear-failed", headers={HEADER: ANN, **headers})
        assert answer.status_code == 403
    assert page.shown.asked == []


def test_everybody_acts_where_the_settings_say_so(tmp_path: Path) -> None:
    with behind(tmp_path, operators=["*"]) as page:
        answer = httpx.post(f"{page.url}/api/clear-failed", headers={HEADER: "eve@example.com", **SAME})
        assert answer.status_code == 200


def test_from_elsewhere_the_header_says_nothing(tmp_path: Path) -> None:
    with behind(tmp_path, networks=["192.0.2.0/24", "::1/128"]) as page:
        assert httpx.get(f"{page.url}/api/stats", headers={HEADER: ANN}).status_code == 401
        # Nor does an address that the sender made up.
        forwarded = {HEADER: ANN, "X-Forwarded-For": "192.0.2.1", "X-Real-IP": "192.0.2.1"}
        assert httpx.get(f"{page.url}/api/stats", headers=forwarded).status_code == 401


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["bob@example.com", ANN],
        ["bob@example.com, Ann@example.com"],
        ["x" * 300],
        ["a\tb"],
        ["\x85"],
    ],
)
def test_a_header_that_does_not_name_one_person_names_nobody(page: Guarded, values: list[str]) -> None:
    headers = [(HEADER, value.encode("latin-1")) for value in values]
    assert httpx.get(f"{page.url}/api/stats", headers=headers).status_code == 401


def test_names_are_utf8_and_iaps_prefix_is_no_part_of_them(tmp_path: Path) -> None:
    with behind(tmp_path, operators=["zoë@example.com"]) as page:
        for name in ("zoë@example.com", "accounts.google.com:zoë@example.com"):
            answer = httpx.post(
                f"{page.url}/api/clear-failed", headers=[(HEADER, name.encode()), *SAME.items()]
            )
            assert answer.status_code == 200


def test_who_did_not_come_through_the_proxy_is_told_so(page: Guarded) -> None:
    with page.client(headers=PAGE, follow_redirects=True) as client:
        shown = client.get("/")
    assert shown.url.path == "/login"
    assert "security.proxy" in shown.text
    assert 'method="post"' not in shown.text
    assert httpx.post(f"{page.url}/login", data={"name": "", "password": ""}).status_code == 401


def test_a_proxy_may_pass_its_own_token_on_beside_the_persons_name(page: Guarded) -> None:
    """oauth2-proxy can pass on what it got at sign-in, in the header where programs send our tokens."""
    headers = {HEADER: ANN, "Authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl"}
    assert httpx.get(f"{page.url}/api/stats", headers=headers).status_code == 200
    # It is not ours: it says nothing about which page made the browser send it.
    assert httpx.post(f"{page.url}/api/clear-failed", headers=headers).status_code == 403


def test_a_proxy_that_asks_by_itself_may_pass_on_a_page_that_does_not(tmp_path: Path) -> None:
    access = Access(security(proxy={"networks": ["127.0.0.1"]}, allowed_hosts=["audio.example.com"]))
    with guarded(tmp_path, access) as page:
        forwarded = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "audio.example.com"}
        assert httpx.get(f"{page.url}/api/stats", headers=forwarded).status_code == 200
        forwarded["X-Forwarded-Host"] = "evil.example"
        assert httpx.get(f"{page.url}/api/stats", headers=forwarded).status_code == 421


class Keys:
    """IAP's keys, served on loopback, and what IAP signs with them."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.published = {"one": public(self.key)}
        self.status = 200
        self.asked = 0
        keys = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                keys.asked += 1
                body = json.dumps(keys.published).encode()
                self.send_response(keys.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/public_key"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def assertion(self, key: Any = None, key_id: str | None = "one", **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": "https://cloud.google.com/iap",
            "aud": AUDIENCE,
            "email": "ann@example.com",
            "sub": "accounts.google.com:1",
            "iat": now - 10,
            "exp": now + 500,
            **changes,
        }
        signer = crypt.EsSigner(key or self.key, key_id)
        return str(jwt.encode(signer, claims).decode())


def public(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, form).decode())


@pytest.fixture
def keys() -> Iterator[Keys]:
    made = Keys()
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def iap(tmp_path: Path, keys: Keys, clock: Clock) -> Iterator[Guarded]:
    proxy = {"iap_audience": AUDIENCE, "operators": ["ann@example.com"], "networks": ["127.0.0.1"]}
    with guarded(tmp_path, Access(security(proxy=proxy), keys_url=keys.url, now=clock)) as made:
        yield made


def status(page: Guarded, assertion: str, **headers: str) -> int:
    sent = {"X-Goog-IAP-JWT-Assertion": assertion, **headers}
    return httpx.get(f"{page.url}/api/stats", headers=sent).status_code


def test_what_iap_signed_lets_in_and_the_keys_are_fetched_once(iap: Guarded, keys: Keys) -> None:
    assert [status(iap, keys.assertion()) for _ in range(3)] == [200] * 3
    assert keys.asked == 1
    sent = {"X-Goog-IAP-JWT-Assertion": keys.assertion(), **SAME}
    assert httpx.post(f"{iap.url}/api/clear-failed", headers=sent).status_code == 200
    sent["X-Goog-IAP-JWT-Assertion"] = keys.assertion(email="bob@example.com")
    assert httpx.post(f"{iap.url}/api/clear-failed", headers=sent).status_code == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "/projects/123/global/backendServices/457"},
        {"aud": None},
        {"iss": "https://accounts.google.com"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"iat": 4_000_000_000},
        {"email": None},
        {"email": ["ann@example.com"]},
        {"email": ""},
        {"email": "ann@example.com\n"},
    ],
)
def test_what_iap_did_not_sign_for_us_now_lets_nobody_in(
    iap: Guarded, keys: Keys, changes: dict[str, Any]
) -> None:
    assert status(iap, keys.assertion(**changes)) == 401


def test_what_another_key_signed_lets_nobody_in(iap: Guarded, keys: Keys) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    assert status(iap, keys.assertion(other)) == 401
    assert status(iap, keys.assertion(other, "two")) == 401
    assert status(iap, keys.assertion(other, None)) == 401


def _part(values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def test_tricks_with_the_header_of_an_assertion_let_nobody_in(iap: Guarded, keys: Keys) -> None:
    good = keys.assertion()
    claims, signature = good.split(".")[1:]
    private = rsa.generate_private_key(65_537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signed_otherwise = jwt.encode(crypt.RSASigner.from_string(pem, "one"), {"iss": "x"}).decode()
    for forged in (
        f"{_part({'alg': 'none', 'kid': 'one'})}.{claims}.",
        f"{_part({'alg': 'HS256', 'kid': 'one'})}.{claims}.{signature}",
        f"{_part({'alg': 'RS256', 'kid': 'one'})}.{claims}.{signature}",
        f"{_part({'alg': ['ES256'], 'kid': 'one'})}.{claims}.{signature}",
        f"{_part({'alg': 'ES256', 'kid': ['one']})}.{claims}.{signature}",
        f"{_part({'alg': 'ES256', 'kid': {}})}.{claims}.{signature}",
        f"{_part([])}.{claims}.{signature}",
        f"{_part('x')}.{claims}.{signature}",
        f"{_part({'alg': 'ES384', 'kid': 'one'})}.{claims}.{signature}",
        good[:-4],
        good[:-90],
        good + "A",
        good.replace(".", ".."),
        signed_otherwise,
        "a.b.c",
        "...",
        "é.é.é",
        "",
        "x" * 5000,
    ):
        sent = [("X-Goog-IAP-JWT-Assertion", forged.encode())]
        assert httpx.get(f"{iap.url}/api/stats", headers=sent).status_code == 401, forged


def test_iaps_unsigned_headers_say_nothing(iap: Guarded) -> None:
    sent = {"X-Goog-Authenticated-User-Email": "accounts.google.com:ann@example.com", HEADER: ANN}
    assert httpx.get(f"{iap.url}/api/stats", headers=sent).status_code == 401


def test_made_up_key_ids_do_not_make_us_ask_for_keys_each_time(iap: Guarded, keys: Keys) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    assert [status(iap, keys.assertion(other, f"k{number}")) for number in range(5)] == [401] * 5
    assert keys.asked == 1


def test_while_keys_cannot_be_fetched_the_answer_is_to_come_back(
    iap: Guarded, keys: Keys, clock: Clock
) -> None:
    keys.status = 500
    sent = {"X-Goog-IAP-JWT-Assertion": keys.assertion()}
    answer = httpx.get(f"{iap.url}/api/stats", headers=sent)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    keys.status = 200
    assert status(iap, keys.assertion()) == 503
    assert keys.asked == 1
    clock.seconds += 10
    assert status(iap, keys.assertion()) == 200
    # Those that there are do while new ones cannot be had.
    keys.status = 500
    clock.seconds += 3600
    assert status(iap, keys.assertion()) == 200
    assert keys.asked == 3


def test_a_new_key_of_iap_is_fetched_when_it_is_used(iap: Guarded, keys: Keys, clock: Clock) -> None:
    assert status(iap, keys.assertion()) == 200
    newer = ec.generate_private_key(ec.SECP256R1())
    keys.published["two"] = public(newer)
    clock.seconds += 60
    assert status(iap, keys.assertion(newer, "two")) == 200
    assert keys.asked == 2


def test_a_program_with_a_token_comes_in_beside_the_proxy(tmp_path: Path) -> None:
    access = Access(
        security(
            proxy={"networks": ["127.0.0.1"], "user_header": HEADER},
            tokens=[{"name": "ci", "token": TOKEN, "role": "operator"}],
        )
    )
    with guarded(tmp_path, access) as page:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.post(f"{page.url}/api/clear-failed", headers=bearer).status_code == 200

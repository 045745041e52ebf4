"""A page that others can reach while nobody said who may come in: a link with a token lets in."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from audio_extract.web.access.policy import Access
from support.access import PAGE, SAME, Guarded, guarded, security
from support.cli import environment, run_cli
from support.engine import wait_until


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Guarded]:
    with guarded(tmp_path, Access(is_reachable=True)) as made:
        yield made


def token(page: Guarded) -> str:
    assert page.access.start_token is not None
    return page.access.start_token


def test_the_link_lets_in_and_its_token_does_not_stay_in_the_address(page: Guarded) -> None:
    with page.client(headers=PAGE) as client:
        assert client.get("/").headers["location"] == "/login"
        entered = client.get("/recordings", params={"q": "a b&c", "token": token(page), "status": "failed"})
        assert (entered.status_code, entered.headers["location"]) == (
            303,
            "/recordings?q=a+b%26c&status=failed",
        )
        assert token(page) not in entered.headers["set-cookie"]
        assert client.get("/settings").status_code == 200
        assert client.post("/retry-failed", headers=SAME).status_code == 303
    bad = page.shown.ids["bad"]
    assert page.shown.tracker.audit(bad)[-1].actor == "start token"


def test_the_token_can_be_typed_and_sent_as_bearer_too(page: Guarded) -> None:
    with page.client(headers=PAGE) as client:
        assert 'name="token"' in client.get("/login").text
        assert client.post("/login", data={"token": "wrong"}, headers=SAME).status_code == 401
        assert client.post("/login", data={"token": f" {token(page)} "}, headers=SAME).status_code == 303
        assert client.get("/").status_code == 200
    bearer = {"Authorization": f"Bearer {token(page)}"}
    assert httpx.get(f"{page.url}/api/stats", headers=bearer).status_code == 200


@pytest.mark.parametrize(
    "target", ["/?token=wrong", "/?token=", "/api/stats?token=wrong", "/?token={0}&token=x"]
)
def test_a_wrong_token_in_an_address_lets_nobody_in_and_is_not_handed_on(page: Guarded, target: str) -> None:
    answer = httpx.get(page.url + target.format(token(page)), headers=PAGE)
    assert answer.status_code in {303, 401}
    assert "token" not in answer.headers.get("location", "")
    assert "set-cookie" not in answer.headers


def test_the_link_does_not_lead_elsewhere(page: Guarded) -> None:
    for path in ("//evil.example/", "/\\evil.example", "/%5cevil.example", "/%0d%0aX:y", "/%2fevil.example"):
        request = httpx.Request("GET", page.url)
        request.url = request.url.copy_with(raw_path=f"{path}?token={token(page)}".encode())
        with httpx.Client() as client:
            answer = client.send(request)
        location = answer.headers.get("location", "/")
        assert location.startswith("/"), path
        assert not location.startswith(("//", "/\\")), path
        assert "x" not in {name.lower() for name in answer.headers}


def test_each_start_has_another_token_and_ends_the_sessions_of_the_last(tmp_path: Path) -> None:
    with (
        guarded(tmp_path, Access(is_reachable=True, key_path=tmp_path / "key")) as page,
        page.client() as client,
    ):
        first = token(page)
        client.get("/", params={"token": first})
        [cookie] = client.cookies.jar
    assert not (tmp_path / "key").exists()
    with guarded(tmp_path, Access(is_reachable=True, key_path=tmp_path / "key")) as page:
        assert token(page) != first
        headers = {"Cookie": f"audio-extract-{page.port}={cookie.value}"}
        assert httpx.get(f"{page.url}/api/stats", headers=headers).status_code == 401
        assert httpx.get(page.url, params={"token": first}, headers=PAGE).headers["location"] == "/login"


def test_no_token_is_made_where_somebody_can_sign_in(tmp_path: Path) -> None:
    access = Access(security(tokens=[{"name": "ci", "token": "x" * 16}]), is_reachable=True)
    with guarded(tmp_path, access) as page:
        assert page.access.start_token is None
        # Only the link that is printed may sign somebody in: another site could send them a token of its own.
        answer = httpx.get(page.url, params={"token": "x" * 16}, headers=PAGE)
        assert answer.headers["location"] == "/login"
        assert "set-cookie" not in answer.headers


@contextmanager
def running(folder: Path, *words: str, **changes: object) -> Iterator[Path]:
    """The service on a folder; gives where its stderr goes."""
    (folder / "in").mkdir(exist_ok=True)
    values = {
        "sources": {"local": {"path": str(folder / "in")}},
        "storage": {"type": "local", "local": {"path": str(folder / "out")}},
        "monitoring": {
            "database_path": "audio.db",
            "dashboard_port": 0,
            "health_port": 0,
            "log_file": "audio.log",
            "log_level": "DEBUG",
            **changes,
        },
    }
    (folder / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))
    said = folder / "stderr.txt"
    with said.open("w") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "audio_extract", "run", *words],
            cwd=folder,
            env=environment(),
            stderr=stderr,
        )
    try:
        yield said
    finally:
        child.send_signal(signal.SIGTERM)
        code = child.wait(60)
    assert code == 0


def link(said: Path) -> str | None:
    found = re.search(r"dashboard: (http://\S+)", said.read_text())
    return found and found[1]


def test_run_prints_the_link_once_and_logs_no_token(tmp_path: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104
    with running(tmp_path, "-q", dashboard_host=everywhere) as said:
        assert wait_until(lambda: link(said) is not None, seconds=60)
        address = link(said)
        assert address is not None
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", address)
        with httpx.Client(follow_redirects=True, headers=PAGE) as client:
            assert client.get(address).status_code == 200
            assert client.get(httpx.URL(address).join("/api/stats")).json()["total"] == 0
    secret = address.partition("token=")[2]
    assert said.read_text().count(secret) == 1
    assert secret not in (tmp_path / "audio.log").read_text()
    assert not any(secret.encode() in file.read_bytes() for file in tmp_path.glob("audio.db*"))
    assert not list(tmp_path.glob("*cookie*"))


def test_run_on_loopback_asks_nobody_who_they_are(tmp_path: Path) -> None:
    with running(tmp_path) as said:
        assert wait_until(lambda: link(said) is not None, seconds=60)
        address = link(said)
        assert address is not None
        assert "token" not in said.read_text()
        assert httpx.get(f"{address}api/stats").status_code == 200


def test_a_hash_that_the_program_prints_is_one_that_the_settings_take(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "audio_extract", "config", "hash-password", "--stdin"],
        input="Schlüssel 1\n",
        cwd=tmp_path,
        env=environment({"PYTHONUTF8": "1"}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    hashed = made.stdout.strip()
    assert hashed.startswith("$argon2id$")
    assert "Schlüssel" not in made.stderr
    access = Access(security(username="ann", password_hash=hashed))
    with guarded(tmp_path, access) as page, page.client() as client:
        answer = client.post("/login", data={"name": "ann", "password": "Schlüssel 1"}, headers=SAME)
        assert answer.status_code == 303


def test_a_password_is_typed_twice_and_not_shown(tmp_path: Path) -> None:
    """In a terminal of its own; what is typed before the question is not an answer to it."""
    words = [sys.executable, "-m", "audio_extract", "config", "hash-password"]
    with subprocess.Popen(
        [sys.executable, "-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)", *words],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        shown = b""
        for question in (b"Password: ", b"Once more: "):
            while not shown.endswith(question):
                piece = child.stdout.read1(1)
                assert piece, shown
                shown += piece
            child.stdin.write(b"correct horse\n")
            child.stdin.flush()
        shown += child.stdout.read()
    assert child.returncode == 0
    assert b"$argon2id$" in shown
    assert b"correct horse" not in shown


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"short\n", "8 to 1024"), (b"", "8 to 1024"), (b"\xff" * 9, "UTF-8"), (b"x" * 1025, "1024")],
)
def test_what_is_no_password_is_not_hashed(tmp_path: Path, content: bytes, expected: str) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "audio_extract", "config", "hash-password", "--stdin"],
        input=content,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 2
    assert expected in made.stderr.decode()
    assert made.stdout == b""


def test_without_a_terminal_a_password_is_not_waited_for(tmp_path: Path) -> None:
    done = run_cli("config", "hash-password", cwd=tmp_path)
    assert done.code == 2
    assert "--stdin" in done.err

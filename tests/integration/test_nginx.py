"""The running service behind a real nginx, both as compose sets them up."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from support.cli import environment
from support.engine import wait_until

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deploy" / "nginx" / "audio-extract.conf.template"
NAME = "localhost"
ANN, BOB = ("ann", "correct horse"), ("bob", "battery staple")
TOKEN = "a-token-of-a-program-0123456789"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
SAME = {"Sec-Fetch-Site": "same-origin"}


def nginx_program() -> str:
    done = subprocess.run([ROOT / ".ci" / "nginx"], capture_output=True, text=True, check=True)
    if not done.stdout.strip():
        pytest.skip(done.stderr.strip())
    return done.stdout.strip()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def settings_of_compose() -> dict[str, str]:
    """What compose tells the page about who may come in, with nginx on this machine."""
    common = yaml.safe_load((ROOT / "deploy" / "compose" / "common.yml").read_text())
    given = common["services"]["dashboard"]["environment"]
    assert len(given) == 4
    replaced = {
        "AUDIO_EXTRACT__SECURITY__PROXY__NETWORKS": "127.0.0.1",
        "AUDIO_EXTRACT__SECURITY__PROXY__OPERATORS": "ann",
        "AUDIO_EXTRACT__SECURITY__ALLOWED_HOSTS": NAME,
    }
    return {**given, **replaced}


@contextmanager
def service(folder: Path) -> Iterator[int]:
    """The program, as it runs in the image; gives the page's port."""
    (folder / "in").mkdir()
    values = {
        "sources": {"local": {"path": "in"}},
        "storage": {"type": "local", "local": {"path": "out"}},
        "monitoring": {
            "database_path": "t.db",
            "dashboard_host": "0.0.0.0",  # noqa: S104 - as in the image
            "dashboard_port": 0,
            "health_port": 0,
        },
        "security": {"tokens": [{"name": "grafana", "role": "viewer", "token": TOKEN}]},
    }
    (folder / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))
    said = folder / "err.txt"
    with said.open("w") as err:
        child = subprocess.Popen(
            [sys.executable, "-m", "audio_extract", "run"],
            cwd=folder,
            env=environment(settings_of_compose()),
            stderr=err,
        )

    def port() -> int | None:
        lines = [line for line in said.read_text().splitlines() if line.startswith("dashboard: http")]
        return int(lines[0].rstrip("/").rpartition(":")[2]) if lines else None

    try:
        wait_until(lambda: port() is not None, 60)
        yield port() or 0
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0, said.read_text()
    finally:
        child.kill()
        child.wait()


@dataclass
class Site:
    """Where nginx listens, and its certificate."""

    http: str
    https: str
    certificate: Path

    def client(self, who: tuple[str, str] | None = None, **headers: str) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.certificate))
        return httpx.Client(base_url=self.https, verify=context, auth=who, headers=headers)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nginx")
    secrets = folder / "secrets"
    for name, password in (ANN, BOB):
        subprocess.run(
            [ROOT / "deploy" / "compose" / "prepare", NAME, name],
            env={**os.environ, "SECRETS_FOLDER": str(secrets)},
            input=f"{password}\n",
            text=True,
            capture_output=True,
            check=True,
        )
    http, https = free_port(), free_port()
    with service(folder) as port:
        text = TEMPLATE.read_text()
        for name, value in {
            "SERVER_NAME": NAME,
            "UPSTREAM": f"127.0.0.1:{port}",
            "HTTP_PORT": str(http),
            "HTTPS_PORT": str(https),
            "TLS_FOLDER": str(secrets),
        }.items():
            text = text.replace(f"${{{name}}}", value)
        paths = "".join(f"{kind}_temp_path {folder / kind}; " for kind in TEMPORARY)
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process off; error_log stderr; pid {folder / 'pid'}; events {{}}\n"
            f"http {{ access_log off; {paths}\n{text}\n}}\n"
        )
        words = [nginx_program(), "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        with (folder / "nginx.txt").open("w") as err, subprocess.Popen(words, stderr=err) as nginx:
            try:
                deadline = time.monotonic() + 20
                while not listens(https):
                    assert nginx.poll() is None, (folder / "nginx.txt").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                yield Site(f"http://{NAME}:{http}", f"https://{NAME}:{https}", secrets / "tls.crt")
            finally:
                nginx.terminate()


def test_plain_http_leads_to_https(site: Site) -> None:
    answer = httpx.get(f"{site.http}/recordings?q=a")
    assert (answer.status_code, answer.headers["location"]) == (308, "https://localhost/recordings?q=a")


def test_nobody_comes_in_without_a_password(site: Site) -> None:
    with site.client() as client:
        answer = client.get("/")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert "max-age" in answer.headers["strict-transport-security"]
    with site.client(("ann", "wrong")) as client:
        assert client.get("/api/stats").status_code == 401


def test_who_signed_in_at_nginx_is_who_acts_with_the_role_of_the_settings(site: Site) -> None:
    with site.client(ANN) as client:
        assert "audio-extract" in client.get("/").text
        assert client.get("/settings").status_code == 200
        assert client.post("/api/clear-failed", headers=SAME).status_code == 200
    with site.client(BOB) as client:
        assert client.get("/").status_code == 200
        assert client.get("/settings").status_code == 403
        assert client.post("/api/clear-failed", headers=SAME).status_code == 403


def test_nobody_can_say_by_themselves_who_they_are(site: Site) -> None:
    with site.client(BOB, **{"X-Forwarded-User": "ann"}) as client:
        assert client.post("/api/clear-failed", headers=SAME).status_code == 403
    with site.client(**{"X-Forwarded-User": "ann", "Authorization": "Bearer nothing-known-here"}) as client:
        assert client.get("/api/stats").status_code == 401


def test_a_program_comes_in_with_its_token_and_no_password(site: Site) -> None:
    with site.client(Authorization=f"Bearer {TOKEN}") as client:
        assert client.get("/api/stats").json()["total"] == 0
        assert client.post("/api/clear-failed").status_code == 403


def test_another_site_cannot_use_the_password_that_a_browser_remembers(site: Site) -> None:
    with site.client(ANN) as client:
        answer = client.post("/api/clear-failed", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403


def test_another_name_is_refused(site: Site) -> None:
    with site.client(ANN, Host="evil.example") as client:
        assert client.get("/api/stats").status_code == 421


def test_live_events_come_at_once(site: Site) -> None:
    with site.client(ANN) as client, client.stream("GET", "/api/events", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        before = time.monotonic()
        assert next(answer.iter_lines()) != ""
        assert time.monotonic() - before < 3


def test_metrics_are_not_for_people_from_outside(site: Site) -> None:
    with site.client(ANN) as client:
        assert client.get("/metrics").status_code == 404

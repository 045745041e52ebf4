"""`run` and the monitor as people start them: what they show, and how they end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from audio_extract.emulator.samples import generate
from support.cli import environment
from support.databases import restartable_postgresql
from support.engine import wait_until
from support.service import world
from support.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with world(tmp_path) as made:
        yield Site(made, tmp_path)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> dict[str, Path]:
    keys = frozenset({"moov_first"})
    made = generate(tmp_path_factory.mktemp("samples"), ffmpeg, seconds=3, keys=keys)
    return {recording.sample.key: recording.path for recording in made}


@contextmanager
def serving(site: Site, *words: str) -> Iterator[subprocess.Popen[str]]:
    with (site.folder / "err.txt").open("w") as err:
        child = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=site.folder, env=environment(site.env), stderr=err, text=True
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait()


def address(site: Site, name: str) -> str | None:
    for line in (site.folder / "err.txt").read_text().splitlines():
        if line.startswith(f"{name}: http"):
            return line.partition(": ")[2].rstrip("/")
    return None


def completed(url: str) -> list[str]:
    return [row["source_id"] for row in httpx.get(url).json() if row["status"] == "completed"]


@pytest.mark.parametrize(
    "words",
    [("audio_extract", "run"), ("audio_extract.cli.monitor", "--interval", "1")],
    ids=["run", "monitor"],
)
def test_the_service_stores_what_appears_shows_it_and_ends_with_0_on_sigterm(
    site: Site, samples: dict[str, Path], words: tuple[str, ...]
) -> None:
    site.configure({"google_drive": {"check_interval_seconds": 1}})
    with serving(site, *words) as child:
        wait_until(lambda: address(site, "health") is not None, 60)
        page, health = address(site, "dashboard"), address(site, "health")
        file_id = site.world.add(samples["moov_first"], "Weekly.mp4")
        wait_until(lambda: completed(f"{page}/api/recent") == [file_id], 60)
        [row] = httpx.get(f"{page}/api/recent").json()
        assert httpx.get(row["storage_url"], follow_redirects=True).content[:3] == b"ID3"
        assert httpx.get(f"{health}/live").json()["alive"] is True
        assert 'files_processed_total{status="completed"} 1.0' in httpx.get(f"{health}/metrics").text
        # As a container's health check, which knows the port from the settings.
        port = {"AUDIO_EXTRACT__MONITORING__HEALTH_PORT": str(httpx.URL(str(health)).port)}
        asked = site.run("healthcheck", env=port)
        assert (asked.code, json.loads(asked.out)["alive"]) == (0, True), asked.err
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0, (site.folder / "err.txt").read_text()
    assert "Traceback" not in (site.folder / "err.txt").read_text()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{page}/")
    asked = site.run("healthcheck", env=port)
    assert (asked.code, "does not answer" in asked.err) == (1, True)


def test_the_monitor_is_a_word_of_the_program_too_for_where_there_is_no_python(site: Site) -> None:
    done = site.run("monitor", "--help")
    assert (done.code, "--folder-id" in done.out) == (0, True)
    done = site.run("monitor", "--once")
    assert (done.code, done.out) == (0, "0 new · 0 stored · 0 adopted · 0 failed\n"), done.err


def test_a_taken_port_ends_run_with_2_and_names_the_setting(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = site.run("run", "--dashboard-port", str(port))
    assert done.code == 2
    assert "monitoring.dashboard_port" in done.err


@pytest.mark.parametrize(
    ("words", "setting", "host"),
    [
        (["--open"], False, "127.0.0.1"),
        ([], True, "0.0.0.0"),  # noqa: S104
        ([], False, "127.0.0.1"),
    ],
)
def test_the_page_is_opened_where_that_is_wanted_at_an_address_that_leads_there_and_without_a_token(
    site: Site, words: list[str], setting: bool, host: str
) -> None:
    browser = site.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" >> {site.folder}/opened.txt\n')
    browser.chmod(0o755)
    site.env["BROWSER"] = f"{browser} %s"
    site.configure({"monitoring": {"dashboard_open_browser": setting, "dashboard_host": host}})
    opened = site.folder / "opened.txt"
    with serving(site, "audio_extract", "run", *words) as child:
        wait_until(lambda: address(site, "health") is not None, 60)
        if words or setting:
            wait_until(lambda: opened.exists() and opened.read_text().endswith("\n"), 30)
            url = opened.read_text().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/", url)
            page = httpx.get(url, follow_redirects=True, headers={"Accept": "text/html"})
            assert page.status_code == 200
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    assert opened.exists() == bool(words or setting)


def test_the_service_ends_on_sigterm_while_the_database_hangs(site: Site) -> None:
    with restartable_postgresql() as server:
        site.configure(
            {
                "monitoring": {"database_path": server.url},
                "google_drive": {"check_interval_seconds": 10},
            }
        )
        with serving(site, "audio_extract", "run") as child:
            wait_until(lambda: address(site, "health") is not None, 60)
            page = address(site, "dashboard")
            wait_until(lambda: httpx.get(f"{page}/api/stats").status_code == 200, 30)
            with server.stalled():
                health = f"{page}/api/health"
                assert wait_until(
                    lambda: httpx.get(health).json()["components"]["database"]["status"] == "unhealthy", 60
                )
                child.send_signal(signal.SIGTERM)
                assert child.wait(40) == 0


def test_where_there_is_no_browser_that_is_said_and_the_service_runs(site: Site) -> None:
    site.env["BROWSER"] = "false"
    with serving(site, "audio_extract", "run", "--open") as child:
        wait_until(lambda: "no browser could be started" in (site.folder / "err.txt").read_text(), 60)
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0


def monitor(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "audio_extract.cli.monitor", *words],
        cwd=site.folder,
        env=environment(site.env),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_monitor_keeps_its_earlier_flags(site: Site, samples: dict[str, Path]) -> None:
    site.world.add(samples["moov_first"], "Weekly.mp4")
    folder = ["--folder-id", site.world.folder, "--output", "audio", "--days-back", "0"]
    quiet = ["--once", "--log-level", "WARNING", "--no-dashboard", "--no-health-check"]
    done = monitor(site, "-c", "audio_extract_config.yaml", *folder, *quiet)
    assert (done.returncode, done.stdout) == (0, "1 new · 1 stored · 0 adopted · 0 failed\n"), done.stderr
    assert len(list((site.folder / "audio").rglob("*_audio.mp3"))) == 1
    tested = monitor(site, "--test")
    assert tested.returncode == 0, tested.stdout

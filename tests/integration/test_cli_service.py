"""The service's commands as people call them, between emulators: exit codes, stdout, what they leave."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from audio_extract.emulator.samples import generate
from support.cli import Outcome, environment, run_cli
from support.databases import restartable_postgresql
from support.engine import wait_until
from support.legacy import make_legacy
from support.otlp import receiver
from support.service import BUCKET, World, world


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> dict[str, Path]:
    keys = frozenset({"moov_first", "no_audio"})
    made = generate(tmp_path_factory.mktemp("samples"), ffmpeg, seconds=3, keys=keys)
    return {recording.sample.key: recording.path for recording in made}


class Site:
    """A folder with a settings file, between emulators."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.env = {"DRIVE_EMULATOR_HOST": world.drive.url, "STORAGE_EMULATOR_HOST": world.storage.url}
        self.configure({})

    def configure(self, changes: dict[str, Any]) -> None:
        values: dict[str, Any] = {
            "google_drive": {"recordings_folder_id": self.world.folder, "days_to_look_back": 0},
            "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
            "monitoring": {"database_path": "audio.db", "dashboard_port": 0, "health_port": 0},
        }
        for section, inner in changes.items():
            values[section] = {**values.get(section, {}), **inner}
        (self.folder / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))

    def run(self, *words: str, env: dict[str, str] | None = None) -> Outcome:
        return run_cli(*words, cwd=self.folder, env={**self.env, **(env or {})})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with world(tmp_path) as made:
        yield Site(made, tmp_path)


def test_once_stores_what_is_due_and_a_second_time_finds_nothing_to_do(
    site: Site, samples: dict[str, Path]
) -> None:
    site.world.add(samples["moov_first"], "Weekly.mp4")
    first = site.run("once", "--json")
    assert first.code == 0, first.err
    assert json.loads(first.out)["completed"] == 1
    second = site.run("once", "--fail-if-empty")
    assert second.code == 4
    assert second.out == "0 new · 0 stored · 0 adopted · 0 failed\n"
    assert len(site.world.objects()) == 1


def test_once_ends_with_1_when_something_that_was_due_failed(site: Site, samples: dict[str, Path]) -> None:
    site.world.add(samples["moov_first"], "Weekly.mp4")
    site.world.add(samples["no_audio"], "Silent.mp4")
    done = site.run("once", "--json")
    assert done.code == 1
    report = json.loads(done.out)
    assert (report["completed"], [one["name"] for one in report["failed"]]) == (1, ["Silent.mp4"])


def test_once_sends_one_trace_for_each_transfer_before_it_ends(site: Site, samples: dict[str, Path]) -> None:
    file_id = site.world.add(samples["moov_first"], "Weekly.mp4")
    with receiver() as made:
        done = site.run("once", env={"OTEL_EXPORTER_OTLP_ENDPOINT": made.url})
    assert done.code == 0, done.err
    spans = {span.name: span for span in made.spans()}
    assert {"discovery", "transfer", "fetch.ranges", "extract", "upload", "record"} <= spans.keys()
    transfer = spans["transfer"]
    assert transfer.parent_span_id == b""
    for name in ("fetch.ranges", "extract", "upload", "record"):
        child = spans[name]
        assert child.parent_span_id == transfer.span_id
        assert child.trace_id == transfer.trace_id
        # The engine's clock and Python's are read one after the other: a millisecond of difference is none.
        assert transfer.start_time_unix_nano - 1_000_000 <= child.start_time_unix_nano
        assert child.end_time_unix_nano <= transfer.end_time_unix_nano + 1_000_000
    row = json.loads(site.run("show", file_id, "--json").out)
    assert row["trace_id"] == transfer.trace_id.hex()
    [name] = site.world.objects()
    assert site.world.storage.emulator.object(BUCKET, name).metadata["trace-id"] == row["trace_id"]


def test_a_dry_run_of_once_says_what_is_wanted_and_moves_nothing(
    site: Site, samples: dict[str, Path]
) -> None:
    site.world.add(samples["moov_first"], "Weekly.mp4")
    done = site.run("once", "--dry-run")
    assert (done.code, done.out) == (0, "Weekly.mp4: wanted\n")
    assert site.world.moved() == (0, 0)
    assert not (site.folder / "audio.db").exists()


def test_what_is_known_can_be_listed_shown_retried_and_forgotten(
    site: Site, samples: dict[str, Path]
) -> None:
    assert site.run("list").code == 2
    good = site.world.add(samples["moov_first"], "Weekly.mp4")
    site.world.add(samples["no_audio"], "Silent.mp4")
    site.run("once")
    rows = {row["name"]: row for row in json.loads(site.run("list", "--json").out)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "Weekly.mp4": "completed",
        "Silent.mp4": "quarantined",
    }
    table = site.run("list", "--state", "completed").out
    assert "Weekly.mp4" in table
    assert "Silent.mp4" not in table
    shown = json.loads(site.run("show", good, "--json").out)
    assert shown["id"] == rows["Weekly.mp4"]["id"]
    assert [entry["to_state"] for entry in shown["audit"]][-1] == "completed"
    assert "to do:" in site.run("show", rows["Silent.mp4"]["id"]).out

    silent = rows["Silent.mp4"]["id"]
    assert site.run("retry", "--failed", "--dry-run").out == f"would be due: {silent}\n"
    refused = site.run("retry", "--failed")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert site.run("retry", "--failed", "--yes").out == f"due now: {silent}\n"
    assert json.loads(site.run("show", silent, "--json").out)["status"] == "pending"

    assert site.run("forget", good).code == 2
    assert site.run("forget", good, "--yes").out == f"forgotten: {rows['Weekly.mp4']['id']}\n"
    assert site.run("show", good).code == 1
    again = json.loads(site.run("once", "--full", "--json").out)
    assert again["adopted"] == 1
    assert len(site.world.objects()) == 1


def test_check_says_what_works_and_tells_an_empty_folder_from_one_that_is_not_shared(site: Site) -> None:
    empty = site.run("check")
    assert empty.code == 0, empty.out
    assert "seen, and it is empty" in empty.out
    parts = (
        "settings",
        "ffmpeg",
        "database",
        "temporary folder",
        "sources",
        "destination",
        "clock",
        "dashboard",
    )
    for part in parts:
        assert f"ok    {part}" in empty.out
    assert "this machine only" in empty.out
    site.world.drive.emulator.hide(site.world.folder)
    hidden = site.run("check", "--json")
    assert hidden.code == 3
    [bad] = [part for part in json.loads(hidden.out) if not part["good"]]
    assert bad["part"] == "sources"
    assert "share the folder" in bad["message"]


def test_check_says_who_may_come_in_to_the_dashboard(site: Site) -> None:
    everywhere = {"AUDIO_EXTRACT__MONITORING__DASHBOARD_HOST": "0.0.0.0"}  # noqa: S104
    assert "prints a link with a token" in site.run("check", env=everywhere).out
    token = "a-secret-of-a-program"
    security = {
        "AUDIO_EXTRACT__SECURITY__TOKENS": json.dumps([{"name": "grafana", "token": token}]),
        "AUDIO_EXTRACT__SECURITY__PROXY__IAP_AUDIENCE": "/projects/1/apps/x",
    }
    said = site.run("check", env={**everywhere, **security}).out
    assert "lets in token grafana (viewer), whom the proxy lets through" in said
    assert token not in said


def test_receivers_that_refuse_or_hang_change_nothing_but_one_line_each(
    site: Site, samples: dict[str, Path]
) -> None:
    site.world.add(samples["moov_first"], "Weekly.mp4")
    with receiver() as hanging:
        hanging.hangs = True
        env = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{hanging.url}/v1/metrics",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        began = time.monotonic()
        done = site.run("once", "--json", "-v", "--log-format", "json", env=env)
        took = time.monotonic() - began
        hanging.go_on.set()
    assert done.code == 0
    assert json.loads(done.out)["completed"] == 1
    assert len(site.world.objects()) == 1
    lines = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    bad = [(line["event"], line["signal"]) for line in lines if line["level"] == "warning"]
    assert sorted(bad) == [("telemetry.not_sent", "metrics"), ("telemetry.not_sent", "traces")]
    # Each is waited for at the end, five seconds at most.
    assert took < 40


def test_check_looks_for_receivers_that_settings_or_environment_name(site: Site) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "AUDIO_EXTRACT__TELEMETRY__OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_METRICS_EXPORTER": "none",
    }
    found = site.run("check", env=env)
    assert found.code == 2
    [bad] = [line for line in found.out.splitlines() if line.startswith("FAIL")]
    assert "traces" in bad
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: http://127.0.0.1:9 cannot be reached (Connection refused)" in bad
    assert "metrics           are not sent, as the OTEL_… variables say" in found.out
    wrong = site.run("check", env={**env, "OTEL_TRACES_EXPORTER": "zipkin"})
    assert "FAIL  traces            OTEL_TRACES_EXPORTER=zipkin" in wrong.out


def test_a_folder_that_is_not_shared_ends_once_with_3_and_the_remedy(site: Site) -> None:
    site.world.drive.emulator.hide(site.world.folder)
    done = site.run("once")
    assert done.code == 3
    assert "share the folder" in done.err


def test_a_bucket_that_does_not_exist_ends_once_with_2_and_names_the_setting(
    site: Site, samples: dict[str, Path]
) -> None:
    site.world.add(samples["moov_first"], "Weekly.mp4")
    site.configure({"storage": {"gcs": {"bucket_name": "no-such-bucket"}}})
    done = site.run("once")
    assert done.code == 2, done.err
    assert "storage.gcs.bucket_name" in done.err
    assert "no-such-bucket" in done.err


@pytest.mark.parametrize(
    ("changes", "env", "texts"),
    [
        ({"google_drive": {"recordings_folder_id": None}}, {}, ["google_drive.recordings_folder_id"]),
        ({"google_drive": {"recordings_folder": "x"}}, {}, ["recordings_folder", "recordings_folder_id"]),
        ({"processing": {"max_parallel_downloads": "many"}}, {}, ["processing.max_parallel_downloads"]),
        ({"storage": {"gcs": {"bucket_name": "${NO_SUCH_VARIABLE}"}}}, {}, ["NO_SUCH_VARIABLE"]),
        ({"processing": {"ffmpeg": {"path": "/nothing"}}}, {}, ["processing.ffmpeg.path", "/nothing"]),
        (
            {"google_drive": {"service_account_file": "no-key.json"}},
            {"DRIVE_EMULATOR_HOST": ""},
            ["google_drive.service_account_file", "no-key.json"],
        ),
        ({}, {"AUDIO_EXTRACT__STORAGE__TYPE": "ftp"}, ["storage.type", "AUDIO_EXTRACT__STORAGE__TYPE"]),
    ],
    ids=["no folder", "unknown key", "wrong type", "absent variable", "no ffmpeg", "no key", "environment"],
)  # fmt: skip
def test_bad_configuration_ends_with_2_and_a_message_that_names_the_setting(
    site: Site, changes: dict[str, Any], env: dict[str, str], texts: list[str]
) -> None:
    site.configure(changes)
    # `check` shows on stdout what it finds, the others end with an error.
    for command in ("once", "check"):
        done = site.run(command, env=env)
        assert done.code == 2, done.err
        for text in texts:
            assert text in done.err + done.out
        assert "Traceback" not in done.err


def test_several_problems_with_the_settings_stand_on_lines_of_their_own(site: Site) -> None:
    site.configure({"surprise": {"url": "x"}, "novelty": {"port": 1}})
    lines = site.run("once").err.splitlines()
    assert lines[0].endswith("2 problems with the settings in audio_extract_config.yaml:")
    assert [line.split(":")[0] for line in lines[1:3]] == ["  - novelty", "  - surprise"]


def test_run_does_not_start_with_a_key_file_that_is_not_there(site: Site) -> None:
    site.configure({"google_drive": {"service_account_file": "no-key.json"}})
    done = site.run("run", env={"DRIVE_EMULATOR_HOST": ""})
    assert (done.code, "google_drive.service_account_file" in done.err) == (2, True)


def test_a_settings_file_that_does_not_exist_is_named(site: Site) -> None:
    done = site.run("config", "show", "--config", "none.yaml")
    assert done.code == 2
    assert "none.yaml" in done.err


def test_config_init_writes_a_file_that_loads_and_is_not_replaced_unasked(site: Site) -> None:
    made = site.run("config", "init", "new.yaml")
    assert (made.code, made.out) == (0, "new.yaml\n")
    assert site.run("config", "init", "new.yaml").code == 2
    shown = site.run("config", "show", "--json", "--config", "new.yaml")
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["behavior"]["retry_attempts"] == 3
    assert json.loads(site.run("config", "schema").out)["type"] == "object"


@pytest.mark.parametrize("path", ["nowhere/new.yaml", "folder", "/dev/null/new.yaml"])
def test_config_init_says_that_a_file_cannot_be_written(site: Site, path: str) -> None:
    (site.folder / "folder").mkdir()
    done = site.run("config", "init", path, "--yes")
    assert done.code == 2
    assert f"{path} cannot be written" in done.err


def test_a_damaged_database_is_named_with_the_remedy(site: Site, samples: dict[str, Path]) -> None:
    site.world.add(samples["moov_first"], "Weekly.mp4")
    site.configure({"monitoring": {"database_path": str(site.folder / "t.db")}})
    assert site.run("once").code == 0
    with (site.folder / "t.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (site.folder / "t.db").stat().st_size)
    for command in ("list", "once", "check"):
        done = site.run(command)
        assert done.code == 2, done.err
        assert "t.db is damaged" in done.err + done.out
        assert "Traceback" not in done.err


def test_a_list_without_a_terminal_is_not_cut(site: Site, samples: dict[str, Path]) -> None:
    name = "Weekly " + "very " * 40 + "long.mp4"
    site.world.add(samples["no_audio"], name)
    assert site.run("once").code == 1
    listed = site.run("list", env={"COLUMNS": "80"})
    assert name in listed.out
    assert "no audio track" in listed.out


@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("config", "schema")])
def test_a_reader_that_goes_away_ends_a_command_quietly(
    site: Site, samples: dict[str, Path], words: tuple[str, ...]
) -> None:
    site.world.add(samples["no_audio"], "Weekly.mp4")
    assert site.run("once").code == 1
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "audio_extract", *words]
    done = subprocess.run(
        command, cwd=site.folder, env=environment(site.env), stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_round_works_with_stdout_and_stderr_closed(site: Site, samples: dict[str, Path]) -> None:
    site.world.add(samples["moov_first"], "Weekly.mp4")
    command = ["sh", "-c", f"exec {sys.executable} -m audio_extract once >&- 2>&-"]
    done = subprocess.run(command, cwd=site.folder, env=environment(site.env), check=False)
    assert done.returncode == 0
    assert len(site.world.objects()) == 1


def test_config_show_masks_secrets(site: Site) -> None:
    site.configure({"monitoring": {"database_path": "postgresql://me:canary@db/audio"}})
    shown = site.run("config", "show")
    assert shown.code == 0
    assert "canary" not in shown.out + shown.err


@pytest.mark.parametrize(("words", "code"), [(("list",), 2), (("db", "status"), 0)])
def test_a_command_that_only_looks_makes_no_database(site: Site, words: tuple[str, ...], code: int) -> None:
    assert site.run(*words).code == code
    assert not (site.folder / "audio.db").exists()


def test_the_database_is_made_only_by_upgrade_or_the_first_round(site: Site) -> None:
    empty = site.run("db", "status")
    assert (empty.code, "empty" in empty.out) == (0, True)
    assert site.run("db", "upgrade", "--dry-run").out == empty.out
    assert "upgraded from nothing" in site.run("db", "upgrade").out
    assert json.loads(site.run("db", "status", "--json").out)["needs_upgrade"] is False


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


def test_what_a_killed_round_left_in_the_destination_is_gone_after_the_next(
    samples: dict[str, Path], tmp_path: Path
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    shutil.copy(samples["moov_first"], source / "Weekly (2025-01-29 at 10:00 GMT).mp4")
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    part = target / "2025" / "01" / f".Weekly_2025-01-29_10-00_audio.mp3.{gone.pid}-0.audio-extract.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half of it")
    values = {
        "sources": {"local": {"path": str(source), "settle_seconds": 0}},
        "storage": {"type": "local", "local": {"path": str(target)}},
        "monitoring": {"database_path": str(tmp_path / "t.db")},
    }
    (tmp_path / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))
    done = run_cli("once", cwd=tmp_path)
    assert (done.code, "1 stored" in done.out) == (0, True), done.err
    assert [path.name for path in part.parent.iterdir()] == ["Weekly_2025-01-29_10-00_audio.mp3"]


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


def test_help_imports_nothing_that_is_slow(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['audio-extract', '--help']\n"
        "from audio_extract.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'sqlalchemy', 'alembic', 'google.cloud', 'googleapiclient', 'starlette', 'pydantic',"
        " 'rich.console', 'opentelemetry', 'structlog', 'apscheduler'}\n"
        "print(sorted(slow & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "[]\n"


def test_extract_of_a_local_file_imports_no_database_and_no_google_client(
    samples: dict[str, Path], tmp_path: Path
) -> None:
    code = (
        f"import sys; sys.argv = ['audio-extract', 'extract', {str(samples['moov_first'])!r}, '-o', 'out/']\n"
        "from audio_extract.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "slow = {'sqlalchemy', 'alembic', 'google.cloud', 'googleapiclient', 'starlette'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_the_earlier_service_processed_is_taken_over_after_a_question(
    site: Site, tmp_path: Path
) -> None:
    old = make_legacy(tmp_path / "old.db")
    looked = site.run("db", "import", str(old), "--dry-run")
    assert (looked.code, looked.out) == (0, f"{old}: 4 recordings, 3 of them completed\n")
    refused = site.run("db", "import", str(old))
    assert refused.code == 2
    assert "--yes" in refused.err
    assert site.run("list").code == 2
    done = site.run("db", "import", str(old), "--yes")
    assert done.code == 0
    assert done.out.endswith("4 added, 0 that waited here are completed, 0 were known already\n")
    assert len(site.run("list").out.splitlines()) == 5
    wrong = site.run("db", "import", str(tmp_path / "none.db"), "--yes")
    assert wrong.code == 2
    assert "none.db" in wrong.err

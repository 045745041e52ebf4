"""`check`, `config`, and settings that cannot work: exit codes, and messages that name setting and remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_extract.emulator.samples import generate
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


def test_config_show_masks_secrets(site: Site) -> None:
    site.configure({"monitoring": {"database_path": "postgresql://me:canary@db/audio"}})
    shown = site.run("config", "show")
    assert shown.code == 0
    assert "canary" not in shown.out + shown.err

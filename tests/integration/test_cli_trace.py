"""Where the time of a transfer went, in the terminal: ``trace show`` and ``extract --profile``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest
import yaml

from audio_extract.cli.trace import trace_link
from audio_extract.cli.waterfall import print_waterfall
from audio_extract.settings import load_settings
from support.cli import run_cli
from support.engine import make_recording
from support.reports import SECOND, transfer_report
from support.service import BUCKET, World, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


def test_the_stages_of_a_stored_recording_are_shown_with_their_parts_from_its_processing_log(
    here: World, ffmpeg: Path
) -> None:
    folder = here.directory
    file_id = here.add(make_recording(folder / "meeting.mp4", ffmpeg, seconds=3), "Meeting.mp4")
    settings = {
        "google_drive": {"recordings_folder_id": here.folder, "days_to_look_back": 0},
        "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
        "monitoring": {"database_path": "audio.db"},
    }
    (folder / "audio_extract_config.yaml").write_text(yaml.safe_dump(settings))
    env = {"DRIVE_EMULATOR_HOST": here.drive.url, "STORAGE_EMULATOR_HOST": here.storage.url}
    assert run_cli("once", cwd=folder, env=env).code == 0
    shown = run_cli("trace", "show", file_id, cwd=folder, env=env)
    assert shown.code == 0, shown.err
    names = [line.split()[0] for line in shown.out.splitlines()]
    for name in ("fetch.index", "fetch.ranges", "extract", "extract.encode", "upload", "upload.chunk", "all"):
        assert name in names, shown.out
    assert names.index("upload.chunk") == names.index("upload") + 1
    stages = json.loads(run_cli("trace", "show", file_id, "--json", cwd=folder, env=env).out)["stages"]
    assert {stage["name"] for stage in stages} >= {"extract.decode", "verify"}
    # Without the log the database tells the stages, but not their parts.
    for log in here.storage.emulator.objects(BUCKET):
        if "/metadata/" in log.name:
            address = f"{here.storage.url}/storage/v1/b/{BUCKET}/o/{quote(log.name, safe='')}"
            assert httpx.delete(address).status_code == 204
    without = json.loads(run_cli("trace", "show", file_id, "--json", cwd=folder, env=env).out)["stages"]
    assert {stage["name"] for stage in without} == {
        *("fetch.index", "fetch.ranges", "extract", "upload", "verify")
    }


def test_a_profile_is_shown_beside_the_result_and_stdout_stays_clean(tmp_path: Path, ffmpeg: Path) -> None:
    recording = make_recording(tmp_path / "meeting.mp4", ffmpeg, seconds=3)
    done = run_cli("extract", recording, "--profile", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out == f"{recording.with_suffix('.mp3')}\n"
    assert "extract.decode" in done.err
    assert "━" in done.err


def test_a_trace_is_linked_where_the_settings_say_or_to_a_jaeger_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def link(**telemetry: str) -> str | None:
        return trace_link(load_settings(overrides={"telemetry": telemetry}, environ={}), "ab")

    assert link(trace_url="https://traces/{trace_id}?wide") == "https://traces/ab?wide"
    assert link(otlp_endpoint="http://elsewhere:4318") is None
    assert link(otlp_endpoint="http://localhost:4318") == "http://localhost:16686/trace/ab"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert link() == "http://localhost:16686/trace/ab"


def test_a_bar_stands_where_its_stage_was_and_events_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    stages = transfer_report()["stages"]
    stages[0]["events"] *= 2
    stages.append({**stages[1], "name": "upload.chunk", "start_unix_nanos": 12 * SECOND})
    print_waterfall(stages)
    _, fetch, upload, chunk, whole = capsys.readouterr().out.splitlines()
    assert fetch.count("━") == round(40 * 2 / 3)
    assert "retry ×2" in fetch
    assert upload.index("━") - fetch.index("━") == 40 // 3
    assert chunk.startswith("  upload.chunk")
    assert "3.000 s" in whole

"""The service's commands as people call them, between emulators: exit codes, stdout, what they leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from audio_extract.emulator.samples import generate
from support.cli import environment, run_cli
from support.legacy import make_legacy
from support.otlp import receiver
from support.service import BUCKET, world
from support.site import Site


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> dict[str, Path]:
    keys = frozenset({"moov_first", "no_audio"})
    made = generate(tmp_path_factory.mktemp("samples"), ffmpeg, seconds=3, keys=keys)
    return {recording.sample.key: recording.path for recording in made}


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

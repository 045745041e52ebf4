from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from audio_extract.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        if handler not in handlers:
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    structlog.reset_defaults()


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_name_cannot_forge_a_line_or_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    logging.getLogger("audio_extract.jobs").info("stored %s", "a\n12:00:00 info stored b\x1b[2J")
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(r"stored a\n12:00:00 info stored b\x1b[2J")


def test_a_quiet_console_keeps_nothing_from_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "service.log"
    configure_logs(file=file, console_level="ERROR")
    log = logging.getLogger("audio_extract.jobs")
    log.info("stored")
    log.error("failed")
    assert [line["message"] for line in lines(file)] == ["stored", "failed"]
    assert "failed" in (said := capsys.readouterr().err)
    assert "stored" not in said


def test_a_line_of_the_file_is_one_json_object_with_the_keys_of_the_contract(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "service.log"
    configure_logs(console=None, file=file)
    logging.getLogger("audio_extract.jobs").info(
        "stored %s", "weekly.mp4", extra={"event": "transfer.completed", "recording_id": "abc", "bytes": 7}
    )
    [line] = lines(file)
    assert line["timestamp"].endswith("+00:00")
    assert line["level"] == "info"
    assert line["logger"] == line["name"] == "audio_extract.jobs"
    assert line["message"] == "stored weekly.mp4"
    assert line["event"] == "transfer.completed"
    assert line["recording_id"] == "abc"
    assert line["bytes"] == 7
    assert {"trace_id", "span_id"} <= line.keys()


def test_structlog_and_logging_make_the_same_keys(tmp_path: Path) -> None:
    file = tmp_path / "service.log"
    configure_logs(console=None, file=file)
    structlog.get_logger("audio_extract.jobs").info(
        "transfer.completed", message="stored", recording_id="abc"
    )
    logging.getLogger("audio_extract.jobs").info(
        "stored", extra={"event": "transfer.completed", "recording_id": "abc"}
    )
    first, second = lines(file)
    del first["timestamp"], second["timestamp"]
    assert first == second


def test_no_secret_reaches_a_line_from_message_arguments_extra_or_exception(tmp_path: Path) -> None:
    file = tmp_path / "service.log"
    configure_logs(console=None, file=file, level="DEBUG")
    log = logging.getLogger("googleapiclient")
    log.debug("header %s", "Authorization: Bearer canary-1234567")
    log.warning("failed", extra={"smtp_password": "canary-1234567", "url": "https://u:canary-1234567@h/"})
    try:
        raise RuntimeError("https://h/o?X-Goog-Signature=canary-1234567")
    except RuntimeError:
        log.exception("upload failed")
    text = file.read_text()
    assert "canary-1234567" not in text
    assert len(lines(file)) == 3
    assert "RuntimeError" in text


def test_a_full_file_is_put_aside_and_old_ones_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "service.log"
    configure_logs(console=None, file=file, file_max_bytes=1_000, file_backups=2)
    log = logging.getLogger("audio_extract")
    for number in range(30):
        log.info("line %d %s", number, "x" * 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "service.log",
        "service.log.1",
        "service.log.2",
    ]
    names = ("service.log.2", "service.log.1", "service.log")
    kept = "".join(file.with_name(name).read_text() for name in names)
    numbers = [int(line["message"].split()[1]) for line in map(json.loads, kept.splitlines())]
    assert numbers == list(range(numbers[0], 30)), "no line is lost where a file ends"


def test_the_console_shows_one_readable_line_without_noise(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(console="text")
    logging.getLogger("audio_extract").warning("no recording found", extra={"event": "discovery.empty"})
    error = capsys.readouterr().err
    assert error.rstrip().endswith("warning  no recording found  event=discovery.empty")


def test_the_line_of_a_span_carries_its_ids(tmp_path: Path) -> None:
    from opentelemetry import trace

    file = tmp_path / "service.log"
    configure_logs(console=None, file=file)
    context = trace.SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)):
        logging.getLogger("audio_extract").info("inside")
    [line] = lines(file)
    assert line["trace_id"] == f"{0xABC:032x}"
    assert line["span_id"] == f"{0xDEF:016x}"


def test_a_log_file_that_cannot_be_written_is_said_once_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocking = tmp_path / "logs"
    blocking.write_text("a file where a folder should be")
    configure_logs(console="text", file=blocking / "audio-extract.log")
    logging.getLogger("x").info("one")
    logging.getLogger("x").info("two")
    said = capsys.readouterr().err
    assert said.count("cannot be written") == 1
    assert "one" in said
    assert "two" in said
    # Once it can be written it is.
    blocking.unlink()
    logging.getLogger("x").info("three")
    assert [
        json.loads(line)["message"] for line in (blocking / "audio-extract.log").read_text().splitlines()
    ] == ["three"]


def test_a_full_disk_under_the_log_file_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(console="text", file=Path("/dev/full"))
    for number in range(3):
        logging.getLogger("x").info("line %d", number)
    said = capsys.readouterr().err
    assert said.count("No space left on device") == 1
    assert "Traceback" not in said
    assert "line 2" in said


def test_nobody_who_reads_stderr_is_no_reason_to_stop() -> None:
    program = (
        "import logging, os, sys\n"
        "from audio_extract.telemetry.logs import configure_logs\n"
        "configure_logs(console='text')\n"
        "reading, writing = os.pipe(); os.close(reading); os.dup2(writing, 2)\n"
        "logging.getLogger('x').warning('into the void'); sys.stderr = None\n"
        "print('goes on')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "goes on\n")


def test_what_any_library_says_during_a_transfer_names_the_recording(tmp_path: Path) -> None:
    configure_logs(console=None, file=tmp_path / "log")
    with structlog.contextvars.bound_contextvars(recording_id="7"):
        logging.getLogger("googleapiclient").warning("slow")
    logging.getLogger("x").warning("after")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["recording_id"] for line in lines] == ["7", None]

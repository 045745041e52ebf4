"""The emulators in a process of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    recording = tmp_path / "Weekly Sync.mp4"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    recording.write_bytes(b"0123456789" * 100_000)
    command = [
        sys.executable,
        "-m",
        "audio_extract.emulator",
        str(recording),
        "--connection-mb-per-second",
        "4",
    ]
    env = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        try:
            yield child, json.loads(child.stdout.readline())
            # Killed, it would leave its folders behind.
            child.stdin.close()
            child.wait(10)
        finally:
            child.kill()
    assert list(temporary.iterdir()) == []


def test_it_prints_addresses_and_serves_what_it_was_given(
    process: tuple[subprocess.Popen[str], dict[str, Any]], web: httpx.Client
) -> None:
    _, told = process
    file_id = told["files"]["Weekly Sync.mp4"]
    answer = web.get(f"{told['DRIVE_EMULATOR_HOST']}/drive/v3/files/{file_id}?alt=media")
    assert answer.content == b"0123456789" * 100_000
    assert answer.elapsed.total_seconds() >= 0.15
    listed = web.get(f"{told['STORAGE_EMULATOR_HOST']}/storage/v1/b/{told['bucket']}/o")
    assert listed.json() == {"kind": "storage#objects"}


@pytest.mark.parametrize("how", ["end of input", "SIGTERM"])
def test_it_ends_when_told_to(process: tuple[subprocess.Popen[str], dict[str, Any]], how: str) -> None:
    child, _ = process
    if how == "SIGTERM":
        child.send_signal(signal.SIGTERM)
    else:
        assert child.stdin is not None
        child.stdin.close()
    assert child.wait(10) == 0

"""``docker compose up`` with the image, as a developer starts it. `make test-docker` runs it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from package.containers import IMAGE
from support.cli import Outcome

COMPOSE = os.environ.get("AUDIO_EXTRACT_TEST_COMPOSE", "")
ROOT = Path(__file__).parents[2]
#: The ports of this machine may be taken.
NO_PORTS = """
services:
  audio-extract: {ports: !override []}
  emulators: {ports: !override []}
"""

pytestmark = pytest.mark.skipif(not (IMAGE and COMPOSE), reason="compose: make test-docker")


class Project:
    """What was started together."""

    def __init__(self, folder: Path) -> None:
        override = folder / "no-ports.yml"
        override.write_text(NO_PORTS)
        files = ["--file", str(ROOT / "docker-compose.yml"), "--file", str(override)]
        self._command = [COMPOSE, "--project-name", "audio-extract-test", *files]

    def call(self, *words: str) -> Outcome:
        done = subprocess.run(
            [*self._command, *words],
            cwd=ROOT,
            env={**os.environ, "AUDIO_EXTRACT_IMAGE": IMAGE},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    try:
        yield made
    finally:
        made.call("down", "--volumes", "--timeout", "20")


def test_up_stores_every_good_sample_of_the_emulated_drive_and_stops_cleanly(project: Project) -> None:
    done = project.call("up", "--detach", "--wait", "--no-build")
    assert done.code == 0, done.err + project.call("logs").out
    deadline = time.monotonic() + 100
    find = ("exec", "--no-TTY", "audio-extract", "find", "/app/output", "-name", "*_audio.mp3")
    while len(project.call(*find).out.split()) < 6:
        assert time.monotonic() < deadline, project.call("logs").out
        time.sleep(0.5)
    log = project.call("logs", "audio-extract").out
    # The page is for others: a link lets in.
    assert "?token=" in log
    assert project.call("stop", "--timeout", "60").code == 0
    states = project.call("ps", "--all", "--format", "{{.Service}} {{.ExitCode}}").out.split("\n")
    assert {"audio-extract 0", "emulators 0"} <= set(states), states

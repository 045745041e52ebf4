"""Containers of the image, through Docker's own command."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support.cli import Outcome

IMAGE = os.environ.get("AUDIO_EXTRACT_TEST_IMAGE", "")
PLAIN = os.environ.get("AUDIO_EXTRACT_TEST_PLAIN_IMAGE", "")


def docker(*words: str, timeout: float = 110) -> Outcome:
    """Call Docker."""
    done = subprocess.run(
        ["docker", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run(*words: str, image: str = IMAGE, options: tuple[str, ...] = ()) -> Outcome:
    """Run a container to its end."""
    return docker("run", "--rm", *options, image, *words)


@dataclass
class Container:
    """One that runs, or has ended."""

    name: str

    def inspect(self) -> dict[str, Any]:
        """What Docker knows of it."""
        [found] = json.loads(docker("inspect", self.name).out)
        return dict(found)

    def log(self) -> str:
        """Everything it has said."""
        done = docker("logs", self.name)
        return done.out + done.err

    def execute(self, *words: str) -> Outcome:
        """Run something beside its program."""
        return docker("exec", self.name, *words)

    def wait_for(self, said: str, seconds: float = 60) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + seconds
        while said not in self.log():
            assert time.monotonic() < deadline, self.log()
            assert self.inspect()["State"]["Running"], self.log()
            time.sleep(0.1)

    def stop(self) -> int:
        """Stop it as Docker does, and return the exit code."""
        docker("stop", "--time", "60", self.name)
        return self.exit_code()

    def exit_code(self) -> int:
        """Wait for its end."""
        return int(docker("wait", self.name).out)


@contextmanager
def started(*words: str, image: str = IMAGE, options: tuple[str, ...] = ()) -> Iterator[Container]:
    """Start a container, and remove it at the end."""
    done = docker("run", "--detach", *options, image, *words)
    assert done.code == 0, done.err
    container = Container(done.out.strip())
    try:
        yield container
    finally:
        docker("rm", "--force", "--volumes", container.name)

"""Runs the real program in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call of the program left."""

    code: int
    out: str
    err: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: clean, without colours, with a wide terminal so that no line wraps."""
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(extra or {})}


def run_cli(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 100
) -> Outcome:
    """Run ``audio-extract WORDS`` in ``cwd`` without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "audio_extract", *map(str, words)],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)

"""What a run of these tests leaves on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_KILLED = """
import os, sys, pytest

class Killer:
    def pytest_collection_finish(self):
        os._exit(9)

pytest.main(["-q", "-p", "no:cacheprovider", sys.argv[1]], plugins=[Killer()])
"""


def test_a_run_that_is_killed_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, __file__],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 9, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []

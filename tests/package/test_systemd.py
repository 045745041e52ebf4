"""The executable as a service of a real systemd, which `make test-systemd` boots in a container (root)."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from audio_extract.emulator.samples import generate
from support.cli import Outcome

EXECUTABLE = os.environ.get("AUDIO_EXTRACT_TEST_EXECUTABLE", "")
ROOT = os.environ.get("AUDIO_EXTRACT_TEST_SYSTEMD_ROOT", "")
UNIT = "audio-extract.service"
BOOTED = {"running", "degraded"}

pytestmark = pytest.mark.skipif(not (EXECUTABLE and ROOT), reason="systemd: make test-systemd")


@dataclass
class Machine:
    """A Debian that systemd runs; nothing that is written in it stays."""

    leader: int
    shared: Path

    def run(self, *words: str, seconds: float = 100) -> Outcome:
        """Run something in it, as root."""
        done = subprocess.run(
            [
                "nsenter",
                "--target",
                str(self.leader),
                "--all",
                "env",
                "-i",
                "PATH=/usr/sbin:/usr/bin",
                *words,
            ],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def facts(self) -> dict[str, str]:
        """What systemd knows of the service."""
        lines = self.run("systemctl", "show", UNIT).out.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self) -> str:
        """What the service has said."""
        return self.run("journalctl", "--unit", UNIT, "--no-pager", "--output", "cat").out

    def put(self, place: str, text: str) -> None:
        """Write a file."""
        (self.shared / "file").write_text(text)
        assert self.run("install", "-D", "-m", "0644", "/mnt/shared/file", place).code == 0

    def has_ffmpeg(self) -> bool:
        """Whether an FFmpeg runs."""
        return "ffmpeg" in self.run("sh", "-c", "cat /proc/[0-9]*/comm").out.split()

    def wait_for(self, is_so: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, self.journal()
            time.sleep(0.2)


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
    return int(children[0]) if children else 0


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    shared = tmp_path_factory.mktemp("shared")
    shutil.copy(EXECUTABLE, shared / "audio-extract")
    words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--console=pipe"]
    options = [
        "--volatile=overlay",
        "--private-network",
        f"--bind={shared}:/mnt/shared",
        f"--directory={ROOT}",
    ]
    with subprocess.Popen(
        [*words, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as nspawn:
        try:
            end = time.monotonic() + 60
            while True:
                assert nspawn.poll() is None, nspawn.stderr and nspawn.stderr.read()
                assert time.monotonic() < end
                made = Machine(_leader(nspawn), shared)
                # A container lacks this and that, so that some units fail: "degraded".
                if made.leader and made.run("systemctl", "is-system-running").out.strip() in BOOTED:
                    break
                time.sleep(0.3)
            yield made
        finally:
            nspawn.terminate()


@pytest.fixture(scope="module")
def installed(machine: Machine, ffmpeg: Path) -> Machine:
    """The service is installed and has something to do."""
    for seconds, name in ((4, "short"), (1500, "long")):
        [made] = generate(machine.shared / name, ffmpeg, seconds=seconds, keys=frozenset({"moov_last"}))
        made.path.rename(machine.shared / f"{name}.mp4")
    assert machine.run("mkdir", "-p", "/srv/in", "/srv/audio").code == 0
    done = machine.run("/mnt/shared/audio-extract", "service", "install", "--write-to", "/srv/audio")
    assert done.code == 0, done.err
    assert machine.run("chown", "audio-extract", "/srv/audio").code == 0
    values = {
        "sources": {"local": {"path": "/srv/in", "settle_seconds": 0}},
        "storage": {"type": "local", "local": {"path": "/srv/audio"}},
        # So that the long recording takes a while.
        "processing": {"ffmpeg": {"encoders": 1}},
    }
    machine.put("/etc/audio-extract/config.yaml", yaml.safe_dump(values))
    drop_in = "[Service]\nWatchdogSec=6\n"
    machine.put(f"/etc/systemd/system/{UNIT}.d/quick.conf", drop_in)
    assert machine.run("systemctl", "daemon-reload").code == 0
    return machine


def test_it_is_started_and_says_that_it_runs(installed: Machine) -> None:
    done = installed.run("systemctl", "start", UNIT)
    assert done.code == 0, installed.journal()
    facts = installed.facts()
    assert (facts["ActiveState"], facts["SubState"], facts["StatusText"]) == ("active", "running", "runs")
    assert facts["UnitFileState"] == "enabled"
    assert installed.run("systemctl", "show", "--property=User", UNIT).out == "User=audio-extract\n"


def test_it_does_its_work_within_its_bounds(installed: Machine) -> None:
    installed.run("cp", "/mnt/shared/short.mp4", "/srv/in/Short (2025-01-29 at 10:00 GMT).mp4")
    stored = "/srv/audio/2025/01/Short_2025-01-29_10-00_audio.mp3"
    installed.wait_for(lambda: installed.run("test", "-s", stored).code == 0)
    # It lives past its watchdog.
    time.sleep(8)
    assert installed.facts()["NRestarts"] == "0"
    pid = installed.facts()["MainPID"]
    status = installed.run("cat", f"/proc/{pid}/status").out
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_one_that_hangs_is_started_again(installed: Machine) -> None:
    before = installed.facts()["MainPID"]
    assert installed.run("systemctl", "kill", "--signal=STOP", UNIT).code == 0
    installed.wait_for(
        lambda: (
            installed.facts()["NRestarts"] == "1"
            and installed.facts()["SubState"] == "running"
            and installed.facts()["MainPID"] != before
        ),
        90,
    )


def test_a_stop_lets_a_transfer_finish_and_ends_with_success(installed: Machine) -> None:
    installed.run("cp", "/mnt/shared/long.mp4", "/srv/in/Long (2025-01-29 at 11:00 GMT).mp4")
    installed.wait_for(installed.has_ffmpeg)
    stored = "/srv/audio/2025/01/Long_2025-01-29_11-00_audio.mp3"
    assert installed.run("test", "-e", stored).code == 1
    assert installed.run("systemctl", "stop", UNIT).code == 0
    facts = installed.facts()
    assert (facts["ActiveState"], facts["Result"], facts["ExecMainStatus"]) == ("inactive", "success", "0")
    assert "nothing was left behind" in installed.journal()
    assert installed.run("test", "-s", stored).code == 0, installed.journal()
    assert not installed.has_ffmpeg()


def test_uninstall_leaves_what_is_the_users(installed: Machine) -> None:
    done = installed.run("/usr/local/bin/audio-extract", "service", "uninstall")
    assert done.code == 0, done.err
    assert installed.run("systemctl", "cat", UNIT).code == 1
    assert installed.run("test", "-s", "/etc/audio-extract/config.yaml").code == 0

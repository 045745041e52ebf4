"""The end of a running service, as systemd and a terminal bring it about, in the middle of a transfer."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from audio_extract.emulator.samples import generate
from support.cli import environment
from support.engine import wait_until
from support.service import BUCKET, World, world
from support.terminal import audio_extract, terminal


@dataclass
class Site:
    """A folder with settings, and a recording that takes some seconds to come."""

    world: World
    folder: Path
    env: dict[str, str]

    def wait_for_transfer(self) -> None:
        wait_until(lambda: self.world.drive.emulator.requests.count("drive.media") > 0, 60)


@pytest.fixture
def site(tmp_path: Path, ffmpeg: Path) -> Iterator[Site]:
    [made] = generate(tmp_path / "samples", ffmpeg, seconds=20, keys=frozenset({"moov_first"}))
    with world(tmp_path) as found:
        found.drive.emulator.network.total_bytes_per_second = made.path.stat().st_size / 3
        found.add(made.path, "Weekly.mp4", created_time=None)
        values = {
            "google_drive": {"recordings_folder_id": found.folder, "days_to_look_back": 0},
            "storage": {"type": "gcs", "gcs": {"bucket_name": BUCKET}},
            "monitoring": {"database_path": "audio.db", "dashboard_port": 0, "health_port": 0},
        }
        (tmp_path / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))
        env = {"DRIVE_EMULATOR_HOST": found.drive.url, "STORAGE_EMULATOR_HOST": found.storage.url}
        yield Site(found, tmp_path, env)


class Systemd:
    """The part of systemd that listens."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))

    def said(self, seconds: float) -> str:
        """The next message's first line; an empty text when none comes."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return ""
        return self.socket.recv(1000).decode().splitlines()[0]

    def wait_for(self, message: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while self.said(max(0.0, end - time.monotonic())) != message:
            assert time.monotonic() < end, f"{message} did not come"


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    with made.socket:
        yield made


def test_under_systemd_it_says_that_it_runs_lives_and_ends_and_finishes_its_transfer(
    site: Site, systemd: Systemd
) -> None:
    told = {"NOTIFY_SOCKET": str(systemd.socket.getsockname()), "WATCHDOG_USEC": "900000"}
    with (site.folder / "err.txt").open("w") as err:
        child = subprocess.Popen(
            [sys.executable, "-m", "audio_extract", "run"],
            cwd=site.folder,
            env=environment({**site.env, **told}),
            stderr=err,
        )
        try:
            systemd.wait_for("READY=1")
            systemd.wait_for("WATCHDOG=1", 5)
            site.wait_for_transfer()
            assert site.world.objects() == []
            # KillMode=mixed: the service alone gets the signal.
            child.send_signal(signal.SIGTERM)
            systemd.wait_for("STOPPING=1", 5)
            assert child.wait(30) == 0, (site.folder / "err.txt").read_text()
        finally:
            child.kill()
            child.wait()
    assert len(site.world.objects()) == 1


def test_no_sign_of_life_comes_from_a_service_that_hangs(site: Site, systemd: Systemd) -> None:
    told = {"NOTIFY_SOCKET": str(systemd.socket.getsockname()), "WATCHDOG_USEC": "900000"}
    with subprocess.Popen(
        [sys.executable, "-m", "audio_extract", "run"],
        cwd=site.folder,
        env=environment({**site.env, **told}),
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            systemd.wait_for("WATCHDOG=1")
            os.kill(child.pid, signal.SIGSTOP)
            # What was on its way.
            while systemd.said(0.1):
                pass
            assert systemd.said(1.5) == ""
        finally:
            child.kill()


def test_in_a_terminal_ctrl_c_lets_it_finish_its_transfer(site: Site) -> None:
    with terminal(*audio_extract("run", "-q"), cwd=site.folder, env=site.env) as shown:
        site.wait_for_transfer()
        assert site.world.objects() == []
        # The terminal sends SIGINT to the whole group in the foreground.
        shown.press("\x03")
        assert shown.wait(30) == 0, shown.raw
    assert len(site.world.objects()) == 1

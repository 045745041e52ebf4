"""What systemd is told, and by whom."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from audio_extract.supervisor import Supervisor


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def messages(listening: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listening.recv(1000).decode().splitlines()[0])
        except BlockingIOError:
            return found


def environ(listening: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": listening.getsockname(), "PATH": "/bin", **more}


def test_it_is_told_that_the_service_runs_and_ends(systemd: socket.socket) -> None:
    supervisor = Supervisor.of(environ(systemd))
    supervisor.ready()
    supervisor.lives()
    supervisor.stopping()
    assert messages(systemd) == ["READY=1", "STOPPING=1"]


def test_a_sign_of_life_comes_three_times_in_the_time_that_is_waited(systemd: socket.socket) -> None:
    now = [100.0]
    supervisor = Supervisor(systemd.getsockname(), 30.0, monotonic=lambda: now[0])
    supervisor.ready()
    for _ in range(300):
        now[0] += 0.2
        supervisor.lives()
    assert messages(systemd) == ["READY=1", *["WATCHDOG=1"] * 5]


@pytest.mark.parametrize(
    ("pid", "is_watched"),
    [(str(os.getpid()), True), (str(os.getppid()), True), ("", True), ("1", os.getppid() == 1)],
    ids=["ours", "of the file that unpacked us", "nobody's", "another's"],
)
def test_a_watchdog_counts_where_it_is_meant_for_this_process(
    systemd: socket.socket, pid: str, is_watched: bool
) -> None:
    supervisor = Supervisor.of(environ(systemd, WATCHDOG_USEC="1", WATCHDOG_PID=pid))
    supervisor.lives()
    assert messages(systemd) == (["WATCHDOG=1"] if is_watched else [])


@pytest.mark.parametrize("interval", ["0", "-1", "soon", "", "1.5"])
def test_an_interval_that_is_none_is_no_watchdog(systemd: socket.socket, interval: str) -> None:
    supervisor = Supervisor.of(environ(systemd, WATCHDOG_USEC=interval))
    supervisor.lives()
    assert messages(systemd) == []


def test_children_cannot_speak_for_the_service(systemd: socket.socket) -> None:
    given = environ(systemd, WATCHDOG_USEC="1", WATCHDOG_PID="1")
    Supervisor.of(given)
    assert given == {"PATH": "/bin"}


def test_an_abstract_socket_works() -> None:
    name = f"audio-extract-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.setblocking(False)
        Supervisor.of({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert messages(listening) == ["READY=1"]


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path"])
def test_an_address_of_another_kind_is_none(address: str, caplog: pytest.LogCaptureFixture) -> None:
    Supervisor.of({"NOTIFY_SOCKET": address}).ready()
    assert caplog.records == []


def test_a_supervisor_that_does_not_listen_ends_nothing_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Supervisor(str(tmp_path / "nobody")).ready()
    assert "systemd cannot be told 'READY=1': No such file or directory" in caplog.text

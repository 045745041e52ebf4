"""Runs a scenario: its sides in turn, round by round."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measures import Sample
from bench.network import serving
from bench.process import run
from bench.sides import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.network import Server
    from bench.scenarios import Scenario
    from bench.sides import Side


@dataclass(frozen=True)
class Bench:
    """What all scenarios share.

    Attributes:
        measured: Cores of the sides.
        others: Cores of the server and of the bench itself; the same ones where there are no others.
    """

    server: Path
    ffmpeg: str
    measured: frozenset[int]
    others: frozenset[int]

    def rounds(self, scenario: Scenario, names: frozenset[str], count: int) -> list[dict[str, Sample]]:
        """Run the named sides in turn, so many times."""
        sides = [side for side in scenario.sides if side.name in names]
        with self._serving(scenario) as (server, folder):
            return [
                {
                    side.name: self._run(side, server, folder, f"{scenario.name} {number}/{count}")
                    for side in sides
                }
                for number in range(1, count + 1)
            ]

    @contextmanager
    def _serving(self, scenario: Scenario) -> Iterator[tuple[Server, Path]]:
        with tempfile.TemporaryDirectory(prefix="bench-recordings-") as name:
            folder = Path(name)
            for recording in scenario.recordings:
                recording.link(folder, self.ffmpeg)
            with serving(self.server, folder, scenario.network, self.others) as server:
                for recording in scenario.recordings:
                    for file_id in recording.ids():
                        server.warm(file_id)
                yield server, folder

    def _run(self, side: Side, server: Server, folder: Path, where: str) -> Sample:
        before, cpu_before = server.counts(), server.cpu_seconds()
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            command = side.command(Site(server.url, Path(scratch), folder, self.ffmpeg))
            usage = run(command, _environment(server.url, scratch), self.measured)
        after = server.counts()
        stored = after["uploads"][len(before["uploads"]) :]
        sample = Sample(
            usage=usage,
            count=side.count,
            server_cpu_seconds=server.cpu_seconds() - cpu_before,
            downloads=after["downloads"] - before["downloads"],
            stored_seconds=tuple(one["seconds"] for one in stored if "processing-logs" not in one["name"]),
        )
        print(
            f"  {where}: {side.name:<24} {usage.seconds:7.2f} s, CPU {usage.own_cpu_seconds:6.2f} s"
            f" + children {usage.children_cpu_seconds:7.2f} s, peak {usage.peak_mib:4.0f} MiB"
            f" + {usage.children_pss_mib:4.0f} MiB, server {sample.server_cpu_seconds:5.2f} s"
            f", {sample.downloads} downloads",
            file=sys.stderr,
            flush=True,
        )
        return sample


def _environment(url: str, scratch: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AUDIO_EXTRACT")}
    # rclone says that it has no configuration file, and would otherwise read the account's own.
    return {
        **ours,
        "DRIVE_EMULATOR_HOST": url,
        "STORAGE_EMULATOR_HOST": url,
        "TMPDIR": scratch,
        "RCLONE_CONFIG": f"{scratch}/rclone.conf",
    }

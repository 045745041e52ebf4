"""``make bench``: this program beside what people would use instead, in pairs, behind a shaped network.

Each workload runs A, B, A, B … against the shaped server (``benches/shaped-server``), and quotes the median
of each side and of the ratios pair by pair. The peers run as their users run them, with the same FFmpeg;
their flags are printed. Writes ``benches/results/latest.json``.

Needs a release build of the engine in the environment it runs in (``make build``).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from audio_extract.emulator.samples import generate_long

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "audio-extract-bench")


@dataclass(frozen=True)
class Network:
    """What lies between us and the servers."""

    latency_ms: float
    connection_mb_s: float | None
    all_mb_s: float | None = None

    def flags(self) -> list[str]:
        """The shaped server's words for it."""
        pairs = (
            ("--latency-ms", self.latency_ms),
            ("--connection-mb-s", self.connection_mb_s),
            ("--all-mb-s", self.all_mb_s),
        )
        return [word for name, value in pairs if value is not None for word in (name, str(value))]


@dataclass(frozen=True)
class Workload:
    """One comparison."""

    name: str
    ours: tuple[str, ...]
    peer_suffix: str
    peer: tuple[str, ...]
    at_least: float


@dataclass
class Result:
    """What a comparison measured."""

    name: str
    at_least: float
    ours_seconds: list[float] = field(default_factory=list)
    peer_seconds: list[float] = field(default_factory=list)
    ours_peak_mib: float = 0.0
    ours_cpu_seconds: float = 0.0

    @property
    def ratios(self) -> list[float]:
        """Peer over ours, pair by pair."""
        return [peer / ours for peer, ours in zip(self.peer_seconds, self.ours_seconds, strict=True)]


HOUR = "hour"
#: The shape of the issue's first table: 50 ms, 25 MB/s a connection, no limit in all.
NETWORK = Network(latency_ms=50, connection_mb_s=25)
MP3 = ("--channels", "2", "--sample-rate", "48000", "--bitrate", "128k")
WORKLOADS = (
    Workload("copy vs one after the other", ("--codec", "copy"), ".m4a", ("-vn", "-c:a", "copy"), 4.5),
    Workload(
        "MP3 standard (LAME level 5) vs one after the other, same level",
        MP3,
        ".mp3",
        ("-vn", "-c:a", "libmp3lame", "-b:a", "128k", "-compression_level", "5"),
        1.1,
    ),
    Workload(
        "MP3 standard vs one after the other, FFmpeg's default level",
        MP3,
        ".mp3",
        ("-vn", "-c:a", "libmp3lame", "-b:a", "128k"),
        1.6,
    ),
)


def shaped_server() -> Path:
    """Build the server and return its path."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "shaped-server"], cwd=ROOT, check=True)
    return target / "release" / "shaped-server"


@contextmanager
def serving(server: Path, folder: Path, network: Network) -> Iterator[str]:
    """Run the shaped server on a free port of the loopback; gives its URL."""
    command = [str(server), "0", str(folder), *network.flags()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().rsplit(" ", 1)[-1].strip()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Run a command; gives wall seconds, CPU seconds with its children's, and its own peak memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = [0.0]

    def watch() -> None:
        pause = threading.Event()
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "x 0")
            peak[0] = max(peak[0], int(line.split()[1]) / 1024)
            pause.wait(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _, stderr = process.communicate()
    seconds = time.perf_counter() - start
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        sys.exit(f"{shlex.join(command)} failed:\n{stderr.decode()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, peak[0]


def main() -> None:
    """Run the comparisons and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument(
        "--memory", action="store_true", help="also a 4 GB recording of ten hours, for memory"
    )
    arguments = parser.parse_args()
    program = str(Path(sys.executable).with_name("audio-extract"))
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        sys.exit("ffmpeg is not in PATH; both sides use the same one")
    folder = CACHE / "recordings"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / HOUR).exists():
        print("making a recording of 60 minutes …", flush=True)
        generate_long(folder, ffmpeg, hours=1.0, moov_first=True).rename(folder / HOUR)
    size = (folder / HOUR).stat().st_size
    print(f"60 minutes, 720p, {size / 1e6:.0f} MB; {NETWORK}; {platform.machine()}, {os.cpu_count()} cores")
    server = shaped_server()
    results = []
    with serving(server, folder, NETWORK) as url, tempfile.TemporaryDirectory() as scratch:
        environment = {
            **os.environ,
            "DRIVE_EMULATOR_HOST": url,
            "STORAGE_EMULATOR_HOST": url,
            "TMPDIR": scratch,
        }
        source = f"{url}/drive/v3/files/{HOUR}?alt=media"
        peer_script = str(ROOT / "benches/peers/sequential.py")
        for workload in WORKLOADS:
            if arguments.only not in workload.name:
                continue
            result = Result(workload.name, workload.at_least)
            ours = [program, "extract", source, "-o", "gs://bench/audio/", "-q", *workload.ours]
            peer = [
                *(sys.executable, peer_script, "--suffix", workload.peer_suffix, "--ffmpeg", ffmpeg),
                *(HOUR, "bench", f"peer{workload.peer_suffix}", "--", *workload.peer),
            ]
            print(f"\n{workload.name}\n  A: {shlex.join(ours)}\n  B: {shlex.join(peer)}", flush=True)
            for number in range(arguments.pairs):
                seconds, cpu, peak = timed(ours, environment)
                result.ours_seconds.append(seconds)
                result.ours_peak_mib = max(result.ours_peak_mib, peak)
                result.ours_cpu_seconds = cpu
                result.peer_seconds.append(timed(peer, environment)[0])
                print(
                    f"  {number + 1}/{arguments.pairs}: A {seconds:.2f} s, B {result.peer_seconds[-1]:.2f} s",
                    flush=True,
                )
            results.append(result)
        if arguments.memory:
            memory(folder, ffmpeg, url, environment, program)
    table(results)
    latest = ROOT / "benches/results/latest.json"
    latest.parent.mkdir(exist_ok=True)
    latest.write_text(
        json.dumps([{**asdict(result), "ratios": result.ratios} for result in results], indent=1) + "\n"
    )
    print(f"\nwritten to {latest.relative_to(ROOT)}")


def memory(folder: Path, ffmpeg: str, url: str, environment: dict[str, str], program: str) -> None:
    """Peak memory for 6 minutes (40 MB) and ten hours (4 GB), over HTTP on both ends, index last."""
    peaks = {}
    for name, hours in (("six-minutes", 0.1), ("ten-hours", 10.0)):
        if not (folder / name).exists():
            print(f"making a recording of {hours} hours …", flush=True)
            generate_long(folder, ffmpeg, hours=hours).rename(folder / name)
        source = f"{url}/drive/v3/files/{name}?alt=media"
        command = [program, "extract", source, "-o", "gs://bench/audio/", "-q", *MP3, "--quality", "fast"]
        seconds, _, peaks[name] = timed(command, environment)
        megabytes = (folder / name).stat().st_size / 1e6
        print(
            f"memory, {megabytes:.0f} MB to MP3: peak {peaks[name]:.1f} MiB without FFmpeg, {seconds:.0f} s"
        )
    print(f"memory, ten hours over six minutes: {peaks['ten-hours'] / peaks['six-minutes']:.3f}")


def table(results: list[Result]) -> None:
    """Print medians and ratios."""
    print(f"\n{'workload':<64} {'A':>8} {'B':>8} {'B/A':>6} {'wanted':>7} {'A peak':>9}")
    for result in results:
        ours, peer = statistics.median(result.ours_seconds), statistics.median(result.peer_seconds)
        ratio = statistics.median(result.ratios)
        print(
            f"{result.name:<64} {ours:>6.2f} s {peer:>6.2f} s {ratio:>5.2f}× {result.at_least:>6.1f}×"
            f" {result.ours_peak_mib:>5.0f} MiB{'' if ratio >= result.at_least else '  MISSED'}"
        )


if __name__ == "__main__":
    main()

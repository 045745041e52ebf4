"""What is run: this program, and each peer as its users run it, with the same FFmpeg, rate and channels."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.network import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

#: What this program is told, so that it makes what the peers make of a recording of 48 kHz stereo.
MP3 = ("--channels", "2", "--sample-rate", "48000", "--bitrate", "128k")
#: What people tell FFmpeg. Without a level, LAME takes 3.
PLAIN = ("-vn", "-c:a", "libmp3lame", "-b:a", "128k")
LEVEL_5 = (*PLAIN, "-compression_level", "5")
LAME_DEFAULT_LEVEL = 3


@dataclass(frozen=True)
class Site:
    """Where a run takes place.

    Attributes:
        url: Of the shaped server.
        scratch: A folder of its own for this run.
        recordings: The folder the server serves.
    """

    url: str
    scratch: Path
    recordings: Path
    ffmpeg: str


@dataclass(frozen=True)
class Side:
    """One of those that take turns.

    Attributes:
        command: Makes the command for one run.
        count: How many recordings one run works on.
        needs: A program without which this side is left out.
    """

    name: str
    command: Callable[[Site], list[str]]
    count: int = 1
    needs: str | None = None

    @property
    def available(self) -> bool:
        """Whether this machine has what it needs."""
        return self.needs is None or shutil.which(self.needs) is not None


def _program() -> str:
    return str(Path(sys.executable).with_name("audio-extract"))


def _peer(name: str, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "benches/peers" / name), *words]


def extract(name: str, recording: str, *flags: str) -> Side:
    """``audio-extract extract drive:ID -o gs://…``."""
    return Side(
        name,
        lambda _site: [_program(), "extract", f"drive:{recording}", "-o", "gs://bench/audio/", "-q", *flags],
    )


def extract_local(name: str, recording: str, *flags: str) -> Side:
    """``audio-extract extract F -o F.mp3``."""
    return Side(
        name,
        lambda site: [
            *(_program(), "extract", str(site.recordings / recording)),
            *("-o", str(site.scratch / "audio.mp3"), "-q", *flags),
        ],
    )


def once(name: str, folder: str, count: int = 1, *, workers: int = 3, audio: str | None = None) -> Side:
    """``audio-extract once`` on a Drive folder, with an empty database and the keys of ``audio_format``."""

    def command(site: Site) -> list[str]:
        config = site.scratch / "config.yaml"
        lines = [
            f"google_drive: {{recordings_folder_id: {folder}}}",
            "storage: {type: gcs, gcs: {bucket_name: bench}}",
            f"monitoring: {{database_path: {site.scratch / 'tracker.sqlite'}}}",
            f"processing: {{max_parallel_downloads: {workers}, audio_format: {{{audio or ''}}}}}",
        ]
        config.write_text("\n".join(lines) + "\n")
        return [_program(), "once", "--config", str(config), "-q"]

    return Side(name, command, count)


def settings(quality: str = "standard", level: int | None = None) -> str:
    """The keys of ``audio_format`` that make what the peers make."""
    override = "" if level is None else f", compression_level: {level}"
    return f"bitrate: 128k, sample_rate: 48000, channels: 2, quality: {quality}{override}"


def sequential(name: str, recordings: list[str], *flags: str, suffix: str = ".mp3", threads: int = 1) -> Side:
    """Download to disk, FFmpeg, upload from disk, one after the other."""
    return Side(
        name,
        lambda site: _peer(
            "sequential.py",
            *("--suffix", suffix, "--ffmpeg", site.ffmpeg, "--threads", str(threads)),
            *("--bucket", "bench", *recordings, "--", *(flags or PLAIN)),
        ),
        len(recordings),
    )


def url(name: str, recording: str, *flags: str) -> Side:
    """FFmpeg reads the URL itself; then the same upload."""
    return Side(
        name,
        lambda site: _peer(
            "sequential.py",
            *("--url", f"{site.url}/plain/{recording}/recording", "--ffmpeg", site.ffmpeg),
            *("--bucket", "bench", recording, "--", *(flags or PLAIN)),
        ),
    )


def _rclone_cat(site: Site, recording: str) -> list[str]:
    return ["rclone", "cat", "--http-url", f"{site.url}/plain/{recording}/", ":http:recording"]


def pipe(name: str, recording: str, *flags: str) -> Side:
    """``rclone cat | ffmpeg | rclone rcat``, all with their defaults."""

    def command(site: Site) -> list[str]:
        encode = [site.ffmpeg, "-hide_banner", "-loglevel", "error", "-i", "pipe:0", *(flags or PLAIN)]
        store = ["rclone", "rcat", "--gcs-anonymous", "--gcs-endpoint", f"{site.url}/storage/v1/"]
        stages = [
            _rclone_cat(site, recording),
            [*encode, "-f", "mp3", "pipe:1"],
            [*store, ":gcs:bench/audio/pipe.mp3"],
        ]
        return ["bash", "-o", "pipefail", "-c", " | ".join(shlex.join(stage) for stage in stages)]

    return Side(name, command, needs="rclone")


def rclone_fetch(name: str, recording: str) -> Side:
    """What the pipe's transfer takes alone."""
    return Side(
        name,
        lambda site: ["bash", "-c", f"{shlex.join(_rclone_cat(site, recording))} > /dev/null"],
        needs="rclone",
    )


def fetch(name: str, recording: str, connections: int) -> Side:
    """What fetching alone takes, without any of our code."""
    return Side(
        name,
        lambda site: _peer("fetch.py", f"{site.url}/plain/{recording}/recording", str(connections)),
    )


def ffmpeg(name: str, recording: str, *flags: str) -> Side:
    """``ffmpeg -i F -vn -c:a libmp3lame -b:a 128k F.mp3``."""
    return Side(
        name,
        lambda site: [
            *(site.ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y"),
            *("-i", str(site.recordings / recording), *(flags or PLAIN), str(site.scratch / "audio.mp3")),
        ],
    )


def described(side: Side) -> str:
    """A side's command with its flags, as it is shown and kept with the results."""
    with tempfile.TemporaryDirectory() as scratch:
        site = Site("$SERVER", Path(scratch), Path("$RECORDINGS"), "ffmpeg")
        text = shlex.join(side.command(site)).replace(scratch, "$SCRATCH")
        config = Path(scratch, "config.yaml")
        return f"{text}  with {'; '.join(config.read_text().splitlines())}" if config.exists() else text

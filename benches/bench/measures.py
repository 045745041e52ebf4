"""The table of measures: which runs each is made of, and what it must at least or at most be."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.process import Usage

#: What Drive bills a download, whatever its length.
DOWNLOAD_QUOTA_UNITS = 200
#: A peer may take this much more than its own transfer and encoding take alone; else it was run wrongly.
_PEER_LIMIT = 1.1


@dataclass(frozen=True)
class Sample:
    """One run of one side.

    Attributes:
        count: Recordings it worked on.
        server_cpu_seconds: Of the shaped server meanwhile; in none of ours.
        downloads: Requests for media that the server answered.
        stored_seconds: When the server had each object of audio whole.
    """

    usage: Usage
    count: int
    server_cpu_seconds: float
    downloads: int
    stored_seconds: tuple[float, ...]


#: What each side's run gave, and the number of cores, to a figure.
Value = Callable[[Mapping[str, Sample], int], float]


@dataclass(frozen=True)
class Measure:
    """A figure of each round; the median of them is compared with the bounds.

    Attributes:
        sides: Those of the scenario that have to run.
        peer: Says whether a peer was run as it should be, and nothing of us.
    """

    name: str
    title: str
    scenario: str
    sides: tuple[str, ...]
    value: Value
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    peer: bool = False

    def holds(self, figure: float) -> bool:
        """Whether a figure is within the bounds."""
        above = self.at_least is None or figure >= self.at_least
        return above and (self.at_most is None or figure <= self.at_most)

    @property
    def bound(self) -> str:
        """The bounds in words."""
        if self.at_least is not None:
            return f"≥ {self.at_least:,g}"
        return "" if self.at_most is None else f"≤ {self.at_most:,g}"


def _slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def _times(scenario: str, side: str, peer: str, title: str, at_least: float | None = None) -> Measure:
    """How many times as long the peer takes."""
    return Measure(
        f"{scenario}/{_slug(side)}-vs-{_slug(peer)}",
        title,
        scenario,
        (side, peer),
        lambda round_, _cores: round_[peer].usage.seconds / round_[side].usage.seconds,
        "×",
        at_least=at_least,
    )


def _peer(peer: str, transfer: str) -> Measure:
    """A peer's wall over its transfer and its encoding alone, and its upload where that comes after."""

    def value(round_: Mapping[str, Sample], _cores: int) -> float:
        said = round_[peer].usage.stdout
        uploads = [step["upload"] for step in json.loads(said)["steps"]] if said else []
        alone: float = _seconds(round_, transfer) + _seconds(round_, "FFmpeg") + sum(uploads)
        return _seconds(round_, peer) / alone

    return Measure(
        f"hour/peer-{peer}",
        f"peer check: {peer} over its own transfer + encode alone",
        "hour",
        (peer, transfer, "FFmpeg"),
        value,
        "×",
        at_most=_PEER_LIMIT,
        peer=True,
    )


def _above_idle(name: str, title: str, scenario: str, side: str, at_most: float) -> tuple[Measure, Measure]:
    """Peak memory of our process above its idle, and that of FFmpeg's children beside it."""
    ours = Measure(
        name,
        title,
        scenario,
        (side, "idle"),
        lambda round_, _cores: round_[side].usage.peak_mib - round_["idle"].usage.peak_mib,
        "MiB",
        at_most=at_most,
    )
    children = Measure(
        f"{name}-ffmpeg",
        "   FFmpeg's children beside it (sum of PSS)",
        scenario,
        (side,),
        lambda round_, _cores: round_[side].usage.children_pss_mib,
        "MiB",
    )
    return ours, children


def _seconds(round_: Mapping[str, Sample], side: str) -> float:
    return round_[side].usage.seconds


def _over_bound(round_: Mapping[str, Sample], cores: int) -> float:
    encode = round_["FFmpeg level 5"].usage.cpu_seconds / cores
    return _seconds(round_, "standard") / max(_seconds(round_, "eight GETs"), encode)


def _outside_ffmpeg(round_: Mapping[str, Sample], _cores: int) -> float:
    usage = round_["standard"].usage
    return 100 * usage.own_cpu_seconds / usage.cpu_seconds


def _quota(side: str, title: str, at_most: float) -> Measure:
    return Measure(
        f"hour/quota-{side}",
        title,
        "hour",
        (side,),
        lambda round_, _cores: round_[side].downloads * DOWNLOAD_QUOTA_UNITS,
        "units",
        at_most=at_most,
    )


def _per_hour(side: str, at_least: float) -> Measure:
    return Measure(
        f"hours/per-hour-{side}",
        f"60-minute recordings per hour, {side}",
        "hours",
        (side,),
        lambda round_, _cores: 3600 * round_[side].count / round_[side].usage.seconds,
        "",
        at_least=at_least,
    )


def _last_over_first(round_: Mapping[str, Sample], _cores: int) -> float:
    at = sorted(round_["standard"].stored_seconds)
    each = [later - earlier for earlier, later in itertools.pairwise(at)]
    return statistics.median(each[-10:]) / statistics.median(each[:10])


def _others(scenario: str, words: str, peers: tuple[str, ...]) -> list[Measure]:
    """The same comparison elsewhere, which has no bound."""
    return [_times(scenario, "standard", peer, f"60 min, {words}: standard vs {peer}") for peer in peers]


MEASURES: tuple[Measure, ...] = (
    _times("hour", "standard", "sequential", "60 min stereo 720p, standard vs sequential way", 3.0),
    _times("hour", "standard", "pipe", "   the same vs rclone cat | ffmpeg | rclone rcat", 2.3),
    _times("hour", "standard", "url", "   the same vs FFmpeg reading the URL"),
    _times("hour", "fast", "sequential", "60 min, fast vs sequential way", 4.5),
    _times("hour", "level 3", "sequential", "60 min, FFmpeg's own default level vs sequential way", 2.1),
    Measure(
        "hour/default-seconds",
        "60 min with default settings, claimed → completed (whole `once`)",
        "hour",
        ("defaults",),
        lambda round_, _cores: _seconds(round_, "defaults"),
        "s",
        at_most=30,
    ),
    _times("hour", "copy", "sequential copy", "60 min, copy vs sequential way", 5),
    _times("local", "standard", "FFmpeg", "local file, standard vs ffmpeg -c:a libmp3lame -b:a 128k", 2.3),
    _times("local", "standard", "FFmpeg level 5", "   the same with -compression_level 5", 1.65),
    _times("thirty", "standard, 3 workers", "sequential", "30 × 10 min, standard vs one at a time", 3.5),
    _times("thirty", "fast, 3 workers", "sequential", "30 × 10 min, fast vs one at a time", 5.5),
    _times(
        "thirty", "standard, 3 workers", "sequential, 3 threads", "30 × 10 min, standard vs 3 threads", 1.5
    ),
    _times("thirty", "fast, 3 workers", "sequential, 3 threads", "30 × 10 min, fast vs 3 threads", 2.2),
    _times(
        "thirty", "standard, 8 workers", "sequential", "30 × 10 min, 8 workers, standard vs one at a time"
    ),
    Measure(
        "hour/over-bound",
        "wall over the larger of fetch alone and FFmpeg's CPU / cores",
        "hour",
        ("standard", "eight GETs", "FFmpeg level 5"),
        _over_bound,
        "×",
        at_most=1.2,
    ),
    Measure(
        "hour/cpu-outside-ffmpeg",
        "CPU outside FFmpeg over all CPU (MP3)",
        "hour",
        ("standard",),
        _outside_ffmpeg,
        "%",
        at_most=6,
    ),
    *_above_idle("hour/memory", "memory above idle, one transfer", "hour", "standard", 64),
    *_above_idle(
        "thirty/memory-eight", "memory above idle, eight at once", "thirty", "standard, 8 workers", 256
    ),
    *_above_idle("4gb/memory", "memory above idle, 4 GB of 10 h", "4gb", "fast", 64),
    Measure(
        "4gb/growth",
        "memory of 10 h over that of six minutes",
        "4gb",
        ("fast", "six minutes, fast"),
        lambda round_, _cores: round_["fast"].usage.peak_mib / round_["six minutes, fast"].usage.peak_mib,
        "×",
        at_most=1.1,
    ),
    _per_hour("standard", 160),
    _per_hour("fast", 260),
    Measure(
        "hundred/last-over-first",
        "100 recordings in turn: last ten over first ten",
        "hundred",
        ("standard",),
        _last_over_first,
        "×",
        at_most=1.1,
    ),
    _quota("standard", "Drive quota, 60 min to MP3", 4000),
    _quota("copy", "Drive quota, 60 min copy", 25_000),
    _times("interleaved", "audio_only", "whole", "10 MB/s, 1 s interleave: audio_only vs whole file", 6),
    *_others("moov-last", "index at the end", ("sequential", "url")),
    *_others("1080p", "1080p", ("sequential", "pipe", "url")),
    *_others("far", "100 ms, 100 MB/s in all", ("sequential", "pipe", "url")),
    *_others("narrow", "10 MB/s in all", ("sequential", "pipe", "url")),
    *_others("loopback", "unshaped loopback", ("sequential", "pipe", "url")),
    _peer("sequential", "one GET"),
    _peer("pipe", "rclone cat"),
    _peer("url", "one GET"),
)

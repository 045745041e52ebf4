"""What a run of the bench found: the table on the terminal, and ``benches/results/latest.json``."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.network import ROOT
from bench.sides import described

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.measures import Measure, Sample
    from bench.scenarios import Scenario

RESULTS = ROOT / "benches" / "results"


@dataclass(frozen=True)
class Figure:
    """A measure's figure of each round."""

    measure: Measure
    each: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.each)

    @property
    def holds(self) -> bool:
        """Whether the median is within the bounds."""
        return self.measure.holds(self.median)


def table(figures: Sequence[Figure], *, judged: bool) -> str:
    """The figures as lines of text; ``judged``: with a word where a bound was missed."""
    width = max((len(figure.measure.title) for figure in figures), default=0)
    lines = []
    for figure in figures:
        low, high = min(figure.each), max(figure.each)
        spread = f"({low:,.2f} to {high:,.2f})" if len(figure.each) > 1 else ""
        value = f"{figure.median:,.2f} {figure.measure.unit}"
        verdict = "  MISSED" if judged and not figure.holds else ""
        lines.append(
            f"{figure.measure.title:<{width}}  {value:>14}  {figure.measure.bound:<9}{spread:>22}{verdict}"
        )
    return "\n".join(lines)


def write(
    figures: Sequence[Figure],
    rounds: Mapping[str, list[dict[str, Sample]]],
    scenarios: Mapping[str, Scenario],
    setting: Mapping[str, Any],
) -> Path:
    """Keep everything that is needed to judge the figures or to make them again."""
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"),
        "machine": _machine(),
        "versions": _versions(),
        "setting": dict(setting),
        "figures": [
            {
                "name": figure.measure.name,
                "title": figure.measure.title.strip(),
                "unit": figure.measure.unit,
                "median": round(figure.median, 4),
                "each": [round(value, 4) for value in figure.each],
                "at_least": figure.measure.at_least,
                "at_most": figure.measure.at_most,
                "holds": figure.holds,
            }
            for figure in figures
        ],
        "scenarios": {
            name: {
                "network": str(scenarios[name].network),
                "recordings": [asdict(recording) for recording in scenarios[name].recordings],
                "commands": {
                    side.name: described(side) for side in scenarios[name].sides if side.name in ran[0]
                },
                "rounds": [{side: _sample(sample) for side, sample in one.items()} for one in ran],
            }
            for name, ran in rounds.items()
        },
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "latest.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


def _sample(sample: Sample) -> dict[str, Any]:
    values = asdict(sample)
    usage = values.pop("usage")
    usage.pop("stdout")
    return {**usage, **values}


def _machine() -> dict[str, Any]:
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads_of_each_core": {
            path.parent.parent.name: path.read_text().strip()
            for path in sorted(Path("/sys/devices/system/cpu").glob("cpu*/topology/thread_siblings_list"))
        },
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "load": os.getloadavg(),
    }


def _versions() -> dict[str, str]:
    versions = {name: version(name) for name in ("google-api-python-client", "google-cloud-storage")}
    versions["audio-extract"] = version("audio-extract")
    versions["python"] = platform.python_version()
    for program, flag in (("ffmpeg", "-version"), ("rclone", "version")):
        if shutil.which(program):
            versions[program] = _output(program, flag).splitlines()[0]
    return versions


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"

"""The bench measures what it says: bounds, peers, and the accounts of a process."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import chart, process
from bench.measures import MEASURES, Sample
from bench.process import RunFailedError, Usage, run
from bench.recordings import THIRTY
from bench.scenarios import scenarios

_CORES = frozenset(os.sched_getaffinity(0))
#: Names of the measures that the project promises, with their bounds.
_PROMISED = {
    "hour/standard-vs-sequential": 3.0,
    "hour/standard-vs-pipe": 2.3,
    "hour/fast-vs-sequential": 4.5,
    "hour/level-3-vs-sequential": 2.1,
    "hour/default-seconds": 30,
    "hour/copy-vs-sequential-copy": 5,
    "local/standard-vs-FFmpeg": 2.3,
    "local/standard-vs-FFmpeg-level-5": 1.65,
    "thirty/standard-3-workers-vs-sequential": 3.5,
    "thirty/fast-3-workers-vs-sequential": 5.5,
    "thirty/standard-3-workers-vs-sequential-3-threads": 1.5,
    "thirty/fast-3-workers-vs-sequential-3-threads": 2.2,
    "hour/over-bound": 1.2,
    "hour/cpu-outside-ffmpeg": 6,
    "hour/memory": 64,
    "thirty/memory-eight": 256,
    "4gb/memory": 64,
    "4gb/growth": 1.1,
    "hours/per-hour-standard": 160,
    "hours/per-hour-fast": 260,
    "hundred/last-over-first": 1.1,
    "hour/quota-standard": 4000,
    "hour/quota-copy": 25_000,
    "interleaved/audio_only-vs-whole": 6,
}


def _usage(seconds: float, own: float = 0.0, children: float = 0.0) -> Usage:
    return Usage(seconds, own, children, peak_mib=0, children_rss_mib=0, children_pss_mib=0, stdout="")


def _sample(usage: Usage, stored: tuple[float, ...] = ()) -> Sample:
    return Sample(usage, count=1, server_cpu_seconds=0, downloads=3, stored_seconds=stored)


def _figure(name: str, round_: dict[str, Sample]) -> float:
    return next(measure for measure in MEASURES if measure.name == name).value(round_, 2)


def test_every_promised_measure_has_its_bound() -> None:
    bounds = {measure.name: measure.at_least or measure.at_most for measure in MEASURES if not measure.peer}
    assert {name: bound for name, bound in bounds.items() if bound is not None} == _PROMISED


@pytest.mark.parametrize("short", [False, True])
def test_every_measure_names_sides_of_its_scenario_and_no_name_twice(*, short: bool) -> None:
    known = scenarios(short=short)
    for measure in MEASURES:
        assert set(measure.sides) <= {side.name for side in known[measure.scenario].sides}, measure.name
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)


def test_a_side_on_many_recordings_names_as_many_as_there_are() -> None:
    for short in (False, True):
        scenario = scenarios(short=short)["thirty"]
        recordings = next(one for one in scenario.recordings if one.name == THIRTY.name)
        counts = {side.count for side in scenario.sides if side.name != "idle"}
        assert counts == {len(recordings.ids())}


def test_ratios_overheads_and_quota_are_made_of_one_round() -> None:
    round_ = {
        "standard": _sample(_usage(20.0, own=2.0, children=38.0)),
        "sequential": _sample(_usage(80.0)),
        "eight GETs": _sample(_usage(3.0)),
        "FFmpeg level 5": _sample(_usage(37.0, own=36.0)),
    }
    assert _figure("hour/standard-vs-sequential", round_) == 4
    assert _figure("hour/cpu-outside-ffmpeg", round_) == 5
    # 36 s of CPU on two cores are longer than the fetching.
    assert _figure("hour/over-bound", round_) == pytest.approx(20 / 18)
    assert _figure("hour/quota-standard", round_) == 600


def test_recordings_that_take_longer_and_longer_are_noticed() -> None:
    steady = tuple(float(number) for number in range(101))
    slowing = tuple(1.01**number for number in range(101))
    assert _figure("hundred/last-over-first", {"standard": _sample(_usage(1), steady)}) == 1
    assert _figure("hundred/last-over-first", {"standard": _sample(_usage(1), slowing)}) > 2


def test_cpu_of_a_process_and_of_its_children_are_told_apart() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    alone = run([sys.executable, "-c", burn], os.environ, _CORES)
    above = run([sys.executable, "-c", parent], os.environ, _CORES)
    assert alone.own_cpu_seconds >= 0.29
    assert alone.children_cpu_seconds == 0
    assert above.children_cpu_seconds >= 0.29
    assert above.own_cpu_seconds < 0.29


def test_peak_memory_is_that_of_the_process_after_it_gave_memory_back() -> None:
    work = "while time.process_time() < 0.3: pass"
    hold = f"import time\nx = b'x' * 80_000_000\ndel x\n{work}"
    assert 76 < run([sys.executable, "-c", hold], os.environ, _CORES).peak_mib < 110


def test_a_command_runs_on_the_cores_it_was_given_and_the_bench_keeps_its_own() -> None:
    one = frozenset({min(_CORES)})
    usage = run([sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"], os.environ, one)
    assert usage.stdout.strip() == str(set(one))
    assert os.sched_getaffinity(0) == _CORES


def test_a_command_that_fails_says_what_it_said() -> None:
    with pytest.raises(RunFailedError, match="ended with 3:\nno luck"):
        run([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"], {}, _CORES)


def test_a_bench_that_is_interrupted_ends_what_it_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    command = f"sh -c 'echo $$ > {pid}.new && mv {pid}.new {pid} && exec sleep 60' | cat"
    descriptors: list[int] = []

    def look(_self: process._Watch) -> None:
        if pid.exists():
            descriptors.append(os.pidfd_open(int(pid.read_text())))
            raise KeyboardInterrupt

    monkeypatch.setattr(process._Watch, "look", look)
    with pytest.raises(KeyboardInterrupt):
        run(["bash", "-c", command], os.environ, _CORES)
    ended = select.poll()
    ended.register(descriptors[0], select.POLLIN)
    assert ended.poll(10_000), "the pipe's first process goes on"
    os.close(descriptors[0])


def test_the_chart_is_an_image_with_a_bar_for_each_side_that_ran() -> None:
    rounds = [{"standard": _sample(_usage(20.0)), "sequential": _sample(_usage(80.0))}]
    root = ET.fromstring(chart.draw(rounds, "60 min & more"))  # noqa: S314 - our own
    bars = root.findall("{http://www.w3.org/2000/svg}rect")
    assert [bar.get("width") for bar in bars] == ["100", "400"]

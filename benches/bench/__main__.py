"""The command: ``python -m bench``, by way of ``make bench``."""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import signal
import sys
import sysconfig
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench import chart, network, results
from bench.measures import MEASURES
from bench.process import RunFailedError
from bench.results import Figure
from bench.rounds import Bench
from bench.scenarios import scenarios
from bench.sides import described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.measures import Measure, Sample
    from bench.scenarios import Scenario

_SETUP = "Needs a release build of the engine in the environment it runs in (`make build`)."


@dataclass
class Findings:
    """What the scenarios that were run gave."""

    figures: list[Figure] = field(default_factory=list)
    rounds: dict[str, list[dict[str, Sample]]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


def main() -> int:
    """Run what was asked for; 1 when a figure is out of its bounds or a peer did not run as it should."""
    arguments = _arguments()
    known = scenarios(short=arguments.short)
    chosen = [measure for measure in MEASURES if any(part in measure.name for part in arguments.only or [""])]
    if not chosen:
        sys.exit(f"no measure's name contains {' or '.join(arguments.only)}; --list shows them")
    if arguments.list:
        for measure in chosen:
            print(f"{measure.name:<52} {measure.bound:<9} {measure.title.strip()}")
        return 0
    # So that the server and the side that runs end with the bench.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = _bench(arguments.cores)
    found = _measure(bench, _possible(chosen, known), known, arguments.pairs)
    print(results.table(found.figures, judged=not arguments.short))
    setting = {
        "pairs": arguments.pairs,
        "cores": sorted(bench.measured),
        "server_cores": sorted(bench.others),
        "short": arguments.short,
    }
    _say(f"written to {results.write(found.figures, found.rounds, known, setting)}")
    if "hour" in found.rounds:
        minutes = known["hour"].recordings[0].minutes
        title = f"{minutes:g} minutes of video, {len(bench.measured)} cores, {known['hour'].network}"
        _say(f"written to {chart.write(found.rounds['hour'], title)}")
    if found.failed:
        _say(f"could not be measured: {', '.join(found.failed)}")
        return 1
    if arguments.short:
        _say("small recordings: the figures say nothing about their bounds")
        return 0
    return _verdict(found.figures)


def _measure(bench: Bench, measures: Sequence[Measure], known: dict[str, Scenario], pairs: int) -> Findings:
    found = Findings()
    for name in dict.fromkeys(measure.scenario for measure in measures):
        here = [measure for measure in measures if measure.scenario == name]
        wanted = frozenset(side for measure in here for side in measure.sides)
        _announce(known[name], wanted)
        try:
            rounds = bench.rounds(known[name], wanted, pairs)
        except RunFailedError as error:
            # What the other scenarios take hours to find is worth keeping.
            _say(f"{name}: {error}")
            found.failed.append(name)
            continue
        found.rounds[name] = rounds
        for measure in here:
            each = tuple(measure.value(one, len(bench.measured)) for one in rounds)
            found.figures.append(Figure(measure, each))
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, epilog=_SETUP)
    parser.add_argument("--list", action="store_true", help="show the measures and end")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="measures whose name contains this; may be repeated"
    )
    parser.add_argument("--pairs", type=int, default=3, metavar="N", help="runs of each side (default 3)")
    parser.add_argument("--cores", type=int, default=2, metavar="N", help="cores of each side (default 2)")
    parser.add_argument(
        "--short", action="store_true", help="small recordings: to try the bench, not for figures"
    )
    arguments = parser.parse_args()
    if arguments.pairs < 1 or arguments.cores < 1:
        parser.error("--pairs and --cores are at least 1")
    return arguments


def _possible(chosen: Sequence[Measure], known: dict[str, Scenario]) -> list[Measure]:
    """Without the measures of peers that are not installed, which are named."""
    missing = {
        (scenario.name, side.name): side.needs
        for scenario in known.values()
        for side in scenario.sides
        if not side.available
    }
    possible = []
    for measure in chosen:
        absent = {missing[key] for side in measure.sides if (key := (measure.scenario, side)) in missing}
        if absent:
            _say(f"left out: {measure.name} ({', '.join(sorted(filter(None, absent)))} is not installed)")
        else:
            possible.append(measure)
    return possible


def _bench(count: int) -> Bench:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        sys.exit("ffmpeg is not in PATH; both sides use the same one")
    usable = sorted(os.sched_getaffinity(0))
    if count > len(usable):
        sys.exit(f"--cores {count}: this machine has {len(usable)}")
    measured = frozenset(usable[:count])
    others = frozenset(usable[count:]) or measured
    if measured & others:
        _say("the server shares the cores of what is measured: there are no others")
    # Installed programs have their bytecode. Where PYTHONDONTWRITEBYTECODE is set, ours and the peers would
    # compile all they import at each start, which takes longer than everything else that a start does.
    for folder in (sysconfig.get_path("purelib"), str(network.ROOT / "python")):
        compileall.compile_dir(folder, quiet=2, workers=0)
    # The bench's own looking at processes is not to be measured either.
    os.sched_setaffinity(0, others)
    return Bench(network.build(), ffmpeg, measured, others)


def _announce(scenario: Scenario, wanted: frozenset[str]) -> None:
    sizes = ", ".join(
        f"{one.name}: {len(one.ids())} × {one.minutes:g} min {one.size[1]}p" for one in scenario.recordings
    )
    _say(f"\n{scenario.name} ({scenario.network}; {sizes})")
    for side in scenario.sides:
        if side.name in wanted:
            words = described(side)
            _say(f"  {side.name}: {words if len(words) < 400 else words[:400] + ' …'}")


def _verdict(figures: Sequence[Figure]) -> int:
    missed = [figure for figure in figures if not figure.holds]
    for figure in missed:
        if figure.measure.peer:
            _say(f"worthless: {figure.measure.title}: {figure.median:.2f} × and not {figure.measure.bound}")
    if missed:
        _say(f"{len(missed)} of {len(figures)} figures missed their bound")
    return 1 if missed else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

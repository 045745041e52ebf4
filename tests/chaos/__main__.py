"""``python -m chaos``: many rounds, and how often each point was hit."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import SystemRandom

from chaos.points import POINTS
from chaos.rounds import DESTINATIONS, Plan, kitchen
from chaos.schedule import schedule

#: Each point at least so often, when there are enough rounds for it.
LEAST_HITS = 5
ENOUGH_ROUNDS = 200


def main() -> int:
    """Run rounds; 1 when something was lost, doubled or left behind, or a point was missed."""
    parser = argparse.ArgumentParser(prog="chaos", description="Kill the service, start it again, look.")
    parser.add_argument("--rounds", type=int, default=ENOUGH_ROUNDS)
    parser.add_argument("--seed", type=int, help="of what is drawn; a new one by default")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--at", choices=POINTS, action="append", help="only here, one life after the other")
    parser.add_argument("--destination", choices=DESTINATIONS, default="bucket", help="with --at")
    parser.add_argument("--faults", action="store_true", help="with --at: the network fails too")
    parser.add_argument("--trashes", action="store_true", help="with --at: a recording is gone then")
    parser.add_argument("--outputs", action="store_true", help="with --at: more than the audio is made")
    options = parser.parse_args()
    seed = SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    databases = tuple(options.database or ("sqlite", "postgresql"))
    hits: Counter[str] = Counter()
    kills, wrong, began = 0, 0, time.monotonic()
    if options.at:
        again = Plan(
            points=tuple(options.at),
            database=databases[0],
            destination=options.destination,
            faults=options.faults,
            trashes=options.trashes,
            outputs=options.outputs,
            seed=seed,
        )
        plans = iter([again] * options.rounds)
    else:
        plans = schedule(options.rounds, seed, hits, databases=databases)
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch, kitchen(Path(scratch), databases) as shared:
        for number, plan in enumerate(plans):
            verdict = shared.round(plan)
            hits.update(verdict.hit)
            kills += verdict.kills
            if verdict.wrong:
                wrong += 1
                print(f"round {number}: {plan}", *verdict.wrong, plan.command(), sep="\n    ", flush=True)
            elif sys.stderr.isatty():
                print(f"\rround {number} ", end="", file=sys.stderr, flush=True)
    for point in POINTS:
        print(f"{hits[point]:5}  {point}")
    often = sum(hits[point] >= LEAST_HITS for point in POINTS)
    print(
        f"{options.rounds} rounds, {kills} kills, {often} of {len(POINTS)} points hit at least "
        f"{LEAST_HITS} times, {wrong} rounds went wrong, {time.monotonic() - began:.0f} s, --seed {seed}"
    )
    missed = often < len(POINTS) and options.rounds >= ENOUGH_ROUNDS and not options.at
    return 1 if wrong or missed else 0


if __name__ == "__main__":
    sys.exit(main())

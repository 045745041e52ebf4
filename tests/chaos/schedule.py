"""Which rounds there are: every point often enough, on every database and destination."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from chaos.points import POINTS, PRELUDES, REQUESTS
from chaos.rounds import DESTINATIONS, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Every so many rounds are killed at random moments.
_RANDOM_EVERY = 8
#: The part of the rounds that make more than the audio.
_WITH_OUTPUTS = 0.4
#: Before these a whole life has passed, after which there is nothing to be killed at a second time.
_LAST = frozenset(str(event) for event, prelude in PRELUDES.items() if prelude not in {"killed", "stopped"})
_TWICE = tuple(point for point in POINTS if point.partition(" ")[2] not in {*PRELUDES, "recorded"})


def schedule(
    rounds: int, seed: int, hits: Mapping[str, int], *, databases: tuple[str, ...]
) -> Iterator[Plan]:
    """Give plans: what was hit least comes first.

    Args:
        rounds: How many.
        seed: Of what is drawn.
        hits: How often each point was hit; looked at before each plan.
        databases: Taken in turn.
    """
    random = Random(seed)  # noqa: S311 - the same again for the same seed
    for number in range(rounds):
        if number % _RANDOM_EVERY == _RANDOM_EVERY - 1:
            points: tuple[str | None, ...] = (None, None)
        else:
            first = _rarest(POINTS, hits, random)
            points = (first,)
            if first.partition(" ")[2] not in _LAST:
                points = (first, _rarest(_TWICE, hits, random))
        needs_bucket = any(point in REQUESTS for point in points)
        yield Plan(
            points=points,
            database=databases[number % len(databases)],
            destination="bucket" if needs_bucket else random.choice(DESTINATIONS),
            faults=number % 3 == 1,
            # What a service had received but not answered may still come to be after that.
            trashes=not needs_bucket and number % 4 == 2 and not _has_prelude(points),
            seed=random.randrange(1 << 32),
            outputs=random.random() < _WITH_OUTPUTS,
        )


def _has_prelude(points: tuple[str | None, ...]) -> bool:
    return any(point is not None and point.partition(" ")[2] in set(PRELUDES) for point in points)


def _rarest(points: tuple[str, ...], hits: Mapping[str, int], random: Random) -> str:
    least = min(hits[point] for point in points)
    return random.choice([point for point in points if hits[point] == least])

"""What one round of the service did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from audio_extract.tracker import State

if TYPE_CHECKING:
    from audio_extract.exceptions import AudioExtractError
    from audio_extract.jobs.transfer import Outcome


@dataclass(slots=True)
class CycleReport:
    """What one cycle did.

    Attributes:
        found: Recordings that discovery saw for the first time.
        completed: Transfers that stored something.
        adopted: Recordings whose object stood there already.
        failures: Transfers that ended with an error.
        released: Transfers that were stopped and go back to the queue.
        deferred: Recordings that workers were asked to look at (`execution.backend: procrastinate`).
        discoverer_elsewhere: Another process looks for recordings, so this one did not.
        source_errors: Sources that could not be looked at.
    """

    found: int = 0
    completed: int = 0
    adopted: int = 0
    released: int = 0
    deferred: int = 0
    discoverer_elsewhere: bool = False
    failures: list[Outcome] = field(default_factory=list)
    source_errors: list[AudioExtractError] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one transfer."""
        if outcome.state is State.COMPLETED:
            if outcome.adopted:
                self.adopted += 1
            else:
                self.completed += 1
        elif (
            outcome.state is State.PENDING and outcome.error is not None and outcome.error.kind == "cancelled"
        ):
            self.released += 1
        elif outcome.error is not None:
            self.failures.append(outcome)

    @property
    def due(self) -> int:
        """How many recordings were due."""
        return self.completed + self.adopted + self.released + self.deferred + len(self.failures)

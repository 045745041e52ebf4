"""What a person asks of the service, on a page or through the API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.tracker.tracker import Tracker


@dataclass(frozen=True, slots=True)
class Actions:
    """Carries out what was asked; each action reaches the audit log with the name of who asked.

    Attributes:
        tracker: What is known of recordings.
        due_now: Tells the service that recordings became due.
        now: The clock.
    """

    tracker: Tracker
    due_now: Callable[[], None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def retry(self, recording_id: str, actor: str) -> bool:
        """Make a recording due at once, with all its attempts; False where it is not to be tried (again)."""
        return self._due(self.tracker.retry([recording_id], self.now(), actor=actor)) > 0

    def reprocess(self, recording_id: str, actor: str) -> bool:
        """Extract a recording again, also one that is stored; False while it is in progress."""
        moved = self.tracker.retry([recording_id], self.now(), actor=actor, completed=True)
        return self._due(moved) > 0

    def retry_failed(self, actor: str) -> int:
        """Make every failed and quarantined recording due at once; returns how many."""
        return self._due(self.tracker.retry_failed(self.now(), actor=actor))

    def _due(self, moved: list[str]) -> int:
        if moved:
            self.due_now()
        return len(moved)

"""The database: what is known of every recording, who works on it, and what became of it.

Owns the tables, the transitions between states and the retry policy. It does not know where recordings come
from or how they are transferred.

Nothing is imported before it is used: SQLAlchemy takes longer than the rest of the program to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audio_extract.tracker.history import LeaseLostError
    from audio_extract.tracker.migrate import DatabaseStatus, Upgraded
    from audio_extract.tracker.owners import Owner
    from audio_extract.tracker.retry_policy import Decision, RetryPolicy
    from audio_extract.tracker.states import Event, State
    from audio_extract.tracker.tracker import Tracker
    from audio_extract.tracker.values import (
        Abandoned,
        AuditEntry,
        Claim,
        Milestones,
        Page,
        Placed,
        Recorded,
        RecordingRow,
        Recovered,
        Stats,
        Stored,
        StoredChunk,
        StoredOutput,
        SyncRun,
    )

__all__ = [
    "Abandoned",
    "AuditEntry",
    "Claim",
    "DatabaseStatus",
    "Decision",
    "Event",
    "LeaseLostError",
    "Milestones",
    "Owner",
    "Page",
    "Placed",
    "Recorded",
    "RecordingRow",
    "Recovered",
    "RetryPolicy",
    "State",
    "Stats",
    "Stored",
    "StoredChunk",
    "StoredOutput",
    "SyncRun",
    "Tracker",
    "Upgraded",
]

_MODULES = {
    "LeaseLostError": "history",
    "DatabaseStatus": "migrate",
    "Upgraded": "migrate",
    "Owner": "owners",
    "Decision": "retry_policy",
    "RetryPolicy": "retry_policy",
    "Event": "states",
    "State": "states",
    "Tracker": "tracker",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'values')}"), name)

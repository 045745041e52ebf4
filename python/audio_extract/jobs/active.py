"""The transfers that run in this process: who looks at them, who holds their leases, who ends them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from audio_extract import _engine

if TYPE_CHECKING:
    from datetime import datetime

    from audio_extract.tracker import Claim


@dataclass(frozen=True, slots=True)
class ActiveTransfer:
    """One transfer that runs.

    Attributes:
        claim: The recording and the lease on it.
        started_at: When this attempt began.
        progress: The engine's counters.
        cancel: Ends it.
    """

    claim: Claim
    started_at: datetime
    progress: _engine.Progress = field(default_factory=_engine.Progress)
    cancel: _engine.CancelToken = field(default_factory=_engine.CancelToken)


class ActiveTransfers:
    """All of them, by recording id. Thread-safe."""

    def __init__(self) -> None:
        self._transfers: dict[str, ActiveTransfer] = {}
        self._changed = threading.Condition()

    def add(self, transfer: ActiveTransfer) -> None:
        """A transfer begins."""
        with self._changed:
            self._transfers[transfer.claim.id] = transfer

    def remove(self, transfer: ActiveTransfer) -> None:
        """A transfer has ended."""
        with self._changed:
            self._transfers.pop(transfer.claim.id, None)
            self._changed.notify_all()

    def all(self) -> list[ActiveTransfer]:
        """Every running transfer, oldest first."""
        with self._changed:
            return list(self._transfers.values())

    def __len__(self) -> int:
        with self._changed:
            return len(self._transfers)

    def wait_below(self, count: int, timeout_seconds: float | None = None) -> bool:
        """Wait until fewer than ``count`` run; False when the time was up first."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._transfers) < count, timeout_seconds)

    def cancel_all(self) -> None:
        """End every transfer; each ends within a second."""
        for transfer in self.all():
            transfer.cancel.cancel()

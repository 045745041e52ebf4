"""When a failed recording is tried again: a pure function of the error and of what happened before.

| kind of error | goes to | after | spends an attempt |
|---|---|---|---|
| media | quarantined | | yes |
| not_found | skipped | | no |
| cancelled | pending | at once | no |
| source_changed | pending | at once, growing when it happens again | no |
| quota | failed | hours (`source.quota_exceeded` 6, else 1), or later if the server says so | no |
| permission | failed | 1 hour, growing to 24 | no |
| authentication, configuration, no_space | failed | 1 minute, growing to 15 | no |
| transient, of a destination that does not answer | failed | 1 minute, growing to 15 | no |
| transient, corruption, and everything else | failed, quarantined once attempts are used up | backoff | yes |
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from audio_extract.tracker.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

_MINUTE = 60.0
_HOUR = 60 * _MINUTE
_LONGEST_SECONDS = 24 * _HOUR
#: An outage of the service's own surroundings: not the recording's fault, so it never ends its retries.
_SURROUNDINGS = frozenset({"authentication", "configuration", "no_space"})
#: The destination does not answer, or answers that it cannot: every recording would meet that.
STORAGE_DOWN = frozenset(
    {"destination.network", "destination.stalled", "destination.server_error", "destination.io"}
)
#: The first and the longest wait of what is waited for and spends no attempt.
_WAITS = {
    "quota": (_HOUR, _HOUR),
    "permission": (_HOUR, _LONGEST_SECONDS),
    **dict.fromkeys(_SURROUNDINGS, (_MINUTE, 15 * _MINUTE)),
}
#: Drive's quota of one file ends within a day; nobody says when.
_FILE_QUOTA = (6 * _HOUR, 6 * _HOUR)


class BehaviorSettings(Protocol):
    """The section ``behavior`` of the settings, as far as the policy needs it."""

    @property
    def retry_attempts(self) -> int:
        """Attempts before quarantine."""

    @property
    def retry_delay_seconds(self) -> float:
        """The first delay."""

    @property
    def retry_failed_files(self) -> bool:
        """Whether a failed recording is tried again by itself."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a recording.

    Attributes:
        state: Where it goes.
        reason: A short stable word for it; kept as ``state_reason``.
        delay_seconds: Until it is due; None when it does not become due by itself.
        spends_attempt: Whether this counts against the attempts.
    """

    state: State
    reason: str
    delay_seconds: float | None = None
    spends_attempt: bool = False


_FIXED = {
    "media": Decision(State.QUARANTINED, "media", spends_attempt=True),
    "not_found": Decision(State.SKIPPED, "gone"),
    "cancelled": Decision(State.PENDING, "cancelled", 0),
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when.

    Attributes:
        attempts: Attempts a recording has before it is quarantined.
        first_delay_seconds: The first delay; each further one is twice as long, up to a day.
        retry_failed: Whether failed recordings are tried again without a person asking.
        crash_limit: How many processes may die while they hold one recording.
        jitter: Gives a number from 0 to 1; a quarter of it is added to each delay, never taken away.
    """

    attempts: int = 3
    first_delay_seconds: float = 300
    retry_failed: bool = True
    crash_limit: int = 20
    jitter: Callable[[], float] = field(default=random.random, repr=False)

    @classmethod
    def from_settings(cls, behavior: BehaviorSettings) -> RetryPolicy:
        """Return the policy of the section ``behavior``."""
        return cls(
            attempts=behavior.retry_attempts,
            first_delay_seconds=behavior.retry_delay_seconds,
            retry_failed=behavior.retry_failed_files,
        )

    def decide(
        self, *, kind: str, code: str, attempts: int, failures: int, retry_after_seconds: float | None = None
    ) -> Decision:
        """Decide what follows a failure.

        Args:
            kind: The error's kind (`audio_extract.exceptions.ERROR_KINDS`).
            code: The error's code.
            attempts: Attempts spent before this one.
            failures: Failures in a row before this one, spent or not.
            retry_after_seconds: What the server asked for; never undercut.
        """
        if code in STORAGE_DOWN:
            # Waited for like a full disk, and with as little fault of the recording.
            kind = "no_space"
        if kind in _FIXED:
            return _FIXED[kind]
        least = retry_after_seconds or 0
        if kind == "source_changed":
            # Again and again: what we know of it is old, and discovery has to catch up first.
            delay = self._backoff(_MINUTE, _HOUR, failures - 1) if failures else 0
            return Decision(State.PENDING, kind, max(delay, least))
        if not self.retry_failed and kind not in _SURROUNDINGS:
            return Decision(State.FAILED, "retry_off", spends_attempt=kind not in _WAITS)
        if kind in _WAITS:
            first, most = _FILE_QUOTA if code == "source.quota_exceeded" else _WAITS[kind]
            reason = "storage_down" if code in STORAGE_DOWN else kind
            return Decision(State.FAILED, reason, max(self._backoff(first, most, failures), least))
        if attempts + 1 >= self.attempts:
            return Decision(State.QUARANTINED, "attempts_used_up", spends_attempt=True)
        delay = self._backoff(self.first_delay_seconds, _LONGEST_SECONDS, attempts)
        return Decision(State.FAILED, "backoff", max(delay, least), spends_attempt=True)

    def after_crash(self, crashes: int) -> Decision:
        """Decide what follows the death of the process that held the recording.

        Args:
            crashes: Processes that died over it, this one included.
        """
        if crashes >= self.crash_limit:
            return Decision(State.QUARANTINED, "crash_limit")
        return Decision(State.PENDING, "owner_died", 0)

    def _backoff(self, first: float, most: float, times: int) -> float:
        # The exponent is capped so that a long row of failures does not overflow a float.
        delay = min(first * 2.0 ** min(max(times, 0), 40), most)
        return delay * (1 + self.jitter() / 4)

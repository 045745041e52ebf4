"""How the service's own clockwork is, for the health checks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from audio_extract.telemetry.redaction import redact
from audio_extract.web.health import ComponentHealth, Status

if TYPE_CHECKING:
    from audio_extract.jobs.service import Service

#: Nothing that runs by the clock takes longer than this unless it hangs.
_LONG: Final = timedelta(minutes=30)


def schedule_health(service: Service, now: datetime | None = None) -> ComponentHealth:
    """Return how the schedule is: whether new transfers begin, and how the last run of each job ended.

    Args:
        service: The service.
        now: The time; the system's unless given.
    """
    now = now or datetime.now(UTC)
    if service.failure is not None:
        return ComponentHealth(Status.UNHEALTHY, redact(service.failure.message))
    if (pause := service.pool.pause) is not None:
        text = f"no new transfers until {pause.until:%H:%M:%S} UTC: {redact(pause.reason)}"
        return ComponentHealth(Status.DEGRADED, text)
    states = service.schedule.states()
    for state in states:
        if state.error is not None:
            at = "" if state.ended_at is None else f" at {state.ended_at:%H:%M:%S} UTC"
            return ComponentHealth(Status.DEGRADED, redact(f"{state.name} failed{at}: {state.error}"))
        if state.running_since is not None and now - state.running_since > _LONG:
            text = f"{state.name} has run since {state.running_since:%Y-%m-%d %H:%M} UTC"
            return ComponentHealth(Status.DEGRADED, text)
    if not service.schedule.running:
        return ComponentHealth(Status.HEALTHY, "starts")
    last = max((state.ended_at for state in states if state.ended_at is not None), default=None)
    text = "runs" if last is None else f"last job ended well at {last:%H:%M:%S} UTC"
    return ComponentHealth(Status.HEALTHY, text)

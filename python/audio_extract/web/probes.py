"""The application on the health port, for probes and scrapers. It names no recording and needs no login."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from audio_extract.web.headers import SafeHeaders
from audio_extract.web.health import FIRST_RESULTS_SECONDS, HealthMonitor, Status
from audio_extract.web.problems import handlers

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from audio_extract.telemetry.metrics import Metrics

#: The names that existing probes read → our components. ``gcs`` is the destination, whatever its type.
_CHECKS: Final = {"database": "database", "gcs": "storage", "drive": "drive", "ffmpeg": "ffmpeg"}
#: Without these no recording can be stored. A source that is away is no reason to restart the service.
_NEEDED_TO_BE_READY: Final = ("database", "gcs", "ffmpeg")


@dataclass(frozen=True, slots=True)
class Probes:
    """What the application answers from.

    Nothing here takes a thread: those can all be waiting for something that hangs.

    Attributes:
        health: The components' states.
        metrics: The metrics of this service.
        now: The clock.
        monotonic: The clock for the uptime.
        started: Its reading at the start.
    """

    health: HealthMonitor
    metrics: Metrics
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    started: float = field(default_factory=time.monotonic)

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/health", self.health_check),
                Route("/ready", self.ready),
                Route("/live", self.live),
                Route("/metrics", self.prometheus),
            ],
            middleware=[Middleware(SafeHeaders)],
            exception_handlers=handlers(),
        )

    async def health_check(self, _request: Request) -> Response:
        """``GET /health``: every component has to work."""
        checks = await self._checks()
        failed = [name for name, good in checks.items() if not good]
        body: dict[str, object] = {
            "status": "unhealthy" if failed else "healthy",
            "checks": checks,
            "timestamp": self.now().isoformat(),
        }
        if failed:
            body["failed_checks"] = failed
        self.metrics.probed("health", well=not failed)
        return JSONResponse(body, 503 if failed else 200)

    async def ready(self, _request: Request) -> Response:
        """``GET /ready``: recordings can be stored."""
        checks = await self._checks()
        ready = all(checks[name] for name in _NEEDED_TO_BE_READY)
        self.metrics.probed("ready", well=ready)
        return JSONResponse(
            {"ready": ready, "checks": checks, "timestamp": self.now().isoformat()}, 200 if ready else 503
        )

    async def live(self, _request: Request) -> Response:
        """``GET /live``: the process answers. Depends on nothing outside it."""
        self.metrics.probed("live", well=True)
        return JSONResponse(
            {
                "alive": True,
                "timestamp": self.now().isoformat(),
                "uptime_seconds": round(self.monotonic() - self.started, 3),
            }
        )

    async def prometheus(self, request: Request) -> Response:
        """``GET /metrics``."""
        body, content_type = self.metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def _checks(self) -> dict[str, bool]:
        components = await self.health.components_soon(wait_seconds=FIRST_RESULTS_SECONDS)
        return {
            name: components[component].status != Status.UNHEALTHY
            for name, component in _CHECKS.items()
            if component in components
        }

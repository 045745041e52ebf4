"""The application on the dashboard port: the page, the API under ``/api``, and ``/metrics``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from audio_extract import presentation
from audio_extract.exceptions import AudioExtractError
from audio_extract.telemetry.metrics import CONTENT_TYPE, Metrics
from audio_extract.telemetry.redaction import redact
from audio_extract.web.headers import SafeHeaders
from audio_extract.web.health import HealthMonitor, overall
from audio_extract.web.problems import HANDLERS
from audio_extract.web.view import reason, row_json, success_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from audio_extract.tracker.tracker import Tracker
    from audio_extract.tracker.values import Page, RecordingRow
    from audio_extract.web.view import ActiveView, AudioLocation

_HERE = Path(__file__).parent
_MARKS = {"healthy": "🟢", "degraded": "🟡", "unhealthy": "🔴"}
_FIRST_RESULTS_SECONDS = 0.8
#: Rows of each table on the page; the API gives the rest.
_ROWS = 50


@dataclass(frozen=True, slots=True)
class Dashboard:
    """What the application answers from.

    Attributes:
        tracker: What is known of recordings.
        activity: Gives the transfers that run now.
        audio: Gives the place of a completed recording's audio; None: there is none.
        health: The components' states.
        metrics: The metrics of this service.
        version: Shown in the footer.
        now: The clock.
    """

    tracker: Tracker
    activity: Callable[[], list[ActiveView]]
    audio: Callable[[RecordingRow], AudioLocation | None]
    health: HealthMonitor
    metrics: Metrics
    version: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/", self.page),
                Route("/api/recent", self.recent),
                Route("/api/failed", self.failed),
                Route("/api/stats", self.stats),
                Route("/api/health", self.api_health),
                Route("/api/active", self.active),
                Route("/api/recordings/{id}", self.recording),
                Route("/recordings/{id}/audio", self.audio_link),
                Route("/metrics", self.prometheus),
                Mount("/static", StaticFiles(directory=_HERE / "static")),
            ],
            middleware=[Middleware(SafeHeaders)],
            exception_handlers=HANDLERS,
        )

    # Handlers that ask the database are plain functions: Starlette runs them in its thread pool.

    def page(self, _request: Request) -> Response:
        """The page."""
        components = self.health.components(wait_seconds=_FIRST_RESULTS_SECONDS)
        return HTMLResponse(
            _template().render(
                overall=overall(components),
                components=components,
                marks=_MARKS,
                stats=self.tracker.stats(),
                active=self.activity(),
                recent=self.tracker.listing(limit=_ROWS).rows,
                failed=self.tracker.failed(limit=_ROWS).rows,
                version=self.version,
                now=self.now(),
            )
        )

    def recent(self, request: Request) -> Response:
        """``GET /api/recent?days=7&limit=&cursor=``."""
        days = _number(request, "days", default=7, most=36_500)
        return self._rows(
            request,
            lambda limit, cursor: self.tracker.recent(self.now(), days=days, limit=limit, cursor=cursor),
        )

    def failed(self, request: Request) -> Response:
        """``GET /api/failed?limit=&cursor=``."""
        return self._rows(request, lambda limit, cursor: self.tracker.failed(limit=limit, cursor=cursor))

    def recording(self, request: Request) -> Response:
        """``GET /api/recordings/{id}``."""
        return JSONResponse(row_json(self._found(request), str(request.base_url)))

    def stats(self, _request: Request) -> Response:
        """``GET /api/stats``."""
        stats = self.tracker.stats()
        return JSONResponse({**asdict(stats), "success_rate": success_rate(stats)})

    def active(self, _request: Request) -> Response:
        """``GET /api/active``."""
        return JSONResponse([asdict(transfer) for transfer in self.activity()])

    def api_health(self, _request: Request) -> Response:
        """``GET /api/health``."""
        components = self.health.components(wait_seconds=_FIRST_RESULTS_SECONDS)
        return JSONResponse(
            {
                "status": overall(components).value,
                "timestamp": self.now().isoformat(),
                "components": {
                    name: {"status": health.status.value, "message": health.message}
                    for name, health in components.items()
                },
            }
        )

    def audio_link(self, request: Request) -> Response:
        """``GET /recordings/{id}/audio``: a fresh signed URL, or the file itself with ``Range``."""
        row = self._found(request)
        try:
            location = self.audio(row)
        except AudioExtractError as error:
            raise HTTPException(502, redact(error.message)) from error
        if location is not None and location.file is not None:
            return FileResponse(location.file, filename=location.file.name, content_disposition_type="inline")
        if location is None or location.url is None:
            raise HTTPException(404, f"recording {row.id} has no audio that a link can lead to")
        return RedirectResponse(location.url, 307, headers={"Cache-Control": "no-store"})

    def prometheus(self, _request: Request) -> Response:
        """``GET /metrics``."""
        return Response(self.metrics.render(), media_type=CONTENT_TYPE)

    def _rows(self, request: Request, read: Callable[[int, str | None], Page]) -> Response:
        limit = _number(request, "limit", default=50, most=1000)
        try:
            page = read(limit, request.query_params.get("cursor"))
        except ValueError as error:
            raise HTTPException(400, f"cursor: {error}") from error
        headers = {}
        if page.next_cursor is not None:
            following = request.url.include_query_params(limit=limit, cursor=page.next_cursor)
            headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
        base = str(request.base_url)
        return JSONResponse([row_json(row, base) for row in page.rows], headers=headers)

    def _found(self, request: Request) -> RecordingRow:
        recording = self.tracker.recording(request.path_params["id"])
        if recording is None:
            raise HTTPException(404, f"no recording has the id {request.path_params['id']!r}")
        return recording


def _number(request: Request, name: str, *, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:12]) <= most:
        raise HTTPException(400, f"{name} is a number from 1 to {most}")
    return int(text)


def _template() -> jinja2.Template:
    return _ENVIRONMENT.get_template("dashboard.html")


_ENVIRONMENT = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True)
_ENVIRONMENT.filters.update(
    reason=reason, size=presentation.size, duration=presentation.duration, moment=presentation.moment
)

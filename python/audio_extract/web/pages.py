"""The pages, as people see them; all of them can be read without JavaScript."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jinja2
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from audio_extract import presentation
from audio_extract.exceptions import AudioExtractError
from audio_extract.telemetry.redaction import redact
from audio_extract.web.health import FIRST_RESULTS_SECONDS, overall
from audio_extract.web.view import found, reason

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from audio_extract.web.dashboard import Dashboard

_TEMPLATES: Final = Path(__file__).parent / "templates"
_MARKS: Final = {"healthy": "🟢", "degraded": "🟡", "unhealthy": "🔴"}
#: Rows of each table on the page; the API gives the rest.
_ROWS: Final = 50


class Pages:
    """Answers people.

    Handlers that ask the database are plain functions: Starlette runs them in its thread pool.
    """

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/", self.overview),
            Route("/recordings/{id}/audio", self.audio),
        ]

    def overview(self, _request: Request) -> Response:
        """``GET /``."""
        dashboard = self._dashboard
        components = dashboard.health.components(wait_seconds=FIRST_RESULTS_SECONDS)
        return self._page(
            "dashboard.html",
            overall=overall(components),
            components=components,
            marks=_MARKS,
            stats=dashboard.tracker.stats(),
            active=dashboard.activity(),
            recent=dashboard.tracker.listing(limit=_ROWS).rows,
            failed=dashboard.tracker.failed(limit=_ROWS).rows,
        )

    def audio(self, request: Request) -> Response:
        """``GET /recordings/{id}/audio``: a fresh signed URL, or the file itself with ``Range``."""
        row = found(self._dashboard.tracker, request.path_params["id"])
        try:
            location = self._dashboard.audio(row)
        except AudioExtractError as error:
            raise HTTPException(502, redact(error.message)) from error
        if location is not None and location.file is not None:
            return FileResponse(location.file, filename=location.file.name, content_disposition_type="inline")
        if location is None or location.url is None:
            raise HTTPException(404, f"recording {row.id} has no audio that a link can lead to")
        return RedirectResponse(location.url, 307, headers={"Cache-Control": "no-store"})

    def _page(self, template: str, **values: Any) -> Response:
        return HTMLResponse(
            _ENVIRONMENT.get_template(template).render(
                **values, version=self._dashboard.version, now=self._dashboard.now()
            )
        )


_ENVIRONMENT = jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True)
_ENVIRONMENT.filters.update(
    reason=reason, size=presentation.size, duration=presentation.duration, moment=presentation.moment
)

"""The API under ``/api``: what programs ask of the service, in JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from audio_extract.web.health import FIRST_RESULTS_SECONDS, overall
from audio_extract.web.view import found, health_json, row_json, success_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from audio_extract.tracker.values import Page
    from audio_extract.web.dashboard import Dashboard


class Api:
    """Answers programs.

    Handlers that ask the database are plain functions: Starlette runs them in its thread pool.
    """

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/api/recent", self.recent),
            Route("/api/failed", self.failed),
            Route("/api/stats", self.stats),
            Route("/api/health", self.health),
            Route("/api/active", self.active),
            Route("/api/events", self._dashboard.events.stream),
            Route("/api/recordings/{id}", self.recording),
        ]

    def recent(self, request: Request) -> Response:
        """``GET /api/recent?days=7&limit=&cursor=``."""
        dashboard = self._dashboard
        days = _number(request, "days", default=7, most=36_500)
        return self._rows(
            request,
            lambda limit, cursor: dashboard.tracker.recent(
                dashboard.now(), days=days, limit=limit, cursor=cursor
            ),
        )

    def failed(self, request: Request) -> Response:
        """``GET /api/failed?limit=&cursor=``."""
        tracker = self._dashboard.tracker
        return self._rows(request, lambda limit, cursor: tracker.failed(limit=limit, cursor=cursor))

    def recording(self, request: Request) -> Response:
        """``GET /api/recordings/{id}``."""
        row = found(self._dashboard.tracker, request.path_params["id"])
        return JSONResponse(row_json(row, str(request.base_url)))

    def stats(self, _request: Request) -> Response:
        """``GET /api/stats``."""
        stats = self._dashboard.tracker.stats()
        return JSONResponse({**asdict(stats), "success_rate": success_rate(stats)})

    def active(self, _request: Request) -> Response:
        """``GET /api/active``."""
        return JSONResponse([asdict(transfer) for transfer in self._dashboard.activity()])

    def health(self, _request: Request) -> Response:
        """``GET /api/health``."""
        components = self._dashboard.health.components(wait_seconds=FIRST_RESULTS_SECONDS)
        return JSONResponse(
            {
                "status": overall(components).value,
                "timestamp": self._dashboard.now().isoformat(),
                "components": health_json(components),
            }
        )

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


def _number(request: Request, name: str, *, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:12]) <= most:
        raise HTTPException(400, f"{name} is a number from 1 to {most}")
    return int(text)

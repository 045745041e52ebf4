"""The API under ``/api``: what programs ask of the service, in JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from audio_extract.tracker.values import values_of
from audio_extract.web import schemas
from audio_extract.web.endpoint import Endpoint, Given, Reply
from audio_extract.web.health import FIRST_RESULTS_SECONDS, overall
from audio_extract.web.openapi import document
from audio_extract.web.view import actor_of, found, health_json, row_json, success_rate

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from audio_extract.tracker.values import Page, Stats
    from audio_extract.web.dashboard import Dashboard

#: Longer lists are read each time: what is kept stays small.
_MOST_KEPT = 100
_NO_RECORDING = {404: "There is no such recording."}
_CURSOR = {400: "A parameter is wrong, or the cursor is not one of this service."}
_BODY = {
    400: "The body is not JSON.",
    413: "The body is too long.",
    415: "The body is not application/json.",
    422: "The body says something else than described.",
}


class Api:
    """Answers programs."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._endpoints = self._all()
        self._document = document(self._endpoints, dashboard.version)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            *(endpoint.route(self._dashboard.questions) for endpoint in self._endpoints),
            Route("/api/events", self._dashboard.events.stream),
            Route("/openapi.json", self._openapi),
        ]

    def _all(self) -> list[Endpoint]:
        def get(path: str, summary: str, carry_out: Callable[[Given], Reply], **values: object) -> Endpoint:
            return _endpoint("GET", path, summary, carry_out, values)

        def post(path: str, summary: str, carry_out: Callable[[Given], Reply], **values: object) -> Endpoint:
            return _endpoint("POST", path, summary, carry_out, values)

        s = schemas
        return [
            get("/api/recent", "Recordings that changed lately, newest first", self._recent,
                query=s.RecentQuery, answer=s.Recordings, errors=_CURSOR, at_hand=self._rows_at_hand),
            get("/api/failed", "Recordings that failed or were given up, newest first", self._failed,
                query=s.ListQuery, answer=s.Recordings, errors=_CURSOR, at_hand=self._rows_at_hand),
            get("/api/recordings/{id}", "One recording with its history", self._recording,
                answer=s.RecordingDetails, errors=_NO_RECORDING),
            get("/api/stats", "How much there is", self._stats, answer=s.Stats,
                at_hand=self._stats_at_hand),
            get("/api/history", "What ended on each of the last days", self._history,
                query=s.HistoryQuery, answer=s.History, errors={400: "A parameter is wrong."}),
            get("/api/active", "Transfers that run now", self._active, answer=s.ActiveTransfers,
                at_hand=self._active),
            get("/api/health", "How the service and its parts are", self._health, answer=s.Health,
                at_hand=self._health_at_hand),
            post("/api/refresh-url", "A new link to stored audio", self._refresh_url,
                 body=s.RefreshUrl, answer=s.FreshUrl,
                 errors={**_BODY, 404: "Nothing is stored there.", 502: "No link could be made."}),
            post("/api/reprocess", "Extract a recording again, or more outputs of it", self._reprocess,
                 body=s.Reprocess, answer=s.Due,
                 errors={**_BODY, **_NO_RECORDING, 409: "It is in progress."}),
            post("/api/retry", "Make recordings due at once, with all their attempts", self._retry,
                 body=s.Retry, answer=s.Due, errors=_BODY),
            post("/api/clear-failed", "Make all that failed due again, so that none counts as failed",
                 self._clear_failed, answer=s.Due),
            post("/api/cleanup", "Delete details older than some days; nothing is processed again for it",
                 self._cleanup, body=s.CleanUp, answer=s.CleanedUp, errors=_BODY),
        ]  # fmt: skip

    def _recent(self, given: Given) -> Reply:
        dashboard, query = self._dashboard, given.query
        return self._rows(
            given,
            lambda: dashboard.tracker.recent(
                dashboard.now(),
                days=query.days,
                states=schemas.states_of(query.status),
                name=query.q,
                since=query.since,
                until=query.until,
                limit=query.limit,
                cursor=query.cursor,
            ),
        )

    def _failed(self, given: Given) -> Reply:
        query = given.query
        return self._rows(
            given, lambda: self._dashboard.tracker.failed(limit=query.limit, cursor=query.cursor)
        )

    def _rows(self, given: Given, read: Callable[[], Page]) -> Reply:
        if given.query.limit > _MOST_KEPT:
            return self._page_of(given, read)
        reply: Reply = self._dashboard.lists(self._key_of(given), lambda: self._page_of(given, read))
        return reply

    def _rows_at_hand(self, given: Given) -> Reply | None:
        dashboard = self._dashboard
        return dashboard.at_hand(lambda: dashboard.lists.at_hand(self._key_of(given)))

    def _key_of(self, given: Given) -> tuple[str, datetime]:
        # What is of the last days is so for a minute.
        return str(given.request.url), self._dashboard.now().replace(second=0, microsecond=0)

    def _page_of(self, given: Given, read: Callable[[], Page]) -> Reply:
        try:
            page = read()
        except ValueError as error:
            raise HTTPException(400, f"cursor: {error}") from error
        headers = {}
        if page.next_cursor is not None:
            following = given.request.url.include_query_params(
                limit=given.query.limit, cursor=page.next_cursor
            )
            headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
        base = str(given.request.base_url)
        rows = [schemas.Recording.model_validate(row_json(row, base)) for row in page.rows]
        return Reply(schemas.Recordings(rows), headers)

    def _recording(self, given: Given) -> Reply:
        tracker = self._dashboard.tracker
        row = found(tracker, given.request.path_params["id"])
        values = {
            **row_json(row, str(given.request.base_url)),
            "transfers": tracker.attempts_of(row.id),
            "audit": [values_of(entry) for entry in tracker.audit(row.id)],
            "chunks": [values_of(chunk) for chunk in tracker.chunks_of(row.id)],
            "outputs": [
                {**asdict(one), "url": f"{given.request.base_url}recordings/{row.id}/outputs/{one.name}"}
                for one in tracker.outputs_of(row.id)
            ],
            "companions": [{"link": None, **one} for one in tracker.companions_of(row.id)],
        }
        return Reply(schemas.RecordingDetails.model_validate(values))

    def _stats(self, _given: Given) -> Reply:
        return _as_reply(self._dashboard.stats())

    def _stats_at_hand(self, _given: Given) -> Reply | None:
        stats = self._dashboard.at_hand(self._dashboard.stats.at_hand)
        return None if stats is None else _as_reply(stats)

    def _history(self, given: Given) -> Reply:
        dashboard = self._dashboard
        days = dashboard.tracker.history(dashboard.now(), days=given.query.days, zone=dashboard.zone)
        return Reply(schemas.History([schemas.Day(**asdict(day)) for day in days]))

    def _active(self, _given: Given) -> Reply:
        transfers = [schemas.Active(**asdict(transfer)) for transfer in self._dashboard.activity()]
        return Reply(schemas.ActiveTransfers(transfers))

    def _health(self, _given: Given) -> Reply:
        components = self._dashboard.health.components(wait_seconds=FIRST_RESULTS_SECONDS)
        return Reply(
            schemas.Health.model_validate(
                {
                    "status": overall(components).value,
                    "timestamp": self._dashboard.now(),
                    "components": health_json(components),
                }
            )
        )

    def _health_at_hand(self, given: Given) -> Reply | None:
        return self._health(given) if self._dashboard.health.has_looked else None

    def _refresh_url(self, given: Given) -> Reply:
        link = self._dashboard.actions.fresh_link(given.body.storage_path)
        if link is None:
            raise HTTPException(404, f"nothing is stored as {given.body.storage_path!r}")
        url = link.url or f"{given.request.base_url}{link.path}"
        return Reply(schemas.FreshUrl(url=url, expires_at=link.expires_at))

    def _reprocess(self, given: Given) -> Reply:
        row = self._dashboard.tracker.find(given.body.name)
        if row is None:
            raise HTTPException(404, f"no recording is called {given.body.name!r}")
        if not self._dashboard.actions.reprocess(row.id, actor_of(given.request), given.body.outputs):
            raise HTTPException(409, f"{row.name} is in progress already")
        return _due([row.id])

    def _retry(self, given: Given) -> Reply:
        actions, actor, wanted = self._dashboard.actions, actor_of(given.request), given.body.root
        if isinstance(wanted, schemas.AllFailed):
            return _due(actions.retry_failed(actor))
        return _due(actions.retry(wanted.ids, actor))

    def _clear_failed(self, given: Given) -> Reply:
        return _due(self._dashboard.actions.retry_failed(actor_of(given.request)))

    def _cleanup(self, given: Given) -> Reply:
        deleted = self._dashboard.actions.clean_up(given.body.days, actor_of(given.request))
        return Reply(schemas.CleanedUp(success=True, deleted=deleted))

    async def _openapi(self, _request: Request) -> Response:
        return JSONResponse(self._document)


def _as_reply(stats: Stats) -> Reply:
    return Reply(schemas.Stats(**asdict(stats), success_rate=success_rate(stats)))


def _due(ids: list[str]) -> Reply:
    return Reply(schemas.Due(success=True, ids=ids, count=len(ids)))


def _endpoint(
    method: str, path: str, summary: str, carry_out: Callable[[Given], Reply], values: dict[str, object]
) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        summary=summary,
        carry_out=carry_out,
        **{"errors": {}, **values},  # type: ignore[arg-type]
    )

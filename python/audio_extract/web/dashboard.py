"""The application on the dashboard port: pages, the API under ``/api``, and ``/metrics``.

Owns what the application answers from, and how its parts make one application. The pages are in ``pages``,
the API in ``api``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from audio_extract.web.access.forwarded import Forwarded
from audio_extract.web.access.gate import Gate
from audio_extract.web.access.login import Login
from audio_extract.web.access.origin import SAFE_METHODS
from audio_extract.web.access.policy import Access
from audio_extract.web.api import Api
from audio_extract.web.headers import SafeHeaders
from audio_extract.web.pages import Pages, error_page, login_page
from audio_extract.web.problems import answering, handlers
from audio_extract.web.questions import Questions
from audio_extract.web.remembered import Remembered, Unchanged

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from audio_extract.telemetry.metrics import Metrics
    from audio_extract.tracker.tracker import Tracker
    from audio_extract.tracker.values import RecordingRow, Stats
    from audio_extract.web.actions import Actions
    from audio_extract.web.events import Events
    from audio_extract.web.health import HealthMonitor
    from audio_extract.web.view import ActiveView, AudioLocation, ShownSettings

T = TypeVar("T")

_STATIC: Final = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Dashboard:
    """What the application answers from.

    Attributes:
        tracker: What is known of recordings.
        activity: Gives the transfers that run now.
        audio: Gives the place of a completed recording's audio, to play or (True) to download, or of what is
            stored beside it under a name; None: there is none.
        health: The components' states.
        metrics: The metrics of this service.
        events: Tells those who listen what changes.
        actions: What a person may ask for.
        settings: What the service runs with, for the page.
        version: Shown in the footer.
        access: Knows who may come in.
        media_hosts: Other servers that audio is played from, as ``https://host``.
        trace_url: Where a trace can be looked at, with ``{trace_id}`` in its place; None: nobody said.
        zone: Where the days of the history begin.
        now: The clock.
    """

    tracker: Tracker
    activity: Callable[[], list[ActiveView]]
    audio: Callable[[RecordingRow, bool, str | None], AudioLocation | None]
    health: HealthMonitor
    metrics: Metrics
    events: Events
    actions: Actions
    settings: ShownSettings
    version: str
    access: Access = field(default_factory=Access)
    media_hosts: tuple[str, ...] = ()
    trace_url: str | None = None
    zone: tzinfo = UTC
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @cached_property
    def questions(self) -> Questions:
        """What asks the database for who looks."""
        return Questions(self.health)

    @cached_property
    def stats(self) -> Remembered[Stats]:
        """How much there is; a million rows take a tenth of a second to count."""
        return Remembered(self.tracker.stats)

    @cached_property
    def lists(self) -> Unchanged[Any]:
        """Lists of recordings; they are asked for far more often than one changes."""
        return Unchanged(self.tracker.newest_change)

    def at_hand(self, kept: Callable[[], T | None]) -> T | None:
        """Return what is kept, unless the database is known to be away: then who looks is told that."""
        return kept() if self.questions.why_not() is None else None

    def app(self) -> ASGIApp:
        """Return the application."""
        answering_requests = Starlette(
            routes=[
                *Pages(self).routes(),
                *Api(self).routes(),
                *Login(self.access, login_page).routes(),
                Route("/metrics", self.prometheus),
                Mount("/static", StaticFiles(directory=_STATIC)),
            ],
            middleware=[Middleware(Gate, access=self.access, answer=answering(error_page))],
            exception_handlers=handlers(error_page),
        )

        async def noting_changes(scope: Scope, receive: Receive, send: Send) -> None:
            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    # Whoever changed something, and reads it again, sees what came of it.
                    self.lists.changed()
                await send(message)

            changes = scope["type"] == "http" and scope["method"] not in SAFE_METHODS
            await answering_requests(scope, receive, noting if changes else send)

        # Around Starlette, so that its answer to a bug has them too.
        return Forwarded(SafeHeaders(noting_changes, self.media_hosts), self.access.networks)

    async def prometheus(self, request: Request) -> Response:
        """``GET /metrics``."""
        body, content_type = self.metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

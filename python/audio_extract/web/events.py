"""``GET /api/events``: what changes while somebody looks, as server-sent events.

One broadcaster asks for all who listen. ``recording`` events are read from the audit log, so that they also
tell of what other processes did, and their id is that log's number: a client that comes back with
``Last-Event-ID`` gets what it missed. Source of the format: https://html.spec.whatwg.org/#server-sent-events
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from audio_extract.exceptions import AudioExtractError
from audio_extract.web.access.people import may_stay
from audio_extract.web.health import overall
from audio_extract.web.questions import Questions
from audio_extract.web.view import health_json, row_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from audio_extract.tracker.tracker import Tracker
    from audio_extract.tracker.values import RecordingRow
    from audio_extract.web.health import HealthMonitor
    from audio_extract.web.view import ActiveView

_log = logging.getLogger(__name__)

#: How often is looked whether something changed.
_LOOK_SECONDS: Final = 1.0
#: A proxy closes what is silent for a minute.
_SILENCE_SECONDS: Final = 15.0
#: How long a browser waits before it comes back.
_RETRY_MILLISECONDS: Final = 2000
_MOST_CLIENTS: Final = 200
#: What waits for one client; one that is slower is told to load everything again.
_MOST_WAITING: Final = 100
#: How much of the log is told one by one to a client that comes back.
_MOST_MISSED: Final = 500
#: How much of the log is looked through for it.
_MOST_LOOKED_AT: Final = 20_000
#: Numbers of the log that are looked at again: of two transactions the later number may be seen first.
_OVERLAP: Final = 100


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    data: Any = None
    id: int | None = None
    row: RecordingRow | None = None

    def text(self, base_url: str) -> str:
        data = self.data if self.row is None else row_json(self.row, base_url)
        number = "" if self.id is None else f"id: {self.id}\n"
        # JSON has no line breaks outside of strings, and writes those inside as \n.
        return f"{number}event: {self.name}\ndata: {json.dumps(data)}\n\n"


@dataclass(eq=False, slots=True)
class _Client:
    queue: asyncio.Queue[_Event | None] = field(default_factory=lambda: asyncio.Queue(_MOST_WAITING))

    def tell(self, event: _Event | None) -> None:
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(_Event("reload") if event is not None else None)


class Events:
    """Tells everybody who listens what changed.

    Args:
        tracker: What is known of recordings.
        activity: Gives the transfers that run now.
        health: The components' states.
    """

    def __init__(
        self, tracker: Tracker, activity: Callable[[], list[ActiveView]], health: HealthMonitor
    ) -> None:
        self._tracker = tracker
        self._activity = activity
        self._health = health
        self._questions = Questions(health)
        self._clients: set[_Client] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._joining = asyncio.Lock()
        self._last = 0
        self._told: deque[int] = deque(maxlen=2 * _OVERLAP)

    async def stream(self, request: Request) -> Response:
        """``GET /api/events``."""
        if self._closed:
            raise HTTPException(503, "the service is stopping", {"Retry-After": "5"})
        if len(self._clients) >= _MOST_CLIENTS:
            raise HTTPException(503, f"{_MOST_CLIENTS} pages listen already", {"Retry-After": "30"})
        after = _last_event_id(request)
        return StreamingResponse(
            self._told_to(_Client(), after, request),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    def close(self) -> None:
        """End every stream, now and from any thread; nobody is let in any more."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    async def _told_to(self, client: _Client, after: int | None, request: Request) -> AsyncIterator[str]:
        base_url = str(request.base_url)
        try:
            await self._join(client)
            yield f"retry: {_RETRY_MILLISECONDS}\n\n"
            for event in (*self._state(), *await self._missed(after)):
                yield event.text(base_url)
            while True:
                text = ": still here\n\n"
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SILENCE_SECONDS):
                        waited_for = await client.queue.get()
                    if waited_for is None:
                        return
                    text = waited_for.text(base_url)
                if not may_stay(request):
                    return
                yield text
        finally:
            self._leave(client)

    async def _join(self, client: _Client) -> None:
        self._clients.add(client)
        async with self._joining:
            if self._tasks:
                return
            self._loop = asyncio.get_running_loop()
            self._last = await self._newest()
            # Apart from each other: a database that hangs must not stop the figures of running transfers.
            # What is known now is told first, so that every change after it is one that was not told.
            self._tasks = [
                asyncio.create_task(self._watch_state(self._state())),
                asyncio.create_task(self._watch_log()),
            ]
            for task in self._tasks:
                task.add_done_callback(self._on_end)

    def _leave(self, client: _Client) -> None:
        self._clients.discard(client)
        if not self._clients:
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """Let nobody listen to what no longer looks: who comes back starts it again."""
        if task.cancelled() or task not in self._tasks:
            return
        _log.error(
            "the events of the page stopped", exc_info=task.exception(), extra={"event": "web.events_failed"}
        )
        for one in self._tasks:
            one.cancel()
        self._tasks = []
        self._end()

    def _end(self) -> None:
        for client in list(self._clients):
            client.tell(None)

    def _tell_all(self, event: _Event) -> None:
        for client in list(self._clients):
            client.tell(event)

    def _state(self) -> list[_Event]:
        components = self._health.components()
        health = {"status": overall(components).value, "components": health_json(components)}
        return [
            _Event("active", [asdict(transfer) for transfer in self._activity()]),
            _Event("health", health),
        ]

    async def _watch_state(self, before: list[_Event]) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = self._state()
            for event in now:
                if event not in before:
                    self._tell_all(event)
            before = now

    async def _watch_log(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(AudioExtractError):  # health tells of it
                found = await self._changes(max(0, self._last - _OVERLAP))
                for number, row in found:
                    if number not in self._told and (number > self._last - _OVERLAP):
                        self._told.append(number)
                        self._tell_all(_Event("recording", id=number, row=row))
                    self._last = max(self._last, number)

    async def _changes(self, *words: int) -> list[tuple[int, RecordingRow]]:
        return await self._questions.ask(lambda: self._tracker.changes(*words))

    async def _newest(self) -> int:
        try:
            newest = await self._questions.ask(self._tracker.newest_change)
            known = await self._changes(max(0, newest - _OVERLAP))
        except AudioExtractError:
            return self._last
        self._told.extend(number for number, _ in known if number not in self._told)
        return newest

    async def _missed(self, after: int | None) -> list[_Event]:
        """Return what a client that comes back has not been told; at first, where it stands in the log."""
        if after is None:
            return [_Event("hello", id=self._last)]
        # A number may come to be seen after a higher one; who saw just the higher one has missed it. Of what
        # this process told it knows what was told until then.
        told = list(self._told)
        seen = told[: told.index(after) + 1] if after in told else None
        since = after if seen is None else max(0, after - _OVERLAP)
        try:
            newest = await self._questions.ask(self._tracker.newest_change)
            if not 0 <= newest - after <= _MOST_LOOKED_AT:
                # The number is of another database, or to look through all since then takes too long.
                return [_Event("reload", id=newest)]
            found = await self._changes(since, _OVERLAP + _MOST_MISSED)
        except AudioExtractError:
            return []
        missed = [change for change in found if change[0] > after or change[0] not in (seen or ())]
        if len(missed) > _MOST_MISSED or len(found) == _OVERLAP + _MOST_MISSED:
            return [_Event("reload", id=newest)]
        return [_Event("recording", id=number, row=row) for number, row in missed]


def _last_event_id(request: Request) -> int | None:
    text = request.headers.get("last-event-id", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None

"""The pages, as people see them. All of them can be read without JavaScript, and forms work without it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from audio_extract import presentation
from audio_extract.exceptions import AudioExtractError
from audio_extract.failure_texts import failure_parts
from audio_extract.presets import PRESETS
from audio_extract.settings.audio_sections import Output
from audio_extract.sound import shrunk, svg_path
from audio_extract.telemetry.redaction import redact
from audio_extract.tracker.states import State
from audio_extract.web.access.people import person_of, require_operator
from audio_extract.web.components import MEANINGS
from audio_extract.web.forms import fields_of
from audio_extract.web.health import FIRST_RESULTS_SECONDS, overall
from audio_extract.web.history import history_view
from audio_extract.web.questions import CHANGE_SECONDS, READ_SECONDS
from audio_extract.web.recording_page import about, facts, last_sound, stage_rows, took
from audio_extract.web.remembered import Remembered
from audio_extract.web.view import actor_of, found, why

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from audio_extract.tracker.values import RecordingRow
    from audio_extract.web.dashboard import Dashboard

#: Days of the page's charts.
HISTORY_DAYS: Final = 30
_TEMPLATES: Final = Path(__file__).parent / "templates"
_MARKS: Final = {"healthy": "🟢", "degraded": "🟡", "unhealthy": "🔴"}
#: How long the overview waits for the database, until it is known to hang.
_OVERVIEW_SECONDS: Final = 3.0
#: Rows of the tables on the overview; the list of all recordings has the rest.
_NEWEST: Final = 20
_NEWEST_FAILED: Final = 5
#: Of a waveform in a list.
_WAVE_PIXELS: Final = 80
#: Rows of one page of that list.
_PAGE: Final = 50
#: Choices of the list: what people ask for → the states it stands for.
_CHOICES: Final = {
    "failed": ("failed, and given up", (State.FAILED, State.QUARANTINED)),
    **{
        state.value: (state.value.replace("_", " "), (state,)) for state in State if state is not State.FAILED
    },
}


class Pages:
    """Answers people.

    Handlers that ask the database are plain functions, which run in threads and not for ever.
    """

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._history = Remembered(self._draw_history)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""

        def get(path: str, answer: Callable[[Request], Response]) -> Route:
            return Route(path, self._asking(answer, READ_SECONDS))

        def post(path: str, answer: Callable[[Request], Response]) -> Route:
            return Route(path, self._asking(answer, CHANGE_SECONDS), methods=["POST"])

        return [
            Route("/", self.overview),
            get("/recordings", self.recordings),
            get("/recordings/{id}", self.recording),
            get("/recordings/{id}/audio", self.audio),
            post("/recordings/{id}/retry", self.retry),
            post("/recordings/{id}/reprocess", self.reprocess),
            get("/recordings/{id}/outputs/{name}", self.output),
            Route("/recordings/{id}/outputs", self.more_outputs, methods=["POST"]),
            post("/retry-failed", self.retry_failed),
            Route("/settings", self.settings),
        ]

    def _asking(
        self, answer: Callable[[Request], Response], seconds: float
    ) -> Callable[[Request], Awaitable[Response]]:
        async def asked(request: Request) -> Response:
            return await self._dashboard.questions.ask(lambda: answer(request), seconds=seconds)

        return asked

    async def overview(self, request: Request) -> Response:
        """``GET /``: what runs, what failed, what is new. It is there whatever else is not."""
        dashboard = self._dashboard
        values: dict[str, Any] = {}
        unknown = None
        await dashboard.health.components_soon(wait_seconds=FIRST_RESULTS_SECONDS)
        try:
            may_act = person_of(request).may_act
            at_hand = dashboard.at_hand(lambda: self._lists_at_hand(may_act=may_act))
            if at_hand is None:
                at_hand = await dashboard.questions.ask(
                    lambda: self._lists(may_act=may_act), seconds=_OVERVIEW_SECONDS
                )
            values = at_hand
        except AudioExtractError as error:
            unknown = redact(error.message)
        return self._page(
            request, "dashboard.html", here="/", unknown=unknown, active=dashboard.activity(), **values
        )

    def _lists(self, *, may_act: bool) -> dict[str, Any]:
        dashboard = self._dashboard
        lists: dict[str, Any] = dashboard.lists(
            ("overview", may_act), lambda: self._newest_lists(may_act=may_act)
        )
        return {"history": self._history(), "stats": dashboard.stats(), **lists}

    def _lists_at_hand(self, *, may_act: bool) -> dict[str, Any] | None:
        dashboard = self._dashboard
        lists = dashboard.lists.at_hand(("overview", may_act))
        history, stats = self._history.at_hand(), dashboard.stats.at_hand()
        if lists is None or history is None or stats is None:
            return None
        return {"history": history, "stats": stats, **lists}

    def _newest_lists(self, *, may_act: bool) -> dict[str, Any]:
        tracker = self._dashboard.tracker
        recent = tracker.listing(limit=_NEWEST)
        failed = tracker.failed(limit=_NEWEST_FAILED)
        return {
            "recent": recent.rows and self._table(recent.rows, "The newest recordings"),
            "more_recent": recent.next_cursor is not None,
            "failed": failed.rows and _drawn("failures", failed.rows, may_act),
            "more_failed": failed.next_cursor is not None,
        }

    def _draw_history(self) -> Markup:
        dashboard = self._dashboard
        days = dashboard.tracker.history(dashboard.now(), days=HISTORY_DAYS, zone=dashboard.zone)
        return _drawn("history", history_view(days))

    def _table(self, rows: Sequence[RecordingRow], caption: str) -> Markup:
        return _drawn("recordings", rows, caption, self._waves(rows))

    def recordings(self, request: Request) -> Response:
        """``GET /recordings?q=&status=&cursor=``: all of them, newest first."""
        query = request.query_params
        name, status, cursor = query.get("q", "").strip(), query.get("status", ""), query.get("cursor")
        if status and status not in _CHOICES:
            raise HTTPException(400, f"status: there is no {status!r}; there are {', '.join(_CHOICES)}")
        may_act = person_of(request).may_act

        def list_of() -> tuple[Markup | None, str | None]:
            states = _CHOICES[status][1] if status else ()
            page = self._dashboard.tracker.listing(states=states, name=name, limit=_PAGE, cursor=cursor)
            if not page.rows:
                return None, None
            if status == State.FAILED.value:
                return _drawn("failures", page.rows, may_act), page.next_cursor
            return self._table(page.rows, "Recordings, newest first"), page.next_cursor

        try:
            rows, next_cursor = self._dashboard.lists(("list", name, status, cursor, may_act), list_of)
        except ValueError as error:
            raise HTTPException(400, f"cursor: {error}") from error
        asked = {key: value for key, value in (("q", name), ("status", status)) if value}
        return self._page(
            request,
            "recordings.html",
            here="/recordings",
            q=name,
            status=status,
            states=[(choice, text) for choice, (text, _) in _CHOICES.items()],
            rows=rows,
            first=cursor is None,
            newest=_link("/recordings", asked),
            older=next_cursor and _link("/recordings", {**asked, "cursor": next_cursor}),
        )

    def recording(self, request: Request) -> Response:
        """``GET /recordings/{id}``: everything that is known of one, and what happened to it."""
        tracker = self._dashboard.tracker
        row = found(tracker, request.path_params["id"])
        attempts = tracker.attempts_of(row.id)
        outputs = tracker.outputs_of(row.id)
        chunked = [("", tracker.chunks_of(row.id)), *((one.name, one.chunks) for one in outputs)]
        return self._page(
            request,
            "recording.html",
            row=row,
            facts=facts(row) + about(attempts),
            attempts=[{**attempt, "why": _ended_by(attempt, row.name)} for attempt in reversed(attempts)],
            stages=stage_rows(attempts[-1].get("report") if attempts else None),
            sound=last_sound(attempts),
            chunked=[(of, chunks) for of, chunks in chunked if chunks],
            outputs=outputs,
            companions=tracker.companions_of(row.id),
            presets=list(PRESETS),
            trace_url=_trace_url(self._dashboard.trace_url, row.trace_id),
            trail=tracker.audit(row.id),
        )

    def _waves(self, rows: Sequence[RecordingRow]) -> dict[str, tuple[int, str]]:
        """Return a small picture of the sound of each recording whose sound was measured."""
        sounds = self._dashboard.tracker.sounds_of([row.id for row in rows])
        return {name: svg_path(shrunk(sound["waveform"], _WAVE_PIXELS)) for name, sound in sounds.items()}

    def audio(self, request: Request) -> Response:
        """``GET /recordings/{id}/audio``: a fresh signed URL, or the file itself with ``Range``."""
        return self._sound(request, found(self._dashboard.tracker, request.path_params["id"]), None)

    def output(self, request: Request) -> Response:
        """``GET /recordings/{id}/outputs/{name}``: the same of what is stored beside the audio."""
        row = found(self._dashboard.tracker, request.path_params["id"])
        name = request.path_params["name"]
        outputs = self._dashboard.tracker.outputs_of(row.id)
        stored = next((one.object_name for one in outputs if one.name == name), None)
        if stored is None:
            raise HTTPException(404, f"recording {row.id} has no output that is called {name!r}")
        return self._sound(request, row, stored)

    def _sound(self, request: Request, row: RecordingRow, name: str | None) -> Response:
        as_attachment = "download" in request.query_params
        try:
            location = self._dashboard.audio(row, as_attachment, name)
        except AudioExtractError as error:
            raise HTTPException(502, redact(error.message)) from error
        if location is not None and location.file is not None:
            return FileResponse(
                location.file,
                filename=location.file.name,
                content_disposition_type="attachment" if as_attachment else "inline",
            )
        if location is None or location.url is None:
            raise HTTPException(404, f"recording {row.id} has no audio that a link can lead to")
        return RedirectResponse(location.url, 307, headers={"Cache-Control": "no-store"})

    def settings(self, request: Request) -> Response:
        """``GET /settings``: what the service runs with, secrets masked."""
        require_operator(request)
        shown = self._dashboard.settings
        return self._page(
            request,
            "settings.html",
            here="/settings",
            settings_file=shown.file,
            settings=[(section, list(_flat(values))) for section, values in shown.sections.items()],
        )

    def retry(self, request: Request) -> Response:
        """``POST /recordings/{id}/retry``."""
        row = found(self._dashboard.tracker, request.path_params["id"])
        if not self._dashboard.actions.retry([row.id], actor_of(request)):
            raise HTTPException(409, f"{row.name} is {row.status}: there is nothing to try again")
        return RedirectResponse(f"/recordings/{row.id}", 303)

    def reprocess(self, request: Request) -> Response:
        """``POST /recordings/{id}/reprocess``."""
        row = found(self._dashboard.tracker, request.path_params["id"])
        if not self._dashboard.actions.reprocess(row.id, actor_of(request)):
            raise HTTPException(409, f"{row.name} is in progress already")
        return RedirectResponse(f"/recordings/{row.id}", 303)

    async def more_outputs(self, request: Request) -> Response:
        """``POST /recordings/{id}/outputs``: ``preset``, and more or nothing of how it should be."""
        fields = await fields_of(request)
        given: dict[str, Any] = {
            name: value for name in ("preset", "track", "normalize") if (value := fields.get(name))
        }
        try:
            output = Output.model_validate({**given, "preset": given.get("preset", ""), **_cuts(fields)})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise HTTPException(422, f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
        # Beside that of another track, and beside the one that is in one piece.
        parts = [output.name]
        parts += [str(output.track)] if "track" in given else []
        parts += ["chunks"] if output.chunks.are_wanted else []
        output = output.model_copy(update={"name": "-".join(parts)})

        def act() -> Response:
            row = found(self._dashboard.tracker, request.path_params["id"])
            if not self._dashboard.actions.reprocess(row.id, actor_of(request), [output]):
                raise HTTPException(409, f"{row.name} is in progress already")
            return RedirectResponse(f"/recordings/{row.id}", 303)

        return await self._dashboard.questions.ask(act, seconds=CHANGE_SECONDS)

    def retry_failed(self, request: Request) -> Response:
        """``POST /retry-failed``."""
        self._dashboard.actions.retry_failed(actor_of(request))
        return RedirectResponse("/", 303)

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        person = person_of(request)
        components = self._dashboard.health.components()
        return _html(
            _ENVIRONMENT.get_template(template).render(
                **values,
                person=person,
                may_act=person.may_act,
                overall=overall(components),
                components=components,
                marks=_MARKS,
                meanings=MEANINGS,
                version=self._dashboard.version,
                now=self._dashboard.now(),
            )
        )


def _drawn(part: str, *values: Any) -> Markup:
    """Return a part of a page; drawn once for many who look, it costs a fraction."""
    drawn: Markup = getattr(_ENVIRONMENT.get_template("parts.html").module, part)(*values)
    return drawn


def _cuts(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return ``chunks`` of an output as a form has it."""
    minutes, most = fields.get("chunk_minutes"), fields.get("chunk_size")
    if not minutes and not most:
        return {}
    try:
        seconds = float(minutes) * 60 if minutes else None
    except ValueError:
        raise HTTPException(422, "chunk_minutes: a number, such as 15") from None
    return {"chunks": {"duration_seconds": seconds, "max_size_mb": most or None}}


def error_page(title: str, detail: str, status: int, headers: Mapping[str, str] | None) -> Response:
    """Return what a person sees instead of a problem document."""
    text = _ENVIRONMENT.get_template("error.html").render(title=title, detail=detail)
    return _html(text, status, headers)


def login_page(values: Mapping[str, Any]) -> str:
    """Return the page to sign in on."""
    return _ENVIRONMENT.get_template("login.html").render(values)


def _html(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # A local file's name need not be valid Unicode; what cannot be written is a question mark.
    return HTMLResponse(text.encode(errors="replace"), status, headers=headers)


def _trace_url(template: str | None, trace_id: str | None) -> str | None:
    return None if template is None or trace_id is None else template.replace("{trace_id}", trace_id)


def _ended_by(attempt: Mapping[str, Any], name: str) -> str | None:
    code, message = attempt["error_code"], attempt["error_message"] or ""
    return None if code is None else failure_parts(code, name, message).cause


def _link(path: str, values: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(values)}" if values else path


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Return nested settings as ``audio_format.bitrate`` and what it is, in words."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{before}{name}.")
        else:
            rows.append((before + name, _in_words(value)))
    return rows


def _in_words(value: Any) -> str:
    match value:
        case None | [] | {} | "":
            return "–"
        case True:
            return "yes"
        case False:
            return "no"
        case list():
            return ", ".join(_in_words(one) for one in value)
        case _:
            return str(value)


def _when(time: datetime | None) -> str | Markup:
    """A moment that the browser writes in the reader's time zone; without it, in the server's."""
    if time is None:
        return "–"
    return Markup('<time datetime="{}">{}</time>').format(time.isoformat(), presentation.moment(time))


def _sentence(text: str) -> str:
    """Write what may be half a sentence as a whole one."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".")


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_TEMPLATES),
    autoescape=True,
    trim_blocks=True,
    # Templates are a part of the program; looking whether they changed would be three questions a page.
    auto_reload=False,
    # What a page was not given because the database was not there is like nothing.
    undefined=jinja2.ChainableUndefined,
)
_ENVIRONMENT.filters.update(
    why=why, sentence=_sentence, size=presentation.size, duration=presentation.duration, when=_when, took=took
)

"""One endpoint of the API: what it takes, what it gives, and how a request becomes values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from audio_extract.web.questions import CHANGE_SECONDS, READ_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from audio_extract.web.questions import Questions

#: No request has more to say.
_MOST_BYTES: Final = 256 * 1024

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Given:
    """What a request says.

    Attributes:
        request: The request itself.
        query: Its parameters, checked; of the endpoint's ``query`` type.
        body: Its JSON object, checked; of the endpoint's ``body`` type.
    """

    request: Request
    query: Any
    body: Any


@dataclass(frozen=True)
class Reply:
    """What is answered: a value of the endpoint's ``answer`` type, and headers."""

    value: BaseModel
    headers: Mapping[str, str] | None = None

    @cached_property
    def body(self) -> bytes:
        """The value as JSON; made once for all who get this answer."""
        # In ASCII: a local file's name need not be valid Unicode, and half a character can be written so.
        return json.dumps(self.value.model_dump(mode="json")).encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address of the API.

    Attributes:
        method: ``GET`` or ``POST``.
        path: Its path; ``{id}`` is a recording's.
        summary: What it does, in a line.
        carry_out: Does it.
        answer: The type of its answer.
        query: The type of its parameters.
        body: The type of its body.
        errors: Statuses it answers with beside those that every endpoint has, and when.
        at_hand: Gives the answer where that takes no question, else None: then a thread does it, for no
            longer than questions may take.
    """

    method: str
    path: str
    summary: str
    carry_out: Callable[[Given], Reply]
    answer: type[BaseModel]
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    errors: Mapping[int, str]
    at_hand: Callable[[Given], Reply | None] | None = None

    def route(self, questions: Questions) -> Route:
        """Return the route."""

        async def respond(request: Request) -> Response:
            return await self._respond(request, questions)

        return Route(self.path, respond, methods=[self.method])

    async def _respond(self, request: Request, questions: Questions) -> Response:
        """Check what was sent, do what was asked, and answer in JSON."""
        query = None if self.query is None else _checked(self.query, dict(request.query_params), 400)
        body = None if self.body is None else _checked(self.body, await _json(request), 422)
        given = Given(request, query, body)
        reply = self.at_hand(given) if self.at_hand is not None else None
        if reply is None:
            seconds = READ_SECONDS if self.method == "GET" else CHANGE_SECONDS
            reply = await questions.ask(lambda: self.carry_out(given), seconds=seconds)
        return Response(reply.body, media_type="application/json", headers=dict(reply.headers or {}))


def _checked(model: type[Model], values: object, status: int) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # Of a body that has several forms, the form's name says nothing to who sent it.
        where = ".".join(str(part) for part in first["loc"] if not str(part)[:1].isupper())
        message = first["msg"].removeprefix("Value error, ")
        raise HTTPException(status, f"{where}: {message}" if where else message) from error


async def _json(request: Request) -> object:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "send a JSON object, with Content-Type: application/json")
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > _MOST_BYTES:
            raise HTTPException(413, f"the body is longer than {_MOST_BYTES} bytes")
    try:
        return json.loads(bytes(content))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is not JSON") from error

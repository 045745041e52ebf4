"""What both emulators have: accounts, faults, request counters, a network, and their ASGI application."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from audio_extract.emulator.accounts import Accounts, TokenRefusedError
from audio_extract.emulator.clock import Clock, system_clock
from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.faults import FaultScript, action_json
from audio_extract.emulator.gateway import Gateway
from audio_extract.emulator.network import NetworkShape, shape_from_json
from audio_extract.emulator.requests import RequestLog
from audio_extract.emulator.uploads import UploadSessions, json_body

if TYPE_CHECKING:
    from starlette.requests import Request


class Emulator(ABC):
    """One emulated service.

    Attributes:
        faults: What goes wrong; see :mod:`audio_extract.emulator.faults`.
        requests: Counters and log of requests.
        network: How slow the network is.
        accounts: Who may ask.
        clock: The service's time.
        uploads: Resumable sessions.
        directory: Where uploaded contents above 1 MiB are kept.
    """

    def __init__(
        self,
        *,
        clock: Clock = system_clock,
        network: NetworkShape | None = None,
        directory: Path | None = None,
    ) -> None:
        self.directory = directory or Path(tempfile.mkdtemp(prefix="audio-extract-emulator-"))
        self._remove_directory = (
            weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
            if directory is None
            else None
        )
        self.clock = clock
        self.network = network or NetworkShape()
        self.uploads = UploadSessions()
        self.faults = FaultScript()
        self.requests = RequestLog()
        self.accounts = Accounts(clock)

    @abstractmethod
    def routes(self) -> list[BaseRoute]:
        """The service's own routes."""

    @abstractmethod
    def kind_of(self, request: Request) -> str:
        """What a request is for, in one word."""

    def close(self) -> None:
        """Forget the faults, and remove the temporary folder if there is one."""
        self.faults.clear()
        if self._remove_directory is not None:
            self._remove_directory()

    def gateway(self) -> Gateway:
        """The ASGI application to serve."""
        app = Starlette(
            routes=[*self._control_routes(), *self.routes()],
            exception_handlers={
                GoogleError: _google_error,
                HTTPException: _no_route,
            },
        )
        return Gateway(
            app,
            kind_of=self.kind_of,
            clock=self.clock,
            faults=self.faults,
            log=self.requests,
            shape=self.network,
        )

    def _control_routes(self) -> list[BaseRoute]:
        return [
            Route("/_emulator/requests", self._show_requests),
            Route("/_emulator/reset-counters", self._reset_counters, methods=["POST"]),
            Route("/_emulator/faults", self._show_faults, methods=["GET"]),
            Route("/_emulator/faults", self._add_faults, methods=["POST"]),
            Route("/_emulator/faults", self._clear_faults, methods=["DELETE"]),
            Route("/_emulator/network", self._set_network, methods=["PUT"]),
            Route("/token", self._token, methods=["POST"]),
        ]

    async def _show_requests(self, request: Request) -> Response:
        document = self.requests.to_json()
        if "log" in request.query_params:
            document["log"] = [record.to_json() for record in self.requests.records()]
        return JSONResponse(document)

    async def _reset_counters(self, _request: Request) -> Response:
        self.requests.reset()
        return Response(status_code=204)

    async def _show_faults(self, _request: Request) -> Response:
        rules = [{**vars(rule), "action": action_json(rule.action)} for rule in self.faults.pending()]
        return JSONResponse(rules)

    async def _add_faults(self, request: Request) -> Response:
        document = await json_body(request)
        rules = document if isinstance(document, list) else [document]
        try:
            for rule in rules:
                self.faults.add_json(rule)
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return Response(status_code=204)

    async def _clear_faults(self, _request: Request) -> Response:
        self.faults.clear()
        return Response(status_code=204)

    async def _set_network(self, request: Request) -> Response:
        try:
            shape = shape_from_json(await json_body(request))
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        vars(self.network).update(vars(shape))
        return Response(status_code=204)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            return JSONResponse(self.accounts.exchange(form, str(request.url)))
        except TokenRefusedError as refused:
            return JSONResponse(
                {"error": refused.error, "error_description": refused.description}, status_code=400
            )


async def _google_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, GoogleError):
        raise error
    if error.status == 304:
        return Response(status_code=304, headers=error.headers)
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


async def _no_route(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    missing = GoogleError("notFound", request.url.path, status=error.status_code)
    return JSONResponse(missing.body(), status_code=error.status_code)

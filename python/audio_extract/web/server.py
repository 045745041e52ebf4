"""Serves several ASGI applications, each on its port, from one event loop in one thread.

uvicorn takes over the process's signals when it runs by itself (and ends with 143 on SIGTERM). Here signals
stay with the main thread: it calls :meth:`WebServer.stop`, and nothing else ends the servers.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import uvicorn

from audio_extract.exceptions import ConfigurationError
from audio_extract.web.http1 import BoundedHttp

if TYPE_CHECKING:
    from starlette.types import ASGIApp

#: How long a request that runs at stop may take.
_DRAIN_SECONDS = 3
#: A connection that is closed just when a client uses it again is an error for the client; uvicorn's five
#: seconds are as long as people and programs wait between two requests.
_KEEP_ALIVE_SECONDS = 75


@dataclass(frozen=True, slots=True)
class Listener:
    """One application on one port.

    Attributes:
        name: How messages call it, for example ``dashboard``.
        app: The application.
        host: Address to bind to.
        port: 0 takes a free one; :attr:`WebServer.ports` tells which.
        setting: The setting that holds the port, named when it is taken.
    """

    name: str
    app: ASGIApp
    host: str
    port: int
    setting: str


class WebServer:
    """Listens from :meth:`start` to :meth:`stop`."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._servers: list[uvicorn.Server] = []
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self.ports: dict[str, int] = {}

    def start(self) -> None:
        """Bind the ports and serve.

        Raises:
            ConfigurationError: A port is taken or may not be used.
        """
        sockets = []
        try:
            for listener in self._listeners:
                bound = _bind(listener)
                sockets.append(bound)
                self.ports[listener.name] = bound.getsockname()[1]
        except ConfigurationError:
            for bound in sockets:
                bound.close()
            raise
        self._servers = [
            uvicorn.Server(
                uvicorn.Config(
                    listener.app,
                    log_config=None,
                    access_log=False,
                    # web.access.forwarded does that, for proxies that the settings name.
                    proxy_headers=False,
                    lifespan="off",
                    http=BoundedHttp,
                    ws="none",
                    server_header=False,
                    timeout_graceful_shutdown=_DRAIN_SECONDS,
                    timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                )
            )
            for listener in self._listeners
        ]
        self._thread = threading.Thread(target=self._run, args=(sockets,), name="web", daemon=True)
        self._thread.start()
        self._started.wait()

    def host_of(self, name: str) -> str:
        """Return the address a listener is bound to, as a URL writes it."""
        host = next(listener.host for listener in self._listeners if listener.name == name)
        return f"[{host}]" if ":" in host else host

    @property
    def running(self) -> bool:
        """Whether requests are answered; false too when serving them ended by an error."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Stop listening, let running requests end, and return. May be called twice."""
        for server in self._servers:
            server.should_exit = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, sockets: list[socket.socket]) -> None:
        try:
            asyncio.run(self._serve(sockets))
        finally:
            self._started.set()

    async def _serve(self, sockets: list[socket.socket]) -> None:
        tasks = [
            asyncio.create_task(server.serve(sockets=[bound]))
            for server, bound in zip(self._servers, sockets, strict=True)
        ]
        # The sockets listen already; a connection made now waits in the backlog until the loop gets to it.
        self._started.set()
        await asyncio.gather(*tasks)


def _bind(listener: Listener) -> socket.socket:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    # Named, because asyncio switches the delay of small packets off only for sockets that say they are TCP.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((listener.host, listener.port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise ConfigurationError(
            f"cannot listen on {listener.host}:{listener.port} for the {listener.name}: {error.strerror}; "
            f"set {listener.setting} to another port, or stop the program that has it",
            code="config.port_in_use",
        ) from error
    bound.setblocking(False)
    return bound

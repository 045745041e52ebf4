"""Serves an emulator on loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import uvicorn
from uvicorn.server import ServerState

from audio_extract.emulator.base import Emulator

if TYPE_CHECKING:
    from types import TracebackType

EmulatorT = TypeVar("EmulatorT", bound=Emulator)

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_LAST_ROUNDS = 5


class EmulatorServer(Generic[EmulatorT]):
    """Runs one emulator at ``http://127.0.0.1:port``; also a context manager that gives itself.

    uvicorn's HTTP protocol is used without its ``Server``: that one looks for the end ten times a second and
    waits for clients to go, while this one starts and stops within milliseconds.

    Args:
        emulator: What to serve.
        port: Port; 0 takes a free one.
        host: Address to listen on.
    """

    def __init__(self, emulator: EmulatorT, *, port: int = 0, host: str = "127.0.0.1") -> None:
        self.emulator = emulator
        self._host = host
        self._port = port
        self._gateway = emulator.gateway()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before the start if a free one was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """``http://host:port``, what ``DRIVE_EMULATOR_HOST`` and ``STORAGE_EMULATOR_HOST`` take."""
        return f"http://{self._host}:{self._port}"

    @property
    def open_connections(self) -> int:
        """Number of TCP connections that clients hold open."""
        return self._gateway.links.open_count()

    def start(self) -> Self:
        """Listen. Requests are answered when this returns.

        Raises:
            OSError: The port is taken.
            RuntimeError: The server does not come up, or runs already.
        """
        if self._thread is not None:
            raise RuntimeError(f"the emulator runs already on port {self._port}")
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self._port))
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        self._ready.clear()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener)), name=f"emulator-{self._port}", daemon=True
        )
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise RuntimeError(f"the emulator on port {self._port} did not start in {_START_SECONDS:.0f} s")
        return self

    async def _serve(self, listener: socket.socket) -> None:
        config = uvicorn.Config(
            self._gateway,
            http=self._gateway.links.protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            # A client is known by its connection, whatever its headers say.
            proxy_headers=False,
            # Clients keep connections; they decide when one is too old.
            timeout_keep_alive=300,
        )
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._stopping = asyncio.Event()
        server = await loop.create_server(
            lambda: config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=state, app_state={}
            ),
            sock=listener,
            backlog=2048,
        )
        self._ready.set()
        await self._stopping.wait()
        # What is being accepted or closed right now takes some rounds of the loop; asyncio leaks a connection
        # that is being accepted when its server is closed.
        loop.remove_reader(listener)
        for _ in range(_LAST_ROUNDS):
            await asyncio.sleep(0)
        server.close()
        for _ in range(_LAST_ROUNDS):
            self._gateway.links.reset_all()
            for connection in list(state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)

    def stop(self) -> None:
        """Break all connections and stop listening. The emulator keeps its state until it is closed."""
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None or loop is None or stopping is None:
            return
        loop.call_soon_threadsafe(stopping.set)
        thread.join(_STOP_SECONDS)
        if thread.is_alive():
            raise RuntimeError(f"the emulator on port {self._port} did not stop in {_STOP_SECONDS:.0f} s")
        self._thread = self._loop = self._stopping = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.emulator.close()

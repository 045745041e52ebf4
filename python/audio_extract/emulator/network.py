"""The network between emulators and clients: latency, bandwidth, and connections that can be broken.

Bandwidth is shaped where the server hands bytes to the connection and takes them from it; the kernel's own
buffers (some megabytes on loopback) lie behind that, so short bursts are faster than the mean.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import socket
import struct
import termios
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_PIECE_SECONDS = 0.01
_CREDIT_SECONDS = 0.05
_SMALLEST_PIECE = 16 * 1024
_LARGEST_PIECE = 1024 * 1024
_FLUSH_SECONDS = 2.0


@dataclass
class NetworkShape:
    """How slow the network is. May be changed while the server runs.

    Attributes:
        latency_seconds: Time from a request to the first byte of its answer, besides the work.
        connection_bytes_per_second: Bandwidth of each connection, each way; None: unlimited.
        total_bytes_per_second: Bandwidth of all connections together, each way; None: unlimited.
    """

    latency_seconds: float = 0.0
    connection_bytes_per_second: float | None = None
    total_bytes_per_second: float | None = None

    def piece_size(self) -> int:
        """Bytes to move at once, so that a connection moves smoothly."""
        rates = [
            rate
            for rate in (self.connection_bytes_per_second, self.total_bytes_per_second)
            if rate is not None
        ]
        if not rates:
            return _LARGEST_PIECE
        return max(_SMALLEST_PIECE, min(_LARGEST_PIECE, int(min(rates) * _PIECE_SECONDS)))


class Pacer:
    """A token bucket that keeps a schedule: what was slept too long is made up for, up to 50 ms of it."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def reserve(self, count: int, bytes_per_second: float | None, now: float) -> float:
        """Take ``count`` bytes of bandwidth and return the seconds to wait."""
        if bytes_per_second is None:
            return 0.0
        self._free_at = max(self._free_at, now - _CREDIT_SECONDS) + count / bytes_per_second
        return max(0.0, self._free_at - now)


class Link:
    """One TCP connection from a client."""

    def __init__(self, number: int, transport: asyncio.Transport) -> None:
        self.number = number
        self._transport = transport
        self.sending = Pacer()
        self.receiving = Pacer()

    @property
    def broken(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._transport.is_closing()

    async def flush(self) -> None:
        """Wait until the client's kernel has everything that was sent; at most two seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _FLUSH_SECONDS
        while self._unsent() and loop.time() < deadline and not self.broken:
            await asyncio.sleep(0.001)

    def _unsent(self) -> int:
        if self._transport.get_write_buffer_size():
            return self._transport.get_write_buffer_size()
        descriptor = self._transport.get_extra_info("socket").fileno()
        if descriptor < 0:
            return 0
        # SIOCOUTQ (tcp(7)): bytes in the send queue that were not acknowledged.
        answer: bytes = fcntl.ioctl(descriptor, termios.TIOCOUTQ, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])

    def reset(self) -> None:
        """Break the connection with RST: SO_LINGER with time 0 (socket(7)) makes close do that."""
        if not self.broken:
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def close(self) -> None:
        """End the connection in an orderly way (FIN), whatever was promised in headers."""
        self._transport.close()


class Links:
    """The open connections, by the client's address."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._by_client: dict[tuple[str, int], Link] = {}

    def opened(self, client: tuple[str, int], transport: asyncio.Transport) -> None:
        """Remember a new connection."""
        self._by_client[client] = Link(next(self._numbers), transport)

    def closed(self, client: tuple[str, int]) -> None:
        """Forget a connection."""
        self._by_client.pop(client, None)

    def of(self, client: tuple[str, int]) -> Link:
        """The connection of a request that is being worked on."""
        return self._by_client[client]

    def open_count(self) -> int:
        """Number of open connections."""
        return len(self._by_client)

    def reset_all(self) -> None:
        """Break every connection."""
        for link in list(self._by_client.values()):
            link.reset()

    def protocol(self) -> type[asyncio.Protocol]:
        """Uvicorn's HTTP protocol, with connections that can be reached from requests."""
        links = self

        class LinkedProtocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                if self.client is not None:
                    links.opened(self.client, transport)

            def connection_lost(self, exc: Exception | None) -> None:
                if self.client is not None:
                    links.closed(self.client)
                super().connection_lost(exc)

        return LinkedProtocol


async def pace(link: Link, total: Pacer, shape: NetworkShape, count: int, *, sending: bool) -> None:
    """Wait until ``count`` bytes may pass in one direction."""
    now = asyncio.get_running_loop().time()
    own = link.sending if sending else link.receiving
    wait = max(
        own.reserve(count, shape.connection_bytes_per_second, now),
        total.reserve(count, shape.total_bytes_per_second, now),
    )
    # Without a wait this still lets the other connections have their turn.
    await asyncio.sleep(wait)


def shape_from_json(document: dict[str, Any]) -> NetworkShape:
    """Read a shape as the control interface takes it.

    Raises:
        ValueError: An unknown key.
    """
    try:
        return NetworkShape(**document)
    except TypeError as error:
        raise ValueError(str(error)) from error

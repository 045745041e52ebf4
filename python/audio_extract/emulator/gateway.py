"""The ASGI layer in front of each emulator: counts requests, shapes the network, and carries faults out.

What a request means is the business of the emulator's application behind it.
"""

from __future__ import annotations

import asyncio
import json
from email.utils import format_datetime
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request

from audio_extract.emulator.faults import (
    Action,
    Answer,
    Corrupt,
    Delay,
    FaultScript,
    IgnoreRange,
    LoseAnswer,
    Reset,
    Side,
    Stall,
    Truncate,
    WrongContentRange,
)
from audio_extract.emulator.network import Link, Links, NetworkShape, Pacer, pace
from audio_extract.emulator.requests import RequestLog, RequestRecord, range_start

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from audio_extract.emulator.clock import Clock

#: Key of the scope under which a handler finds the fault that it has to carry out itself.
FAULT_KEY = "audio_extract.fault"


class DroppedError(Exception):
    """The connection is gone: the handler stops."""


def scripted_fault(request: Request) -> Action | None:
    """The fault of a request, for handlers that carry one out themselves."""
    action: Action | None = request.scope.get(FAULT_KEY)
    return action


class Gateway:
    """Serves one emulator.

    Args:
        app: The emulator's application.
        kind_of: Says what a request is for.
        clock: For the Date header.
        faults: What goes wrong.
        log: Where requests are counted.
        shape: How slow the network is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        kind_of: Callable[[Request], str],
        clock: Clock,
        faults: FaultScript,
        log: RequestLog,
        shape: NetworkShape,
    ) -> None:
        self._app = app
        self._kind_of = kind_of
        self._clock = clock
        self._faults = faults
        self._log = log
        self._shape = shape
        self.links = Links()
        self._sending = Pacer()
        self._receiving = Pacer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        # Google's routes have encoded slashes inside path segments; the decoded path would lose them.
        scope = {**scope, "path": scope["raw_path"].decode("ascii")}
        request = Request(scope)
        if request.url.path.startswith("/_emulator/"):
            await self._app(scope, receive, send)
            return
        try:
            link = self.links.of(scope["client"])
        except KeyError:
            return  # The client was gone before the request could be looked at.
        query = scope["query_string"].decode("ascii")
        record = RequestRecord(
            kind=self._kind_of(request),
            method=request.method,
            target=scope["path"] + (f"?{query}" if query else ""),
            range_start=range_start(request.headers.get("range"), request.headers.get("content-range")),
            connection=link.number,
        )
        self._log.add(record)
        wire = _Wire(
            self, record=record, link=link, receive=receive, send=send, fault=self._faults.take(record)
        )
        try:
            await wire.serve(scope)
        except (DroppedError, ClientDisconnect):
            await wire.wait_until_gone()

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the emulator work on a request."""
        await self._app(scope, receive, send)

    async def pace(self, link: Link, count: int, *, sending: bool) -> None:
        """Wait until bytes may pass."""
        await pace(link, self._sending if sending else self._receiving, self._shape, count, sending=sending)

    def date(self) -> bytes:
        """The Date header of an answer."""
        return format_datetime(self._clock(), usegmt=True).encode("ascii")

    @property
    def shape(self) -> NetworkShape:
        """How slow the network is."""
        return self._shape


class _Wire:
    """One request and its answer, on their way through the gateway."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        record: RequestRecord,
        link: Link,
        receive: Receive,
        send: Send,
        fault: Action | None,
    ) -> None:
        self._gateway = gateway
        self._record = record
        self._link = link
        self._receive = receive
        self._send = send
        self._fault = fault
        self._gone = False
        self._reset_at_end = False
        self._request_ended = False
        self._held: Message | None = None

    async def serve(self, scope: Scope) -> None:
        fault = self._fault
        latency = self._gateway.shape.latency_seconds
        if latency > 0:
            await asyncio.sleep(latency)
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Answer) and not fault.after_work:
            await self._answer(fault)
            return
        if isinstance(fault, Reset) and fault.side == "response" and fault.after_bytes == 0:
            await self._drain()
            await self._break()
        if isinstance(fault, IgnoreRange):
            headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
            scope = {**scope, "headers": headers}
        if isinstance(fault, LoseAnswer) or (isinstance(fault, Answer) and fault.after_work):
            await self._gateway.run({**scope, FAULT_KEY: fault}, self.receive, self._discard)
            await self._drain()
            if isinstance(fault, Answer):
                await self._answer(fault)
                return
            await self._break()
        await self._gateway.run({**scope, FAULT_KEY: fault}, self.receive, self.send)

    async def receive(self) -> Message:
        fault = self._fault
        at = fault.after_bytes if isinstance(fault, Reset | Stall) and fault.side == "request" else None
        if at is not None and self._record.received_bytes >= at:
            if isinstance(fault, Stall):
                await self._stall(fault)
            else:
                # The handler hears of it first, and keeps what it keeps, before the client does.
                self._gone = True
                self._reset_at_end = True
                return {"type": "http.disconnect"}
            at = None
        message = await self._next_message(at)
        body: bytes = message.get("body", b"")
        before = self._record.received_bytes
        self._record.received_bytes += len(body)
        if not body:
            return message
        await self._gateway.pace(self._link, len(body), sending=False)
        return {**message, "body": self._corrupted(body, before, "request")}

    async def _next_message(self, at: int | None) -> Message:
        """The next piece of the request's body; the piece that reaches byte ``at`` ends there."""
        if self._held is not None:
            message, self._held = self._held, None
        else:
            message = await self._receive()
        if message["type"] != "http.request":
            self._gone = True
            return message
        body: bytes = message.get("body", b"")
        room = len(body) if at is None else at - self._record.received_bytes
        if at is not None and room <= len(body):
            # What arrived before the break reaches the handler; the break comes with its next read.
            self._held = {**message, "body": body[room:]}
            return {**message, "body": body[:room], "more_body": True}
        self._request_ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._record.status = message["status"]
            if (
                isinstance(self._fault, Stall)
                and self._fault.side == "response"
                and self._fault.after_bytes == 0
            ):
                await self._stall(self._fault)
            await self._forward({**message, "headers": self._headers(list(message["headers"]))})
            return
        body: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        if not body:
            await self._forward(message)
            return
        size = self._gateway.shape.piece_size()
        for start in range(0, len(body), size):
            piece = body if len(body) <= size else body[start : start + size]
            await self._send_piece(piece, more or start + size < len(body))

    async def _send_piece(self, piece: bytes, more: bool) -> None:
        before = self._record.sent_bytes
        fault = self._fault
        at = None
        if isinstance(fault, Truncate) or (isinstance(fault, Reset | Stall) and fault.side == "response"):
            at = fault.after_bytes - before
        if at is None or at > len(piece) or (at == len(piece) and more):
            await self._gateway.pace(self._link, len(piece), sending=True)
            self._record.sent_bytes += len(piece)
            body = self._corrupted(piece, before, "response")
            await self._forward({"type": "http.response.body", "body": body, "more_body": more})
            return
        self._record.sent_bytes += at
        ends = isinstance(fault, Truncate) and fault.announced
        await self._forward({"type": "http.response.body", "body": piece[:at], "more_body": not ends})
        if isinstance(fault, Stall):
            await self._stall(fault)
            await self._send_piece(piece[at:], more)
            return
        if isinstance(fault, Reset):
            await self._break()
        if not ends:
            await self._link.flush()
            self._link.close()
        raise DroppedError

    async def _forward(self, message: Message) -> None:
        if self._gone or self._link.broken:
            raise DroppedError
        await self._send(message)

    async def _stall(self, fault: Stall) -> None:
        if fault.seconds is not None:
            self._fault = None
            await asyncio.sleep(fault.seconds)
            return
        await self.wait_until_gone()
        raise DroppedError

    async def _break(self) -> None:
        await self._link.flush()
        self._link.reset()
        raise DroppedError

    async def _drain(self) -> None:
        """Read the rest of the request, so that the client has sent all before the connection breaks."""
        while not self._gone and not self._request_ended:
            await self.receive()

    async def _answer(self, fault: Answer) -> None:
        await self._drain()
        status, headers, document = fault.render()
        body = b"" if fault.empty else json.dumps(document).encode()
        self._record.status = status
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"content-length", str(len(body)).encode()))
        raw.append((b"date", self._gateway.date()))
        if body:
            raw.append((b"content-type", b"application/json; charset=UTF-8"))
        await self._forward({"type": "http.response.start", "status": status, "headers": raw})
        await self._forward({"type": "http.response.body", "body": body})

    async def _discard(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._record.status = message["status"]

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        fault = self._fault
        headers = [(b"date", self._gateway.date()), *headers]
        replaced: tuple[bytes, bytes] | None = None
        if isinstance(fault, WrongContentRange):
            replaced = (b"content-range", fault.value.encode())
        if isinstance(fault, Truncate) and fault.announced:
            promised = int(dict(headers).get(b"content-length", b"0"))
            replaced = (b"content-length", str(min(promised, fault.after_bytes)).encode())
        if replaced is None:
            return headers
        return [replaced if name == replaced[0] else (name, value) for name, value in headers]

    def _corrupted(self, body: bytes, before: int, side: Side) -> bytes:
        fault = self._fault
        if not isinstance(fault, Corrupt) or fault.side != side:
            return body
        at = fault.offset - before
        if not 0 <= at < len(body):
            return body
        changed = bytearray(body)
        changed[at] ^= 0xFF
        return bytes(changed)

    async def wait_until_gone(self) -> None:
        """Wait until the client has gone, so that nothing answers a broken request."""
        if self._reset_at_end:
            self._reset_at_end = False
            self._link.reset()
            self._gone = False
        while not self._gone:
            message = await self._receive()
            self._gone = message["type"] == "http.disconnect"

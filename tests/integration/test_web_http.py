"""What a server takes of one connection: heads and trailers end, bodies may be long, requests may queue."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from audio_extract.web.http1 import MOST_HEAD_BYTES
from support.dashboard import Shown

#: More than a bound that works lets through: the rest is in the sockets' buffers.
_MANY_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    shown = Shown(tmp_path_factory.mktemp("http") / "none.mp3")
    with shown.server, shown.tracker:
        yield shown.server.ports["dashboard"]


@pytest.fixture
def connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 10) as connected:
        yield connected


def answer(connection: socket.socket) -> bytes:
    """Read one answer to its end, which its length tells."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    [length] = [
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    ]
    while len(body) < length:
        body += connection.recv(65536)
    return got[: len(head) + 4] + body[:length]


_CHUNKED = b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /", b"a" * 8192),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: ", b"a" * 8192),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"A: b\r\n" * 1024),
        (_CHUNKED + b"1\r\na\r\n0\r\n", b"A: b\r\n" * 1024),
        (_CHUNKED + b"1;a=", b"a" * 8192),
    ],
    ids=["request line", "header", "headers", "trailers", "chunk extension"],
)  # fmt: skip
def test_what_has_no_end_ends_the_connection(connection: socket.socket, begin: bytes, more: bytes) -> None:
    connection.sendall(begin)
    sent = 0
    try:
        while sent < _MANY_BYTES:
            sent += connection.send(more)
    except OSError:
        pass
    assert MOST_HEAD_BYTES <= sent < _MANY_BYTES


def test_a_long_head_within_the_bound_and_a_long_body_are_read(connection: socket.socket) -> None:
    header = b"A: " + b"a" * (MOST_HEAD_BYTES - 2000)
    connection.sendall(b"GET /api/stats HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n")
    assert answer(connection).startswith(b"HTTP/1.1 200")
    # On the same connection, in one piece with its head.
    body = json.dumps({"ids": ["x" * 1000] * 100}).encode()
    head = (
        "POST /api/retry HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    assert b'"success"' in answer(connection)


def test_requests_that_come_together_are_answered_in_turn(connection: socket.socket) -> None:
    paths = [b"/api/stats", b"/api/nothing", b"/api/active"] * 20
    connection.sendall(b"".join(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths))
    buffered = connection.makefile("rb")
    for path in paths:
        status = buffered.readline()
        assert status.split()[1] == (b"404" if b"nothing" in path else b"200")
        length = 0
        while (line := buffered.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
        assert len(buffered.read(length)) == length


@pytest.mark.parametrize(
    "request_line",
    [
        b"CONNECT example.org:443 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET http://[ HTTP/1.1",
        b"BREW / HTTP/1.1",
        b"GET / HTTP/9.9",
        b"\0\1\2",
    ],
)
def test_what_is_no_request_for_us_is_refused_and_the_server_lives(port: int, request_line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request_line + b"\r\nHost: localhost\r\n\r\n")
        assert connection.recv(4096).split()[1][:1] == b"4"
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET /api/stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 200")

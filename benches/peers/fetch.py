#!/usr/bin/env python3
"""Fetches a URL to nowhere: the least that any way of getting a recording takes.

Example:
    fetch.py http://127.0.0.1:8000/recording 8

With one connection it is one GET; with more, each takes the next 4 MiB that nobody has taken yet.
"""

from __future__ import annotations

import http.client
import itertools
import sys
import threading
import urllib.parse

_RANGE_BYTES = 4 * 1024 * 1024


def connect(address: urllib.parse.SplitResult) -> http.client.HTTPConnection:
    """Open a connection."""
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=300)


def get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> int:
    """Read one answer to its end; gives its bytes."""
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    if answer.status not in {200, 206}:
        raise ConnectionError(f"{path} answered {answer.status}")
    buffer = bytearray(256 * 1024)
    received = 0
    while read := answer.readinto(buffer):
        received += read
    return received


def get_in_ranges(address: urllib.parse.SplitResult, connections: int) -> int:
    """Read everything over several connections; gives its bytes."""
    first = connect(address)
    first.request("HEAD", address.path)
    answer = first.getresponse()
    answer.read()
    size = int(answer.headers["Content-Length"])
    starts = itertools.count(0, _RANGE_BYTES)
    received: list[int] = []

    def work() -> None:
        connection = connect(address)
        # One step of a counter is atomic.
        while (start := next(starts)) < size:
            end = min(start + _RANGE_BYTES, size) - 1
            received.append(get(connection, address.path, {"Range": f"bytes={start}-{end}"}))

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if sum(received) != size:
        sys.exit(f"fetched {sum(received)} bytes of {size}")
    return size


def main() -> None:
    """Fetch the URL and print its size."""
    address, connections = urllib.parse.urlsplit(sys.argv[1]), int(sys.argv[2])
    one = connections == 1
    print(get(connect(address), address.path, {}) if one else get_in_ranges(address, connections))


if __name__ == "__main__":
    main()

"""What the clients asked for: a log of requests with counters by kind.

A kind is a word like ``drive.media`` or ``storage.upload_chunk``; the services say which requests
are of which kind. Tests and the demo count with it, and fault scripts select by it.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from dataclasses import dataclass

from audio_extract.emulator.ranges import upload_range

_FIRST_BYTE = re.compile(r"bytes=(\d+)-", re.ASCII)
_LOG_LENGTH = 100_000


@dataclass
class RequestRecord:
    """One request.

    Attributes:
        kind: What it was for.
        method: HTTP method.
        target: Path and query, as they came.
        range_start: First byte of ``Range`` or ``Content-Range``, where there is one.
        connection: Number of the TCP connection.
        status: Status of the answer; None while there was none.
        received_bytes: Body bytes of the request so far.
        sent_bytes: Body bytes of the answer so far.
    """

    kind: str
    method: str
    target: str
    range_start: int | None = None
    connection: int = 0
    status: int | None = None
    received_bytes: int = 0
    sent_bytes: int = 0

    def to_json(self) -> dict[str, object]:
        """The record as the control interface shows it."""
        return dict(vars(self))


def range_start(range_header: str | None, content_range_header: str | None) -> int | None:
    """First byte that a download or an upload chunk is about."""
    if range_header is not None:
        match = _FIRST_BYTE.match(range_header)
        return int(match.group(1)) if match is not None else None
    if content_range_header is not None:
        chunk = upload_range(content_range_header)
        return chunk.bytes.start if chunk is not None and chunk.bytes is not None else None
    return None


class RequestLog:
    """Counts requests by kind and remembers the latest 100,000. Read by tests while the server runs."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._records: deque[RequestRecord] = deque(maxlen=_LOG_LENGTH)
        self._lock = threading.Lock()

    def add(self, record: RequestRecord) -> None:
        """Count a request, before it is worked on: who has the answer finds it counted."""
        with self._lock:
            self._counts[record.kind] += 1
            self._records.append(record)

    def reset(self) -> None:
        """Start again at zero."""
        with self._lock:
            self._counts.clear()
            self._records.clear()

    def count(self, kind: str) -> int:
        """Number of requests of a kind since the last reset."""
        with self._lock:
            return self._counts[kind]

    def counts(self) -> dict[str, int]:
        """Number of requests of each kind."""
        with self._lock:
            return dict(self._counts)

    def records(self, kind: str | None = None) -> list[RequestRecord]:
        """Requests in the order they came, all or of one kind."""
        with self._lock:
            return [record for record in self._records if kind is None or record.kind == kind]

    def sent_bytes(self, kind: str | None = None) -> int:
        """Body bytes sent."""
        return sum(record.sent_bytes for record in self.records(kind))

    def received_bytes(self, kind: str | None = None) -> int:
        """Body bytes received."""
        return sum(record.received_bytes for record in self.records(kind))

    def to_json(self) -> dict[str, object]:
        """Counters as the control interface shows them."""
        counts = self.counts()
        return {
            "counts": counts,
            "sent_bytes": {kind: self.sent_bytes(kind) for kind in counts},
            "received_bytes": {kind: self.received_bytes(kind) for kind in counts},
        }

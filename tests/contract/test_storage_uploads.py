"""Uploads to the emulated Cloud Storage: the protocol's corner cases, and Google's client among faults."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any

import google_crc32c
import httpx
import pytest
from google.api_core.exceptions import BadRequest
from google.cloud.storage.retry import DEFAULT_RETRY

from audio_extract.emulator import EmulatorServer, StorageEmulator
from audio_extract.emulator.faults import (
    Answer,
    Corrupt,
    KeepPart,
    LoseAnswer,
    Reset,
    Stall,
)
from support.google_api import BUCKET, Discovery

GUIDE = "https://cloud.google.com/storage/docs/performing-resumable-uploads"
QUANTUM = 256 * 1024
DATA = bytes(range(256)) * 1024 * 4 + b"the end"
SIZE = len(DATA)
Server = EmulatorServer[StorageEmulator]


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()  # noqa: S324


class Session:
    """A resumable upload, request by request."""

    def __init__(self, server: Server, web: httpx.Client, name: str = "a.mp3", **options: Any) -> None:
        self.server = server
        self.web = web
        parameters = {"uploadType": "resumable", "name": name, **options.pop("params", {})}
        address = f"{server.url}/upload/storage/v1/b/{BUCKET}/o"
        self.start = web.post(address, params=parameters, **options)
        self.url = self.start.headers.get("location", "")

    def put(self, data: bytes, content_range: str | None, **headers: str) -> httpx.Response:
        if content_range is not None:
            headers["Content-Range"] = content_range
        return self.web.put(self.url, content=data, headers=headers)

    def chunk(self, start: int, end: int, total: int | None = None, **headers: str) -> httpx.Response:
        shown = "*" if total is None else str(total)
        return self.put(DATA[start:end], f"bytes {start}-{end - 1}/{shown}", **headers)

    def ask(self, total: int | None = None) -> httpx.Response:
        return self.put(b"", f"bytes */{'*' if total is None else total}")

    def stored(self) -> bytes | None:
        found = self.server.emulator.find(BUCKET, "a.mp3")
        return found.read() if found else None


def kept(answer: httpx.Response) -> int:
    """How many bytes a 308 says are persisted."""
    assert answer.status_code == 308, answer.text
    header = answer.headers.get("range")
    return int(header.removeprefix("bytes=0-")) + 1 if header else 0


@pytest.fixture
def session(storage_server: Server, web: httpx.Client) -> Session:
    return Session(storage_server, web)


def test_an_upload_in_chunks_makes_an_object_with_the_last_one(session: Session) -> None:
    assert session.start.status_code == 200
    assert kept(session.chunk(0, QUANTUM)) == QUANTUM
    assert kept(session.chunk(QUANTUM, 4 * QUANTUM)) == 4 * QUANTUM
    assert session.stored() is None
    answer = session.chunk(4 * QUANTUM, SIZE, SIZE, **{"x-goog-hash": f"crc32c={crc32c(DATA)}"})
    assert answer.status_code == 200
    resource = answer.json()
    Discovery("storage.v1").validate(resource, "Object")
    assert (resource["size"], resource["crc32c"], resource["md5Hash"]) == (str(SIZE), crc32c(DATA), md5(DATA))
    assert session.stored() == DATA


def test_one_request_without_content_range_is_the_whole_content(session: Session) -> None:
    assert session.put(DATA, None).status_code == 200
    assert session.stored() == DATA


def test_one_request_with_the_whole_range_is_the_whole_content(session: Session) -> None:
    assert session.chunk(0, SIZE, SIZE).status_code == 200
    assert session.stored() == DATA


@pytest.mark.parametrize("content_range", ["bytes */0", None])
def test_an_empty_object_can_be_uploaded(session: Session, content_range: str | None) -> None:
    assert session.put(b"", content_range).status_code == 200
    assert session.stored() == b""


def test_a_status_query_tells_what_is_persisted(session: Session) -> None:
    assert kept(session.ask()) == 0
    assert "range" not in session.ask().headers
    session.chunk(0, 2 * QUANTUM)
    assert kept(session.ask()) == 2 * QUANTUM
    assert kept(session.ask(SIZE)) == 2 * QUANTUM


def test_the_total_alone_ends_an_upload_whose_bytes_are_all_there(session: Session) -> None:
    # A stream that ends on a boundary of chunks: the size is known only after the last byte was sent.
    session.chunk(0, 4 * QUANTUM)
    assert session.ask(4 * QUANTUM).status_code == 200
    assert session.stored() == DATA[: 4 * QUANTUM]


def test_after_the_end_every_request_gives_the_object(session: Session) -> None:
    first = session.chunk(0, SIZE, SIZE).json()
    for answer in (session.ask(), session.ask(SIZE), session.chunk(0, SIZE, SIZE)):
        assert (answer.status_code, answer.json()["generation"]) == (200, first["generation"])
    assert len(session.server.emulator.objects(BUCKET)) == 1


def test_bytes_that_were_persisted_are_ignored_when_they_come_again(session: Session) -> None:
    session.chunk(0, 2 * QUANTUM)
    other = b"x" * QUANTUM + DATA[2 * QUANTUM : 3 * QUANTUM]
    answer = session.put(other, f"bytes {QUANTUM}-{3 * QUANTUM - 1}/*")
    assert kept(answer) == 3 * QUANTUM
    assert kept(session.chunk(0, QUANTUM)) == 3 * QUANTUM
    assert session.chunk(3 * QUANTUM, SIZE, SIZE).status_code == 200
    assert session.stored() == DATA


#: (what is sent, Content-Range, documentation)
WRONG_CHUNKS = [
    (DATA[QUANTUM : 2 * QUANTUM], f"bytes {QUANTUM}-{2 * QUANTUM - 1}/*", GUIDE + ": a gap"),
    (DATA[:1000], "bytes 0-999/*", GUIDE + "#chunked-upload: multiples of 256 KiB"),
    (DATA[: QUANTUM + 1], f"bytes 0-{QUANTUM}/{SIZE}", GUIDE + "#chunked-upload: multiples of 256 KiB"),
    (DATA[:QUANTUM], f"bytes 0-{QUANTUM - 2}/*", "more bytes than announced"),
    (DATA[:QUANTUM], f"bytes 0-{2 * QUANTUM - 1}/*", "fewer bytes than announced"),
    (DATA[:QUANTUM], f"bytes 0-{QUANTUM - 1}/100", "https://www.rfc-editor.org/rfc/rfc9110#section-14.4"),
    (DATA[:QUANTUM], "bytes 0-*/*", "https://www.rfc-editor.org/rfc/rfc9110#section-14.4"),
    (DATA[:QUANTUM], "bytes 5-4/*", "https://www.rfc-editor.org/rfc/rfc9110#section-14.4"),
    (DATA[:QUANTUM], "octets 0-1/2", "https://www.rfc-editor.org/rfc/rfc9110#section-14.4"),
]


@pytest.mark.parametrize(
    ("data", "content_range", "documentation"), WRONG_CHUNKS, ids=[row[1] for row in WRONG_CHUNKS]
)
def test_a_chunk_that_breaks_the_rules_is_a_bad_request(
    session: Session, data: bytes, content_range: str, documentation: str
) -> None:
    answer = session.put(data, content_range)
    assert answer.status_code == 400, documentation
    assert answer.json()["error"]["code"] == 400
    assert session.stored() is None
    # The upload itself goes on.
    position = kept(session.ask())
    assert session.chunk(position, SIZE, SIZE).status_code == 200
    assert session.stored() == DATA


def test_a_rest_that_is_no_multiple_is_taken_up_to_a_boundary(session: Session) -> None:
    session.server.emulator.faults.add(KeepPart(bytes=1000), kind="storage.upload_chunk")
    assert kept(session.chunk(0, 2 * QUANTUM)) == 1000
    assert kept(session.chunk(1000, 2 * QUANTUM)) == 2 * QUANTUM


def test_a_cancelled_upload_stays_cancelled(session: Session) -> None:
    session.chunk(0, QUANTUM)
    assert session.web.delete(session.url).status_code == 499
    assert session.ask().status_code == 499
    assert session.chunk(QUANTUM, SIZE, SIZE).status_code == 499
    assert session.stored() is None
    assert session.server.emulator.uploads.open_sessions() == []


def test_an_unknown_session_is_not_found_and_an_expired_one_gone(session: Session) -> None:
    unknown = session.web.put(session.url + "x", headers={"Content-Range": "bytes */*"})
    assert (unknown.status_code, unknown.json()["error"]["errors"][0]["reason"]) == (404, "notFound")
    assert [one.name for one in session.server.emulator.uploads.open_sessions()] == [f"{BUCKET}/a.mp3"]
    session.server.emulator.uploads.expire()
    assert session.chunk(0, SIZE, SIZE).status_code == 410
    assert session.server.emulator.uploads.open_sessions() == []


def test_a_forgotten_session_is_not_found(session: Session) -> None:
    session.server.emulator.uploads.forget()
    assert session.ask().status_code == 404


def test_metadata_and_type_of_the_start_become_the_objects(storage_server: Server, web: httpx.Client) -> None:
    metadata = {"contentType": "audio/mpeg", "metadata": {"plan-id": "7"}, "contentDisposition": "inline"}
    Session(storage_server, web, json=metadata).put(DATA, None)
    found = storage_server.emulator.object(BUCKET, "a.mp3")
    assert (found.content_type, found.metadata, found.content_disposition) == (
        "audio/mpeg",
        {"plan-id": "7"},
        "inline",
    )
    Session(storage_server, web, name="b", headers={"X-Upload-Content-Type": "audio/ogg"}).put(DATA, None)
    assert storage_server.emulator.object(BUCKET, "b").content_type == "audio/ogg"


def test_an_announced_length_ends_the_upload_and_must_hold(storage_server: Server, web: httpx.Client) -> None:
    announced = {"X-Upload-Content-Length": str(2 * QUANTUM)}
    session = Session(storage_server, web, headers=announced)
    assert session.chunk(0, QUANTUM, SIZE).status_code == 400
    assert kept(session.chunk(0, QUANTUM)) == QUANTUM
    assert session.chunk(QUANTUM, 2 * QUANTUM).status_code == 200
    assert session.stored() == DATA[: 2 * QUANTUM]


def test_the_start_needs_a_name_and_a_bucket(storage_server: Server, web: httpx.Client) -> None:
    address = f"{storage_server.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable"
    assert web.post(address, json={}).status_code == 400
    assert web.post(address, content=b"not json").status_code == 400
    assert web.post(address, json={"name": "in the metadata"}).status_code == 200
    assert web.put(f"{address}&name=a", content=b"1").status_code == 400
    assert (
        web.post(f"{storage_server.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=magic&name=a").status_code
        == 400
    )


# Checksums: https://cloud.google.com/storage/docs/data-validation


@pytest.mark.parametrize("algorithm", ["crc32c", "md5"])
@pytest.mark.parametrize("where", ["finishing request", "only request", "metadata of the start"])
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_a_promised_checksum_decides_whether_the_object_comes_to_be(
    storage_server: Server, web: httpx.Client, algorithm: str, where: str, right: bool
) -> None:
    value = {"crc32c": crc32c, "md5": md5}[algorithm](DATA if right else DATA[1:])
    header = {"x-goog-hash": f"{algorithm}={value}"}
    if where == "metadata of the start":
        key = {"crc32c": "crc32c", "md5": "md5Hash"}[algorithm]
        session = Session(storage_server, web, json={key: value})
        answer = session.put(DATA, None)
    else:
        session = Session(storage_server, web)
        if where == "finishing request":
            session.chunk(0, 4 * QUANTUM)
            answer = session.chunk(4 * QUANTUM, SIZE, SIZE, **header)
        else:
            answer = session.put(DATA, None, **header)
    assert answer.status_code == (200 if right else 400)
    assert session.stored() == (DATA if right else None)
    assert storage_server.emulator.uploads.open_sessions() == []


@pytest.mark.parametrize(
    "header", [{"x-goog-hash": "crc32c=AAAAAA=="}, {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}]
)
def test_a_media_upload_with_a_wrong_checksum_makes_no_object(
    storage_server: Server, web: httpx.Client, header: dict[str, str]
) -> None:
    address = f"{storage_server.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=a.mp3"
    answer = web.post(address, content=DATA, headers=header)
    assert answer.status_code == 400
    assert "doesn't match calculated" in answer.json()["error"]["message"]
    assert storage_server.emulator.objects(BUCKET) == []
    assert web.post(address, content=DATA).json()["crc32c"] == crc32c(DATA)


# Preconditions: https://cloud.google.com/storage/docs/request-preconditions


def test_a_precondition_is_checked_at_the_start_and_again_at_the_end(
    storage_server: Server, web: httpx.Client
) -> None:
    only_new = {"ifGenerationMatch": "0"}
    session = Session(storage_server, web, params=only_new)
    session.chunk(0, 4 * QUANTUM)
    storage_server.emulator.put_object(BUCKET, "a.mp3", b"somebody else's")
    answer = session.chunk(4 * QUANTUM, SIZE, SIZE)
    assert answer.status_code == 412
    assert answer.json()["error"]["errors"][0]["reason"] == "conditionNotMet"
    assert session.stored() == b"somebody else's"
    assert Session(storage_server, web, params=only_new).start.status_code == 412
    assert storage_server.emulator.uploads.open_sessions() == []


def test_a_generation_can_be_replaced_but_not_a_later_one(storage_server: Server, web: httpx.Client) -> None:
    item = storage_server.emulator.put_object(BUCKET, "a.mp3", b"1")
    match = {"ifGenerationMatch": str(item.generation)}
    session = Session(storage_server, web, params=match)
    late = Session(storage_server, web, params=match)
    assert session.put(DATA, None).status_code == 200
    assert late.put(b"late", None).status_code == 412
    assert session.stored() == DATA


# Multipart.


def multipart(parts: list[tuple[str, bytes]], line: bytes = b"\r\n", end: bytes = b"--") -> bytes:
    body = b""
    for kind, data in parts:
        body += b"--frontier" + line + b"Content-Type: " + kind.encode() + line + line + data + line
    return body + b"--frontier" + end + line


TRICKY = b"\r\n--frontier is not the end\r\n--fron" * 20_000


@pytest.mark.parametrize("line", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("data", [b"", b"1", TRICKY, DATA], ids=["empty", "one", "tricky", "large"])
def test_a_multipart_upload_takes_metadata_and_media(
    storage_server: Server, web: httpx.Client, line: bytes, data: bytes
) -> None:
    metadata = json.dumps({"name": "a.mp3", "metadata": {"x": "y"}}).encode()
    body = multipart([("application/json; charset=UTF-8", metadata), ("audio/mpeg", data)], line)
    address = f"{storage_server.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart"
    answer = web.post(
        address, content=body, headers={"Content-Type": 'multipart/related; boundary="frontier"'}
    )
    assert answer.status_code == 200, answer.text
    found = storage_server.emulator.object(BUCKET, "a.mp3")
    assert (found.read(), found.content_type, found.metadata) == (data, "audio/mpeg", {"x": "y"})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/related", b""),
        ("multipart/related; boundary=frontier", b"no boundary here"),
        ("multipart/related; boundary=frontier", multipart([("application/json", b"{}")])),
        (
            "multipart/related; boundary=frontier",
            multipart([("application/json", b"{"), ("audio/mpeg", b"1")]),
        ),
        (
            "multipart/related; boundary=frontier",
            multipart([("application/json", b"[]"), ("audio/mpeg", b"1")]),
        ),
        (
            "multipart/related; boundary=frontier",
            multipart([("application/json", b"{}"), ("audio/mpeg", b"1")], end=b""),
        ),
        (
            "multipart/related; boundary=frontier",
            multipart([("application/json", b"{}"), ("audio/mpeg", b"1")]),
        ),
    ],
)
def test_a_malformed_multipart_upload_is_a_bad_request(
    storage_server: Server, web: httpx.Client, kind: str, body: bytes
) -> None:
    address = f"{storage_server.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart"
    assert web.post(address, content=body, headers={"Content-Type": kind}).status_code == 400
    assert storage_server.emulator.objects(BUCKET) == []


# Google's client among faults. Its retry waits are shortened, nothing else.

# Content without a known size goes the resumable way, whatever its length.

QUICK = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.05)
LONG = bytes(range(251)) * 10_000

#: (fault, request it happens to, what it is)
FAULTS: list[tuple[Any, dict[str, Any], str]] = [
    (Answer(), {"kind": "storage.upload_start"}, "503 at the start"),
    (Answer(), {"kind": "storage.upload_chunk", "after": 1}, "503 to a chunk"),
    (Answer(after_work=True), {"kind": "storage.upload_chunk", "after": 1}, "503 to a chunk that was kept"),
    (Answer(status=429, reason="rateLimitExceeded"), {"kind": "storage.upload_chunk"}, "429"),
    (Answer(status=408, reason="requestTimeout"), {"kind": "storage.upload_chunk"}, "408"),
    (
        Reset(after_bytes=100_000, side="request"),
        {"kind": "storage.upload_chunk", "after": 2},
        "reset in a chunk",
    ),
    (Reset(after_bytes=300_000, side="request"), {"kind": "storage.upload_chunk"}, "reset behind a quantum"),
    (Reset(), {"kind": "storage.upload_chunk", "after": 1}, "reset instead of work and answer"),
    (LoseAnswer(), {"kind": "storage.upload_chunk", "after": 1}, "a chunk's answer is lost"),
    (LoseAnswer(), {"range_start": 2097152}, "the last answer is lost"),
    (KeepPart(bytes=QUANTUM), {"kind": "storage.upload_chunk"}, "half a chunk is kept"),
]


@pytest.mark.parametrize(("fault", "where", "what"), FAULTS, ids=[row[2] for row in FAULTS])
def test_googles_client_survives_a_fault_and_the_object_is_right(
    storage_client: Any, storage_emulator: StorageEmulator, fault: Any, where: dict[str, Any], what: str
) -> None:
    storage_emulator.faults.add(fault, **where)
    blob = storage_client.bucket(BUCKET).blob("a", chunk_size=2 * QUANTUM)
    if what == "half a chunk is kept":
        # google-cloud-storage 3.17 takes the smaller Range for an error and does not go on.
        with pytest.raises(ValueError, match="unexpected state"):
            blob.upload_from_file(io.BytesIO(LONG), if_generation_match=0, retry=QUICK)
        assert storage_emulator.find(BUCKET, "a") is None
        return
    blob.upload_from_file(io.BytesIO(LONG), if_generation_match=0, retry=QUICK, checksum="crc32c")
    assert storage_emulator.object(BUCKET, "a").read() == LONG
    assert storage_emulator.faults.pending() == []
    assert storage_emulator.uploads.open_sessions() == []


def test_a_byte_that_changes_on_its_way_is_noticed(
    storage_client: Any, storage_emulator: StorageEmulator
) -> None:
    storage_emulator.faults.add(Corrupt(offset=70_000, side="request"), kind="storage.upload_chunk")
    blob = storage_client.bucket(BUCKET).blob("a", chunk_size=2 * QUANTUM)
    with pytest.raises((BadRequest, Exception), match="doesn't match calculated CRC32C"):
        blob.upload_from_file(io.BytesIO(LONG), checksum="crc32c", retry=QUICK)
    assert storage_emulator.find(BUCKET, "a") is None


def test_a_reset_keeps_whole_quanta_only(session: Session) -> None:
    emulator = session.server.emulator
    emulator.faults.add(Reset(after_bytes=2 * QUANTUM + 77, side="request"), kind="storage.upload_chunk")
    with pytest.raises(httpx.TransportError):
        session.chunk(0, 4 * QUANTUM)
    assert kept(session.ask()) == 2 * QUANTUM
    assert session.chunk(2 * QUANTUM, SIZE, SIZE).status_code == 200
    assert session.stored() == DATA


def test_a_new_request_takes_over_from_one_that_hangs(session: Session) -> None:
    emulator = session.server.emulator
    emulator.faults.add(Stall(after_bytes=QUANTUM, side="request"), kind="storage.upload_chunk")
    with httpx.Client(timeout=0.3) as impatient, pytest.raises(httpx.TimeoutException):
        impatient.put(session.url, content=DATA, headers={"Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"})
    position = kept(session.ask())
    assert position <= QUANTUM
    assert session.chunk(position, SIZE, SIZE).status_code == 200
    assert session.stored() == DATA


def test_large_uploads_go_to_disk_and_leave_nothing_behind(storage_server: Server, web: httpx.Client) -> None:
    emulator = storage_server.emulator
    for name in ("kept", "replaced", "replaced"):
        Session(storage_server, web, name=name).put(DATA * 3, None)
    half = Session(storage_server, web, name="half")
    half.put(DATA[:QUANTUM] * 8, f"bytes 0-{8 * QUANTUM - 1}/*")
    assert len(list(emulator.directory.iterdir())) == 3
    web.delete(half.url)
    assert len(list(emulator.directory.iterdir())) == 2
    emulator.delete_object(BUCKET, "replaced")
    assert len(list(emulator.directory.iterdir())) == 1
    assert emulator.object(BUCKET, "kept").read() == DATA * 3


@pytest.mark.parametrize("chunks", [1, 5])
def test_requests_are_counted_by_kind(session: Session, chunks: int) -> None:
    for number in range(chunks - 1):
        session.chunk(number * QUANTUM, (number + 1) * QUANTUM)
    session.ask()
    session.chunk((chunks - 1) * QUANTUM, SIZE, SIZE)
    requests = session.server.emulator.requests
    assert requests.counts() == {
        "storage.upload_start": 1,
        "storage.upload_chunk": chunks,
        "storage.upload_status": 1,
    }
    assert requests.received_bytes("storage.upload_chunk") == SIZE
    starts = [record.range_start for record in requests.records("storage.upload_chunk")]
    assert starts == [number * QUANTUM for number in range(chunks)]

"""Scripted faults, counters and the shaped network: what a client really sees on its connection."""

from __future__ import annotations

import io
import threading
import time
from typing import Any

import httpx
import pytest
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseDownload

from audio_extract.emulator import DriveEmulator, EmulatorServer
from audio_extract.emulator.errors import ANSWERS
from audio_extract.emulator.faults import (
    ACTIONS,
    Answer,
    ChangeRevision,
    Corrupt,
    Delay,
    IgnoreRange,
    LoseAnswer,
    Reset,
    Stall,
    Truncate,
    WrongContentRange,
)
from support.engine import wait_until

MEDIA = bytes(range(256)) * 8000
Server = EmulatorServer[DriveEmulator]


class Download:
    """One range of one file, as a client reads it byte by byte."""

    def __init__(self, server: Server, web: httpx.Client) -> None:
        self.server = server
        self.web = web
        self.file_id = server.emulator.add_file(MEDIA, name="a.mp4")
        self.url = f"{server.url}/drive/v3/files/{self.file_id}?alt=media"

    def script(self, action: Any, **where: Any) -> None:
        self.server.emulator.faults.add(action, **{"kind": "drive.media", **where})

    def read(self, start: int = 0, end: int = len(MEDIA)) -> tuple[httpx.Response, bytes, Exception | None]:
        """The answer, the bytes that came, and how the connection ended."""
        received = bytearray()
        with self.web.stream("GET", self.url, headers={"Range": f"bytes={start}-{end - 1}"}) as answer:
            try:
                for piece in answer.iter_raw():
                    received += piece
            except httpx.TransportError as error:
                return answer, bytes(received), error
        return answer, bytes(received), None


@pytest.fixture
def download(drive_server: Server, web: httpx.Client) -> Download:
    return Download(drive_server, web)


def test_every_action_and_answer_names_its_documentation() -> None:
    assert all(action.documentation.startswith("https://") for action in ACTIONS.values())
    assert all(row.documentation.startswith("https://") for row in ANSWERS.values())


@pytest.mark.parametrize("reason", sorted(ANSWERS))
def test_every_answer_of_the_table_reads_as_googles_client_expects(
    drive_client: Any, drive: DriveEmulator, reason: str
) -> None:
    row = ANSWERS[reason]
    drive.faults.add(Answer(reason=reason), kind="drive.list")
    with pytest.raises(HttpError) as raised:
        drive_client.files().list().execute()
    assert raised.value.status_code == row.status
    detail = raised.value.error_details[0]
    assert (detail["reason"], detail["domain"]) == (row.reason, row.domain)
    assert drive_client.files().list().execute()["files"] == []


@pytest.mark.parametrize("after", [1, 1000, 1_500_000])
def test_a_reset_breaks_the_connection_behind_exactly_so_many_bytes(download: Download, after: int) -> None:
    download.script(Reset(after_bytes=after))
    answer, received, error = download.read()
    assert answer.status_code == 206
    assert received == MEDIA[:after]
    assert isinstance(error, httpx.ReadError)
    assert download.read()[1] == MEDIA


def test_a_reset_can_come_instead_of_an_answer(download: Download) -> None:
    download.script(Reset())
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        download.read()
    assert download.server.emulator.requests.records("drive.media")[0].status is None


def test_a_truncated_body_ends_in_an_orderly_way(download: Download) -> None:
    download.script(Truncate(after_bytes=1000))
    answer, received, error = download.read()
    assert (answer.headers["content-length"], received) == (str(len(MEDIA)), MEDIA[:1000])
    assert isinstance(error, httpx.RemoteProtocolError)


def test_a_truncated_body_can_be_announced(download: Download) -> None:
    download.script(Truncate(after_bytes=1000, announced=True))
    answer, received, error = download.read()
    assert (answer.headers["content-length"], received, error) == ("1000", MEDIA[:1000], None)
    assert answer.headers["content-range"] == f"bytes 0-{len(MEDIA) - 1}/{len(MEDIA)}"
    assert download.read()[1] == MEDIA


def test_a_stall_holds_the_bytes_until_the_client_gives_up(download: Download) -> None:
    download.script(Stall(after_bytes=1000))
    download.web.timeout = httpx.Timeout(0.3)
    _, received, error = download.read()
    assert received == MEDIA[:1000]
    assert isinstance(error, httpx.ReadTimeout)


@pytest.mark.parametrize("after", [0, 1000])
def test_a_stall_can_end(download: Download, after: int) -> None:
    download.script(Stall(after_bytes=after, seconds=0.2))
    begin = time.monotonic()
    assert download.read()[1] == MEDIA
    assert time.monotonic() - begin >= 0.2


def test_a_delay_comes_before_the_answer(download: Download) -> None:
    download.script(Delay(seconds=0.2))
    begin = time.monotonic()
    assert download.read()[1] == MEDIA
    assert time.monotonic() - begin >= 0.2


def test_a_wrong_content_range_comes_with_the_right_bytes(download: Download) -> None:
    download.script(WrongContentRange(value="bytes 5-14/100"))
    answer, received, _ = download.read(0, 10)
    assert (answer.headers["content-range"], received) == ("bytes 5-14/100", MEDIA[:10])


def test_a_range_can_be_ignored(download: Download) -> None:
    download.script(IgnoreRange())
    answer, received, _ = download.read(0, 10)
    assert (answer.status_code, received) == (200, MEDIA)
    assert "content-range" not in answer.headers


def test_one_byte_can_change(download: Download) -> None:
    download.script(Corrupt(offset=1_500_000))
    received = download.read()[1]
    assert [at for at in range(len(MEDIA)) if received[at] != MEDIA[at]] == [1_500_000]


def test_the_revision_can_change_between_two_ranges(download: Download) -> None:
    download.script(ChangeRevision(), after=1)
    first, _, _ = download.read(0, 10)
    second, received, _ = download.read(0, 10)
    assert first.headers["etag"] != second.headers["etag"]
    assert received == bytes([MEDIA[0] ^ 0xFF]) + MEDIA[1:10]


def test_a_lost_answer_was_worked_on(drive_client: Any, drive: DriveEmulator) -> None:
    drive.faults.add(LoseAnswer(), kind="drive.create")
    with pytest.raises(OSError, match=r"reset|closed|aborted|response"):
        drive_client.files().create(body={"name": "a"}).execute()
    assert [item.name for item in drive.items()] == ["a"]


def test_an_error_can_come_although_the_work_was_done(drive_client: Any, drive: DriveEmulator) -> None:
    drive.faults.add(Answer(after_work=True), kind="drive.create")
    with pytest.raises(HttpError) as raised:
        drive_client.files().create(body={"name": "a"}).execute()
    assert raised.value.status_code == 503
    assert [item.name for item in drive.items()] == ["a"]


def test_an_error_may_have_no_body_and_a_retry_after(download: Download) -> None:
    download.script(Answer(status=502, empty=True, headers={"Retry-After": "7"}))
    answer, received, _ = download.read()
    assert (answer.status_code, received, answer.headers["retry-after"]) == (502, b"", "7")


def test_faults_happen_in_order_to_the_requests_they_are_for(download: Download) -> None:
    download.script(Answer(reason="userRateLimitExceeded"), after=1, times=2)
    download.script(Answer(reason="downloadQuotaExceeded"), range_start=100)
    download.script(Answer(status=500), path="fields=nonsense")
    statuses = [download.read(start, start + 1)[0].status_code for start in (0, 0, 0, 0, 100, 100)]
    assert statuses == [206, 403, 403, 206, 403, 206]
    assert len(download.server.emulator.faults.pending()) == 1
    download.server.emulator.faults.clear()
    assert download.server.emulator.faults.pending() == []


def test_a_fault_without_number_happens_always(download: Download) -> None:
    download.script(Answer(), times=None)
    assert {download.read(0, 1)[0].status_code for _ in range(5)} == {503}


def test_googles_downloader_goes_on_after_errors(drive_client: Any, drive: DriveEmulator) -> None:
    file_id = drive.add_file(MEDIA, name="a.mp4")
    for reason in ("backendError", "userRateLimitExceeded", "rateLimitExceeded"):
        drive.faults.add(Answer(reason=reason), kind="drive.media", after=1)
    buffer = io.BytesIO()
    request = drive_client.files().get_media(fileId=file_id)
    downloader = MediaIoBaseDownload(buffer, request, chunksize=512 * 1024)
    downloader._sleep = lambda _seconds: None
    done = False
    while not done:
        _, done = downloader.next_chunk(num_retries=5)
    assert buffer.getvalue() == MEDIA
    assert drive.faults.pending() == []


# The control interface.


def test_faults_can_be_scripted_over_http(download: Download, web: httpx.Client) -> None:
    address = f"{download.server.url}/_emulator/faults"
    rules = [
        {"action": "answer", "reason": "downloadQuotaExceeded", "kind": "drive.media"},
        {"action": "reset", "after_bytes": 10, "kind": "drive.media", "times": 1},
    ]
    assert web.post(address, json=rules).status_code == 204
    shown = web.get(address).json()
    assert [rule["action"]["action"] for rule in shown] == ["answer", "reset"]
    assert download.read()[0].status_code == 403
    assert download.read()[1] == MEDIA[:10]
    assert web.get(address).json() == []
    web.post(address, json=rules)
    assert web.delete(address).status_code == 204
    assert web.get(address).json() == []


@pytest.mark.parametrize(
    "rule", [{}, {"action": "explode"}, {"action": "reset", "colour": 1}, {"action": "truncate"}, "reset"]
)
def test_a_wrong_rule_is_refused_and_named(drive_server: Server, web: httpx.Client, rule: Any) -> None:
    answer = web.post(f"{drive_server.url}/_emulator/faults", json=rule)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert drive_server.emulator.faults.pending() == []


def test_requests_are_counted_and_counters_reset(download: Download, web: httpx.Client) -> None:
    download.read(100, 300)
    web.get(f"{download.server.url}/drive/v3/files")
    address = f"{download.server.url}/_emulator/requests"
    shown = web.get(address, params={"log": "1"}).json()
    assert shown["counts"] == {"drive.media": 1, "drive.list": 1}
    assert shown["sent_bytes"]["drive.media"] == 200
    assert (shown["log"][0]["range_start"], shown["log"][0]["status"]) == (100, 206)
    assert web.post(f"{download.server.url}/_emulator/reset-counters").status_code == 204
    assert web.get(address).json()["counts"] == {}


def test_an_unknown_path_is_not_found(drive_server: Server, web: httpx.Client) -> None:
    answer = web.get(f"{drive_server.url}/drive/v2/files")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404)


def test_answers_carry_the_services_time(drive_server: Server, web: httpx.Client) -> None:
    answer = web.get(f"{drive_server.url}/drive/v3/files")
    assert answer.headers["date"].startswith("Sat, 14 Mar 2026 10:00:0")


# The network.


def test_latency_is_added_to_each_request(drive_server: Server, web: httpx.Client) -> None:
    assert web.put(f"{drive_server.url}/_emulator/network", json={"latency_seconds": 0.1}).status_code == 204
    begin = time.monotonic()
    for _ in range(3):
        web.get(f"{drive_server.url}/drive/v3/files")
    assert time.monotonic() - begin >= 0.3


def test_a_wrong_network_is_refused(drive_server: Server, web: httpx.Client) -> None:
    assert web.put(f"{drive_server.url}/_emulator/network", json={"colour": 1}).status_code == 400


def timed_downloads(server: Server, url: str, connections: int) -> float:
    """Seconds until so many clients, each on a connection of its own, have the whole file."""

    def one() -> None:
        with httpx.Client(timeout=30) as client:
            assert client.get(url).content == MEDIA

    threads = [threading.Thread(target=one) for _ in range(connections)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - begin


def test_bandwidth_of_one_connection_is_limited_and_more_connections_have_more(download: Download) -> None:
    download.server.emulator.network.connection_bytes_per_second = 4 * len(MEDIA)
    one = timed_downloads(download.server, download.url, 1)
    four = timed_downloads(download.server, download.url, 4)
    assert one >= 0.18
    assert four < 3.5 * one


def test_bandwidth_in_all_is_shared(download: Download) -> None:
    download.server.emulator.network.total_bytes_per_second = 4 * len(MEDIA)
    four = timed_downloads(download.server, download.url, 4)
    assert four >= 0.9


def test_an_upload_is_limited_too(drive_server: Server, web: httpx.Client) -> None:
    drive_server.emulator.network.connection_bytes_per_second = 20_000_000
    data = bytes(12_000_000)
    begin = time.monotonic()
    web.post(f"{drive_server.url}/upload/drive/v3/files?uploadType=media", content=data)
    assert time.monotonic() - begin >= 0.4


# The server.


def test_a_server_stops_at_once_although_a_client_hangs(download: Download) -> None:
    download.script(Stall())

    def read() -> None:
        with pytest.raises(httpx.TransportError):
            download.read()

    thread = threading.Thread(target=read)
    thread.start()
    assert wait_until(lambda: download.server.emulator.requests.count("drive.media") > 0, 10)
    begin = time.monotonic()
    download.server.stop()
    assert time.monotonic() - begin < 2
    thread.join(5)
    assert not thread.is_alive()


def test_a_server_can_start_again_on_its_port(drive_server: Server, web: httpx.Client) -> None:
    url = drive_server.url
    drive_server.stop()
    with pytest.raises(httpx.ConnectError):
        web.get(f"{url}/drive/v3/files")
    drive_server.start()
    assert drive_server.url == url
    assert web.get(f"{url}/drive/v3/files").status_code == 200


def test_a_taken_port_is_an_error(drive_server: Server) -> None:
    with pytest.raises(OSError, match="in use"):
        EmulatorServer(DriveEmulator(), port=drive_server.port).start()

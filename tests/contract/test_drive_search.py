"""files.list of the emulated Drive: the search language, paging, masks, order, shared drives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from audio_extract.emulator import DriveEmulator, EmulatorServer
from audio_extract.emulator.drive import FOLDER
from support.google_api import CheckedHttp

SEARCH = "https://developers.google.com/workspace/drive/api/guides/search-files"
TERMS = "https://developers.google.com/workspace/drive/api/guides/ref-search-terms"
DRIVES = "https://developers.google.com/workspace/drive/api/guides/enable-shareddrives"
LIST = "https://developers.google.com/workspace/drive/api/reference/rest/v3/files/list"


@pytest.fixture
def folder(drive: DriveEmulator) -> str:
    """A folder with some recordings."""
    folder = drive.add_folder("Meet Recordings", item_id="folder-id")
    january = datetime(2026, 1, 10, 9, 0, tzinfo=UTC)
    march = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
    drive.add_file(b"1", name="Weekly Sync.mp4", parent=folder, created_time=january)
    drive.add_file(b"22", name="Designer's Review.mp4", parent=folder, created_time=march)
    drive.add_file(b"333", name="HelloWorld notes.txt", parent=folder, created_time=march)
    drive.add_file(
        b"4444", name="Town Hall.webm", parent=folder, created_time=january, app_properties={"team": "all"}
    )
    sub = drive.add_folder("Archive", parent=folder)
    drive.add_file(b"5", name="Old.mp4", parent=sub, created_time=january)
    return folder


#: (query, names it finds, documentation)
QUERIES: list[tuple[str, set[str], str]] = [
    (
        "'folder-id' in parents",
        {"Weekly Sync.mp4", "Designer's Review.mp4", "HelloWorld notes.txt", "Town Hall.webm", "Archive"},
        SEARCH,
    ),
    (
        "'folder-id' in parents and mimeType contains 'video/'",
        {"Weekly Sync.mp4", "Designer's Review.mp4", "Town Hall.webm"},
        SEARCH,
    ),
    ("mimeType = 'video/webm'", {"Town Hall.webm"}, TERMS),
    (
        "mimeType != 'video/mp4' and 'folder-id' in parents and not mimeType contains 'application/'",
        {"HelloWorld notes.txt", "Town Hall.webm"},
        TERMS,
    ),
    (f"mimeType = '{FOLDER}' and name = 'Archive'", {"Archive"}, SEARCH),
    (r"name = 'Designer\'s Review.mp4'", {"Designer's Review.mp4"}, SEARCH),
    ("name contains 'hello'", {"HelloWorld notes.txt"}, TERMS),
    ("name contains 'World'", set(), TERMS),
    ("fullText contains 'sync'", {"Weekly Sync.mp4"}, TERMS),
    ("createdTime > '2026-03-01T00:00:00' and mimeType = 'video/mp4'", {"Designer's Review.mp4"}, SEARCH),
    (
        "createdTime >= '2026-03-10T10:00:00+01:00' and mimeType = 'video/mp4'",
        {"Designer's Review.mp4"},
        SEARCH,
    ),
    ("createdTime < '2026-02-01T00:00:00Z' and mimeType = 'video/webm'", {"Town Hall.webm"}, TERMS),
    ("modifiedTime <= '2026-01-10T09:00:00' and mimeType = 'video/webm'", {"Town Hall.webm"}, TERMS),
    ("appProperties has { key='team' and value='all' }", {"Town Hall.webm"}, SEARCH),
    ("name = 'Old.mp4' and trashed = true", set(), SEARCH),
    ("name = 'Old.mp4' and trashed = false", {"Old.mp4"}, SEARCH),
    ("name = 'Old.mp4' and trashed != true", {"Old.mp4"}, TERMS),
    (
        "not name contains 'e' and 'folder-id' in parents",
        {"Weekly Sync.mp4", "Designer's Review.mp4", "HelloWorld notes.txt", "Town Hall.webm", "Archive"},
        TERMS,
    ),
    (
        "mimeType='video/mp4' and (createdTime > '2026-03-01' or name = 'Old.mp4')",
        {"Designer's Review.mp4", "Old.mp4"},
        SEARCH,
    ),
    # "and" and "or" bind alike, from left to right.
    ("name = 'Old.mp4' or name = 'Archive' and trashed = true", set(), SEARCH),
    ("name = 'Old.mp4' or (name = 'Archive' and trashed = true)", {"Old.mp4"}, SEARCH),
    ("'organizer@example.com' in owners and name = 'Old.mp4'", {"Old.mp4"}, TERMS),
]


@pytest.mark.parametrize(("query", "names", "documentation"), QUERIES, ids=[row[0] for row in QUERIES])
def test_a_query_finds_what_its_documentation_says(
    drive_client: Any, folder: str, query: str, names: set[str], documentation: str
) -> None:
    found = drive_client.files().list(q=query, fields="files(name)").execute()
    assert {item["name"] for item in found["files"]} == names, documentation


MALFORMED = [
    "name = ",
    "name = 'open",
    "name > 'a'",
    "colour = 'red'",
    "'folder-id' in name",
    "trashed = 'true'",
    "createdTime > 'yesterday'",
    "(name = 'a'",
    "name = 'a' name = 'b'",
    "name contains",
    "parents in 'folder-id'",
    "; drop",
]


@pytest.mark.parametrize("query", MALFORMED)
def test_a_malformed_query_is_invalid(drive_client: Any, folder: str, query: str) -> None:
    with pytest.raises(HttpError) as raised:
        drive_client.files().list(q=query).execute()
    assert raised.value.status_code == 400
    assert raised.value.error_details[0]["reason"] == "invalid"
    assert raised.value.error_details[0]["location"] == "q"


def test_a_folder_that_is_not_shared_is_not_found_in_a_query(
    drive_client: Any, drive: DriveEmulator, folder: str
) -> None:
    drive.hide(folder)
    with pytest.raises(HttpError) as raised:
        drive_client.files().list(q=f"'{folder}' in parents").execute()
    assert raised.value.status_code == 404
    assert raised.value.reason == "File not found: ."
    assert drive_client.files().list(q="name = 'Old.mp4'").execute()["files"] == []


def test_pages_together_hold_each_item_once_even_if_items_go_between_them(
    drive_client: Any, drive: DriveEmulator
) -> None:
    folder = drive.add_folder("Many")
    ids = [drive.add_file(b"", name=f"{number}.mp4", parent=folder) for number in range(25)]
    request = drive_client.files().list(q=f"'{folder}' in parents", pageSize=10, orderBy="name_natural")
    seen: list[str] = []
    pages = 0
    while request is not None:
        page = request.execute()
        pages += 1
        seen += [item["name"] for item in page["files"]]
        if pages == 1:
            drive.trash(ids[0])
            drive.delete(ids[24])
        request = drive_client.files().list_next(request, page)
    assert pages == 3
    assert seen == [f"{number}.mp4" for number in range(24)]


def test_a_page_token_of_another_search_is_refused(drive_client: Any, drive: DriveEmulator) -> None:
    for number in range(3):
        drive.add_file(b"", name=f"{number}.mp4")
    token = drive_client.files().list(pageSize=1).execute()["nextPageToken"]
    with pytest.raises(HttpError) as raised:
        drive_client.files().list(pageSize=1, q="trashed = false", pageToken=token).execute()
    assert raised.value.error_details[0]["location"] == "pageToken"


@pytest.mark.parametrize("size", ["0", "1001", "many"])
def test_a_page_size_outside_its_bounds_is_refused(
    drive_server: EmulatorServer[DriveEmulator], web: Any, size: str
) -> None:
    answer = web.get(f"{drive_server.url}/drive/v3/files", params={"pageSize": size})
    assert answer.status_code == 400
    assert answer.json()["error"]["errors"][0]["location"] == "pageSize"


#: (orderBy, names in order)
ORDERS = [
    ("name", ["b 10", "b 2", "folder"]),
    ("name_natural", ["b 2", "b 10", "folder"]),
    ("folder,name_natural desc", ["folder", "b 10", "b 2"]),
    ("createdTime", ["folder", "b 2", "b 10"]),
    ("createdTime desc", ["b 10", "b 2", "folder"]),
    ("quotaBytesUsed desc,name", ["b 2", "b 10", "folder"]),
]


@pytest.mark.parametrize(("order", "names"), ORDERS, ids=[row[0] for row in ORDERS])
def test_order_by_sorts(drive_client: Any, drive: DriveEmulator, order: str, names: list[str]) -> None:
    drive.add_folder("folder")
    drive.add_file(b"123", name="b 2")
    drive.add_file(b"1", name="b 10")
    found = drive_client.files().list(orderBy=order).execute()
    assert [item["name"] for item in found["files"]] == names, LIST


def test_an_unknown_order_is_refused(drive_client: Any) -> None:
    with pytest.raises(HttpError) as raised:
        drive_client.files().list(orderBy="colour").execute()
    assert raised.value.error_details[0]["location"] == "orderBy"


#: (fields, the answer's keys, the keys of a file in it)
MASKS = [
    (None, {"kind", "incompleteSearch", "files"}, {"kind", "id", "name", "mimeType"}),
    ("files(id,size)", {"files"}, {"id", "size"}),
    ("files/id,files/owners/emailAddress", {"files"}, {"id", "owners"}),
    ("files(capabilities/canDownload)", {"files"}, {"capabilities"}),
    ("kind,files(id,capabilities(canDownload,canTrash))", {"kind", "files"}, {"id", "capabilities"}),
]


@pytest.mark.parametrize(("fields", "keys", "item_keys"), MASKS, ids=[str(row[0]) for row in MASKS])
def test_a_mask_selects_fields(
    drive_client: Any, drive: DriveEmulator, fields: str | None, keys: set[str], item_keys: set[str]
) -> None:
    drive.add_file(b"1", name="a.mp4")
    answer = drive_client.files().list(fields=fields).execute()
    assert answer.keys() == keys
    assert answer["files"][0].keys() == item_keys


def test_a_star_selects_everything_there_is(drive_client: Any, drive: DriveEmulator) -> None:
    file_id = drive.add_file(b"1", name="a.mp4")
    whole = drive_client.files().get(fileId=file_id, fields="*").execute()
    expected = {"md5Checksum", "sha256Checksum", "headRevisionId", "size", "createdTime", "modifiedTime"}
    assert expected <= whole.keys()
    in_list = drive_client.files().list(fields="files(*)").execute()["files"][0]
    assert in_list == whole


@pytest.mark.parametrize(
    "fields", ["files(colour)", "nonsense", "files(id", "files(id))", "", "files//id", "id,"]
)
def test_a_wrong_mask_is_refused(drive_server: EmulatorServer[DriveEmulator], web: Any, fields: str) -> None:
    answer = web.get(f"{drive_server.url}/drive/v3/files", params={"fields": fields})
    assert answer.status_code == 400
    assert answer.json()["error"]["errors"][0]["reason"] == "invalidParameter"


def test_shared_drive_items_are_found_only_by_those_who_ask_for_them(
    drive_client: Any, drive: DriveEmulator
) -> None:
    shared = drive.add_shared_drive("Team")
    inside = drive.add_file(b"1", name="in the drive.mp4", parent=shared)
    drive.add_file(b"1", name="mine.mp4")
    files = drive_client.files()

    def names(**parameters: Any) -> set[str]:
        return {item["name"] for item in files.list(**parameters).execute()["files"]}

    assert names() == {"mine.mp4"}
    both = {"supportsAllDrives": True, "includeItemsFromAllDrives": True}
    assert names(**both, corpora="allDrives") == {"mine.mp4", "in the drive.mp4"}
    assert names(**both, corpora="drive", driveId=shared) == {"in the drive.mp4"}
    assert names(**both, q=f"'{shared}' in parents") == {"in the drive.mp4"}
    with pytest.raises(HttpError) as raised:
        files.get(fileId=inside).execute()
    assert raised.value.status_code == 404
    assert files.get(fileId=inside, supportsAllDrives=True, fields="driveId").execute() == {"driveId": shared}
    assert drive_client.drives().list().execute()["drives"][0]["name"] == "Team"
    assert drive_client.drives().get(driveId=shared).execute()["id"] == shared


#: (parameters, what is to blame)
WRONG_CORPORA: list[tuple[dict[str, str], str]] = [
    ({"corpora": "drive"}, "driveId"),
    ({"driveId": "x"}, "driveId"),
    ({"corpora": "allDrives"}, "includeItemsFromAllDrives"),
    ({"includeItemsFromAllDrives": "true"}, "supportsAllDrives"),
    ({"corpora": "everything"}, "corpora"),
]


@pytest.mark.parametrize(
    ("parameters", "location"), WRONG_CORPORA, ids=[str(row[0]) for row in WRONG_CORPORA]
)
def test_shared_drive_parameters_must_fit_together(
    drive_server: EmulatorServer[DriveEmulator], web: Any, parameters: dict[str, str], location: str
) -> None:
    answer = web.get(f"{drive_server.url}/drive/v3/files", params=parameters)
    assert answer.status_code == 400, DRIVES
    assert answer.json()["error"]["errors"][0]["location"] == location


def test_an_unknown_shared_drive_is_not_found(drive_client: Any) -> None:
    with pytest.raises(HttpError) as raised:
        drive_client.files().list(
            corpora="drive", driveId="nowhere", supportsAllDrives=True, includeItemsFromAllDrives=True
        ).execute()
    assert raised.value.status_code == 404
    assert "Shared drive not found" in raised.value.reason


def test_a_parent_that_the_account_cannot_see_is_left_out(drive_client: Any, drive: DriveEmulator) -> None:
    folder = drive.add_folder("Private")
    file_id = drive.add_file(b"1", name="shared alone.mp4", parent=folder)
    drive.hide(folder)
    drive.share(file_id)
    found = drive_client.files().list(fields="files(name,parents)").execute()["files"]
    assert found == [{"name": "shared alone.mp4", "parents": []}]


def test_a_client_with_an_api_endpoint_reads_from_the_emulator(
    drive_server: EmulatorServer[DriveEmulator], drive_http: CheckedHttp
) -> None:
    drive_server.emulator.add_file(
        b"1", name="a.mp4", created_time=datetime(2026, 3, 14, 10, 0, 0, 2999, tzinfo=UTC)
    )
    service = build(
        "drive",
        "v3",
        http=drive_http,
        static_discovery=True,
        client_options={"api_endpoint": f"{drive_server.url}/drive/v3/"},
    )
    found = service.files().list(fields="files(name,createdTime)").execute()
    assert found["files"] == [{"name": "a.mp4", "createdTime": "2026-03-14T10:00:00.002Z"}]
    assert drive_http.discovery.checked == 1

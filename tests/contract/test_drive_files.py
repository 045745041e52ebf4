"""Files of the emulated Drive: resources, media, changes, and what clients may change."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaFileUpload, MediaIoBaseDownload, MediaIoBaseUpload

from audio_extract.emulator import DriveEmulator, EmulatorServer
from audio_extract.emulator.content import GeneratedContent
from audio_extract.emulator.drive import FOLDER, SHORTCUT, VideoMetadata

MEDIA = bytes(range(256)) * 4000
RANGES = "https://www.rfc-editor.org/rfc/rfc9110#section-14"


def download(client: Any, file_id: str, chunk_size: int = 256 * 1024, **parameters: Any) -> bytes:
    """The way the guide shows: https://developers.google.com/workspace/drive/api/guides/manage-downloads."""
    buffer = io.BytesIO()
    request = client.files().get_media(fileId=file_id, **parameters)
    downloader = MediaIoBaseDownload(buffer, request, chunksize=chunk_size)
    done = False
    while not done:
        _, done = downloader.next_chunk()
    return buffer.getvalue()


def reason(raised: pytest.ExceptionInfo[HttpError]) -> str:
    return str(raised.value.error_details[0]["reason"])


def media_url(server: EmulatorServer[DriveEmulator], file_id: str) -> str:
    return f"{server.url}/drive/v3/files/{file_id}?alt=media"


def test_a_recording_has_the_fields_that_drive_gives_it(drive_client: Any, drive: DriveEmulator) -> None:
    folder = drive.add_folder("Meet Recordings")
    file_id = drive.add_file(
        MEDIA,
        name="Weekly Sync.mp4",
        parent=folder,
        created_time=datetime(2026, 3, 10, 9, 0, 0, 123000, tzinfo=UTC),
        video=VideoMetadata(duration_seconds=12.5, width=1280, height=720),
    )
    resource = drive_client.files().get(fileId=file_id, fields="*").execute()
    expected = {
        "id": file_id,
        "name": "Weekly Sync.mp4",
        "mimeType": "video/mp4",
        "parents": [folder],
        "size": str(len(MEDIA)),
        "md5Checksum": hashlib.md5(MEDIA).hexdigest(),  # noqa: S324
        "sha256Checksum": hashlib.sha256(MEDIA).hexdigest(),
        "createdTime": "2026-03-10T09:00:00.123Z",
        "modifiedTime": "2026-03-10T09:00:00.123Z",
        "trashed": False,
        "videoMediaMetadata": {"durationMillis": "12500", "width": 1280, "height": 720},
    }
    assert {key: resource[key] for key in expected} == expected
    assert resource["capabilities"]["canDownload"] is True
    assert resource["headRevisionId"]


def test_by_default_a_resource_has_four_fields(drive_client: Any, drive: DriveEmulator) -> None:
    file_id = drive.add_file(b"1", name="a.mp4")
    assert drive_client.files().get(fileId=file_id).execute().keys() == {"kind", "id", "name", "mimeType"}


def test_a_file_that_was_just_uploaded_has_no_checksum_yet(drive_client: Any, drive: DriveEmulator) -> None:
    file_id = drive.add_file(b"1", name="a.mp4", with_checksums=False)
    files = drive_client.files()
    assert files.get(fileId=file_id, fields="size,md5Checksum").execute() == {"size": "1"}
    drive.compute_checksums(file_id)
    assert "md5Checksum" in files.get(fileId=file_id, fields="md5Checksum").execute()


@pytest.mark.parametrize("chunk_size", [256 * 1024, 10_000_000])
def test_googles_downloader_gets_every_byte(drive_client: Any, drive: DriveEmulator, chunk_size: int) -> None:
    file_id = drive.add_file(MEDIA, name="a.mp4")
    assert download(drive_client, file_id, chunk_size) == MEDIA
    assert drive.requests.count("drive.media") == -(-len(MEDIA) // chunk_size)


def test_an_empty_file_can_be_downloaded(drive_client: Any, drive: DriveEmulator) -> None:
    file_id = drive.add_file(b"", name="empty.mp4")
    assert download(drive_client, file_id) == b""


def test_a_file_on_disk_is_served_from_there(drive_client: Any, drive: DriveEmulator, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(MEDIA)
    assert download(drive_client, drive.add_file(path, name="a.mp4")) == MEDIA


def test_four_gigabytes_can_be_read_at_any_place(
    drive: DriveEmulator, drive_server: EmulatorServer[DriveEmulator], web: httpx.Client
) -> None:
    content = GeneratedContent(4 * 1024**3 + 17, seed=5)
    file_id = drive.add_file(content, name="ten hours.mp4", with_checksums=False)
    last = content.size - 1
    answer = web.get(media_url(drive_server, file_id), headers={"Range": f"bytes={last - 999}-{last}"})
    assert answer.content == content.read(last - 999, 1000)
    assert answer.headers["content-range"] == f"bytes {last - 999}-{last}/{content.size}"


#: (Range, status, first byte, end, documentation)
RANGE_ANSWERS = [
    ("bytes=0-0", 206, 0, 1, RANGES),
    ("bytes=100-199", 206, 100, 200, RANGES),
    ("bytes=1023900-", 206, 1023900, len(MEDIA), RANGES),
    ("bytes=-100", 206, len(MEDIA) - 100, len(MEDIA), RANGES),
    ("bytes=1000000-9999999", 206, 1000000, len(MEDIA), RANGES),
    ("bytes=-9999999", 206, 0, len(MEDIA), RANGES),
    ("bytes=200-100", 200, 0, len(MEDIA), RANGES + ".1.1: an invalid range is ignored"),
    ("bytes=0-1,5-6", 200, 0, len(MEDIA), RANGES + ".2: a server may ignore several ranges"),
    ("lines=1-2", 200, 0, len(MEDIA), RANGES + ".2: an unknown unit is ignored"),
]


@pytest.mark.parametrize(("header", "status", "start", "end", "documentation"), RANGE_ANSWERS)
def test_a_range_gives_just_its_bytes(
    drive: DriveEmulator,
    drive_server: EmulatorServer[DriveEmulator],
    web: httpx.Client,
    header: str,
    status: int,
    start: int,
    end: int,
    documentation: str,
) -> None:
    file_id = drive.add_file(MEDIA, name="a.mp4")
    answer = web.get(media_url(drive_server, file_id), headers={"Range": header})
    assert answer.status_code == status, documentation
    assert answer.content == MEDIA[start:end]
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(MEDIA)}"


@pytest.mark.parametrize(
    "header", [f"bytes={len(MEDIA)}-", f"bytes={len(MEDIA) + 5}-{len(MEDIA) + 9}", "bytes=-0"]
)
def test_a_range_behind_the_end_is_416(
    drive: DriveEmulator, drive_server: EmulatorServer[DriveEmulator], web: httpx.Client, header: str
) -> None:
    file_id = drive.add_file(MEDIA, name="a.mp4")
    answer = web.get(media_url(drive_server, file_id), headers={"Range": header})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(MEDIA)}"
    assert answer.json()["error"]["errors"][0]["reason"] == "requestedRangeNotSatisfiable"


def test_if_range_gives_the_range_only_of_the_same_revision(
    drive: DriveEmulator, drive_server: EmulatorServer[DriveEmulator], web: httpx.Client
) -> None:
    file_id = drive.add_file(MEDIA, name="a.mp4")
    url = media_url(drive_server, file_id)
    etag = web.get(url, headers={"Range": "bytes=0-9"}).headers["etag"]
    same = web.get(url, headers={"Range": "bytes=10-19", "If-Range": etag})
    assert (same.status_code, same.content) == (206, MEDIA[10:20])
    drive.change_revision(file_id)
    changed = web.get(url, headers={"Range": "bytes=10-19", "If-Range": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    assert len(changed.content) == len(MEDIA)
    assert changed.content[0] != MEDIA[0]


def test_a_new_revision_has_other_checksums_and_another_id(drive_client: Any, drive: DriveEmulator) -> None:
    file_id = drive.add_file(MEDIA, name="a.mp4")
    fields = "md5Checksum,headRevisionId,size,version"
    before = drive_client.files().get(fileId=file_id, fields=fields).execute()
    drive.change_revision(file_id)
    after = drive_client.files().get(fileId=file_id, fields=fields).execute()
    assert before["size"] == after["size"]
    assert all(before[key] != after[key] for key in ("md5Checksum", "headRevisionId", "version"))


#: (what is done to the file, reason, documentation)
REFUSALS = [
    ("unshared", 404, "notFound", "handle-errors#resolve_a_404_error_file_not_found_fileid"),
    ("deleted", 404, "notFound", "handle-errors#resolve_a_404_error_file_not_found_fileid"),
    ("locked", 403, "cannotDownloadFile", "guides/manage-downloads"),
    ("abusive", 403, "cannotDownloadAbusiveFile", "guides/manage-downloads#acknowledge-abuse"),
    ("exhausted", 403, "downloadQuotaExceeded", "guides/handle-errors"),
    ("folder", 403, "fileNotDownloadable", "guides/manage-downloads"),
    ("shortcut", 403, "fileNotDownloadable", "guides/shortcuts"),
]


@pytest.mark.parametrize(("case", "status", "expected", "documentation"), REFUSALS)
def test_a_download_that_is_not_allowed_says_why(
    drive_client: Any, drive: DriveEmulator, case: str, status: int, expected: str, documentation: str
) -> None:
    file_id = drive.add_file(MEDIA, name="a.mp4")
    if case == "unshared":
        drive.hide(file_id)
    elif case == "deleted":
        drive.delete(file_id)
    elif case == "locked":
        drive.edit(file_id, can_download=False)
    elif case == "abusive":
        drive.edit(file_id, abusive=True)
    elif case == "exhausted":
        drive.exhaust_download_quota(file_id)
    elif case == "folder":
        file_id = drive.add_folder("Folder")
    else:
        file_id = drive.add_shortcut(file_id)
    with pytest.raises(HttpError) as raised:
        download(drive_client, file_id)
    assert (raised.value.status_code, reason(raised)) == (status, expected), documentation


def test_abuse_can_be_acknowledged(drive_client: Any, drive: DriveEmulator) -> None:
    file_id = drive.add_file(MEDIA, name="a.mp4")
    drive.edit(file_id, abusive=True)
    assert download(drive_client, file_id, acknowledgeAbuse=True) == MEDIA


def test_a_download_quota_is_used_up_and_comes_back(drive_client: Any, drive: DriveEmulator) -> None:
    file_id = drive.add_file(MEDIA, name="a.mp4")
    drive.exhaust_download_quota(file_id, downloads_left=1)
    assert download(drive_client, file_id, 10_000_000) == MEDIA
    with pytest.raises(HttpError):
        download(drive_client, file_id)
    drive.restore_download_quota(file_id)
    assert download(drive_client, file_id) == MEDIA


def test_a_shortcut_names_its_target(drive_client: Any, drive: DriveEmulator) -> None:
    target = drive.add_file(MEDIA, name="a.mp4")
    shortcut = drive.add_shortcut(target, name="link")
    resource = drive_client.files().get(fileId=shortcut, fields="mimeType,shortcutDetails,size").execute()
    assert resource == {
        "mimeType": SHORTCUT,
        "shortcutDetails": {"targetId": target, "targetMimeType": "video/mp4"},
    }


def test_what_lies_in_a_trashed_folder_is_trashed(drive_client: Any, drive: DriveEmulator) -> None:
    folder = drive.add_folder("Folder")
    file_id = drive.add_file(b"1", name="a.mp4", parent=folder)
    drive.trash(folder)
    fields = "trashed,explicitlyTrashed"
    resource = drive_client.files().get(fileId=file_id, fields=fields).execute()
    assert resource == {"trashed": True, "explicitlyTrashed": False}
    drive.untrash(folder)
    resource = drive_client.files().get(fileId=file_id, fields=fields).execute()
    assert resource == {"trashed": False, "explicitlyTrashed": False}


def test_about_needs_fields_and_names_the_account(drive_client: Any) -> None:
    user = drive_client.about().get(fields="user").execute()["user"]
    assert user["emailAddress"] == "extractor@demo-project.iam.gserviceaccount.com"
    assert drive_client.about().get(fields="*").execute().keys() >= {"user", "kind"}


def test_about_without_fields_is_refused(
    drive_server: EmulatorServer[DriveEmulator], web: httpx.Client
) -> None:
    answer = web.get(f"{drive_server.url}/drive/v3/about")
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "required")


# Changes.


def start_token(client: Any) -> str:
    return str(client.changes().getStartPageToken().execute()["startPageToken"])


def changes(client: Any, token: str, **parameters: Any) -> tuple[list[dict[str, Any]], str]:
    """All changes since a token, page by page, and the token for the next time."""
    found: list[dict[str, Any]] = []
    while True:
        page = client.changes().list(pageToken=token, **parameters).execute()
        found += page["changes"]
        if "newStartPageToken" in page:
            return found, page["newStartPageToken"]
        token = page["nextPageToken"]


def test_changes_tell_what_happened_since_the_token(drive_client: Any, drive: DriveEmulator) -> None:
    old = drive.add_file(b"1", name="old.mp4")
    token = start_token(drive_client)
    new = drive.add_file(b"2", name="new.mp4")
    found, token = changes(drive_client, token)
    assert [change["fileId"] for change in found] == [new]
    assert found[0]["file"]["name"] == "new.mp4"
    assert changes(drive_client, token) == ([], token)
    drive.delete(old)
    found, token = changes(drive_client, token)
    assert [(change["fileId"], change["removed"]) for change in found] == [(old, True)]
    assert "file" not in found[0]


def test_an_item_that_changed_often_is_listed_once_as_it_is_now(
    drive_client: Any, drive: DriveEmulator
) -> None:
    token = start_token(drive_client)
    first = drive.add_folder("First")
    second = drive.add_folder("Second")
    file_id = drive.add_file(b"1", name="a.mp4", parent=first)
    drive.move(file_id, second)
    drive.edit(file_id, name="b.mp4")
    found, _ = changes(drive_client, token, fields="*")
    assert [change["fileId"] for change in found] == [first, second, file_id]
    assert (found[2]["file"]["name"], found[2]["file"]["parents"]) == ("b.mp4", [second])


def test_changes_come_in_pages_and_none_is_lost(drive_client: Any, drive: DriveEmulator) -> None:
    token = start_token(drive_client)
    ids = [drive.add_file(b"", name=f"{number}.mp4") for number in range(7)]
    found, _ = changes(drive_client, token, pageSize=3)
    assert [change["fileId"] for change in found] == ids


def test_trash_and_lost_access_are_changes(drive_client: Any, drive: DriveEmulator) -> None:
    folder = drive.add_folder("Folder")
    trashed = drive.add_file(b"1", name="a.mp4", parent=folder)
    hidden = drive.add_file(b"1", name="b.mp4")
    token = start_token(drive_client)
    drive.trash(folder)
    drive.hide(hidden)
    found, _ = changes(drive_client, token, fields="*")
    by_id = {change["fileId"]: change for change in found}
    assert by_id[trashed]["file"]["trashed"] is True
    assert by_id[hidden]["removed"] is True
    kept, _ = changes(drive_client, token, includeRemoved=False)
    assert {change["fileId"] for change in kept} == {folder, trashed}


def test_changes_of_a_shared_drive_are_its_own(drive_client: Any, drive: DriveEmulator) -> None:
    token = start_token(drive_client)
    shared = drive.add_shared_drive("Team")
    inside = drive.add_file(b"1", name="in.mp4", parent=shared)
    mine = drive.add_file(b"1", name="mine.mp4")
    both = {"supportsAllDrives": True, "includeItemsFromAllDrives": True}

    def ids(**parameters: Any) -> set[str]:
        return {change["fileId"] for change in changes(drive_client, token, **parameters)[0]}

    assert ids() == {mine}
    assert ids(**both) == {mine, inside}
    assert ids(**both, driveId=shared) == {inside}


@pytest.mark.parametrize("token", ["nonsense", "0", "999999", "-1"])
def test_a_wrong_change_token_is_invalid(drive_client: Any, token: str) -> None:
    with pytest.raises(HttpError) as raised:
        drive_client.changes().list(pageToken=token).execute()
    assert (raised.value.status_code, reason(raised)) == (400, "invalid")


# What clients change.


def test_a_client_makes_a_folder_a_file_and_a_shortcut(drive_client: Any, drive: DriveEmulator) -> None:
    files = drive_client.files()
    folder = files.create(body={"name": "Folder", "mimeType": FOLDER}).execute()["id"]
    body = {"name": "a.mp4", "parents": [folder], "appProperties": {"x": "y"}}
    media = MediaIoBaseUpload(io.BytesIO(MEDIA), mimetype="video/mp4")
    made = files.create(body=body, media_body=media, fields="id,size,md5Checksum,appProperties").execute()
    assert made["size"] == str(len(MEDIA))
    assert made["appProperties"] == {"x": "y"}
    details = {"targetId": made["id"]}
    link = files.create(body={"name": "link", "mimeType": SHORTCUT, "shortcutDetails": details}).execute()
    assert drive.item(link["id"]).shortcut_target_id == made["id"]
    assert download(drive_client, made["id"]) == MEDIA


@pytest.mark.parametrize("chunk_size", [256 * 1024, -1])
def test_a_resumable_upload_makes_a_file(
    drive_client: Any, drive: DriveEmulator, tmp_path: Path, chunk_size: int
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(MEDIA)
    media = MediaFileUpload(str(path), mimetype="video/mp4", chunksize=chunk_size, resumable=True)
    request = drive_client.files().create(body={"name": "a.mp4"}, media_body=media, fields="id,md5Checksum")
    answer = None
    while answer is None:
        _, answer = request.next_chunk()
    media.stream().close()
    assert answer["md5Checksum"] == hashlib.md5(MEDIA).hexdigest()  # noqa: S324
    assert drive.uploads.open_sessions() == []


def test_new_content_is_a_new_revision(drive_client: Any, drive: DriveEmulator) -> None:
    file_id = drive.add_file(b"before", name="a.mp4")
    revision = drive.item(file_id).head_revision_id
    media = MediaIoBaseUpload(io.BytesIO(b"after"), mimetype="video/mp4")
    drive_client.files().update(fileId=file_id, media_body=media).execute()
    assert download(drive_client, file_id) == b"after"
    assert drive.item(file_id).head_revision_id != revision


def test_a_client_renames_moves_trashes_and_deletes(drive_client: Any, drive: DriveEmulator) -> None:
    files = drive_client.files()
    folder = drive.add_folder("Folder")
    file_id = drive.add_file(b"1", name="a.mp4")
    files.update(
        fileId=file_id, body={"name": "b.mp4"}, addParents=folder, removeParents=drive.root_id
    ).execute()
    item = drive.item(file_id)
    assert (item.name, item.parents) == ("b.mp4", [folder])
    assert files.update(fileId=file_id, body={"trashed": True}, fields="trashed").execute() == {
        "trashed": True
    }
    files.delete(fileId=file_id).execute()
    with pytest.raises(HttpError) as raised:
        files.get(fileId=file_id).execute()
    assert raised.value.reason == f"File not found: {file_id}."


def test_parents_are_not_written_directly(drive_client: Any, drive: DriveEmulator) -> None:
    file_id = drive.add_file(b"1", name="a.mp4")
    with pytest.raises(HttpError) as raised:
        drive_client.files().update(fileId=file_id, body={"parents": ["x"]}).execute()
    assert reason(raised) == "fieldNotWritable"

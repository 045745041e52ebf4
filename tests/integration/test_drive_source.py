"""The Drive source against the emulator: listings, the change feed, refusals, credentials."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audio_extract.credentials import GoogleCredentials
from audio_extract.emulator import DriveEmulator, EmulatorServer, ServiceAccount
from audio_extract.emulator.drive import VideoMetadata
from audio_extract.emulator.faults import Answer, Reset
from audio_extract.exceptions import (
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    SourceChangedError,
    TransientError,
)
from audio_extract.settings import load_settings
from audio_extract.sources import build_drive_source, build_sources
from audio_extract.sources.drive import DriveSource
from audio_extract.sources.drive_client import SCOPES, DriveClient

OLD = datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)


class Drive:
    """An emulated Drive, and sources on it that wait no time."""

    def __init__(self, server: EmulatorServer[DriveEmulator]) -> None:
        self.server = server
        self.state = server.emulator
        self.folder = self.state.add_folder("Meet Recordings")
        self.waits: list[float] = []
        self._sources: list[DriveSource] = []

    def source(
        self, *folders: str, credentials: GoogleCredentials | None = None, **options: Any
    ) -> DriveSource:
        client = DriveClient(
            endpoint=self.server.url, credentials=credentials, sleep=self.waits.append, jitter=lambda: 0.5
        )
        source = DriveSource(client, list(folders) or [self.folder], **options)
        self._sources.append(source)
        return source

    def add(self, name: str, *, parent: str | None = None, content: bytes = b"video", **options: Any) -> str:
        return self.state.add_file(content, name=name, parent=parent or self.folder, **options)

    def close(self) -> None:
        for source in self._sources:
            source.close()


@pytest.fixture
def drive() -> Iterator[Drive]:
    with EmulatorServer(DriveEmulator()) as server:
        drive = Drive(server)
        yield drive
        drive.close()


def names(recordings: Any) -> list[str]:
    return sorted(recording.name for recording in recordings)


# Listings.


def test_a_recording_carries_what_drive_says_of_it(drive: Drive) -> None:
    file_id = drive.add("Weekly.mp4", content=b"abc", created_time=OLD, video=VideoMetadata(61.5, 1280, 720))
    [found] = drive.source().list()
    assert (found.source, found.source_id, found.name) == ("drive", file_id, "Weekly.mp4")
    assert found.revision == found.md5 == "900150983cd24fb0d6963f7d28e17f72"
    assert found.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (found.size_bytes, found.mime_type, found.folder_id) == (3, "video/mp4", drive.folder)
    assert found.created_at == OLD
    assert found.created_at.tzinfo is UTC
    assert found.duration_seconds == 61.5
    assert found.can_download
    assert found.settled
    assert found.web_link is not None


def test_a_listing_of_many_pages_is_one_query_for_each_page_and_nothing_else(drive: Drive) -> None:
    for number in range(2001):
        drive.add(f"{number}.mp4", with_checksums=False)
    assert len(list(drive.source().list())) == 2001
    assert drive.state.requests.to_json()["counts"] == {"drive.get": 1, "drive.list": 3}


def test_folders_and_google_documents_are_not_recordings_and_what_is_trashed_is_not_there(
    drive: Drive,
) -> None:
    drive.add("kept.mp4")
    drive.state.trash(drive.add("trashed.mp4"))
    drive.add("notes", mime_type="application/vnd.google-apps.document")
    drive.add("inside.mp4", parent=drive.state.add_folder("sub", parent=drive.folder))
    assert names(drive.source().list()) == ["kept.mp4"]


def test_subfolders_count_when_asked_for(drive: Drive) -> None:
    sub = drive.state.add_folder("sub", parent=drive.folder)
    drive.add("top.mp4")
    drive.add("deep.mp4", parent=drive.state.add_folder("deeper", parent=sub))
    assert names(drive.source(include_subfolders=True).list()) == ["deep.mp4", "top.mp4"]


def test_a_shortcut_is_its_target_and_a_dead_one_is_left_out(drive: Drive) -> None:
    elsewhere = drive.state.add_folder("elsewhere")
    target = drive.add("target.mp4", parent=elsewhere)
    drive.state.add_shortcut(target, name="link", parent=drive.folder)
    dead = drive.add("dead.mp4", parent=elsewhere)
    drive.state.add_shortcut(dead, parent=drive.folder)
    drive.state.delete(dead)
    [found] = drive.source().list()
    assert (found.source_id, found.name, found.folder_id) == (target, "target.mp4", drive.folder)


def test_a_circle_of_folder_shortcuts_is_walked_once_and_each_file_named_once(drive: Drive) -> None:
    sub = drive.state.add_folder("sub", parent=drive.folder)
    drive.state.add_shortcut(drive.folder, name="up", parent=sub)
    drive.state.add_shortcut(drive.add("one.mp4", parent=sub), parent=drive.folder)
    assert names(drive.source(include_subfolders=True).list()) == ["one.mp4"]


def test_a_file_in_two_watched_folders_is_named_once(drive: Drive) -> None:
    other = drive.state.add_folder("other")
    drive.state.add_shortcut(drive.add("one.mp4"), parent=other)
    assert names(drive.source(drive.folder, other).list()) == ["one.mp4"]


def test_recordings_on_a_shared_drive_are_found(drive: Drive) -> None:
    folder = drive.state.add_folder("Team", parent=drive.state.add_shared_drive("Company"))
    drive.add("team.mp4", parent=folder)
    assert names(drive.source(folder).list()) == ["team.mp4"]


def test_a_file_without_a_checksum_is_not_settled_and_its_revision_is_the_head_revision(drive: Drive) -> None:
    file_id = drive.add("late.mp4", with_checksums=False)
    [found] = drive.source().list()
    assert not found.settled
    assert found.revision == drive.state.item(file_id).head_revision_id
    drive.state.compute_checksums(file_id)
    [found] = drive.source().list()
    assert found.settled


def test_an_owner_who_forbids_downloads_is_noted(drive: Drive) -> None:
    drive.state.edit(drive.add("secret.mp4"), can_download=False)
    [found] = drive.source().list()
    assert not found.can_download


# The folder itself.


def test_an_empty_folder_is_not_an_invisible_one(drive: Drive) -> None:
    check = drive.source().check()
    assert check.recordings == 0
    assert check.account == drive.state.account.email
    assert "Meet Recordings" in check.subject


@pytest.mark.parametrize("ask", ["check", "list", "changes"])
def test_a_folder_that_is_not_shared_says_whom_to_share_it_with(drive: Drive, ask: str) -> None:
    drive.state.hide(drive.folder)
    source = drive.source()
    asks: dict[str, Any] = {
        "check": source.check,
        "list": lambda: list(source.list()),
        "changes": lambda: source.changes(None),
    }
    with pytest.raises(PermissionDeniedError, match="share the folder with it as Viewer") as caught:
        asks[ask]()
    assert caught.value.exit_code == 3
    assert drive.state.account.email in caught.value.message
    assert "google_drive.recordings_folder_id" in caught.value.message
    assert drive.folder in caught.value.message


def test_a_file_instead_of_a_folder_is_a_wrong_setting(drive: Drive) -> None:
    with pytest.raises(ConfigurationError, match="is a file and not a folder"):
        drive.source(drive.add("a.mp4")).check()


def test_a_folder_in_the_trash_is_a_wrong_setting(drive: Drive) -> None:
    drive.state.trash(drive.folder)
    with pytest.raises(ConfigurationError, match="in the trash"):
        drive.source().check()


def test_a_folder_that_becomes_invisible_removes_nothing(drive: Drive) -> None:
    drive.add("a.mp4")
    source = drive.source()
    cursor = source.changes(None).cursor
    drive.state.hide(drive.folder)
    with pytest.raises(PermissionDeniedError):
        source.changes(cursor)


# The change feed.


def test_the_first_look_is_everything_and_the_next_one_only_what_changed(drive: Drive) -> None:
    drive.add("before.mp4")
    source = drive.source()
    first = source.changes(None)
    assert (first.full, first.first, names(first.recordings)) == (True, True, ["before.mp4"])
    drive.add("after.mp4")
    second = source.changes(first.cursor)
    assert (second.full, names(second.recordings), second.removed) == (False, ["after.mp4"], [])
    third = source.changes(second.cursor)
    assert (third.recordings, third.removed) == ([], [])


def test_a_look_without_news_costs_one_request_to_the_feed(drive: Drive) -> None:
    source = drive.source()
    cursor = source.changes(None).cursor
    drive.state.requests.reset()
    source.changes(cursor)
    assert drive.state.requests.to_json()["counts"] == {"drive.changes": 1}


def test_trashed_deleted_and_moved_files_are_reported_as_removed(drive: Drive) -> None:
    gone = [drive.add(f"{number}.mp4") for number in range(3)]
    source = drive.source()
    cursor = source.changes(None).cursor
    drive.state.trash(gone[0])
    drive.state.delete(gone[1])
    drive.state.move(gone[2], drive.state.add_folder("elsewhere"))
    changes = source.changes(cursor)
    assert changes.recordings == []
    assert sorted(changes.removed) == sorted(gone)


def test_a_file_moved_into_the_folder_is_found_although_it_is_old(drive: Drive) -> None:
    old = drive.add("old.mp4", parent=drive.state.add_folder("elsewhere"), created_time=OLD)
    source = drive.source()
    cursor = source.changes(None).cursor
    drive.state.move(old, drive.folder)
    assert names(source.changes(cursor).recordings) == ["old.mp4"]


def test_changes_elsewhere_are_not_recordings(drive: Drive) -> None:
    source = drive.source()
    cursor = source.changes(None).cursor
    drive.add("other.mp4", parent=drive.state.add_folder("elsewhere"))
    assert source.changes(cursor).recordings == []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_changed_target_of_a_shortcut_is_a_changed_recording(drive: Drive, restarted: bool) -> None:
    target = drive.add("target.mp4", parent=drive.state.add_folder("elsewhere"))
    drive.state.add_shortcut(target, parent=drive.folder)
    source = drive.source()
    cursor = source.changes(None).cursor
    drive.state.update_content(target, b"new content")
    changes = (drive.source() if restarted else source).changes(cursor)
    assert [one.source_id for one in changes.recordings] == [target]
    assert changes.removed == []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_folder_moved_into_the_tree_brings_everything(drive: Drive, restarted: bool) -> None:
    elsewhere = drive.state.add_folder("elsewhere")
    drive.add("inside.mp4", parent=elsewhere, created_time=OLD)
    source = drive.source(include_subfolders=True)
    cursor = source.changes(None).cursor
    drive.state.move(elsewhere, drive.folder)
    if restarted:
        # It sees the folder in the tree already; the files in it were never reported as changed.
        source = drive.source(include_subfolders=True)
    changes = source.changes(cursor)
    assert (changes.full, changes.first) == (True, False)
    assert names(changes.recordings) == ["inside.mp4"]


def test_a_subfolder_that_leaves_the_tree_takes_its_files_with_it(drive: Drive) -> None:
    sub = drive.state.add_folder("sub", parent=drive.folder)
    drive.add("inside.mp4", parent=sub)
    source = drive.source(include_subfolders=True)
    cursor = source.changes(None).cursor
    drive.state.move(sub, drive.state.add_folder("elsewhere"))
    changes = source.changes(cursor)
    assert (changes.full, changes.recordings) == (True, [])


def test_the_feed_of_a_shared_drive_is_read_with_its_own_token(drive: Drive) -> None:
    team = drive.state.add_folder("Team", parent=drive.state.add_shared_drive("Company"))
    source = drive.source(drive.folder, team)
    cursor = source.changes(None).cursor
    drive.add("mine.mp4")
    drive.add("team.mp4", parent=team)
    changes = source.changes(cursor)
    assert not changes.full
    assert names(changes.recordings) == ["mine.mp4", "team.mp4"]
    assert source.changes(changes.cursor).recordings == []


def test_what_moves_from_one_drive_to_another_is_where_it_went(drive: Drive) -> None:
    team = drive.state.add_folder("Team", parent=drive.state.add_shared_drive("Company"))
    moved = drive.add("a.mp4", parent=team)
    source = drive.source(drive.folder, team)
    cursor = source.changes(None).cursor
    drive.state.move(moved, drive.folder)
    there = source.changes(cursor)
    assert (names(there.recordings), there.removed) == (["a.mp4"], [])
    drive.state.move(moved, team)
    back = source.changes(there.cursor)
    assert (names(back.recordings), back.removed) == (["a.mp4"], [])


def test_a_folder_of_a_shared_drive_can_be_watched_by_who_is_no_member_of_the_drive(drive: Drive) -> None:
    company = drive.state.add_shared_drive("Company")
    team = drive.state.add_folder("Team", parent=company)
    drive.state.hide(company)
    drive.state.share(team)
    drive.add("before.mp4", parent=team)
    source = drive.source(team)
    first = source.changes(None)
    assert names(first.recordings) == ["before.mp4"]
    drive.add("after.mp4", parent=team)
    drive.state.requests.reset()
    changes = source.changes(first.cursor)
    assert (changes.full, names(changes.recordings)) == (False, ["after.mp4"])
    assert source.changes(changes.cursor).recordings == []
    assert drive.state.requests.count("drive.changes") == 2


@pytest.mark.parametrize("how", ["hidden", "deleted"])
def test_a_shortcut_to_a_folder_that_cannot_be_seen_holds_nothing_up(
    drive: Drive, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    target = drive.state.add_folder("Elsewhere")
    drive.state.add_shortcut(target, parent=drive.folder)
    drive.add("a.mp4")
    if how == "hidden":
        drive.state.hide(target)
    else:
        drive.state.delete(target)
    source = drive.source(include_subfolders=True)
    for _ in range(2):
        changes = source.changes(None)
        assert (names(changes.recordings), changes.unseen) == (["a.mp4"], {target})
    drive.add("b.mp4")
    assert names(drive.source(include_subfolders=True).changes(changes.cursor).recordings) == ["b.mp4"]
    assert len([one for one in caplog.records if getattr(one, "event", "") == "folder.unseen"]) == 2


def test_a_cursor_of_other_folders_or_a_broken_one_is_no_cursor(drive: Drive) -> None:
    drive.add("a.mp4")
    cursor = drive.source().changes(None).cursor
    other = drive.source(drive.folder, drive.state.add_folder("more"))
    assert other.changes(cursor).first
    assert drive.source().changes("{").first
    assert not drive.source().changes(cursor).full


def test_a_page_token_that_drive_no_longer_takes_leads_to_a_full_listing(drive: Drive) -> None:
    drive.add("a.mp4")
    source = drive.source()
    cursor = source.changes(None).cursor
    drive.state.faults.add(Answer(reason="invalid"), kind="drive.changes")
    changes = source.changes(cursor)
    assert (changes.full, changes.first, names(changes.recordings)) == (True, False, ["a.mp4"])


def test_a_reconcile_lists_everything_whatever_the_cursor(drive: Drive) -> None:
    drive.add("a.mp4")
    source = drive.source()
    cursor = source.changes(None).cursor
    changes = source.changes(cursor, reconcile=True)
    assert (changes.full, changes.first, names(changes.recordings)) == (True, False, ["a.mp4"])


# One recording.


def test_a_missing_or_trashed_file_is_not_found(drive: Drive) -> None:
    with pytest.raises(NotFoundError, match="deleted, or is no longer shared"):
        drive.source().get("nothing")
    file_id = drive.add("a.mp4")
    drive.state.trash(file_id)
    with pytest.raises(NotFoundError, match="trash"):
        drive.source().get(file_id)


def test_a_revision_that_stands_is_confirmed_and_a_new_one_is_refused(drive: Drive) -> None:
    file_id = drive.add("a.mp4")
    source = drive.source()
    recording = source.get(file_id)
    source.confirm(recording)
    drive.state.change_revision(file_id)
    with pytest.raises(SourceChangedError, match=r"'a.mp4' was replaced"):
        source.confirm(recording)


def test_a_checksum_that_comes_late_does_not_make_another_revision(drive: Drive) -> None:
    file_id = drive.add("a.mp4", with_checksums=False)
    source = drive.source()
    recording = source.get(file_id)
    drive.state.compute_checksums(file_id)
    source.confirm(recording)
    with pytest.raises(SourceChangedError):
        source.confirm(replace(recording, size_bytes=1))


def test_the_engine_gets_an_address_and_what_drive_promised(drive: Drive) -> None:
    file_id = drive.add("a.mp4", content=b"abc")
    source = drive.source()
    given = source.engine_source(source.get(file_id))
    assert given["url"] == f"{drive.server.url}/drive/v3/files/{file_id}?alt=media&supportsAllDrives=true"
    assert given["authenticated"] is False
    assert (given["size_bytes"], given["md5"]) == (3, "900150983cd24fb0d6963f7d28e17f72")
    assert source.token_provider() is None
    abusive = drive.source(acknowledge_abuse=True)
    assert abusive.engine_source(abusive.get(file_id))["url"].endswith("&acknowledgeAbuse=true")


# Failures.


def test_failures_that_pass_are_tried_again_with_growing_waits(drive: Drive) -> None:
    drive.add("a.mp4")
    drive.state.faults.add(Answer(reason="backendError"), kind="drive.list", times=2)
    drive.state.faults.add(Answer(reason="userRateLimitExceeded"), kind="drive.list")
    drive.state.faults.add(Reset(), kind="drive.list")
    assert names(drive.source().list()) == ["a.mp4"]
    assert drive.waits == [1.5, 2.5, 4.5, 8.5]
    assert drive.state.faults.pending() == []


def test_the_server_says_how_long_to_wait(drive: Drive) -> None:
    drive.state.faults.add(
        Answer(reason="rateLimitExceeded", headers={"Retry-After": "20"}), kind="drive.list"
    )
    assert list(drive.source().list()) == []
    assert drive.waits == [20.0]


def test_a_long_wait_is_left_to_the_caller(drive: Drive) -> None:
    drive.state.faults.add(
        Answer(reason="rateLimitExceeded", headers={"Retry-After": "600"}), kind="drive.get"
    )
    with pytest.raises(QuotaError) as caught:
        drive.source().check()
    assert (caught.value.retry_after_seconds, drive.waits) == (600.0, [])


def test_a_server_that_stays_down_is_given_up_after_some_attempts(drive: Drive) -> None:
    drive.state.faults.add(Answer(reason="backendError", empty=True), kind="drive.get", times=None)
    with pytest.raises(TransientError, match="HTTP 503, 6 attempts") as caught:
        drive.source().check()
    assert (caught.value.code, caught.value.attempts) == ("source.server_error", 6)
    assert len(drive.waits) == 5


def test_a_network_that_is_not_there_is_temporary() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        waits: list[float] = []
        client = DriveClient(endpoint=f"http://127.0.0.1:{unused.getsockname()[1]}", sleep=waits.append)
        with pytest.raises(TransientError, match="Look at the network") as caught:
            DriveSource(client, ["folder"]).check()
        client.close()
    assert caught.value.code == "source.network"
    assert caught.value.exit_code == 5


# Credentials.


@pytest.fixture
def account(drive: Drive) -> ServiceAccount:
    drive.state.accounts.require_tokens()
    return drive.state.accounts.add(ServiceAccount())


def key_credentials(path: Path, **options: Any) -> GoogleCredentials:
    return GoogleCredentials(
        key_file=path, scopes=SCOPES, setting="google_drive.service_account_file", **options
    )


def test_a_key_file_signs_in_and_the_engine_gets_the_token(
    drive: Drive, account: ServiceAccount, tmp_path: Path
) -> None:
    key = account.write_key_file(tmp_path / "key.json", f"{drive.server.url}/token")
    source = drive.source(credentials=key_credentials(key))
    file_id = drive.add("a.mp4")
    assert source.check().account == account.email
    assert source.engine_source(source.get(file_id))["authenticated"] is True
    provider = source.token_provider()
    assert provider is not None
    token, expiry = provider()
    assert token.startswith("ya29.")
    assert abs(expiry - (datetime.now(UTC) + timedelta(hours=1)).timestamp()) < 60
    # One token served all calls.
    assert drive.state.requests.to_json()["counts"]["token"] == 1


def test_a_token_that_was_taken_back_is_replaced_once(
    drive: Drive, account: ServiceAccount, tmp_path: Path
) -> None:
    key = account.write_key_file(tmp_path / "key.json", f"{drive.server.url}/token")
    source = drive.source(credentials=key_credentials(key))
    source.check()
    drive.state.accounts.revoke()
    source.check()
    assert drive.waits == []
    drive.state.faults.add(Answer(reason="authError"), kind="drive.get", times=None)
    with pytest.raises(AuthenticationError, match=account.email.replace(".", r"\.")):
        source.check()


def test_a_replaced_key_file_is_picked_up(drive: Drive, account: ServiceAccount, tmp_path: Path) -> None:
    token_uri = f"{drive.server.url}/token"
    key = account.write_key_file(tmp_path / "key.json", token_uri)
    source = drive.source(credentials=key_credentials(key))
    source.check()
    drive.state.accounts.remove(account.email)
    drive.state.accounts.revoke()
    with pytest.raises(AuthenticationError, match="Google refuses the key file") as caught:
        source.check()
    assert caught.value.exit_code == 3
    successor = drive.state.accounts.add(ServiceAccount("new@demo-project.iam.gserviceaccount.com"))
    successor.write_key_file(tmp_path / "new.json", token_uri).replace(key)
    source.check()
    assert drive.state.accounts.subjects == [None, None]


def test_a_key_acts_as_a_user_when_told_to(drive: Drive, account: ServiceAccount, tmp_path: Path) -> None:
    key = account.write_key_file(tmp_path / "key.json", f"{drive.server.url}/token")
    credentials = key_credentials(key, subject="organizer@example.com")
    assert drive.source(credentials=credentials).check().account == "organizer@example.com"
    assert drive.state.accounts.subjects == ["organizer@example.com"]


def test_with_an_emulator_no_key_file_is_opened(drive: Drive, tmp_path: Path) -> None:
    drive.add("a.mp4")
    settings = load_settings(
        overrides={
            "google_drive": {
                "recordings_folder_id": drive.folder,
                "service_account_file": str(tmp_path / "absent.json"),
            },
            "storage": {"local": {"path": str(tmp_path)}},
        },
        environ={"DRIVE_EMULATOR_HOST": drive.server.url},
    )
    [source] = build_sources(settings)
    assert names(source.list()) == ["a.mp4"]
    source.close()


def test_without_an_emulator_a_missing_key_file_is_a_configuration_error(tmp_path: Path) -> None:
    settings = load_settings(
        overrides={
            "google_drive": {
                "recordings_folder_id": "abc",
                "service_account_file": str(tmp_path / "absent.json"),
            },
            "storage": {"local": {"path": str(tmp_path)}},
        },
        environ={},
    )
    source = build_drive_source(settings)
    with pytest.raises(ConfigurationError, match=r"google_drive\.service_account_file") as caught:
        source.check()
    source.close()
    assert caught.value.exit_code == 2


def test_many_threads_share_a_source_and_each_gets_its_own_answer(drive: Drive) -> None:
    file_ids = [drive.add(f"{number}.mp4") for number in range(40)]
    source = drive.source()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda file_id: source.get(file_id).source_id, file_ids))
    assert found == file_ids
    # Connections are kept: no more of them than threads.
    connections = {one.connection for one in drive.state.requests.records()}
    assert len(connections) <= 8

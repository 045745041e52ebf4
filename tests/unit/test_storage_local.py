"""A folder as a destination: names, proofs, durable writes, what can be wrong with it."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from audio_extract import _engine
from audio_extract.exceptions import (
    AudioExtractError,
    ConfigurationError,
    DestinationExistsError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    TransientError,
)
from audio_extract.settings import load_settings
from audio_extract.storage import StorageFactory
from audio_extract.storage.local import LocalStorageAdapter
from audio_extract.storage.mounts import file_system
from audio_extract.storage.proof import proof_of

NAME = "2025/01/Weekly_2025-01-29_10-00_audio.mp3"
METADATA = {
    "source-id": "1AbC",
    "revision": "900150983cd24fb0d6963f7d28e17f72",
    "plan-id": "0123456789abcdef",
}
GCSFUSE = "36 25 0:32 / {point} rw,nosuid - fuse.gcsfuse my-bucket rw,user_id=0\n"


def log_name(name: str) -> str:
    return f"metadata/processing-logs/{name.rpartition('.')[0]}.json"


def adapter(folder: Path, **options: object) -> LocalStorageAdapter:
    return LocalStorageAdapter(folder, log_name=log_name, **options)  # type: ignore[arg-type]


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "made" / "audio.mp3"
    path.parent.mkdir()
    path.write_bytes(b"some audio" * 1000)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def mounted(tmp_path: Path, folder: Path) -> Path:
    table = tmp_path / "mountinfo"
    table.write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + GCSFUSE.format(point=folder))
    return table


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


# Saving and finding.


def test_a_saved_file_stands_there_and_its_log_proves_whose_it_is(folder: Path, audio: Path) -> None:
    local = adapter(folder)
    stored = local.save(audio, NAME, metadata=METADATA, content_type="audio/mpeg")
    assert (stored.crc32c, stored.size_bytes) == _engine.crc32c_file(str(audio))
    assert (folder / NAME).read_bytes() == audio.read_bytes()
    found = local.stat(NAME)
    assert found is not None
    assert (found.metadata, found.crc32c, found.size_bytes) == (METADATA, stored.crc32c, stored.size_bytes)
    assert leftovers(folder) == []


def test_a_file_without_a_log_is_nobodys(folder: Path, audio: Path) -> None:
    local = adapter(folder)
    local.save(audio, NAME, metadata={}, content_type="audio/mpeg")
    found = local.stat(NAME)
    assert found is not None
    assert found.metadata == {}


@pytest.mark.parametrize("key", ["name", "size_bytes", "crc32c", "metadata"])
def test_a_log_that_says_something_else_proves_nothing(folder: Path, audio: Path, key: str) -> None:
    local = adapter(folder)
    stored = local.save(audio, NAME, metadata=METADATA, content_type="audio/mpeg")
    log = proof_of(stored)
    log["stored"][key] = "something else"
    local.put_log(log_name(NAME), log)
    found = local.stat(NAME)
    assert found is not None
    assert found.metadata == {}


def test_a_file_that_was_cut_off_after_its_log_is_nobodys(folder: Path, audio: Path) -> None:
    local = adapter(folder)
    local.save(audio, NAME, metadata=METADATA, content_type="audio/mpeg")
    with (folder / NAME).open("r+b") as file:
        file.truncate(100)
    found = local.stat(NAME)
    assert found is not None
    assert found.metadata == {}


def test_a_name_that_somebody_else_has_is_never_taken(folder: Path, audio: Path) -> None:
    (folder / NAME).parent.mkdir(parents=True)
    (folder / NAME).write_bytes(b"somebody else's")
    with pytest.raises(DestinationExistsError):
        adapter(folder).save(audio, NAME, metadata=METADATA, content_type="audio/mpeg")
    assert (folder / NAME).read_bytes() == b"somebody else's"
    assert leftovers(folder) == []


def test_the_same_file_again_is_no_error(folder: Path, audio: Path) -> None:
    local = adapter(folder)
    first = local.save(audio, NAME, metadata=METADATA, content_type="audio/mpeg")
    assert local.save(audio, NAME, metadata=METADATA, content_type="audio/mpeg") == first


def test_file_systems_without_hard_links_are_written_to_as_well(
    folder: Path, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    local = adapter(folder)
    local.save(audio, NAME, metadata={}, content_type="audio/mpeg")
    assert leftovers(folder) == []
    (folder / NAME).write_bytes(b"somebody else's")
    with pytest.raises(DestinationExistsError):
        local.save(audio, NAME, metadata={}, content_type="audio/mpeg")
    assert (folder / NAME).read_bytes() == b"somebody else's"


def test_a_free_name_has_nothing(folder: Path) -> None:
    local = adapter(folder)
    assert local.stat(NAME) is None
    assert not local.exists(NAME)
    assert [*local.list_files()] == []
    with pytest.raises(NotFoundError):
        local.delete(NAME)


def test_names_are_listed_in_order_and_by_prefix(folder: Path, audio: Path) -> None:
    local = adapter(folder)
    for name in ("2025/b.mp3", "2025/a.mp3", "2025-old/c.mp3", "2026/d.mp3"):
        local.save(audio, name, metadata={}, content_type="audio/mpeg")
    (folder / "2025" / ".audio-extract-1-1").write_bytes(b"left behind")
    (folder / "2025" / ".a.mp3.1-0.audio-extract.part").write_bytes(b"left behind")
    everything = [one.name for one in local.list_files()]
    assert everything == sorted(everything) == ["2025-old/c.mp3", "2025/a.mp3", "2025/b.mp3", "2026/d.mp3"]
    assert [one.name for one in local.list_files("2025/")] == ["2025/a.mp3", "2025/b.mp3"]
    assert [one.name for one in local.list_files("2025/b")] == ["2025/b.mp3"]


def test_a_deleted_file_is_gone(folder: Path, audio: Path) -> None:
    local = adapter(folder)
    local.save(audio, NAME, metadata={}, content_type="audio/mpeg")
    local.delete(NAME)
    assert not local.exists(NAME)


@pytest.mark.parametrize(
    "name", ["../a.mp3", "/etc/passwd", "a/../../b", "a//b", "", ".", "a/./b", "a\0b", "a\nb", "x" * 1025]
)
def test_a_name_cannot_leave_the_folder(folder: Path, name: str) -> None:
    local = adapter(folder)
    with pytest.raises(ConfigurationError):
        local.stat(name)
    with pytest.raises(ConfigurationError):
        local.engine_sink(name, content_type="audio/mpeg", metadata={})


def test_a_link_is_the_file_itself(folder: Path) -> None:
    url = adapter(folder).get_url("2025/Ü b.mp3", timedelta(hours=1))
    assert url == f"file://{folder}/2025/%C3%9C%20b.mp3"


# Logs.


def test_a_log_is_plain_json_and_is_replaced(folder: Path) -> None:
    local = adapter(folder)
    local.put_log("log.json", {"attempt": 1})
    local.put_log("log.json", {"attempt": 2, "title": "Überblick"})
    text = (folder / "log.json").read_text("utf-8")
    assert json.loads(text) == {"attempt": 2, "title": "Überblick"}
    assert "Überblick" in text
    assert local.get_log("log.json") == {"attempt": 2, "title": "Überblick"}
    assert leftovers(folder) == []


def test_a_log_that_a_crash_cut_off_is_taken_as_absent(folder: Path) -> None:
    local = adapter(folder)
    local.put_log("log.json", {"attempt": 1})
    (folder / "log.json").write_bytes(b'{"attem')
    assert local.get_log("log.json") is None
    assert local.get_log("absent.json") is None


# The engine.


def test_the_engine_writes_a_temporary_name_and_on_gcsfuse_the_final_one(folder: Path, mounted: Path) -> None:
    there = adapter(folder).put_log("log.json", {})
    plain = adapter(folder).engine_sink(NAME, content_type="audio/mpeg", metadata=METADATA)
    assert plain == {"kind": "file", "path": str(folder / NAME), "overwrite": False, "direct": False}
    fuse = adapter(folder, mountinfo=mounted)
    sink = fuse.engine_sink("log.json", content_type="audio/mpeg", metadata={}, replace=there)
    assert (sink["overwrite"], sink["direct"]) == (True, True)


def test_on_gcsfuse_files_are_written_under_their_final_names(
    folder: Path, mounted: Path, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("on gcsfuse a rename is a copy")

    monkeypatch.setattr(os, "link", never)
    monkeypatch.setattr(Path, "replace", never)
    local = adapter(folder, mountinfo=mounted)
    local.save(audio, NAME, metadata=METADATA, content_type="audio/mpeg")
    local.put_log("log.json", {"attempt": 1})
    with pytest.raises(DestinationExistsError):
        local.save(audio, "log.json", metadata={}, content_type="audio/mpeg")
    assert local.get_log("log.json") == {"attempt": 1}
    assert local.check().notes != ()


def test_the_longest_mount_point_counts_and_of_two_over_each_other_the_last(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 0:30 / /mnt/with\\040space rw shared:1 master:2 - fuse.gcsfuse bucket rw\n"
        "31 22 0:31 / /mnt/over rw - ext4 /dev/sdb rw\n"
        "32 22 0:32 / /mnt/over rw - fuse.gcsfuse bucket rw\n"
        "a broken line\n"
    )
    assert file_system(Path("/mnt/with space/dev"), table) == "fuse.gcsfuse"
    assert file_system(Path("/mnt/without"), table) == "ext4"
    assert file_system(Path("/mnt/over/2025"), table) == "fuse.gcsfuse"
    assert file_system(Path("/mnt/overboard"), table) == "ext4"
    assert file_system(Path("/mnt"), tmp_path / "absent") is None


# What can be wrong.


def test_a_good_folder_passes_the_check_and_nothing_stays_behind(folder: Path) -> None:
    assert adapter(folder).check().subject == str(folder)
    assert [*folder.iterdir()] == []


def test_a_file_instead_of_the_folder_names_the_setting(folder: Path) -> None:
    folder.write_bytes(b"")
    with pytest.raises(AudioExtractError, match=r"storage\.local\.path"):
        adapter(folder).check()


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may write everywhere, so it becomes nobody for the time being."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_folder_that_is_not_writable_names_the_setting() -> None:
    # Not pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "audio"
        folder.mkdir()
        folder.chmod(0o555)
        with without_rights(), pytest.raises(PermissionDeniedError, match=r"storage\.local\.path"):
            adapter(folder).check()


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, NoSpaceError, "destination.no_space"),
        (errno.EDQUOT, NoSpaceError, "destination.no_space"),
        (errno.EACCES, PermissionDeniedError, "destination.permission_denied"),
        (errno.EROFS, PermissionDeniedError, "destination.permission_denied"),
        (errno.ESTALE, TransientError, "destination.io"),
        (errno.EIO, TransientError, "destination.io"),
    ],
)
def test_each_failure_of_the_disk_has_its_meaning_and_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[AudioExtractError], code: str
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind, match=r"storage\.local\.path") as caught:
        adapter(folder).put_log("log.json", {})
    assert caught.value.code == code
    assert leftovers(folder) == []
    assert not (folder / "log.json").exists()


def test_a_full_disk_is_told_by_a_real_one(audio: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    local = adapter(Path("/dev"))
    with pytest.raises(NoSpaceError), local._failing("full"), full.open("wb", buffering=0) as file:
        file.write(b"x")


def test_a_mount_that_is_not_there_fails_the_check_instead_of_filling_the_disk(
    folder: Path, mounted: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"storage\.gcs_mount"):
        adapter(folder, must_be_mounted=True).check()
    assert not folder.exists()
    adapter(folder, must_be_mounted=True, mountinfo=mounted).check()


# From settings.


def test_settings_choose_the_folder_and_the_fallback_only_when_told_to(tmp_path: Path) -> None:
    local = {"path": str(tmp_path / "out"), "fallback_path": str(tmp_path / "other")}
    settings = load_settings(
        overrides={
            "storage": {"type": "local", "local": local},
            "google_drive": {"recordings_folder_id": "abc"},
        },
        environ={},
    )
    assert StorageFactory.create(settings).check().subject == str(tmp_path / "out")
    assert StorageFactory.create(settings, use_fallback=True).check().subject == str(tmp_path / "other")


def test_missing_settings_of_a_destination_name_what_to_set() -> None:
    settings = load_settings(overrides={"storage": {"type": "gcs"}}, environ={})
    with pytest.raises(ConfigurationError, match=r"storage\.gcs\.bucket_name"):
        StorageFactory.create(settings)
    settings = load_settings(overrides={"storage": {"type": "local"}}, environ={})
    with pytest.raises(ConfigurationError, match=r"storage\.local\.path"):
        StorageFactory.create(settings)

"""The local source: which files it names, and when."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audio_extract.exceptions import ConfigurationError, NotFoundError, SourceChangedError
from audio_extract.settings import load_settings
from audio_extract.sources import Recording, build_sources
from audio_extract.sources.local import LocalSource

NOW = datetime(2025, 1, 29, 10, 0, tzinfo=UTC)


def put(path: Path, content: bytes = b"video", *, age_seconds: float = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    moment = (NOW - timedelta(seconds=age_seconds)).timestamp()
    os.utime(path, (moment, moment))
    return path


def source(folder: Path, **options: object) -> LocalSource:
    return LocalSource(folder, now=lambda: NOW, **options)  # type: ignore[arg-type]


def ids(recordings: Iterable[Recording]) -> list[str]:
    return [recording.source_id for recording in recordings]


def test_a_file_carries_what_the_disk_says_of_it(tmp_path: Path) -> None:
    path = put(tmp_path / "team" / "Weekly.mkv", b"abc")
    [found] = source(tmp_path).list()
    status = path.stat()
    assert (found.source, found.source_id, found.name) == ("local", "team/Weekly.mkv", "Weekly.mkv")
    assert found.revision == f"3-{status.st_mtime_ns}-{status.st_ino}"
    assert (found.size_bytes, found.mime_type, found.folder_id) == (3, "video/x-matroska", "team")
    assert found.modified_at == NOW - timedelta(seconds=60)
    assert found.created_at.tzinfo is UTC


def test_a_file_that_changed_just_now_is_not_settled(tmp_path: Path) -> None:
    put(tmp_path / "new.mp4", age_seconds=9.9)
    put(tmp_path / "old.mp4", age_seconds=10)
    assert {one.name: one.settled for one in source(tmp_path, settle_seconds=10).list()} == {
        "new.mp4": False,
        "old.mp4": True,
    }


def test_a_copy_whose_time_was_set_back_settles_by_when_it_was_written(tmp_path: Path) -> None:
    # As some programs that copy do before they are done.
    put(tmp_path / "copy.mp4", age_seconds=86_400)
    written = datetime.now(UTC)
    for later, settled in ((5, False), (15, True)):
        moment = written + timedelta(seconds=later)
        (found,) = LocalSource(tmp_path, settle_seconds=10, now=lambda moment=moment: moment).list()  # type: ignore[misc]
        assert found.settled is settled


def test_a_camera_whose_clock_is_ahead_does_not_hold_a_file_up(tmp_path: Path) -> None:
    path = put(tmp_path / "a.mp4")
    ahead = (datetime.now(UTC) + timedelta(days=3650)).timestamp()
    os.utime(path, (ahead, ahead))
    later = datetime.now(UTC) + timedelta(seconds=15)
    (found,) = LocalSource(tmp_path, settle_seconds=10, now=lambda: later).list()
    assert found.settled


def test_subfolders_count_only_when_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "sub" / "b.mp4")
    assert ids(source(tmp_path).list()) == ["a.mp4", "sub/b.mp4"]
    assert ids(source(tmp_path, include_subfolders=False).list()) == ["a.mp4"]


@pytest.mark.parametrize("name", [".hidden.mp4", "~$lock.mp4", "a.mp4.part", "a.mp4.CRDOWNLOAD", "a.mp4~"])
def test_hidden_and_unfinished_files_are_not_recordings(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    put(tmp_path / "a.mp4")
    assert ids(source(tmp_path).list()) == ["a.mp4"]


def test_hidden_folders_are_not_searched(tmp_path: Path) -> None:
    put(tmp_path / ".trash" / "a.mp4")
    assert ids(source(tmp_path).list()) == []


def test_links_inside_the_folder_count_and_those_that_lead_out_do_not(tmp_path: Path) -> None:
    inside, outside = tmp_path / "watched", tmp_path / "outside"
    put(outside / "secret.mp4")
    put(inside / "sub" / "a.mp4")
    (inside / "out").symlink_to(outside)
    (inside / "file.mp4").symlink_to(outside / "secret.mp4")
    (inside / "inner.mp4").symlink_to(inside / "sub" / "a.mp4")
    (inside / "dead.mp4").symlink_to(inside / "nothing")
    assert ids(source(inside).list()) == ["inner.mp4", "sub/a.mp4"]
    with pytest.raises(NotFoundError):
        source(inside).get("file.mp4")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    put(tmp_path / "sub" / "a.mp4")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert ids(source(tmp_path).list()) == ["sub/a.mp4"]


@pytest.mark.parametrize("source_id", ["../outside.mp4", "/etc/passwd", "sub/../../outside.mp4", "a\0b"])
def test_an_id_cannot_lead_out_of_the_folder(tmp_path: Path, source_id: str) -> None:
    put(tmp_path / "outside.mp4")
    put(tmp_path / "watched" / "sub" / "a.mp4")
    with pytest.raises(NotFoundError):
        source(tmp_path / "watched").get(source_id)


def test_a_file_that_vanishes_during_the_listing_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    vanishing = put(tmp_path / "b" / "b.mp4")
    put(tmp_path / "c.mp4")
    found = []
    for recording in source(tmp_path).list():
        vanishing.unlink(missing_ok=True)
        vanishing.parent.rmdir() if vanishing.parent.exists() else None
        found.append(recording.source_id)
    assert found == ["a.mp4", "c.mp4"]


def test_a_name_that_is_not_text_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "a.mp4")
    try:
        put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert ids(source(tmp_path).list()) == ["a.mp4"]
    assert "not valid UTF-8" in caplog.text


def test_the_destination_inside_the_folder_is_not_searched(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "audio" / "a_audio.mp3")
    assert ids(source(tmp_path, leave_out=(tmp_path / "audio",)).list()) == ["a.mp4"]


def test_every_look_is_a_full_one_and_the_first_is_told_apart(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    first = source(tmp_path).changes(None)
    assert (first.full, first.first, ids(first.recordings)) == (True, True, ["a.mp4"])
    second = source(tmp_path).changes(first.cursor)
    assert (second.full, second.first) == (True, False)
    assert source(tmp_path, include_subfolders=False).changes(first.cursor).first


def test_a_changed_file_is_another_revision(tmp_path: Path) -> None:
    path = put(tmp_path / "a.mp4")
    local = source(tmp_path)
    recording = local.get("a.mp4")
    local.confirm(recording)
    put(path, b"VIDEO", age_seconds=5)
    with pytest.raises(SourceChangedError, match="changed on disk"):
        local.confirm(recording)
    path.unlink()
    with pytest.raises(NotFoundError, match="no longer there"):
        local.confirm(recording)


def test_a_file_replaced_with_the_same_time_and_size_is_another_revision(tmp_path: Path) -> None:
    path = put(tmp_path / "a.mp4")
    local = source(tmp_path)
    recording = local.get("a.mp4")
    put(tmp_path / "other.mp4", b"VIDEO").replace(path)
    with pytest.raises(SourceChangedError):
        local.confirm(recording)


def test_the_engine_reads_the_file_itself(tmp_path: Path) -> None:
    path = put(tmp_path / "sub" / "a.mp4")
    local = source(tmp_path)
    given = local.engine_source(local.get("sub/a.mp4"))
    assert given == {"kind": "file", "path": str(path), "name": "a.mp4"}
    assert local.token_provider() is None


def test_a_missing_folder_and_a_file_name_the_setting(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", put(tmp_path / "file.mp4")):
        with pytest.raises(ConfigurationError, match=r"sources\.local\.path"):
            source(path).check()


def test_an_empty_folder_passes_the_check(tmp_path: Path) -> None:
    check = source(tmp_path).check()
    assert (check.recordings, check.newest_at, check.account) == (0, None, None)


def settings_with(tmp_path: Path, watched: Path, destination: Path) -> object:
    return load_settings(
        overrides={
            "sources": {"local": {"path": str(watched)}},
            "storage": {"type": "local", "local": {"path": str(destination)}},
        },
        environ={},
    )


def test_settings_make_a_source_that_leaves_the_destination_out(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "audio" / "a_audio.mp3")
    [local] = build_sources(settings_with(tmp_path, tmp_path, tmp_path / "audio"))  # type: ignore[arg-type]
    assert ids(local.list()) == ["a.mp4"]


def test_one_folder_for_both_ends_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="same folder"):
        build_sources(settings_with(tmp_path, tmp_path, tmp_path))  # type: ignore[arg-type]


def test_no_source_at_all_names_both_settings(tmp_path: Path) -> None:
    settings = load_settings(overrides={"storage": {"local": {"path": str(tmp_path)}}}, environ={})
    with pytest.raises(ConfigurationError, match=r"google_drive\.recordings_folder_id.*sources\.local\.path"):
        build_sources(settings)

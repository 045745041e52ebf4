from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_extract.cli.targets import (
    BucketDest,
    Dest,
    DriveWord,
    FileDest,
    FolderDest,
    HttpWord,
    LocalWord,
    SourceWord,
    parse_dest,
    parse_source,
    result_name,
)
from audio_extract.exceptions import ConfigurationError

FILE_ID = "1AbCdEfGhIjK-lmnop_QRSTUV"


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("meeting.mp4", LocalWord(Path("meeting.mp4"))),
        ("C:drive.mp4", LocalWord(Path("C:drive.mp4"))),
        ("/srv/recordings", LocalWord(Path("/srv/recordings"))),
        (f"drive:{FILE_ID}", DriveWord(FILE_ID)),
        (f"https://drive.google.com/file/d/{FILE_ID}/view?usp=sharing", DriveWord(FILE_ID)),
        (f"https://drive.google.com/open?id={FILE_ID}", DriveWord(FILE_ID)),
        (f"https://drive.google.com/uc?export=download&id={FILE_ID}", DriveWord(FILE_ID)),
        (f"https://drive.google.com/drive/u/0/folders/{FILE_ID}?resourcekey=0-x", DriveWord(FILE_ID)),
        (
            "https://h.example/a/Weekly%20sync.mp4?sig=x",
            HttpWord("https://h.example/a/Weekly%20sync.mp4?sig=x", "Weekly sync.mp4"),
        ),
        ("http://h.example/", HttpWord("http://h.example/", "h.example")),
    ],
)
def test_a_source_word_is_understood(word: str, meaning: SourceWord) -> None:
    assert parse_source(word) == meaning


@pytest.mark.parametrize(
    "word",
    [
        "",
        "drive:",
        "drive:a b",
        "https://",
        "https://[bad/a.mp4",
        "ftp://host/a.mp4",
        "https://drive.google.com/drive/my-drive",
        "a\udcff.mp4",
    ],
)
def test_a_source_word_that_names_nothing_is_refused_with_its_text(word: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be used") as caught:
        parse_source(word)
    assert repr(word) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("word", "many", "meaning"),
    [
        ("out.mp3", False, FileDest(Path("out.mp3"))),
        ("out.mp3", True, FolderDest(Path("out.mp3"))),
        ("out/", False, FolderDest(Path("out"))),
        ("out", False, FolderDest(Path("out"))),
        ("gs://bucket", False, BucketDest("bucket", "")),
        ("gs://bucket/dev/", False, BucketDest("bucket", "dev/")),
        ("gs://bucket/dev", False, BucketDest("bucket", "dev/")),
        ("gs://bucket/dev/a.mp3", False, BucketDest("bucket", "", "dev/a.mp3")),
        ("gs://bucket/dev/a.mp3", True, BucketDest("bucket", "dev/a.mp3/")),
    ],
)
def test_a_destination_word_is_understood(word: str, many: bool, meaning: Dest) -> None:
    assert parse_dest(word, many=many) == meaning


def test_an_existing_folder_is_a_folder_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "audio.mp3"
    folder.mkdir()
    assert parse_dest(str(folder), many=False) == FolderDest(folder)


def test_an_existing_file_is_a_file_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "audio"
    file.write_text("mine")
    assert parse_dest(str(file), many=False) == FileDest(file)


@pytest.mark.parametrize(
    "word",
    ["", "-", "gs://", "gs:///x", "s3://bucket/x", "/dev/null", "a\udcff.mp3", "x" * 300 + ".mp3"],
)
def test_a_destination_that_names_nothing_is_refused(word: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        parse_dest(word, many=False)


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("Weekly sync (2025-01-29 at 10:00 GMT-5).mp4", "Weekly sync (2025-01-29 at 10:00 GMT-5).mp3"),
        ("Weekly sync.v2", "Weekly sync.v2.mp3"),
        ("Meet - 2025/01/29 10:00 EST - Recording", "Meet - 2025_01_29 10:00 EST - Recording.mp3"),
        ("..", "audio.mp3"),
        (".mp4", "mp4.mp3"),
    ],
)
def test_a_result_is_named_after_its_source(source: str, result: str) -> None:
    assert result_name(source, "mp3") == result


@given(st.text())
def test_any_name_gives_a_usable_file_name(name: str) -> None:
    result = result_name(name, "mp3")
    assert Path(result).name == result
    assert len(result.encode(errors="surrogatepass")) <= 255
    assert result.endswith(".mp3")

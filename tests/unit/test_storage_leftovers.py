"""What a killed process left in the destination goes away, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from audio_extract.storage.leftovers import remove_abandoned, remove_leftovers

SHORT = "a[1]_2025-01-29_10-00_audio.mp3"
LONG = "x" * 60 + "_2025-01-29_10-00_audio.mp3"
OWN = 12
NOW = 10_000.0


@pytest.fixture(scope="module")
def gone() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    return child.pid


def left(folder: Path, name: str, pid: int, *, age: float) -> bool:
    """Whether a temporary file of this age and process survives the next transfer to a name."""
    part = folder / f".{name[:40]}.{pid}-3.audio-extract.part"
    part.write_bytes(b"half")
    os.utime(part, (NOW - age, NOW - age))
    remove_leftovers(folder / name, own_pid=OWN, now=NOW, started=NOW - 30)
    return part.exists()


def test_what_a_process_that_is_gone_left_is_removed(tmp_path: Path, gone: int) -> None:
    assert not left(tmp_path, SHORT, gone, age=1)


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    assert left(tmp_path, SHORT, os.getpid(), age=1000)


def test_of_the_own_process_id_only_what_is_older_than_the_process_is_removed(tmp_path: Path) -> None:
    assert left(tmp_path, SHORT, OWN, age=5)
    assert not left(tmp_path, SHORT, OWN, age=100)


def test_a_name_that_was_cut_may_be_another_recordings_until_a_lease_is_over(
    tmp_path: Path, gone: int
) -> None:
    assert left(tmp_path, LONG, gone, age=5)
    assert not left(tmp_path, LONG, gone, age=100)


def test_other_files_are_not_touched(tmp_path: Path, gone: int) -> None:
    others = [
        SHORT,
        f".b.mp3.{gone}-0.audio-extract.part",
        f".{SHORT}.x.audio-extract.part",
        f".{SHORT}.part",
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    remove_leftovers(tmp_path / SHORT, own_pid=OWN, now=NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "2025" / SHORT, own_pid=OWN, now=NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", [".a.{pid}-3.audio-extract.part", ".audio-extract-{pid}-0", ".audio-extract-check-{pid}-140"]
)
def test_temporary_files_anywhere_go_when_their_process_has_and_nobody_wrote_lately(
    tmp_path: Path, gone: int, name: str
) -> None:
    folder = tmp_path / "2025" / "01"
    folder.mkdir(parents=True)

    def survives(pid: int, age: float) -> bool:
        path = folder / name.format(pid=pid)
        path.write_bytes(b"half")
        os.utime(path, (NOW - age, NOW - age))
        removed = remove_abandoned(tmp_path, own_pid=OWN, now=NOW, started=NOW - 5000)
        assert removed == (not path.exists())
        return path.exists()

    assert not survives(gone, age=1000)
    # Another machine's process may have that number.
    assert survives(gone, age=100)
    assert survives(os.getpid(), age=100_000)
    assert not survives(OWN, age=6000)
    assert survives(OWN, age=4000)


def test_only_what_this_program_names_so_is_abandoned(tmp_path: Path, gone: int) -> None:
    others = [SHORT, f".{SHORT}.part", f"a.{gone}-3.audio-extract.part", ".audio-extract-notes", ".bashrc"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
        os.utime(tmp_path / name, (0, 0))
    assert remove_abandoned(tmp_path, own_pid=OWN, now=NOW) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_the_names_are_those_that_the_engine_gives() -> None:
    engine = (Path(__file__).parents[2] / "rust" / "core" / "src" / "sink" / "file.rs").read_text("utf-8")
    assert 'format!(".{short}.{}-{serial}.audio-extract.part", std::process::id())' in engine
    assert ".chars().take(40)" in engine

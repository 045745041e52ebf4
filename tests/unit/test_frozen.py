"""What the executable sets right before it does anything else."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from audio_extract import frozen

NOW = 1_790_000_000.0


def unpacked(folder: Path, name: str, *, lock: bool = True, age_seconds: float = 0) -> Path:
    """A folder that the executable has unpacked itself into."""
    path = folder / name
    (path / "audio_extract").mkdir(parents=True)
    (path / "audio_extract" / "build.json").write_text("{}")
    if lock:
        (path / ".audio-extract-in-use").touch()
    os.utime(path, (NOW - age_seconds, NOW - age_seconds))
    return path


def test_what_a_killed_executable_unpacked_is_removed_by_the_next(tmp_path: Path) -> None:
    left = unpacked(tmp_path, "_MEIleft01")
    assert frozen.remove_abandoned(tmp_path, now=NOW) == 1
    assert not left.exists()


def test_the_folder_of_one_that_runs_is_kept_and_goes_when_it_is_killed(tmp_path: Path) -> None:
    running = unpacked(tmp_path, "_MEIrun001")
    code = (
        "import sys; from pathlib import Path; from audio_extract import frozen;"
        "frozen._claim(Path(sys.argv[1])); print('claimed', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, running]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        assert frozen.remove_abandoned(tmp_path, now=NOW + 1e6) == 0
        process.kill()
    assert frozen.remove_abandoned(tmp_path, now=NOW) == 1
    assert not running.exists()


def test_one_that_is_just_unpacking_is_left_alone(tmp_path: Path) -> None:
    unpacked(tmp_path, "_MEInew001", lock=False, age_seconds=5)
    unpacked(tmp_path, "_MEIold001", lock=False, age_seconds=3600)
    assert frozen.remove_abandoned(tmp_path, now=NOW) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["_MEInew001"]


def test_other_programs_folders_and_links_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "_MEIother1"
    (other / "somebody").mkdir(parents=True)
    target = unpacked(tmp_path, "kept")
    (tmp_path / "_MEIlink01").symlink_to(target)
    assert frozen.remove_abandoned(tmp_path, now=NOW + 1e6) == 0
    assert other.exists()
    assert target.exists()


def test_a_folder_that_somebody_shares_is_not_removed(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "_MEIshare1")
    with (path / ".audio-extract-in-use").open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert frozen.remove_abandoned(tmp_path, now=NOW) == 0
    assert frozen.remove_abandoned(tmp_path, now=NOW) == 1


@pytest.mark.parametrize(("before", "after"), [(None, None), ("", None), ("/opt/lib", "/opt/lib")])
def test_children_get_the_systems_libraries_and_not_the_executables(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str | None
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/tmp/_MEI123")  # noqa: S108 - as PyInstaller sets it
    if before is not None:
        monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", before)
    frozen._give_children_their_libraries()
    said = subprocess.run(["sh", "-c", "echo ${LD_LIBRARY_PATH-none}"], capture_output=True, check=True)
    assert said.stdout.decode().strip() == (after or "none")


def test_without_certificates_on_the_system_those_inside_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import certifi

    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        # Set first, so that what is set here goes again at the end.
        monkeypatch.setenv(name, "")
    system = tmp_path / "ca-bundle.crt"
    monkeypatch.setattr(frozen, "_CERTIFICATES", (str(tmp_path / "nowhere"), str(system)))
    frozen._find_certificates()
    assert os.environ["SSL_CERT_FILE"] == certifi.where()
    monkeypatch.setenv("SSL_CERT_FILE", "")
    system.touch()
    frozen._find_certificates()
    assert os.environ["SSL_CERT_FILE"] == str(system)
    monkeypatch.setenv("SSL_CERT_FILE", "/mine")
    frozen._find_certificates()
    assert os.environ["SSL_CERT_FILE"] == "/mine"

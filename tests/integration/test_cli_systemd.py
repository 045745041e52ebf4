"""``audio-extract service``: what it puts where, and that systemd's own tools find it right."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from audio_extract.cli.invocation import Invocation
from audio_extract.cli.service import Steps, started_by, unit_text
from audio_extract.exceptions import ConfigurationError
from support.cli import run_cli

pytestmark = [
    pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemd is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users"),
]

UNIT = "etc/systemd/system/audio-extract.service"


@pytest.fixture
def system(tmp_path: Path) -> Path:
    root = tmp_path / "system"
    (root / "etc").mkdir(parents=True)
    return root


def test_install_puts_everything_where_systemd_finds_it(system: Path, tmp_path: Path) -> None:
    done = run_cli("service", "install", "--root", system, cwd=tmp_path)
    assert done.code == 0, done.err
    passwd = (system / "etc/passwd").read_text()
    [group] = re.findall(r"^audio-extract:x:(\d+):", (system / "etc/group").read_text(), re.MULTILINE)
    assert "audio-extract:x:" in passwd
    settings = system / "etc/audio-extract/config.yaml"
    assert "google_drive" in yaml.safe_load(settings.read_text())
    assert stat.S_IMODE(settings.stat().st_mode) == 0o640
    assert stat.S_IMODE(settings.parent.stat().st_mode) == 0o750
    assert settings.stat().st_gid == int(group)
    assert (system / "etc/systemd/system/multi-user.target.wants/audio-extract.service").is_symlink()
    unit = (system / UNIT).read_text()
    for line in ("Type=notify", "NotifyAccess=all", "KillMode=mixed", "User=audio-extract"):
        assert f"\n{line}\n" in unit
    assert re.search(r"^ExecStart=/\S+/audio-extract run$", unit, re.MULTILINE)


def test_a_second_install_keeps_the_settings(system: Path, tmp_path: Path) -> None:
    run_cli("service", "install", "--root", system, cwd=tmp_path)
    settings = system / "etc/audio-extract/config.yaml"
    settings.write_text("environment: production\n")
    done = run_cli("service", "install", "--root", system, cwd=tmp_path)
    assert done.code == 0, done.err
    assert settings.read_text() == "environment: production\n"


def test_a_dry_run_says_each_step_and_changes_nothing(system: Path, tmp_path: Path) -> None:
    done = run_cli("service", "install", "--root", system, "--dry-run", cwd=tmp_path)
    assert done.code == 0, done.err
    assert f"write /{UNIT}" in done.out
    assert "enable audio-extract.service" in done.out
    assert [path.name for path in system.rglob("*")] == ["etc"]


def test_uninstall_removes_the_unit_and_keeps_what_is_the_users(system: Path, tmp_path: Path) -> None:
    run_cli("service", "install", "--root", system, "--write-to", "/srv/audio", cwd=tmp_path)
    done = run_cli("service", "uninstall", "--root", system, cwd=tmp_path)
    assert done.code == 0, done.err
    left = {str(path.relative_to(system)) for path in system.rglob("*") if not path.is_dir()}
    assert not [path for path in left if "systemd" in path or "sysusers" in path]
    assert "etc/audio-extract/config.yaml" in left
    again = run_cli("service", "uninstall", "--root", system, cwd=tmp_path)
    assert (again.code, "nothing to do" in again.err) == (0, True)


@pytest.mark.parametrize("folder", ["relative", '/srv/"quoted"'])
def test_a_folder_that_systemd_would_misread_is_refused(system: Path, tmp_path: Path, folder: str) -> None:
    done = run_cli("service", "install", "--root", system, "--write-to", folder, cwd=tmp_path)
    assert done.code == 2
    assert "full path" in done.err
    assert not (system / UNIT).exists()


def test_a_program_that_the_service_could_not_see_is_refused() -> None:
    steps = Steps(Path("/"), dry_run=True, invocation=Invocation())
    with pytest.raises(ConfigurationError, match="install the program elsewhere"):
        started_by(steps, Path("/home/ann/.venv/bin/audio-extract"))
    assert started_by(steps, Path("/opt/audio-extract/bin/audio-extract")) == (
        "/opt/audio-extract/bin/audio-extract"
    )


def verified(folder: Path, unit: str, drop_in: str | None = None) -> str:
    """What `systemd-analyze verify` says of a unit."""
    path = folder / "audio-extract.service"
    path.write_text(unit)
    if drop_in is not None:
        (folder / "audio-extract.service.d").mkdir()
        (folder / "audio-extract.service.d" / "folders.conf").write_text(drop_in)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["audio-extract", "audio extract", "100% $HOME"])
def test_systemd_finds_the_unit_right_whatever_the_path_of_the_program(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert verified(tmp_path, unit_text(str(program))) == ""


def test_folders_of_the_unit_are_what_was_asked_for(system: Path, tmp_path: Path) -> None:
    words = ("--write-to", "/srv/my audio", "--read-from", "/home/ann/recordings")
    done = run_cli("service", "install", "--root", system, *words, cwd=tmp_path)
    assert done.code == 0, done.err
    drop_in = (system / "etc/systemd/system/audio-extract.service.d/folders.conf").read_text()
    assert 'ReadWritePaths="/srv/my audio"' in drop_in
    assert 'BindReadOnlyPaths="/home/ann/recordings"' in drop_in
    assert verified(tmp_path, unit_text("/bin/true"), drop_in) == ""


def test_the_unit_is_exposed_no_more_than_it_should_be() -> None:
    unit = Path(__file__).parents[2] / "deploy/systemd/audio-extract.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for audio-extract.service: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.5

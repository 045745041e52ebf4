"""FFmpeg is found in a fixed order, must run, and where there is none the message says how to get one."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from audio_extract import ffmpeg as module
from audio_extract.exceptions import ConfigurationError
from audio_extract.ffmpeg import VARIABLE, find_ffmpeg


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Hide the Python packages that carry an FFmpeg, except those named."""
    real = importlib.util.find_spec

    def hide_all_but(*packages: str) -> None:
        def find_spec(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
            hidden = {"static_ffmpeg", "imageio_ffmpeg"} - set(packages)
            return None if name in hidden else real(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", find_spec)

    return hide_all_but


def program(path: Path, version: str = "9.9-test", exit_code: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'ffmpeg version {version} Copyright'\nexit {exit_code}\n")
    path.chmod(0o755)
    return path


def bundle(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    """Let the module believe that it lies in another folder."""
    monkeypatch.setattr(module, "__file__", str(package / "ffmpeg.py"))


def test_a_real_ffmpeg_tells_its_version(ffmpeg: Path) -> None:
    found = find_ffmpeg(ffmpeg)
    assert found.path == ffmpeg
    assert found.origin == "configured"
    assert found.version[0].isalnum()


def test_the_order_is_configured_bundled_path_static_imageio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: Any
) -> None:
    only("imageio_ffmpeg")
    package = tmp_path / "package"
    bundle(monkeypatch, package)
    environ = {"PATH": str(tmp_path / "on-path")}
    assert find_ffmpeg(environ=environ).origin == "imageio-ffmpeg"

    only("imageio_ffmpeg", "static_ffmpeg")
    static = tmp_path / "static_ffmpeg"
    static.mkdir()
    (static / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "static_ffmpeg", raising=False)
    binaries = static / "bin" / module._static_platform()
    program(binaries / "ffmpeg", "static")
    program(binaries / "ffprobe")
    # Without its crumb the download did not end.
    assert find_ffmpeg(environ=environ).origin == "imageio-ffmpeg"
    (binaries / "installed.crumb").touch()
    assert find_ffmpeg(environ=environ).origin == "static-ffmpeg"

    program(tmp_path / "on-path" / "ffmpeg", "path")
    assert find_ffmpeg(environ=environ).origin == "path"
    program(package / "bin" / "ffmpeg", "bundled")
    assert find_ffmpeg(environ=environ).version == "bundled"
    configured = program(tmp_path / "mine" / "ffmpeg", "mine")
    assert find_ffmpeg(configured, environ=environ).version == "mine"
    assert find_ffmpeg(environ={**environ, VARIABLE: str(configured)}).version == "mine"


def test_a_folder_that_holds_the_program_may_be_configured(tmp_path: Path) -> None:
    program(tmp_path / "ffmpeg")
    assert find_ffmpeg(tmp_path).path == tmp_path / "ffmpeg"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda _path: None, "does not exist"),
        (lambda path: path.write_text("no program"), "cannot be started"),
        (lambda path: program(path, exit_code=3), r"not a working FFmpeg \(exit code 3\)"),
        (lambda path: program(path).write_text("#!/bin/sh\necho something else\n"), "not a working FFmpeg"),
    ],
)
def test_a_configured_program_that_does_not_work_is_an_error_even_if_another_would(
    tmp_path: Path, make: Any, why: str
) -> None:
    path = tmp_path / "ffmpeg"
    make(path)
    with pytest.raises(ConfigurationError, match=rf"processing\.ffmpeg\.path is .*{why}") as failure:
        find_ffmpeg(path)
    assert failure.value.code == "ffmpeg.not_found"
    assert failure.value.exit_code == 2


def test_a_program_on_the_path_that_does_not_work_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: Any
) -> None:
    only("imageio_ffmpeg")
    bundle(monkeypatch, tmp_path)
    program(tmp_path / "bin-of-user" / "ffmpeg", exit_code=127)
    assert find_ffmpeg(environ={"PATH": str(tmp_path / "bin-of-user")}).origin == "imageio-ffmpeg"


def test_a_program_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VERSION_SECONDS", 0.2)
    path = tmp_path / "ffmpeg"
    path.write_text("#!/bin/sh\nexec sleep 30\n")
    path.chmod(0o755)
    with pytest.raises(ConfigurationError, match="does not answer"):
        find_ffmpeg(path)


def test_without_any_the_message_says_how_to_install_one_and_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: Any
) -> None:
    only()
    bundle(monkeypatch, tmp_path)
    program(tmp_path / "broken" / "ffmpeg", exit_code=1)
    with pytest.raises(ConfigurationError, match="FFmpeg was not found") as failure:
        find_ffmpeg(environ={"PATH": str(tmp_path / "broken")})
    message = str(failure.value)
    assert "apt-get install ffmpeg" in message
    assert "processing.ffmpeg.path" in message
    assert "broken/ffmpeg is not a working FFmpeg" in message
    assert failure.value.exit_code == 2

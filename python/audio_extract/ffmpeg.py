"""Finds the FFmpeg program: configured, bundled, on ``PATH``, or in a Python package.

It does not run transfers (the engine does) and installs nothing unless ``processing.ffmpeg.allow_download``
says so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from audio_extract.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Origin = Literal["configured", "bundled", "path", "static-ffmpeg", "imageio-ffmpeg"]

#: Names the program for commands that read no settings, and in settings as any other variable does.
VARIABLE: Final = "AUDIO_EXTRACT__PROCESSING__FFMPEG__PATH"
INSTALL: Final = (
    "install FFmpeg (Debian, Ubuntu: apt-get install ffmpeg; macOS: brew install ffmpeg), or the "
    "Python package imageio-ffmpeg (pip install 'audio-extract[offline]'), or set processing.ffmpeg.path"
)
_VERSION_SECONDS: Final = 10
_SUFFIX: Final = ".exe" if sys.platform == "win32" else ""


@dataclass(frozen=True, slots=True)
class FoundFfmpeg:
    """An FFmpeg that runs.

    Attributes:
        path: The program.
        version: As it says itself, for example ``7.1.1``.
        origin: Where it was found.
    """

    path: Path
    version: str
    origin: Origin


def find_ffmpeg(
    configured: Path | None = None,
    *,
    allow_download: bool = False,
    environ: Mapping[str, str] | None = None,
) -> FoundFfmpeg:
    """Return the first FFmpeg that runs.

    Args:
        configured: ``processing.ffmpeg.path``; nothing else is tried then.
        allow_download: The package static-ffmpeg may download one, without a checksum.
        environ: The environment; the process's own by default.

    Raises:
        ConfigurationError: There is none (``ffmpeg.not_found``); the message says how to install it.
    """
    environ = os.environ if environ is None else environ
    if configured is None and environ.get(VARIABLE, "").strip():
        configured = Path(environ[VARIABLE].strip()).expanduser()
    if configured is not None:
        return _configured(configured)
    failures: list[str] = []
    places: tuple[tuple[Origin, Callable[[], Path | None]], ...] = (
        ("bundled", _bundled),
        ("path", lambda: _on_path(environ)),
        ("static-ffmpeg", lambda: _static_ffmpeg(allow_download=allow_download)),
        ("imageio-ffmpeg", _imageio_ffmpeg),
    )
    for origin, look in places:
        try:
            path = look()
            if path is not None:
                return FoundFfmpeg(path, _version(path), origin)
        except _UnusableError as error:
            failures.append(f"{origin}: {error}")
    tried = f" (tried {'; '.join(failures)})" if failures else ""
    raise ConfigurationError(f"FFmpeg was not found{tried}; {INSTALL}", code="ffmpeg.not_found")


class _UnusableError(Exception):
    """A program is there but does not work; says why."""


def _configured(path: Path) -> FoundFfmpeg:
    program = path / f"ffmpeg{_SUFFIX}" if path.is_dir() else path
    if not program.is_file() and len(path.parts) == 1:
        # A bare name, as in `path: ffmpeg`.
        program = Path(shutil.which(str(path)) or program)
    try:
        return FoundFfmpeg(program.absolute(), _version(program), "configured")
    except _UnusableError as error:
        raise ConfigurationError(
            f"processing.ffmpeg.path is {path}, but {error}; correct it, or remove it to use the FFmpeg "
            "of this machine",
            code="ffmpeg.not_found",
        ) from error


def _version(path: Path) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - the program that was configured or found
            [path, "-hide_banner", "-version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise _UnusableError(f"{path} does not exist") from error
    except OSError as error:
        raise _UnusableError(f"{path} cannot be started ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        raise _UnusableError(f"{path} does not answer") from error
    match = re.match(rb"ffmpeg version (\S+)", answer.stdout)
    if answer.returncode != 0 or match is None:
        raise _UnusableError(f"{path} is not a working FFmpeg (exit code {answer.returncode})")
    return match[1].decode(errors="replace")


def _bundled() -> Path | None:
    # Beside this file in a wheel, and in the executable, where PyInstaller puts it at the same place.
    path = Path(__file__).parent / "bin" / f"ffmpeg{_SUFFIX}"
    return path if path.is_file() else None


def _on_path(environ: Mapping[str, str]) -> Path | None:
    found = shutil.which("ffmpeg", path=environ.get("PATH", ""))
    return Path(found) if found else None


def _static_ffmpeg(*, allow_download: bool) -> Path | None:
    # Importing it costs a tenth of a second and asking it can download: look at its folder first.
    spec = importlib.util.find_spec("static_ffmpeg")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "bin" / _static_platform()
    wanted = [folder / name for name in ("installed.crumb", f"ffmpeg{_SUFFIX}", f"ffprobe{_SUFFIX}")]
    if all(path.is_file() for path in wanted):
        return wanted[1]
    return _download() if allow_download else None


def _download() -> Path:
    from static_ffmpeg import run

    try:
        # It prints its progress on stdout, which is for results.
        with contextlib.redirect_stdout(sys.stderr):
            program, _ = run.get_or_fetch_platform_executables_else_raise()
    except (OSError, zipfile.BadZipFile, AssertionError) as error:
        # Requests' errors are OSErrors too.
        raise _UnusableError(f"the download failed ({type(error).__name__})") from error
    return Path(program)


def _static_platform() -> str:
    arm = platform.machine().lower() in {"arm64", "aarch64"}
    return f"{sys.platform}_arm64" if arm and sys.platform in {"linux", "darwin"} else sys.platform


def _imageio_ffmpeg() -> Path | None:
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return None
    import imageio_ffmpeg

    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        # Its wheel for this machine has no program in it.
        return None

"""What the executable sets right before it does anything else.

PyInstaller's one-file program unpacks itself into a folder ``_MEI…`` below ``TMPDIR``, starts itself again
from there, and removes the folder at the end. As an ordinary Python package nothing of this applies.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

_TIME_ZONES: Final = Path(__file__).parent / "time_zones.zip"
_BUILD: Final = Path(__file__).parent / "build.json"
#: Held locked by who lives in an unpacked folder; the kernel lets go of it however that ends.
_IN_USE: Final = ".audio-extract-in-use"
#: A folder without the lock file belongs to somebody who is still unpacking, or was killed meanwhile.
_UNPACKING_SECONDS: Final = 600.0
#: Where systems keep their certificates: Debian, Fedora, openSUSE, newer Fedora, Alpine and macOS.
_CERTIFICATES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_PR_SET_PDEATHSIG: Final = 1

_lock: int | None = None


def prepare() -> None:
    """Set the process right. Only for the executable."""
    _give_children_their_libraries()
    _find_certificates()
    # As one archive, because its six hundred files would have to be unpacked at each start.
    sys.path.append(str(_TIME_ZONES))
    unpacked = Path(sys._MEIPASS)  # type: ignore[attr-defined]  # noqa: SLF001 - PyInstaller's interface
    if unpacked.name.startswith("_MEI"):
        _end_with_the_parent()
        _claim(unpacked)
        remove_abandoned(unpacked.parent, now=time.time())


def build_facts() -> dict[str, Any]:
    """What was noted when the executable was built; nothing for an ordinary package."""
    if not _BUILD.is_file():
        return {}
    facts: dict[str, Any] = json.loads(_BUILD.read_text("utf-8"))
    return facts


def remove_abandoned(folder: Path, *, now: float) -> int:
    """Remove unpacked folders of this program whose process was killed.

    Args:
        folder: Where programs unpack themselves.
        now: The present time, in seconds since the epoch.

    Returns:
        How many.
    """
    removed = 0
    for found in folder.glob("_MEI*"):
        # Somebody else's folder, one that just goes away, one on a disk that fails: the program runs without.
        with contextlib.suppress(OSError):
            if _is_ours(found) and _is_abandoned(found, now):
                shutil.rmtree(found)
                removed += 1
    return removed


def _is_ours(folder: Path) -> bool:
    status = folder.lstat()
    is_own_folder = folder.is_dir() and not folder.is_symlink() and status.st_uid == os.geteuid()
    # Other programs that were made with PyInstaller unpack beside us.
    return is_own_folder and (folder / "audio_extract").is_dir()


def _is_abandoned(folder: Path, now: float) -> bool:
    try:
        lock = os.open(folder / _IN_USE, os.O_RDWR)
    except FileNotFoundError:
        return now - folder.stat().st_mtime > _UNPACKING_SECONDS
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _claim(folder: Path) -> None:
    global _lock  # noqa: PLW0603 - held until the process ends
    _lock = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(_lock, fcntl.LOCK_SH)


def _give_children_their_libraries() -> None:
    """The loader has read ``LD_LIBRARY_PATH`` already; another program must not load our libraries."""
    if "LD_LIBRARY_PATH" not in os.environ:
        return
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    if before:
        os.environ["LD_LIBRARY_PATH"] = before
    else:
        del os.environ["LD_LIBRARY_PATH"]


def _find_certificates() -> None:
    """OpenSSL looks where it was built to look; that differs between systems, and there may be none."""
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return
    found = next((path for path in _CERTIFICATES if Path(path).is_file()), None)
    if found is None:
        import certifi

        found = certifi.where()
    os.environ["SSL_CERT_FILE"] = found


def _end_with_the_parent() -> None:
    """Who kills the process that unpacked us, and that can be all they see, means us: stop cleanly then."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

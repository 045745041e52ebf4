"""What a killed process left beside a file it was writing: the engine's temporary files.

The engine writes ``.NAME.PID-SERIAL.audio-extract.part`` and renames it when everything is verified. It
removes it whenever it ends by itself; a SIGKILL or a power cut lets it stand, and only the next transfer to
the same name knows that nobody needs it any more.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from glob import escape
from typing import TYPE_CHECKING, Final

from audio_extract.processes import has_pid

if TYPE_CHECKING:
    from pathlib import Path

#: So many characters of the name are in the temporary one (``rust/core/src/sink/file.rs``).
_NAME_CHARACTERS: Final = 40
#: A worker on another machine renews its lease, and writes, more often than this.
_LEASE_SECONDS: Final = 60.0
_PART: Final = re.compile(r"\.(\d+)-\d+\.audio-extract\.part")
#: The engine's, the adapter's own, and those of `check`; each names its process.
_ANY: Final = re.compile(r"\..*\.(\d+)-\d+\.audio-extract\.part|\.audio-extract-(?:check-)?(\d+)-\d+")
#: Who still writes writes more often than this, also on another machine, whose process ids say nothing here.
_ABANDONED_SECONDS: Final = 900.0
_STARTED: Final = time.time()

_log = logging.getLogger(__name__)


def remove_leftovers(target: Path, *, own_pid: int, now: float, started: float = _STARTED) -> None:
    """Remove temporary files of transfers to ``target`` whose process is gone.

    Args:
        target: The final name. Its recording is claimed by the caller, so no other worker writes it.
        own_pid: The caller's process id; after a container's restart it can be that of the process before.
        now: The present time, in seconds since the epoch.
        started: When this process began.
    """
    short = f".{target.name[:_NAME_CHARACTERS]}"
    for path in target.parent.glob(f"{escape(short)}.*.audio-extract.part"):
        match = _PART.fullmatch(path.name[len(short) :])
        if match is None:
            continue
        # Cleaning up must not keep a transfer from running; a file that stays does no harm.
        with suppress(OSError):
            modified = path.stat().st_mtime
            pid = int(match.group(1))
            is_running = modified >= started if pid == own_pid else has_pid(pid)
            # A name that was cut can be another recording's, which another machine's worker may be writing.
            is_certain = len(target.name) <= _NAME_CHARACTERS or now - modified > _LEASE_SECONDS
            if is_certain and not is_running:
                path.unlink()
                _log.info(
                    "removed %s, which a process that was killed had left",
                    path,
                    extra={"event": "leftover.removed"},
                )


def remove_abandoned(folder: Path, *, own_pid: int, now: float, started: float = _STARTED) -> int:
    """Remove every temporary file below a folder whose process is gone and that was not written to lately.

    Args:
        folder: The destination.
        own_pid: The caller's process id; after a container's restart it can be that of the process before.
        now: The present time, in seconds since the epoch.
        started: When this process began.

    Returns:
        How many.
    """
    removed = 0
    for path in folder.rglob(".*"):
        match = _ANY.fullmatch(path.name)
        if match is None:
            continue
        # Cleaning up must not keep anybody from working; a file that stays does no harm.
        with suppress(OSError):
            modified = path.stat().st_mtime
            pid = int(match[1] or match[2])
            is_running = modified >= started if pid == own_pid else has_pid(pid)
            if not is_running and now - modified > _ABANDONED_SECONDS:
                path.unlink()
                removed += 1
                _log.info(
                    "removed %s, which a process that was killed had left",
                    path,
                    extra={"event": "leftover.removed"},
                )
    return removed

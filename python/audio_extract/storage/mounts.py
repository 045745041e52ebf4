"""What kind of file system a folder is on.

On gcsfuse an object appears only when its file is closed, and a rename is a copy; so files are written there
under their final names.
"""

from __future__ import annotations

import re
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
GCSFUSE = "fuse.gcsfuse"


def file_system(folder: Path, mountinfo: Path = MOUNTINFO) -> str | None:
    """The type of the file system that a folder is on, or will be once it is made.

    Returns:
        For example ``ext4`` or ``fuse.gcsfuse``; None where the system does not say (not Linux).
    """
    try:
        lines = mountinfo.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    target = folder.resolve()
    found: str | None = None
    longest = -1
    for line in lines:
        # proc(5): id parent major:minor root mount-point options [optional…] - type source options
        before, _, after = line.partition(" - ")
        columns = before.split(" ")
        if len(columns) < 5 or not after:
            continue
        point = Path(_unescaped(columns[4]))
        # Of mounts over each other, the last one counts.
        if target.is_relative_to(point) and len(point.parts) >= longest:
            longest = len(point.parts)
            found = after.split(" ")[0]
    return found


def is_gcsfuse(folder: Path, mountinfo: Path = MOUNTINFO) -> bool:
    """Whether a folder is on a bucket that gcsfuse mounts."""
    return file_system(folder, mountinfo) == GCSFUSE


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)

"""What kind of file system a folder is on, where that decides what can be done there."""

from __future__ import annotations

import re
from pathlib import Path

from audio_extract.exceptions import ConfigurationError

_MOUNTINFO = Path("/proc/self/mountinfo")
#: SQLite's write-ahead log needs shared memory and locks that work; these have one of them at best.
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "ncpfs", "davfs"}
)
#: The root file system of rootless containers; it is local.
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs"})


def file_system(folder: Path, mountinfo: str) -> str | None:
    """Return the type of the file system a folder is on (proc(5), ``/proc/PID/mountinfo``)."""
    best: tuple[int, str] | None = None
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        mount_point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        # The last of equal ones is mounted over the others.
        if folder.is_relative_to(mount_point) and (best is None or len(mount_point.parts) >= best[0]):
            best = (len(mount_point.parts), after.split(" ", 1)[0])
    return best[1] if best else None


def network_kind(folder: Path, mountinfo: str | None = None) -> str | None:
    """Return the type of a folder's file system if it is a network or FUSE mount, else None.

    Args:
        folder: Which.
        mountinfo: The mounts; those of this process unless given.
    """
    if mountinfo is None:
        if not _MOUNTINFO.exists():
            return None
        mountinfo = _MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")
    kind = file_system(folder.resolve(), mountinfo)
    if kind is None or kind in _LOCAL_FUSE:
        return None
    return kind if kind in _NETWORK or kind.startswith("fuse.") else None


def refuse_network_mount(file: Path, mountinfo: str | None = None) -> None:
    """Refuse a database file on a network or FUSE mount.

    Args:
        file: The database file; it need not exist.
        mountinfo: The mounts; those of this process unless given.

    Raises:
        ConfigurationError: SQLite would lose data there.
    """
    kind = network_kind(file.parent, mountinfo)
    if kind is not None:
        message = (
            f"monitoring.database_path: {file} is on a {kind} mount, where SQLite loses data; "
            "choose a folder on a local disk, or the URL of a PostgreSQL database"
        )
        raise ConfigurationError(message, code="database.network_mount")

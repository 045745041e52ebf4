"""Programs inside a bare Debian: a root file system of its own, with nothing but what minbase has."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Mounts are this process's own and go with it. The root is read-only; /tmp and /work are the test's folders.
_ENTER = r"""
set -eu
mount --bind "$ROOT" "$ROOT"
mount --rbind /proc "$ROOT/proc"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/dev"
for device in null zero random urandom; do
  : > "$ROOT/dev/$device"
  mount --bind "/dev/$device" "$ROOT/dev/$device"
done
mount -t tmpfs -o mode=755 tmpfs "$ROOT/mnt"
mkdir "$ROOT/mnt/work"
mount --bind "$WORK" "$ROOT/mnt/work"
mount --bind "$TEMPORARY" "$ROOT/tmp"
if [ -n "$NOEXEC" ]; then mount -o remount,bind,noexec "$ROOT/tmp"; fi
: > "$ROOT/mnt/audio-extract"
mount --bind "$PROGRAM" "$ROOT/mnt/audio-extract"
mount -t tmpfs tmpfs "$ROOT/usr/share/zoneinfo"
mount -o remount,bind,ro "$ROOT"
exec chroot "$ROOT" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/nonexistent $VARIABLES \
  setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --no-new-privs \
  sh -c 'cd /mnt/work && exec "$@"' sh "$@"
"""


@dataclass
class BareRoot:
    """A bare Debian with the executable at ``/mnt/audio-extract`` and a folder at ``/mnt/work``.

    Attributes:
        root: The file system, which is never written to.
        program: The executable.
        work: The folder that programs work in, as it is called outside.
        temporary: Their ``/tmp``.
    """

    root: Path
    program: Path
    work: Path
    temporary: Path

    def start(
        self, *words: str, user_id: int = 1000, noexec: bool = False, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a program; its process id is that of the program itself."""
        variables = {
            "ROOT": str(self.root),
            "WORK": str(self.work),
            "TEMPORARY": str(self.temporary),
            "PROGRAM": str(self.program),
            "NOEXEC": "yes" if noexec else "",
            "USER_ID": str(user_id),
            "VARIABLES": " ".join(f"{name}={value}" for name, value in (env or {}).items()),
        }
        return subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh", *words],
            env={"PATH": os.environ["PATH"], **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, user_id: int = 1000, noexec: bool = False) -> tuple[int, str, str]:
        """Run a program to its end."""
        with self.start(*words, user_id=user_id, noexec=noexec) as child:
            out, err = child.communicate(timeout=110)
        return child.returncode, out, err

    def left(self) -> list[str]:
        """What stands in ``/tmp``."""
        return sorted(path.name for path in self.temporary.iterdir())


def wait_until(is_so: Callable[[], bool], child: subprocess.Popen[str], seconds: float = 60) -> None:
    """Wait until something is so, and end the child when it does not become so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if child.poll() is not None or time.monotonic() > deadline:
            child.send_signal(signal.SIGKILL)
            raise AssertionError(f"it did not become so in {seconds} s: {child.communicate()}")
        time.sleep(0.05)

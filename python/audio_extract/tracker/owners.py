"""Who holds a lease: this process, told apart from all others, dead ones of the same number included."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from audio_extract.processes import has_pid

_UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process.

    Attributes:
        host: The host's name, with a mark of the machine where it has one.
        pid: The process id.
        instance: Boot, process namespace and start time: numbers of processes are used again, in containers
            the same small ones each time.
    """

    host: str
    pid: int
    instance: str

    @property
    def name(self) -> str:
        """One text for all of it."""
        return f"{self.host}:{self.pid}:{self.instance}"

    @classmethod
    def current(cls) -> Owner:
        """Return this process."""
        return cls(_host(), os.getpid(), _instance(os.getpid()) or f"{_UNKNOWN}.{_UNKNOWN}.{_own_mark()}")

    @classmethod
    def parse(cls, name: str) -> Owner:
        """Return the owner of a `name`.

        Raises:
            ValueError: It is not one.
        """
        host, pid, instance = name.rsplit(":", 2)
        return cls(host, int(pid), instance)


def is_alive(owner: Owner) -> bool:
    """Whether an owner still runs.

    True when that cannot be known from here, as of a process of another host or container: then only time
    takes its lease.
    """
    here = Owner.current()
    if owner.host != here.host:
        return True
    boot, namespace, start = owner.instance.split(".", 2)
    own_boot, own_namespace, _ = here.instance.split(".", 2)
    if boot != own_boot:
        # The machine was started again; without its mark this may be another one of the same name.
        return "/" not in here.host
    if namespace != own_namespace:
        return True
    if owner.pid == here.pid:
        return owner.instance == here.instance
    if boot == _UNKNOWN:
        return has_pid(owner.pid)
    found = _instance(owner.pid)
    return found is not None and found.split(".", 2)[2] == start


@cache
def _host() -> str:
    name = socket.gethostname() or "localhost"
    for file in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        try:
            mark = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if mark:
            # The id itself is confidential (machine-id(5)).
            return f"{name}/{hashlib.sha256(mark.encode()).hexdigest()[:8]}"
    return name


@cache
def _own_mark() -> str:
    return secrets.token_hex(4)


def _instance(pid: int) -> str | None:
    """Boot, namespace and start of a process (proc(5)); None when there is none, or no ``/proc``."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return None
    # The command's name stands in parentheses and may contain anything; the start time is field 22. A zombie
    # is dead: it holds nothing any more.
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in {"Z", "X"}:
        return None
    return f"{boot}.{namespace}.{fields[19]}"

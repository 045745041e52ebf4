"""Other processes of this machine."""

from __future__ import annotations

import os


def has_pid(pid: int) -> bool:
    """Whether a process has this id, another user's included."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True

"""Hears of changes in a folder as they happen (inotify), so that nobody has to wait for the next sweep.

A watch is a help and no more: a network mount says nothing of what others change, and the system's number of
watches is limited. What it does not hear of, the sweep finds.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from audio_extract.mounts import network_kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_log = logging.getLogger(__name__)

#: Changes that follow each other so closely are told of once.
_DEBOUNCE_MILLISECONDS: Final = 500
_STOP_SECONDS: Final = 5.0


class FolderWatch:
    """Watches one folder in a thread of its own, until it is closed.

    Args:
        folder: Which.
        recursive: Whether folders inside count too.
        on_change: Called after something changed; must not raise.
    """

    def __init__(self, folder: Path, *, recursive: bool, on_change: Callable[[], object]) -> None:
        self._folder = folder
        self._recursive = recursive
        self._on_change = on_change
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="folder-watch", daemon=True)
        self._thread.start()

    def join(self, timeout_seconds: float) -> None:
        """Wait until nothing is watched any more."""
        self._thread.join(timeout_seconds)

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self.join(_STOP_SECONDS)

    def _run(self) -> None:
        kind = network_kind(self._folder)
        if kind is not None:
            self._give_up(f"a {kind} mount does not tell what others change")
            return
        try:
            try:
                self._watch(pass_over_unreadable=False)
            except PermissionError:
                self._watch(pass_over_unreadable=True)
        except (OSError, RuntimeError) as error:
            # RuntimeError is what the library makes of a file system or a system that cannot be watched.
            self._give_up(str(error))

    def _watch(self, *, pass_over_unreadable: bool) -> None:
        """Watch until stopped.

        Args:
            pass_over_unreadable: The library then passes over every other failure too, such as a limit that
                is reached, and says nothing; so only where some folder cannot be read.
        """
        import watchfiles

        self._folder.stat()
        for _changes in watchfiles.watch(
            self._folder,
            watch_filter=None,
            debounce=_DEBOUNCE_MILLISECONDS,
            recursive=self._recursive,
            stop_event=self._stop,
            rust_timeout=500,
            raise_interrupt=False,
            ignore_permission_denied=pass_over_unreadable,
        ):
            self._on_change()

    def _give_up(self, reason: str) -> None:
        _log.warning(
            "%s cannot be watched (%s): new files are found at google_drive.check_interval_seconds",
            self._folder,
            reason,
            extra={"event": "watch.failed"},
        )

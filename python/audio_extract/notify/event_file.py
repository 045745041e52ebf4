"""Tells programs on this machine: a CloudEvent a line, at the end of a file (JSON Lines)."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING

from audio_extract.notify.cloud_event import event, is_wanted
from audio_extract.notify.outbox import Outbox

if TYPE_CHECKING:
    from pathlib import Path

    from audio_extract.notify.ending import Ending
    from audio_extract.settings.hand_over_sections import EventFile

_log = logging.getLogger(__name__)


class FileNotifier:
    """Appends events to ``monitoring.notifications.file.path``.

    A line is written at once and whole, so several processes may write to one file, and it may be moved away
    at any time: the next event makes a new one.

    Args:
        settings: Of what.
        path: Where to.
        source: Of the events: which service this is.
    """

    def __init__(self, settings: EventFile, path: Path, *, source: str) -> None:
        self._settings = settings
        self._path = path
        self._source = source
        # A file may stand on a mount that hangs.
        self._outbox = Outbox("monitoring.notifications.file")

    def tell(self, ending: Ending) -> None:
        """A transfer ended."""
        if is_wanted(ending, on_success=self._settings.on_success, on_failure=self._settings.on_failure):
            # As the other receivers get it: a lone surrogate of a file name is no text.
            text = json.dumps(event(ending, self._source), ensure_ascii=False).encode("utf-8", "replace")
            # ASCII: for many readers U+2028, U+0085 and others, which names may have, end a line.
            line = f"{json.dumps(json.loads(text))}\n".encode("ascii")
            self._outbox.put(lambda: self._append(line))

    def close(self) -> None:
        """Write what waits."""
        self._outbox.close()

    def _append(self, line: bytes) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                # What a full disk took only a part of would break the line after it too.
                if os.write(descriptor, line) < len(line):
                    os.write(descriptor, b"\n")
                    raise OSError(28, os.strerror(28))
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.warning(
                "monitoring.notifications.file: %s took no event: %s",
                self._path,
                error.strerror,
                extra={"event": "notify.failed"},
            )

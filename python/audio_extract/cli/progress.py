"""The progress bar of a transfer on the terminal: bytes fetched of bytes in the file, speed, time left."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Self

from audio_extract.presentation import duration, size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from audio_extract._engine import Progress as EngineProgress
    from audio_extract.engine_types import ProgressSnapshot

_STEPS = 1000


def fraction_done(snapshot: ProgressSnapshot) -> float | None:
    """Return how much of a transfer is done, 0 to 1; None while nothing is known.

    The sound that was made counts, because an encoder is usually the slow part; bytes only where the length
    of the sound is not known.
    """
    if snapshot["audio_total_seconds"]:
        return min(1.0, snapshot["audio_seconds"] / snapshot["audio_total_seconds"])
    if snapshot["fetch_total_bytes"]:
        return min(1.0, snapshot["fetched_bytes"] / snapshot["fetch_total_bytes"])
    return None


def progress_text(snapshot: ProgressSnapshot) -> str:
    """Return ``120.5 MB of 407.2 MB · 33.1 MB/s · 0:09 left``."""
    fetched, total = snapshot["fetched_bytes"], snapshot["source_size_bytes"]
    parts = [f"{size(fetched)} of {size(total)}" if total else size(fetched)]
    elapsed = snapshot["elapsed_seconds"]
    if elapsed > 0 and fetched:
        parts.append(f"{size(round(fetched / elapsed))}/s")
    done = fraction_done(snapshot)
    if done and elapsed > 0.5:
        parts.append(f"{duration(elapsed * (1 - done) / done)} left")
    return " · ".join(parts)


class TransferDisplay:
    """Shows the transfer that runs. Without a terminal, or with ``-q``, it shows nothing.

    :meth:`refresh` is called by the main thread while the transfer works in another.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._followed: EngineProgress | None = None
        if wanted and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}", markup=False),
                console=Console(stderr=True),
                auto_refresh=False,
                transient=True,
                # Results belong on stdout, also while the bar is drawn on stderr.
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        if self._progress is not None:
            self._progress.stop()

    def follow(self, name: str, progress: EngineProgress) -> None:
        """Show this transfer from now on."""
        if self._progress is not None:
            with self._lock:
                self._task = self._progress.add_task(name[:40], total=_STEPS, text="")
                self._followed = progress

    def clear(self) -> None:
        """Take the bar away, so that lines can be printed."""
        with self._lock:
            if self._progress is None or self._task is None:
                return
            self._progress.remove_task(self._task)
            self._task = self._followed = None
            self._progress.refresh()

    def refresh(self) -> None:
        """Draw where the transfer stands."""
        with self._lock:
            if self._progress is None or self._task is None or self._followed is None:
                return
            snapshot = self._followed.snapshot()
            done = fraction_done(snapshot)
            self._progress.update(
                self._task,
                completed=round((done or 0) * _STEPS),
                total=_STEPS if done is not None else None,
                text=progress_text(snapshot),
            )
            self._progress.refresh()

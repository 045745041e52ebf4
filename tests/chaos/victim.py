"""The process that is killed: forks one life of the service for each line it reads.

Imports are done once, before the fork, so that a life costs what it does and not what Python's start costs. A
life builds the service as the program does, arms one point (`points.py`), and runs one round.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_extract import _engine
from audio_extract.ffmpeg import find_ffmpeg
from audio_extract.jobs import Service
from audio_extract.jobs import transfer as transfer_module
from audio_extract.settings import load_settings
from audio_extract.sources.factory import build_sources
from audio_extract.storage import StorageFactory
from audio_extract.storage.local import LocalStorageAdapter
from audio_extract.tracker import State, Tracker, history
from audio_extract.tracker.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audio_extract.storage.base import StorageAdapter


#: An output that cannot be made of any recording here.
IMPOSSIBLE = {"name": "sixth", "codec": "wav", "track": 5}


class Trap:
    """Ends the process when a point is reached."""

    def __init__(self, point: str | None) -> None:
        self._point = point

    def reach(self, point: str) -> None:
        """The process is at this point."""
        if point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


def arm_transactions(trap: Trap) -> None:
    """Watch which audit events each transaction writes, and be there when it commits."""
    here = threading.local()
    note, write = history.audit_values, Database.write

    def noting(recording_id: int | None, event: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        here.events.append(str(event))
        return note(recording_id, event, *arguments, **named)

    @contextmanager
    def committing(database: Database, **options: Any) -> Iterator[Any]:
        here.events = []
        with write(database, **options) as connection:
            yield connection
            for event in dict.fromkeys(here.events):
                trap.reach(f"before {event}")
        for event in dict.fromkeys(here.events):
            trap.reach(f"after {event}")

    history.audit_values = noting
    Database.write = committing  # type: ignore[method-assign]
    set_cursor = Tracker.set_cursor

    def setting(tracker: Tracker, *arguments: Any) -> None:
        trap.reach("before cursor")
        set_cursor(tracker, *arguments)
        trap.reach("after cursor")

    Tracker.set_cursor = setting  # type: ignore[method-assign]


class TrappedEngine:
    """The engine, with the steps of a transfer made visible."""

    def __init__(self, trap: Trap, stop: Callable[[], None]) -> None:
        self._trap = trap
        self._stop = stop

    def __getattr__(self, name: str) -> Any:
        return getattr(_engine, name)

    def transfer(self, request: Any, **hooks: Any) -> Any:
        """Transfer, watched."""
        self._trap.reach("engine started")
        done = threading.Event()
        threading.Thread(target=self._watch, args=(hooks["progress"], done), daemon=True).start()
        confirm = hooks["before_commit"]

        def before_commit() -> None:
            self._trap.reach("before the end")
            confirm()

        hooks["before_commit"] = before_commit
        try:
            report = _engine.transfer(request, **hooks)
        finally:
            done.set()
        self._trap.reach("stored, not recorded")
        return report

    def _watch(self, progress: _engine.Progress, done: threading.Event) -> None:
        while not done.wait(0.0005):
            if progress.snapshot()["fetched_bytes"] > 0:
                self._trap.reach("bytes arrive")
                self._stop()
                return


def arm_storage(trap: Trap, storage: StorageAdapter) -> None:
    """Be there when the destination is looked at, and when a log was written."""
    stat, put_log = storage.stat, storage.put_log

    def looking(name: str) -> Any:
        found = stat(name)
        trap.reach("destination looked at")
        return found

    def logging(name: str, document: Any) -> Any:
        stored = put_log(name, document)
        trap.reach("log written")
        return stored

    storage.stat = looking  # type: ignore[method-assign]
    storage.put_log = logging  # type: ignore[method-assign]


def live(job: dict[str, Any]) -> dict[str, Any]:
    """One life: one round of the service, and what it did."""
    trap = Trap(job["point"])
    arm_transactions(trap)
    settings = load_settings(overrides=job["settings"], environ=job["environ"])
    storage = StorageFactory.create(settings)
    if job["mountinfo"] and isinstance(storage, LocalStorageAdapter):
        storage._mountinfo = Path(job["mountinfo"])
    arm_storage(trap, storage)
    now = datetime.fromisoformat(job["now"])
    with Tracker.open(settings, now=now) as tracker:
        service = Service(
            settings,
            tracker=tracker,
            sources=build_sources(settings),
            storage=storage,
            ffmpeg=lambda: find_ffmpeg(settings.processing.ffmpeg.path),
            now=lambda: now,
        )

        def stop() -> None:
            if job["stop"]:
                service.stop(0)

        transfer_module._engine = TrappedEngine(trap, stop)  # type: ignore[assignment]
        if job["retry"]:
            tracker.retry_failed(now)
        if job["ask"]:
            stored = [row.id for row in tracker.listing(states=[State.COMPLETED]).rows]
            tracker.retry(stored, now, completed=True, outputs=[IMPOSSIBLE])
        report = service.run_once(full=job["full"])
        left = tracker.counts()
        service.close()
    return {
        "due": report.due,
        "source_errors": [str(error) for error in report.source_errors],
        "failures": [str(outcome.error) for outcome in report.failures],
        "states": {state.value: count for state, count in left.items() if count},
    }


def main() -> None:
    """Read lives, fork each, and say how it ended."""
    # What a life has to say is in its report; its warnings are what is being provoked.
    logging.disable()
    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.environ["CHAOS_LIFE"] = job["life"]
            try:
                answer = json.dumps(live(job))
            except BaseException as error:  # noqa: BLE001 - whatever it was, the parent judges it
                answer = json.dumps({"error": f"{type(error).__name__}: {error}"})
            os.write(writing, answer.encode())
            os._exit(0)
        os.close(writing)
        print(json.dumps({"pid": pid}), flush=True)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read().decode()
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed, "answer": json.loads(answer) if answer else None}), flush=True)


if __name__ == "__main__":
    main()

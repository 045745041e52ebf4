"""Takes jobs out of Procrastinate's queue, in a thread with an event loop of its own.

Owns the connection to the queue and nothing of what a job does: `look_at` is called with a recording's id, in
a thread of the pool. PostgreSQL's NOTIFY wakes the worker; when the database goes away it tries again until
that is back, and what runs goes on meanwhile. Procrastinate never retries anything: when something is due
again is the tracker's to say.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from audio_extract.telemetry.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from procrastinate import App
    from procrastinate.worker import Worker

    from audio_extract.tracker.job_queue import JobQueue

_log = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 10.0
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0
#: One for the heartbeat, one to take and one to finish jobs.
_CONNECTIONS = 3


class QueueWorker:
    """One worker of this process.

    Args:
        queue: Where jobs are.
        look_at: Does what is to be done about a recording, and returns when that is done; must not raise.
        places: How many recordings at a time.
    """

    def __init__(self, queue: JobQueue, look_at: Callable[[str], object], *, places: int) -> None:
        self._queue = queue
        self._look_at = look_at
        self._places = places
        # Recordings whose job was cut off with its connection keep their thread, and so their place.
        self._threads = ThreadPoolExecutor(places, thread_name_prefix="recording")
        # A daemon: a database that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._main, name="queue-worker", daemon=True)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._wake: Callable[[], object] | None = None
        self.failure: Exception | None = None
        """What ended this worker although nobody stopped it: a mistake of the program."""

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more jobs; returns at once. What runs is waited for by `join`."""
        with self._lock:
            self._stopping.set()
            if self._wake is not None:
                self._wake()

    def join(self, timeout_seconds: float) -> bool:
        """Wait until everything that was taken has ended; False when the time was up first."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _main(self) -> None:
        # A line for each job that it starts and ends says nothing that ours do not.
        if not _log.isEnabledFor(logging.DEBUG):
            logging.getLogger("procrastinate").setLevel(logging.WARNING)
        try:
            asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001 - told to whoever waits: `failure` ends the process
            _log.exception("taking jobs ended unexpectedly", extra={"event": "worker.failed"})
            self.failure = error
        finally:
            self._threads.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        with self._lock:
            self._wake = lambda: loop.call_soon_threadsafe(stopped.set)
        try:
            await self._work_again_and_again(loop, stopped)
        finally:
            with self._lock:
                self._wake = None

    async def _work_again_and_again(self, loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
        import psycopg
        from procrastinate.exceptions import ConnectorException

        app = self._make_app()
        wait_seconds = _FIRST_WAIT_SECONDS
        while not self._stopping.is_set():
            began = loop.time()
            try:
                await self._work(app, loop, stopped)
            except (ConnectorException, psycopg.Error) as error:
                why = redact(str(error.__cause__ or error))
            else:
                why = "the connection was lost"
            if self._stopping.is_set():
                return
            if loop.time() - began > _LONGEST_WAIT_SECONDS:
                wait_seconds = _FIRST_WAIT_SECONDS
            _log.warning(
                "the queue of jobs does not answer (%s); trying again in %.0f s",
                why,
                wait_seconds,
                extra={"event": "worker.disconnected"},
            )
            try:
                await asyncio.wait_for(stopped.wait(), wait_seconds)
            except TimeoutError:
                wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)

    def _make_app(self) -> App:
        from procrastinate import App

        from audio_extract.tracker.job_queue import QUEUE, TASK

        # One for the whole process: each further one lengthens the names of tasks that they all share.
        app = App(connector=self._queue.connector(connections=_CONNECTIONS))

        @app.task(name=TASK, queue=QUEUE)
        async def look_at(recording_id: str) -> None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._look_at, recording_id)

        return app

    async def _work(self, app: App, loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
        """Take jobs until `stop`, or until the database goes away."""
        from procrastinate.worker import Worker

        from audio_extract.tracker.job_queue import QUEUE, STALLED_SECONDS

        async with app.open_async():
            worker = Worker(
                app,
                queues=[QUEUE],
                concurrency=self._places,
                # A worker that lost its connection takes no more jobs: what runs stays with its thread,
                # and we begin anew.
                shutdown_graceful_timeout=0,
                delete_jobs="always",
                install_signal_handlers=False,
                update_heartbeat_interval=_HEARTBEAT_SECONDS,
                stalled_worker_timeout=STALLED_SECONDS,
            )
            if self._listen_for_stop(loop, stopped, worker):
                _log.info("taking jobs", extra={"event": "worker.started"})
                await worker.run()  # type: ignore[no-untyped-call]  # Procrastinate annotates most, not this

    def _listen_for_stop(
        self, loop: asyncio.AbstractEventLoop, stopped: asyncio.Event, worker: Worker
    ) -> bool:
        """Make `stop` reach this worker; False when it was called already."""

        def in_loop() -> None:
            # Whoever stops us gives what runs its time, and ends it when that is over.
            worker.shutdown_graceful_timeout = None
            worker.stop()  # type: ignore[no-untyped-call]
            stopped.set()

        with self._lock:
            self._wake = lambda: loop.call_soon_threadsafe(in_loop)
            return not self._stopping.is_set()

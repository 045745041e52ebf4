"""What the tracker's questions cost with a million recordings, on SQLite and on PostgreSQL.

Fills a database with rows in the proportions of a service that has run for years (95 % completed, some
waiting, failed and skipped, a transfer and an audit row each), then asks each question many times and
compares the time that 99 of 100 answers take with what is promised: claims below 10 ms, lists below 50 ms;
and asks the database how it finds the answer: with an index, or by reading a table from end to end.
Ends with 1 when one is missed.

Times are those of the wall. On a busy machine the p99 is that of its scheduler: the line before the figures
says what the machine itself takes to bring a few kilobytes to its disk, and how many processes want a core.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from audio_extract.tracker import Owner, RetryPolicy, State, Tracker
from support.databases import postgresql_server, run_sql
from support.query_plans import slow_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audio_extract.tracker import Claim

NOW = datetime(2026, 1, 29, 10, 0, tzinfo=UTC)
#: Milliseconds.
CLAIM, LIST = 10.0, 50.0


def fill(tracker: Tracker, rows: int) -> None:
    """Put rows there, the newest first, half a minute apart."""
    sqlite = tracker._database.file is not None
    moment = (
        "strftime('%Y-%m-%d %H:%M:%S.000000', '2026-01-29 10:00:00', '-' || (n * 30) || ' seconds')"
        if sqlite
        else "TIMESTAMPTZ '2026-01-29 10:00:00+00' - n * INTERVAL '30 seconds'"
    )
    state = (
        "CASE WHEN n % 50 = 0 THEN 'pending' WHEN n % 101 = 0 THEN 'failed' "
        "WHEN n % 1009 = 0 THEN 'quarantined' WHEN n % 67 = 0 THEN 'skipped' ELSE 'completed' END"
    )
    numbers = f"WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {rows})"
    statements = (
        f"""INSERT INTO recordings (source, source_id, revision, name, mime_type, size_bytes, state,
            state_changed_at, discovered_at, processed_at, next_attempt_at, object_name, storage_type,
            storage_path, stored_size_bytes, crc32c, generation, audio_seconds, completed_revision, fence,
            last_transfer_id)
            {numbers} SELECT 'drive', '1AbCdEfGhIjKlMnOpQrStUvWxYz' || n, 'd41d8cd98f00b204e9800998ecf8427e',
            'Weekly Sync ' || n || ' (2026-01-29 at 10:00 GMT).mp4', 'video/mp4', 400000000, {state},
            {moment}, {moment}, {moment}, CASE WHEN n % 50 = 0 OR n % 101 = 0 THEN {moment} END,
            'dev/2026/01/Weekly Sync ' || n, 'gcs', 'dev/2026/01/Weekly Sync ' || n, 57000000, 'AAAAAA==', n,
            3600, 'd41d8cd98f00b204e9800998ecf8427e', 1, n FROM t""",
        f"""INSERT INTO transfers (id, recording_id, fence, attempt, owner, started_at, ended_at, outcome)
            {numbers} SELECT n, n, 1, 1, 'here:1:x.y.z', {moment}, {moment}, 'completed' FROM t""",
        f"""INSERT INTO audit_log (at, recording_id, event, to_state)
            {numbers} SELECT {moment}, n, 'recorded', 'pending' FROM t""",
        f"""INSERT INTO sync_history
            (source, kind, started_at, ended_at, seen, new, changed, skipped, removed)
            {numbers.replace(str(rows), str(rows // 10))}
            SELECT 'drive', 'incremental', {moment}, {moment}, 1, 1, 0, 0, 0 FROM t""",
    )
    with tracker._database.write() as connection:
        for statement in statements:
            connection.execute(text(statement))
        if not sqlite:
            for table in ("transfers", "recordings", "audit_log"):
                connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {rows})"))
    if sqlite:
        with tracker._database.write() as connection:
            connection.execute(text("ANALYZE"))
    else:
        # As the server's own housekeeping does after so many rows.
        with tracker._database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))


def disk(folder: Path) -> float:
    """Milliseconds within which 99 of 100 writes of 8 KiB are on the disk, without any database."""
    with (folder / "probe").open("wb", buffering=0) as file:

        def write(_number: int) -> None:
            file.write(bytes(8192))
            os.fdatasync(file.fileno())

        return times_of(write, 300)[1]


def times_of(ask: Callable[[int], object], times: int) -> tuple[float, float, float]:
    """Milliseconds of half of the answers and of 99 of 100, and this process's CPU for 99 of 100."""
    taken, busy = [], []
    for number in range(times):
        began, began_cpu = time.perf_counter(), time.thread_time()
        ask(number)
        busy.append(time.thread_time() - began_cpu)
        taken.append(time.perf_counter() - began)
    taken.sort()
    busy.sort()
    last = max(times * 99 // 100 - 1, 0)
    return taken[times // 2] * 1000, taken[last] * 1000, busy[last] * 1000


#: Answers that are made of every row, by nature, and a clean-up for which most rows are old enough.
READS_ALL = {"counts", "stats", "clean-up"}


def questions(tracker: Tracker) -> Iterator[tuple[str, Callable[[int], object], int, float | None]]:
    """Each question: its name, how it is asked for the nth time, how often, and its bound in milliseconds."""
    owner = Owner.current()
    policy = RetryPolicy()
    claims: list[Claim] = []
    yield "claim", lambda _: claims.extend(tracker.claim(owner, NOW)), 500, CLAIM
    yield "renew", lambda n: tracker.renew(claims[n], NOW), 300, CLAIM
    yield "release", lambda n: tracker.release(claims[n], NOW, delay_seconds=60), 300, None
    yield "recover", lambda _: tracker.recover(NOW, policy=policy), 100, None
    cursor = None
    for _ in range(20):
        cursor = tracker.listing(limit=500, cursor=cursor).next_cursor
    yield "list, first page", lambda _: tracker.listing(limit=100), 100, LIST
    yield "list, after 10,000", lambda _: tracker.listing(limit=100, cursor=cursor), 100, LIST
    failed = [State.FAILED, State.QUARANTINED]
    yield "list of what failed", lambda _: tracker.listing(states=failed, limit=100), 100, LIST
    yield "list of one state", lambda _: tracker.listing(states=[State.SKIPPED], limit=100), 100, LIST
    yield "recent, 7 days", lambda _: tracker.recent(NOW, days=7, limit=100), 100, LIST
    yield "failed", lambda _: tracker.failed(limit=100), 100, LIST
    yield "next due", lambda _: tracker.next_due_at(), 100, LIST
    yield "one recording", lambda n: tracker.recording(str(n * 1000 + 1)), 100, LIST
    yield "find", lambda n: tracker.find(f"1AbCdEfGhIjKlMnOpQrStUvWxYz{n + 1}"), 100, LIST
    yield "what happened to one", lambda n: tracker.audit(str(n * 1000 + 1)), 100, LIST
    yield "last looks at sources", lambda _: tracker.syncs(), 100, LIST
    walk = tracker.placed()
    yield "500 rows for an audit", lambda _: next(walk), 100, None
    yield "counts", lambda _: tracker.counts(), 20, None
    yield "stats", lambda _: tracker.stats(), 20, None
    yield "clean-up", lambda _: tracker.cleanup(90, NOW), 1, None


def main() -> int:
    """Measure on both; 1 when a bound is missed."""
    parser = argparse.ArgumentParser(prog="benches/tracker.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args()
    missed = 0
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="bench-tracker-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for kind in options.database or ["sqlite", "postgresql"]:
            if kind == "sqlite":
                url = str(folder / "tracker.db")
            else:
                server = stack.enter_context(postgresql_server(durable=True))
                run_sql(server, "CREATE DATABASE bench")
                url = server.replace("/postgres?", "/bench?")
            with Tracker.open(url, now=NOW) as tracker:
                began = time.perf_counter()
                fill(tracker, options.rows)
                filled = time.perf_counter() - began
                print(
                    f"{kind}: {options.rows:,} recordings ({filled:.0f} s to fill); "
                    f"a write of 8 KiB takes p99 {disk(folder):.2f} ms; load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
                for name, ask, times, bound in questions(tracker):
                    median, p99, busy = times_of(ask, times)
                    is_missed = bound is not None and p99 > bound
                    # Asked once more for its plan, after it was asked for its time.
                    slow = [] if name in READS_ALL else slow_parts(tracker, partial(ask, 1), may_sort=True)
                    missed += is_missed + bool(slow)
                    limit = f"≤ {bound:.0f} ms" if bound is not None else ""
                    verdict = "MISSED" if is_missed else ""
                    print(
                        f"  {name:22} median {median:7.2f}, p99 {p99:7.2f} (CPU {busy:6.2f}) ms   "
                        f"{limit:9}{verdict}",
                        flush=True,
                    )
                    for plan in slow:
                        print(f"    MISSED: without an index:\n{plan}", flush=True)
    print(f"{missed} figures missed their bound" if missed else "every figure is within its bound")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

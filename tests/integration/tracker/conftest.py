"""Every test of the tracker runs on SQLite and on PostgreSQL, each on a database of its own."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audio_extract.tracker import Tracker
from support.databases import postgresql_server, run_sql
from support.legacy import make_legacy
from support.recordings import NOW

_SERIAL = itertools.count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    with postgresql_server() as url:
        yield url


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], None]:
    """Makes a database with all migrations; they run once, and are copied from then on."""
    template = tmp_path_factory.mktemp("template") / "template.db"
    made = False

    def make(kind: str, url: str) -> None:
        nonlocal made
        if kind == "sqlite":
            if not template.exists():
                Tracker.open(str(template), now=NOW).close()
            shutil.copy(template, url)
            return
        server, _, name = url.rpartition("#")
        if not made:
            run_sql(server, "CREATE DATABASE template_tracker")
            Tracker.open(server.replace("/postgres?", "/template_tracker?"), now=NOW).close()
            made = True
        run_sql(server, f"CREATE DATABASE {name} TEMPLATE template_tracker")

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without any table."""
    if kind == "sqlite":
        yield str(tmp_path / "tracker.db")
        return
    server = request.getfixturevalue("postgresql")
    name = f"empty_{next(_SERIAL)}"
    run_sql(server, f"CREATE DATABASE {name}")
    yield server.replace("/postgres?", f"/{name}?")
    run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def url(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, migrated: Callable[[str, str], None]
) -> Iterator[str]:
    """A database with the tables of this program."""
    if kind == "sqlite":
        path = str(tmp_path / "tracker.db")
        migrated(kind, path)
        yield path
        return
    server = request.getfixturevalue("postgresql")
    name = f"test_{next(_SERIAL)}"
    migrated(kind, f"{server}#{name}")
    yield server.replace("/postgres?", f"/{name}?")
    run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """A database of the earlier service."""
    return make_legacy(tmp_path / "processed_videos.db")


@pytest.fixture
def tracker(url: str) -> Iterator[Tracker]:
    with Tracker.open(url, now=NOW) as opened:
        yield opened

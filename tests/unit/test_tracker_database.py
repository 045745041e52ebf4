from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from audio_extract.exceptions import ConfigurationError
from audio_extract.mounts import file_system, refuse_network_mount
from audio_extract.tracker import Owner, Tracker
from audio_extract.tracker.columns import Moment, escape, unescape
from audio_extract.tracker.database import parse_url
from audio_extract.tracker.owners import is_alive
from support.recordings import NOW

ANY_TEXT = st.text(st.characters(categories=None) | st.sampled_from("\x00\x1a\udcff"))


@given(ANY_TEXT)
def test_any_text_is_stored_and_comes_back(text: str) -> None:
    kept = escape(text)
    kept.encode()
    assert "\x00" not in kept
    assert unescape(kept) == text


@given(st.lists(ANY_TEXT, min_size=2, max_size=2, unique=True))
def test_two_texts_are_never_stored_alike(texts: list[str]) -> None:
    assert escape(texts[0]) != escape(texts[1])


def test_ordinary_text_is_stored_as_it_is() -> None:
    assert (
        escape("Wöchentlich 🎙 (2025-01-29 at 10:00 GMT-5).mp4")
        == "Wöchentlich 🎙 (2025-01-29 at 10:00 GMT-5).mp4"
    )


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Moment().process_bind_param(datetime(2026, 1, 29), sqlite.dialect())  # noqa: DTZ001


MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/audio\040extracts rw,nosuid - fuse.gcsfuse bucket rw
31 22 0:41 / /mnt/nfs rw shared:9 master:2 - nfs4 server:/export rw
32 31 8:2 / /mnt/nfs/local rw - xfs /dev/sdb rw
33 22 0:42 / /home rw - fuse.fuse-overlayfs overlay rw
34 22 0:43 / /mnt/nfs/twice rw - ext4 /dev/sdc rw
35 34 0:44 / /mnt/nfs/twice rw - cifs //server/share rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/mnt/audio extracts/prod", "fuse.gcsfuse"),
        ("/mnt/audio", "ext4"),
        ("/mnt/nfs/deep/er", "nfs4"),
        ("/mnt/nfs/local/x", "xfs"),
        ("/mnt/nfs-not", "ext4"),
        ("/mnt/nfs/twice", "cifs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_its_nearest_mount(folder: str, kind: str) -> None:
    assert file_system(Path(folder), MOUNTS) == kind


@pytest.mark.parametrize("folder", ["/mnt/audio extracts", "/mnt/nfs", "/mnt/nfs/twice"])
def test_a_database_on_a_network_mount_is_refused_with_setting_and_remedy(folder: str) -> None:
    with pytest.raises(ConfigurationError, match=r"monitoring\.database_path.*local disk") as caught:
        refuse_network_mount(Path(folder) / "tracker.db", MOUNTS)
    assert caught.value.code == "database.network_mount"


@pytest.mark.parametrize("folder", ["/", "/home/user", "/mnt/nfs/local"])
def test_a_database_on_a_local_disk_is_taken(folder: str) -> None:
    refuse_network_mount(Path(folder) / "tracker.db", MOUNTS)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("mysql://user:secret@host/db", "database.unsupported"),
        ("sqlite://", "database.in_memory"),
        ("sqlite:///:memory:", "database.in_memory"),
        ("://", "database.bad_url"),
        ("postgresql://user:secret@host:port/db", "database.bad_url"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_its_password(text: str, code: str) -> None:
    with pytest.raises(ConfigurationError, match=r"monitoring\.database_path") as caught:
        parse_url(text)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


def test_a_postgresql_url_gets_its_driver() -> None:
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        assert parse_url(f"{scheme}://user@host/db").drivername == "postgresql+psycopg"


def test_the_folder_of_the_database_is_created(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder with % and ?" / "tracker.db"
    with Tracker.open(str(file), now=NOW) as tracker:
        assert tracker.location == str(file)
    assert file.is_file()


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"monitoring\.database_path: cannot create the folder"):
        Tracker.open(str(tmp_path / "file" / "tracker.db"), now=NOW)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("these are my notes, " * 100)
    with pytest.raises(ConfigurationError, match="is not an SQLite database"):
        Tracker.open(str(file), now=NOW)
    assert file.read_text() == "these are my notes, " * 100


def test_importing_the_tracker_loads_no_database_library() -> None:
    program = (
        "import sys, audio_extract.tracker\n"
        "assert not {'alembic', 'sqlalchemy'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_using_a_database_that_is_up_to_date_loads_neither_alembic_nor_the_orm(tmp_path: Path) -> None:
    file = str(tmp_path / "tracker.db")
    Tracker.open(file, now=NOW).close()
    program = (
        "import sys\n"
        "from audio_extract.tracker import Tracker\n"
        f"with Tracker.open({file!r}) as tracker: tracker.counts()\n"
        "assert not {'alembic', 'sqlalchemy.orm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_this_process_is_alive() -> None:
    assert is_alive(Owner.current())
    assert Owner.parse(Owner.current().name) == Owner.current()


def test_a_process_that_ended_is_dead_and_one_that_runs_is_alive() -> None:
    program = "from audio_extract.tracker import Owner; print(Owner.current().name, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        owner = Owner.parse(child.stdout.readline().strip())
        assert owner.pid == child.pid
        assert is_alive(owner)
        child.kill()
        # Not waited for yet: a zombie keeps its number, and is dead all the same.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(owner)
        child.communicate()
    assert not is_alive(owner)


def test_a_later_process_with_the_same_number_is_not_the_owner() -> None:
    me = Owner.current()
    boot, namespace, _ = me.instance.split(".", 2)
    assert not is_alive(Owner(me.host, me.pid, f"{boot}.{namespace}.1"))
    assert not is_alive(Owner(me.host, os.getppid(), f"{boot}.{namespace}.1"))


def test_what_runs_elsewhere_cannot_be_seen_and_counts_as_alive() -> None:
    me = Owner.current()
    boot, _, start = me.instance.split(".", 2)
    assert is_alive(Owner("another-host", 1, me.instance))
    assert is_alive(Owner(me.host, me.pid, f"{boot}.1.{start}"))

"""The one-file executable on a machine that has nothing. `make test-dist` runs it, as root.

The machine is a bare Debian in a folder: no Python, FFmpeg, certificates, zones or home, a read-only root.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from audio_extract.emulator.samples import generate
from package.bare_root import BareRoot, wait_until

EXECUTABLE = os.environ.get("AUDIO_EXTRACT_TEST_EXECUTABLE", "") and str(
    Path(os.environ["AUDIO_EXTRACT_TEST_EXECUTABLE"]).absolute()
)
ROOT = os.environ.get("AUDIO_EXTRACT_TEST_ROOT", "")
PROGRAM = "/mnt/audio-extract"

pytestmark = pytest.mark.skipif(
    not (EXECUTABLE and ROOT), reason="the executable: AUDIO_EXTRACT_TEST_EXECUTABLE, …_ROOT (make test-dist)"
)


@pytest.fixture
def bare(tmp_path: Path) -> BareRoot:
    for name in ("work", "tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o1777)
    for folder in (tmp_path, *tmp_path.parents):
        # pytest's folders are for their owner alone; others in the bare root must get through.
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest-", "test_")):
            folder.chmod(0o755)
    return BareRoot(Path(ROOT), Path(EXECUTABLE), tmp_path / "work", tmp_path / "tmp")


@pytest.fixture(scope="module")
def meeting(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = generate(tmp_path_factory.mktemp("samples"), ffmpeg, seconds=4, keys=frozenset({"moov_last"}))
    return made[0].path


def test_the_root_is_as_bare_as_it_should_be(bare: BareRoot) -> None:
    for program in ("python3", "ffmpeg", "ffprobe"):
        code, _, _ = bare.run("sh", "-c", f"command -v {program}")
        assert code != 0, program
    code, out, _ = bare.run(
        "sh", "-c", "ls /etc/ssl/certs /usr/share/zoneinfo; touch /here || echo read-only"
    )
    assert "read-only" in out
    assert ".pem" not in out
    assert "Europe" not in out


def test_it_is_small() -> None:
    assert Path(EXECUTABLE).stat().st_size <= 50_000_000


def test_help_and_a_short_extract_start_quickly(meeting: Path, tmp_path: Path) -> None:
    def seconds(*words: str | Path) -> float:
        measured = []
        for _ in range(5):
            before = time.monotonic()
            subprocess.run([EXECUTABLE, *words], check=True, capture_output=True, cwd=tmp_path)
            measured.append(time.monotonic() - before)
        return statistics.median(measured)

    # Alone on a machine 1.0 and 1.5: what else runs here must not fail it.
    assert seconds("--help") <= 2.0
    assert seconds("extract", meeting, "-o", tmp_path / "out.mp3", "--overwrite") <= 3.0


def test_the_demo_works_and_leaves_nothing(bare: BareRoot) -> None:
    code, out, err = bare.run(PROGRAM, "demo", "--once")
    assert code == 0, err
    assert "6 of 6 recordings stored and verified" in out
    assert bare.left() == []


def test_extract_and_probe_work_with_nothing_but_the_file(bare: BareRoot, meeting: Path) -> None:
    shutil.copy(meeting, bare.work / "meeting.mp4")
    code, out, err = bare.run(PROGRAM, "extract", "meeting.mp4")
    assert (code, out) == (0, "meeting.mp3\n"), err
    assert (bare.work / "meeting.mp3").read_bytes()[:3] == b"ID3"
    code, out, err = bare.run(PROGRAM, "probe", "meeting.mp4", "--json")
    assert code == 0, err
    assert json.loads(out)["tracks"][0]["codec"] == "aac"
    assert bare.left() == []


def test_version_says_what_it_needs_and_carries_and_under_which_licences(bare: BareRoot) -> None:
    code, out, _ = bare.run(PROGRAM, "version", "--json")
    facts = json.loads(out)
    assert code == 0
    assert tuple(int(part) for part in facts["needs_glibc"].split(".")) >= (2, 17)
    assert "bundled" in facts["ffmpeg"]
    _, out, _ = bare.run(PROGRAM, "version", "--licenses")
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in out
    assert "Debian" in out
    # Beside FFmpeg: the Python packages and the Rust crates.
    assert "Python  starlette " in out
    assert "Rust    tokio " in out


def configured(bare: BareRoot, meeting: Path) -> None:
    source = bare.work / "in"
    source.mkdir()
    recording = source / "Weekly (2025-01-29 at 10:00 GMT-5).mp4"
    shutil.copy(meeting, recording)
    settled = time.time() - 60
    os.utime(recording, (settled, settled))
    values = {
        "environment": "development",
        # The zone comes from inside: the root has none.
        "google_drive": {"time_zone": "Europe/Berlin"},
        "sources": {"local": {"path": "in", "settle_seconds": 0}},
        "storage": {"type": "local", "local": {"path": "out"}},
        "monitoring": {"dashboard_port": 0, "health_port": 0, "database_path": "t.db", "log_file": "t.log"},
    }
    (bare.work / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))


def test_run_stores_what_is_there_and_ends_with_0_on_sigterm_with_nothing_left(
    bare: BareRoot, meeting: Path
) -> None:
    configured(bare, meeting)
    with bare.start(PROGRAM, "run") as child:
        wait_until(lambda: any((bare.work / "out").rglob("*_audio.mp3")), child)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert "nothing was left behind" in err
    assert "Traceback" not in out + err
    assert bare.left() == []


def test_another_user_runs_it_at_the_same_time(bare: BareRoot, meeting: Path) -> None:
    configured(bare, meeting)
    with bare.start(PROGRAM, "run") as child:
        wait_until(lambda: any((bare.work / "out").rglob("*_audio.mp3")), child)
        code, out, err = bare.run(PROGRAM, "extract", "in", "-o", "../../tmp/second/", user_id=1001)
        assert code == 0, err
        assert "tmp/second/" in out
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)
    assert child.returncode == 0
    assert bare.left() == ["second"]


def test_what_a_killed_one_unpacked_is_removed_by_the_next_start(bare: BareRoot, meeting: Path) -> None:
    configured(bare, meeting)
    with bare.start(PROGRAM, "run") as child:
        wait_until(lambda: any((bare.work / "out").rglob("*_audio.mp3")), child)
        # The process that a supervisor sees. The other one ends by itself, cleanly.
        child.kill()
        child.communicate(timeout=60)
    [left] = bare.left()
    assert left.startswith("_MEI")
    code, _, err = bare.run(PROGRAM, "version")
    assert code == 0, err
    assert bare.left() == []


def test_a_temporary_folder_where_nothing_may_run_is_refused_and_another_one_helps(bare: BareRoot) -> None:
    code, _, err = bare.run(PROGRAM, "version", noexec=True)
    assert code != 0
    assert "failed to map segment" in err
    code, out, err = bare.run("env", "TMPDIR=/mnt/work", PROGRAM, "version", noexec=True)
    assert code == 0, err
    assert out.startswith("audio-extract ")

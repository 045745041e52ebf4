"""``audio-extract emulator``: both emulators for another program, which finds sample recordings there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from support.cli import environment, run_cli


def test_a_service_works_between_the_emulators_and_they_end_with_0(tmp_path: Path) -> None:
    words = ["emulator", "--drive-port", "0", "--storage-port", "0", "--seconds", "2", "-q"]
    with subprocess.Popen(
        [sys.executable, "-m", "audio_extract", *words],
        cwd=tmp_path,
        env=environment({"TMPDIR": str(tmp_path)}),
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            lines = [child.stdout.readline().strip() for _ in range(4)]
            said = dict(line.split("=", 1) for line in lines)
            assert said["AUDIO_EXTRACT_FOLDER_ID"] == "demo-recordings"
            env = {
                **said,
                "AUDIO_EXTRACT__STORAGE__TYPE": "gcs",
                "AUDIO_EXTRACT__MONITORING__DATABASE_PATH": "t.db",
            }
            done = run_cli("once", cwd=tmp_path, env=env)
            # Some of the samples are broken on purpose.
            assert (done.code, "11 new · 6 stored" in done.out) == (1, True), done.err + done.out
            child.send_signal(signal.SIGTERM)
            assert child.wait(20) == 0
        finally:
            child.kill()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("audio-extract-emulator")] == []


def test_files_of_ones_own_stand_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "meeting.mp4").write_bytes(b"not much of a recording")
    words = ["emulator", "meeting.mp4", "--drive-port", "0", "--storage-port", "0", "--folder-id", "mine"]
    with subprocess.Popen(
        [sys.executable, "-m", "audio_extract", *words],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            said = dict(child.stdout.readline().strip().split("=", 1) for _ in range(4))
            done = run_cli("once", "--dry-run", cwd=tmp_path, env=said)
            assert done.out == "meeting.mp4: wanted\n", done.err
        finally:
            child.kill()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run_cli("emulator", "nothing.mp4", cwd=tmp_path)
    assert (done.code, "nothing.mp4" in done.err) == (2, True)

"""``demo --once``: what CI runs on an empty clone."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from audio_extract.cli.assembly import open_service
from audio_extract.cli.demo_stage import BUCKET, PREFIX, Stage, open_stage
from audio_extract.cli.verification import Expected, Verifier, same_objects
from support.cli import environment, run_cli
from support.engine import wait_until


def test_the_demo_stores_all_good_samples_verified_and_moves_nothing_twice(tmp_path: Path) -> None:
    done = run_cli("demo", "--once", "--seconds", "3", "--folder", tmp_path / "demo", cwd=tmp_path)
    assert done.code == 0, done.err
    [line] = done.out.splitlines()
    counts = [int(number) for number in re.findall(r"\d+", line)]
    stored, good, failed, bad, downloads, uploads, adopted, _ = counts
    assert (stored, failed, adopted) == (good, bad, good)
    assert good >= 6
    assert bad >= 5
    assert (downloads, uploads) == (0, 0)
    assert "Traceback" not in done.err
    assert (tmp_path / "demo" / "audio-extract.log").exists()


def test_the_demo_leaves_no_temporary_folder(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path)}
    assert run_cli("demo", "--once", "--seconds", "1", cwd=tmp_path, env=env).code == 0
    assert list(tmp_path.iterdir()) == []


def test_the_open_demo_serves_its_page_until_ctrl_c_and_ends_with_0(tmp_path: Path) -> None:
    err = tmp_path / "err.txt"
    with err.open("w") as stream:
        words = [
            sys.executable,
            "-m",
            "audio_extract",
            "demo",
            "--seconds",
            "1",
            "--port",
            "0",
            "--no-browser",
        ]
        child = subprocess.Popen(
            words, cwd=tmp_path, env=environment({"TMPDIR": str(tmp_path)}), stderr=stream
        )
        try:
            wait_until(lambda: "dashboard: http" in err.read_text(), 60)
            [page] = re.findall(r"^dashboard: (http://\S+)/$", err.read_text(), re.MULTILINE)
            wait_until(lambda: httpx.get(f"{page}/api/stats").json()["completed"] == 6, 60)
            assert "Weekly Sync" in httpx.get(page).text
            child.send_signal(signal.SIGINT)
            assert child.wait(30) == 0, err.read_text()
        finally:
            child.kill()
            child.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["err.txt"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Iterator[tuple[Stage, Verifier]]:
    """A stage after its first round, and the verifier that found nothing wrong."""
    folder = tmp_path_factory.mktemp("stage")
    with open_stage(folder, ffmpeg=ffmpeg, seconds=2) as stage, open_service(stage.settings) as service:
        service.run_once()
        verifier = Verifier(service.tracker, stage.bucket(), PREFIX, ffmpeg)
        assert verifier.problems(stage.expected) == []
        yield stage, verifier


def test_everything_of_the_demo_on_disk_is_below_its_folder(stored: tuple[Stage, Verifier]) -> None:
    stage, _ = stored
    for emulator in (stage.drive.emulator, stage.storage.emulator):
        assert emulator.directory.is_relative_to(stage.folder)


def name_of(verifier: Verifier, expected: Expected) -> str:
    row = verifier.tracker.find(expected.source_id)
    assert row is not None
    assert row.storage_path is not None
    return row.storage_path


def test_the_demo_would_notice_an_object_with_other_bytes(stored: tuple[Stage, Verifier]) -> None:
    stage, verifier = stored
    first, second = stage.good[:2]
    bucket = stage.storage.emulator
    before = verifier.objects()
    right = bucket.object(BUCKET, name_of(verifier, first)).content
    bucket.put_object(
        BUCKET, name_of(verifier, first), bucket.object(BUCKET, name_of(verifier, second)).content
    )
    assert any("CRC32C" in problem for problem in verifier.problems([first]))
    assert same_objects(before, verifier.objects()) == [
        f"{name_of(verifier, first)} is gone or was written again"
    ]
    bucket.put_object(BUCKET, name_of(verifier, first), right)
    assert verifier.problems([first]) == []


def test_the_demo_would_notice_an_object_that_is_gone(stored: tuple[Stage, Verifier]) -> None:
    stage, verifier = stored
    bucket = stage.storage.emulator
    name = name_of(verifier, stage.good[2])
    content = bucket.object(BUCKET, name).content
    bucket.delete_object(BUCKET, name)
    assert any("is not in the bucket" in problem for problem in verifier.problems(stage.expected))
    bucket.put_object(BUCKET, name, content)


def test_the_demo_would_notice_a_wrong_length(
    stored: tuple[Stage, Verifier], ffmpeg: Path, tmp_path: Path
) -> None:
    stage, verifier = stored
    twice = tmp_path / "twice.mp4"
    source = stage.good[0].content
    command = [ffmpeg, "-v", "error", "-stream_loop", "1", "-i", source, "-c", "copy", twice]
    subprocess.run(command, check=True, capture_output=True)
    [problem] = verifier.problems([replace(stage.good[0], content=twice)])
    assert problem.endswith("s longer than the recording")


def test_the_demo_would_notice_a_wrong_ending(stored: tuple[Stage, Verifier]) -> None:
    stage, verifier = stored
    bad, good = stage.bad[0], stage.good[0]
    [problem] = verifier.problems([replace(bad, error_code=None)])
    assert "is quarantined and not completed" in problem
    [problem] = verifier.problems([replace(bad, error_code="source.network")])
    assert "and not with source.network" in problem
    [problem] = verifier.problems([replace(good, error_code="media.no_audio")])
    assert "is completed, but cannot work" in problem
    [problem] = verifier.problems([replace(good, source_id="nobody")])
    assert "does not know it" in problem

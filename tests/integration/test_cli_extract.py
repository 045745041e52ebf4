"""``extract`` and ``probe`` as people call them: real processes, real files, real HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from audio_extract import _engine
from audio_extract.emulator.samples import generate
from support.cli import environment, run_cli
from support.service import BUCKET, World, world


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> dict[str, Path]:
    keys = frozenset({"moov_first", "moov_last", "webm", "no_audio"})
    made = generate(tmp_path_factory.mktemp("samples"), ffmpeg, seconds=3, keys=keys)
    return {recording.sample.key: recording.path for recording in made}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


def cloud(here: World) -> dict[str, str]:
    return {"DRIVE_EMULATOR_HOST": here.drive.url, "STORAGE_EMULATOR_HOST": here.storage.url}


def seconds_of(path: Path, ffprobe: Path) -> float:
    command = [ffprobe, "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_file_becomes_an_mp3_beside_it_without_any_configuration(
    samples: dict[str, Path], tmp_path: Path, ffprobe: Path
) -> None:
    source = tmp_path / "Weekly sync (2025-01-29 at 10:00 GMT-5).mp4"
    source.write_bytes(samples["moov_last"].read_bytes())
    done = run_cli("extract", source, cwd=tmp_path)
    result = source.with_suffix(".mp3")
    assert (done.code, done.out) == (0, f"{result}\n"), done.err
    assert "0:03 of sound" in done.err
    assert abs(seconds_of(result, ffprobe) - 3) < 0.1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, result.name])


def test_the_json_line_says_what_stands_there(samples: dict[str, Path], tmp_path: Path) -> None:
    done = run_cli("extract", samples["moov_first"], "-o", "out/", "--json", cwd=tmp_path)
    line = json.loads(done.out)
    result = tmp_path / line["output"]
    assert _engine.crc32c_file(str(result)) == (line["crc32c"], line["size_bytes"])
    assert line["audio_seconds"] == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("key", "suffix"), [("moov_first", ".m4a"), ("webm", ".ogg")])
def test_a_copy_gets_the_name_that_fits_its_sound(
    samples: dict[str, Path], tmp_path: Path, key: str, suffix: str
) -> None:
    done = run_cli("extract", samples[key], "-o", tmp_path / "out", "--codec", "copy", cwd=tmp_path)
    assert done.code == 0, done.err
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [suffix]


def test_what_exists_is_not_overwritten_unless_asked(samples: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_text("mine")
    refused = run_cli("extract", samples["moov_first"], "-o", "a.mp3", cwd=tmp_path)
    assert refused.code == 1
    assert "a.mp3" in refused.err
    assert (tmp_path / "a.mp3").read_text() == "mine"
    assert run_cli("extract", samples["moov_first"], "-o", "a.mp3", "--overwrite", cwd=tmp_path).code == 0
    assert (tmp_path / "a.mp3").stat().st_size > 10_000


def test_several_sources_go_on_after_a_failure_and_the_exit_code_says_so(
    samples: dict[str, Path], tmp_path: Path
) -> None:
    words = [samples["no_audio"], "missing.mp4", samples["moov_first"]]
    done = run_cli("extract", *words, "-o", "out/", "--json", cwd=tmp_path)
    assert done.code == 1
    lines = {Path(line["source"]).name: line for line in map(json.loads, done.out.splitlines())}
    assert lines["no_audio.mp4"]["error"]["code"] == "media.no_audio"
    assert lines["missing.mp4"]["error"]["code"] == "source.not_found"
    assert (tmp_path / lines["moov_first.mp4"]["output"]).exists()
    assert "no_audio.mp4" in done.err


def test_a_folder_gives_every_recording_in_it_and_a_second_time_no_results_of_results(
    samples: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for key in ("moov_first", "webm"):
        (folder / samples[key].name).write_bytes(samples[key].read_bytes())
    (folder / "notes.txt").write_text("no recording")
    first = run_cli("extract", folder, cwd=tmp_path)
    assert first.code == 0, first.err
    assert len(first.out.splitlines()) == 2
    again = run_cli("extract", folder, "--overwrite", cwd=tmp_path)
    assert again.out == first.out


@pytest.mark.parametrize(
    "words",
    [("talk.mp3",), ("talk.mp3", "-o", "talk.mp3"), ("talk.mp3", "-o", "link/"), ("talk.mp4", "talk.mp3")],
)
def test_a_recording_is_never_replaced_by_a_result(
    samples: dict[str, Path], tmp_path: Path, words: tuple[str, ...]
) -> None:
    for name in ("talk.mp3", "talk.mp4"):
        (tmp_path / name).write_bytes(samples["moov_first"].read_bytes())
    (tmp_path / "link").symlink_to(tmp_path)
    done = run_cli("extract", *words, "--overwrite", cwd=tmp_path)
    assert done.code != 0
    assert "would replace" in done.err
    assert (tmp_path / "talk.mp3").read_bytes() == samples["moov_first"].read_bytes()


@pytest.mark.parametrize("command", ["extract", "probe"])
@pytest.mark.parametrize(
    "name", ["pipe.mp4", "x" * 300 + ".mp4", "loop.mp4", b"bad\xff.mp4".decode(errors="surrogateescape")]
)
def test_a_name_that_is_no_recording_is_said_and_is_no_bug(tmp_path: Path, command: str, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    done = run_cli(command, name, cwd=tmp_path, timeout=20)
    assert done.code in {1, 2}, done.err
    assert "bug" not in done.err
    assert "error: " in done.err


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("text.mp4",), "get a whole copy"),
        (("no_audio.mp4",), "nothing can be extracted"),
        (("moov_first.mp4", "-o", "taken.mp3"), "--overwrite"),
        (("moov_first.mp4", "--track", "7", "-o", "other.mp3"), "--track"),
    ],
)
def test_what_to_do_is_said_for_somebody_at_the_prompt(
    samples: dict[str, Path], tmp_path: Path, words: tuple[str, ...], remedy: str
) -> None:
    for key in ("no_audio", "moov_first"):
        (tmp_path / f"{key}.mp4").write_bytes(samples[key].read_bytes())
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "taken.mp3").write_text("mine")
    err = run_cli("extract", *words, cwd=tmp_path).err
    assert remedy in err.partition("to do: ")[2]
    for unknown_here in ("retry", "forget", "by itself", "processing."):
        assert unknown_here not in err


def test_two_sources_never_share_a_result(samples: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "moov_first.webm"
    other.write_bytes(samples["webm"].read_bytes())
    done = run_cli("extract", samples["moov_first"], other, "-o", "out/", cwd=tmp_path)
    assert done.code == 1
    assert "another source of this call already has the result" in done.err


def test_a_drive_file_or_folder_becomes_objects_in_a_bucket(
    samples: dict[str, Path], here: World, tmp_path: Path
) -> None:
    file_id = here.add(samples["moov_first"], "Weekly.mp4")
    here.add(samples["webm"], "Interview.webm")
    link = f"https://drive.google.com/file/d/{file_id}/view?usp=sharing"
    done = run_cli("extract", link, "-o", f"gs://{BUCKET}/one/", cwd=tmp_path, env=cloud(here))
    assert (done.code, done.out) == (0, f"gs://{BUCKET}/one/Weekly.mp3\n"), done.err
    folder = f"drive:{here.folder}"
    done = run_cli("extract", folder, "-o", f"gs://{BUCKET}/all", cwd=tmp_path, env=cloud(here))
    assert done.code == 0, done.err
    names = [item.name for item in here.storage.emulator.objects(BUCKET)]
    assert sorted(names) == ["all/Interview.mp3", "all/Weekly.mp3", "one/Weekly.mp3"]


def test_an_object_is_replaced_only_when_asked(samples: dict[str, Path], here: World, tmp_path: Path) -> None:
    here.storage.emulator.put_object(BUCKET, "a.mp3", b"mine")
    words = ("extract", samples["moov_first"], "-o", f"gs://{BUCKET}/a.mp3")
    refused = run_cli(*words, cwd=tmp_path, env=cloud(here))
    assert refused.code == 1
    assert here.storage.emulator.object(BUCKET, "a.mp3").size == 4
    done = run_cli(*words, "--overwrite", cwd=tmp_path, env=cloud(here))
    assert done.code == 0, done.err
    assert here.storage.emulator.object(BUCKET, "a.mp3").size > 10_000


def test_what_is_not_there_in_drive_or_cloud_storage_ends_with_its_exit_code(
    samples: dict[str, Path], here: World, tmp_path: Path
) -> None:
    missing = run_cli("extract", "drive:nosuchfile", cwd=tmp_path, env=cloud(here))
    assert missing.code == 1
    assert "nosuchfile" in missing.err
    words = ("extract", samples["moov_first"], "-o", "gs://no-such-bucket/")
    bucket = run_cli(*words, cwd=tmp_path, env=cloud(here))
    assert bucket.code == 2
    assert "no-such-bucket" in bucket.err


def test_a_dry_run_says_the_names_and_makes_nothing(samples: dict[str, Path], tmp_path: Path) -> None:
    done = run_cli("extract", samples["moov_first"], "-o", "out/", "--dry-run", cwd=tmp_path)
    assert (done.code, done.out) == (0, "out/moov_first.mp3\n")
    assert not (tmp_path / "out").exists()


def test_probe_shows_tracks_and_costs(samples: dict[str, Path], tmp_path: Path) -> None:
    done = run_cli("probe", samples["moov_last"], "--json", cwd=tmp_path)
    report = json.loads(done.out)
    assert report["container"] == "mp4"
    assert [track["codec"] for track in report["tracks"]] == ["aac"]
    assert {"parallel", "stream"} <= {plan["strategy"] for plan in report["plans"]}
    table = run_cli("probe", samples["moov_last"], cwd=tmp_path)
    assert "48000 Hz" in table.out
    assert "predicted at least" not in table.out, "nothing is predicted of a disk"


def test_probe_of_a_recording_in_drive_says_quota_and_seconds_and_what_they_rest_on(
    samples: dict[str, Path], here: World, tmp_path: Path
) -> None:
    here.drive.emulator.network.latency_seconds = 0.05
    file_id = here.add(samples["moov_first"], "Weekly.mp4")
    done = run_cli("probe", f"drive:{file_id}", cwd=tmp_path, env=cloud(here))
    assert done.code == 0, done.err
    rows = {words[0]: words for line in done.out.splitlines() if (words := line.split())}
    # One request of 200 units; its latency is a twentieth of a second.
    assert rows["stream"][-4:-2] == ["1", "200"]
    assert float(rows["stream"][-2]) >= 0.1
    flat = " ".join(done.out.split())
    assert re.search(
        r"measured: \d+ ms to an answer; assumed: 25\.0 MB/s a connection, 100\.0 MB/s in all", flat
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--codec", "mp5"], "--codec"),
        (["--bitrate", "loud"], "--bitrate"),
        (["--bitrate", "inf"], "--bitrate"),
        (["-o", ""], "'' cannot be used"),
        (["--track", "-1"], "--track"),
        (["-o", "s3://bucket/"], "s3://bucket/"),
    ],
)
def test_a_wrong_flag_is_a_usage_error_that_names_it(
    samples: dict[str, Path], tmp_path: Path, words: list[str], text: str
) -> None:
    done = run_cli("extract", samples["moov_first"], *words, cwd=tmp_path)
    assert done.code == 2
    assert text in done.err
    assert "bug" not in done.err
    assert done.out == ""


def test_a_missing_ffmpeg_is_named_with_the_setting_and_the_remedy(
    samples: dict[str, Path], tmp_path: Path
) -> None:
    env = {"AUDIO_EXTRACT__PROCESSING__FFMPEG__PATH": str(tmp_path / "nothing")}
    done = run_cli("extract", samples["moov_first"], "-o", "out/", cwd=tmp_path, env=env)
    assert done.code == 2
    assert "processing.ffmpeg.path" in done.err


@dataclass
class Slow:
    """A server that gives the first bytes of a recording and then waits."""

    url: str
    asked: threading.Event
    release: threading.Event


@pytest.fixture
def slow(samples: dict[str, Path]) -> Iterator[Slow]:
    content = samples["moov_first"].read_bytes()
    asked, release = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:1000])
            self.wfile.flush()
            asked.set()
            release.wait(60)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Slow(f"http://127.0.0.1:{server.server_port}/meeting.mp4", asked, release)
        release.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_transfer_within_a_second_and_leaves_nothing(
    slow: Slow, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "audio_extract", "extract", slow.url, "-o", "out/"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert slow.asked.wait(30)
    before = time.monotonic()
    child.send_signal(number)
    _, err = child.communicate(timeout=30)
    elapsed = time.monotonic() - before
    assert child.returncode == code, err
    assert "Traceback" not in err
    # A second for the transfer, and some for the interpreter to go away on a busy machine.
    assert elapsed < 2
    assert list(tmp_path.rglob("*.*")) == []


def test_on_a_terminal_a_bar_shows_bytes_and_speed_and_results_stay_on_stdout(
    samples: dict[str, Path], here: World, tmp_path: Path
) -> None:
    here.drive.emulator.network.connection_bytes_per_second = 100_000
    file_id = here.add(samples["moov_first"], "Weekly.mp4")
    terminal, end = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        child = subprocess.Popen(
            [sys.executable, "-m", "audio_extract", "extract", f"drive:{file_id}", "--strategy", "stream"],
            cwd=tmp_path,
            env={**environment(cloud(here)), "TERM": "xterm-256color"},
            stdout=subprocess.PIPE,
            stderr=end,
            text=True,
        )
        os.close(end)
        shown = b""
        # Linux ends the reading of a terminal that nobody holds any more with an error.
        with contextlib.suppress(OSError):
            while piece := screen.read(65_536):
                shown += piece
        out, _ = child.communicate(timeout=60)
    text = shown.decode()
    assert child.returncode == 0, text
    assert out == "Weekly.mp3\n"
    assert re.search(r"[\d.]+ kB of \d\d\.\d kB · [\d.]+ kB/s", text), text
    assert "0:03 of sound" in text

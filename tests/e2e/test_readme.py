"""What README tells people to type works as it stands there, between emulators."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from audio_extract.cli.app import app
from audio_extract.emulator.samples import generate
from support.cli import environment, run_cli
from support.engine import wait_until
from support.service import World, world

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Every `audio-extract …` line of README's console blocks, without its comment."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("audio-extract ")]


@pytest.fixture
def here(tmp_path: Path, ffmpeg: Path) -> Iterator[World]:
    made = generate(tmp_path / "samples", ffmpeg, seconds=2, keys=frozenset({"moov_last", "webm"}))
    paths = {recording.sample.key: recording.path for recording in made}
    shutil.copy(paths["moov_last"], tmp_path / "meeting.mp4")
    (tmp_path / "recordings").mkdir()
    shutil.copy(paths["webm"], tmp_path / "recordings" / "interview.webm")
    with world(tmp_path) as found:
        for bucket in ("bucket", "my-audio"):
            found.storage.emulator.create_bucket(bucket)
        found.add(paths["moov_last"], "Weekly.mp4", created_time=None)
        yield found


def test_every_command_of_readme_works(here: World, tmp_path: Path) -> None:
    [item] = [item for item in here.drive.emulator.items() if item.name == "Weekly.mp4"]
    env = {
        "DRIVE_EMULATOR_HOST": here.drive.url,
        "STORAGE_EMULATOR_HOST": here.storage.url,
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "AUDIO_EXTRACT__MONITORING__DASHBOARD_PORT": "0",
        "AUDIO_EXTRACT__MONITORING__HEALTH_PORT": "0",
    }
    ran = []
    for line in commands():
        words = [word.replace("/d/ID/", f"/d/{item.id}/") for word in line]
        ran.append(words[0])
        if words == ["run"]:
            assert run_until_sigterm(tmp_path, env) == 0
            continue
        done = run_cli(*words, cwd=tmp_path, env=env)
        assert done.code == 0, f"audio-extract {shlex.join(words)}: {done.err}{done.out}"
        if words == ["config", "init"]:
            # The least, and what more files take.
            settings, more = (yaml.safe_load(block) for block in blocks("yaml"))
            settings.update(more)
            settings["google_drive"]["recordings_folder_id"] = here.folder
            (tmp_path / "audio_extract_config.yaml").write_text(yaml.safe_dump(settings))
    assert {"extract", "probe", "config", "check", "once", "run"} <= set(ran)
    for path in ("meeting.mp3", "meeting.m4a", "audio/interview.mp3"):
        assert (tmp_path / path).stat().st_size > 5_000
    assert [blob.name for blob in here.storage.emulator.objects("bucket")] == ["audio/Weekly.mp3"]
    names = sorted(blob.name for blob in here.storage.emulator.objects("my-audio", "dev/2"))
    folder = names[0].removesuffix(".mp3")
    assert [name.removeprefix(folder) for name in names] == [
        ".mp3", "_speech-small.opus", "_speech.flac", "_speech/chunk-000.flac", "_speech/chunks.json",
    ]  # fmt: skip
    (event,) = (json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines())
    assert event["data"]["url"] == f"gs://my-audio/{folder}.mp3"
    speech, small = event["data"]["outputs"]
    assert (small["name"], [one["start_seconds"] for one in speech["chunks"]]) == ("speech-small", [0])


def run_until_sigterm(folder: Path, env: dict[str, str]) -> int:
    with (folder / "err.txt").open("w") as err:
        words = [sys.executable, "-m", "audio_extract", "run"]
        child = subprocess.Popen(words, cwd=folder, env=environment(env), stderr=err)
        try:
            wait_until(lambda: "health: http" in (folder / "err.txt").read_text(), 60)
            child.send_signal(signal.SIGTERM)
            return child.wait(30)
        finally:
            child.kill()
            child.wait()


def test_readmes_table_of_commands_is_the_programs() -> None:
    table = README.partition("## Commands")[2].partition("\n\nEvery command")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    named = {words.split()[0] for cell in cells for words in re.findall(r"`([^`]+)`", cell)}
    shown = [command for command in app.registered_commands if not command.hidden]
    registered = {command.name or command.callback.__name__ for command in shown}  # type: ignore[union-attr]
    registered |= {group.name for group in app.registered_groups if group.name}
    assert named == registered


def test_every_make_target_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "benches/README.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        # In console blocks and between backticks; "make sure" in a sentence is no target.
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE):
            assert target in targets, f"{page} names make {target}"


def test_every_page_that_readme_links_to_is_there() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link

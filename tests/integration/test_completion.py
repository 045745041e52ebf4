"""What bash, zsh and fish offer when Tab is pressed, asked of the shells themselves; and ``list --watch``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audio_extract.tracker import Owner, RetryPolicy, Tracker
from support.cli import environment, run_cli
from support.dashboard import NOW, listed, tracked
from support.terminal import audio_extract, terminal

EVIL = "$(touch pwned) `touch pwned` 'x' \"y\" ; touch pwned\n\x1b[31m *.mp4"
BASH = """
source <(audio-extract completion bash)
IFS=$'\\n'
complete_line() {
  COMP_WORDS=(); IFS=' ' read -ra COMP_WORDS <<< "$1"; [[ $1 == *' ' ]] && COMP_WORDS+=('')
  COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
  _audio_extract_completion audio-extract
  printf '%s\\n' "${COMPREPLY[@]}"
}
complete_line "$LINE_TYPED"
"""
FISH = "audio-extract completion fish | source; complete -C $LINE_TYPED"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "audio_extract_config.yaml").write_text("monitoring: {database_path: tracker.db}\n")
    with Tracker.open(str(tmp_path / "tracker.db")) as tracker:
        tracked(tracker)
        tracker.record([listed("evil", EVIL)], NOW)
        [claim] = tracker.claim(Owner.current(), NOW)
        tracker.fail(
            claim, NOW, code="media.no_audio", kind="media", message="no sound", policy=RetryPolicy()
        )
    return tmp_path


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed (Debian: apt-get install {name})"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def environ(folder: Path, line: str = "") -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return environment({"PATH": path, "HOME": str(folder), "LINE_TYPED": line, "PYTHONUTF8": "1"})


def offered(name: str, folder: Path, line: str) -> list[str]:
    """What a shell offers behind ``line``: the words, without what they mean."""
    flags = {"bash": ["--norc", "--noprofile", "-c", BASH], "fish": ["--no-config", "-c", FISH]}
    done = subprocess.run(
        [shell(name), *flags[name]],
        cwd=folder,
        env=environ(folder, line),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return [text.partition("\t")[0] for text in done.stdout.splitlines() if text]


def ids(folder: Path, *states: str) -> set[str]:
    with Tracker.open(str(folder / "tracker.db")) as tracker:
        return {row.id for row in tracker.listing().rows if not states or row.status in states}


@pytest.mark.parametrize("name", ["bash", "fish"])
def test_a_shell_offers_commands_recordings_and_states(name: str, folder: Path) -> None:
    assert "top" in offered(name, folder, "audio-extract to")
    assert offered(name, folder, "audio-extract list --state q") == ["quarantined"]
    assert set(offered(name, folder, "audio-extract show ")) == ids(folder)
    failed = ids(folder, "failed", "quarantined")
    assert set(offered(name, folder, "audio-extract retry ")) == failed
    one = min(failed)
    assert set(offered(name, folder, f"audio-extract retry {one} ")) == failed - {one}
    assert not (folder / "pwned").exists()


def test_zsh_offers_recordings_with_their_names_and_runs_none_of_them(folder: Path) -> None:
    program = shell("zsh")
    (folder / ".zshrc").write_text(
        'PS1="ready> "\nautoload -Uz compinit && compinit -D -u\neval "$(audio-extract completion zsh)"\n'
    )
    with terminal(program, "-i", cwd=folder, env=environ(folder), columns=160) as screen:
        screen.wait_for("ready>")
        screen.press("audio-extract retry \t")
        screen.wait_for("touch pwned touch pwned x y")
        for one in ids(folder, "failed", "quarantined"):
            assert one in screen.shown()
        screen.press("\x15exit\r")
        screen.wait()
    assert not (folder / "pwned").exists()


def test_without_a_database_nothing_is_offered_and_none_is_made(folder: Path) -> None:
    for file in folder.glob("tracker.db*"):
        file.unlink()
    assert offered("bash", folder, "audio-extract show ") == []
    (folder / "audio_extract_config.yaml").write_text("monitoring: {no_such_key: 1}\n")
    assert offered("bash", folder, "audio-extract show ") == []
    assert sorted(path.name for path in folder.iterdir()) == ["audio_extract_config.yaml"]


def test_a_list_is_watched_as_it_changes(folder: Path) -> None:
    with terminal(*audio_extract("list", "--watch"), cwd=folder, columns=160) as screen:
        shown = screen.wait_for("r4.mp4")
        assert "q quit" in shown
        assert "\\x1b[31m" in shown
        with Tracker.open(str(folder / "tracker.db")) as tracker:
            tracker.record([listed("new", "Brand new.mp4")], NOW)
        screen.wait_for("Brand new.mp4")
        screen.press("q")
        assert screen.wait() == 0
        assert screen.settings() == screen.before


@pytest.mark.parametrize("words", [["--watch"], ["--watch", "--json"]])
def test_watching_without_a_terminal_is_a_usage_error(folder: Path, words: list[str]) -> None:
    done = run_cli("list", *words, cwd=folder)
    assert (done.code, "--watch needs a terminal" in done.err) == (2, True)

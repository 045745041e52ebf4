"""What README and docs/deploy.md tell people to type: it parses, and everything it names is there.

`tests/e2e/test_readme.py` runs what can be run here; the package tests run the executable and the image.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from audio_extract.cli.app import app
from audio_extract.settings import load_settings

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/deploy.md")
#: What people have, or install as the page says.
PROGRAMS = {
    *("audio-extract", "make", "docker", "kubectl", "terraform", "sudo", "ssh", "scp", "cp", "journalctl"),
    *("brew", "go", "apt-get", "curl", "tee", "echo", "export", "gh", "cosign", "sha256sum", "openssl"),
}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def lines(page: str) -> list[str]:
    """The commands of a page, each on one line."""
    found = []
    for block in blocks(page, "console"):
        found += [
            line for line in block.replace("\\\n", " ").splitlines() if shlex.split(line, comments=True)
        ]
    return found


def words_of(line: str) -> list[str]:
    """The words after the variables that are set for them."""
    words = shlex.split(line, comments=True)
    while words and re.match(r"^[A-Z_]+=", words[0]):
        words = words[1:]
    return words


ALL = [(page, line) for page in PAGES for line in lines(page)]


@pytest.mark.parametrize("page", PAGES)
def test_a_shell_takes_every_command(page: str) -> None:
    done = subprocess.run(
        ["bash", "-n"], input="\n".join(lines(page)), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("page", "line"), ALL)
def test_every_program_is_known_and_every_file_of_ours_is_there(page: str, line: str) -> None:
    words = words_of(line)
    assert words[0] in PROGRAMS or (ROOT / words[0]).is_file(), words[0]
    for path in re.findall(r"(?:^|[ =])((?:deploy|configs|docker-compose)[\w./-]*)", line):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(("page", "line"), [one for one in ALL if "audio-extract " in one[1]])
def test_every_flag_of_ours_is_one(page: str, line: str) -> None:
    words = words_of(line)
    places = [at for at, word in enumerate(words) if word.rpartition("/")[2] == "audio-extract"]
    # Not a container's, a unit's or a user's name, nor a file that is copied.
    for at in [
        at for at in places if words[:at] in ([], ["sudo"], ["ssh", "server"]) or words[at - 2] == "-u"
    ]:
        command = get_command(app)
        rest = words[at + 1 :]
        while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
            assert rest[0] in command.commands, rest[0]
            command = command.commands[rest.pop(0)]
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        for word in rest:
            assert not word.startswith("-") or word in known, f"{word} in {line}"


def test_every_target_and_variable_of_make_is_one() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE):
        assert target in targets, target
    for _, line in ALL:
        words = words_of(line)
        if words[0] == "make":
            for name in (word.partition("=")[0] for word in words[2:] if "=" in word):
                assert f"$({name})" in makefile, f"{name} in {line}"


def test_variables_that_compose_is_given_are_ones_it_takes() -> None:
    files = [*ROOT.glob("docker-compose*.yml"), *(ROOT / "deploy" / "compose").glob("*.yml")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    given = {
        name
        for _, line in ALL
        if "docker compose" in line
        for name in re.findall(r"(?:^| )([A-Z_]+)=", line.partition("docker compose")[0])
    }
    given |= {line.partition("=")[0] for line in "".join(blocks("docs/deploy.md", "sh")).splitlines()}
    assert len(given) >= 8
    for name in given:
        assert f"${{{name}" in text, name
    profiles = set(re.findall(r"profiles: \[([^\]]*)\]", text))
    known = {one.strip() for group in profiles for one in group.split(",")}
    used = {one for _, line in ALL for one in re.findall(r"--profile (\w+)", line)}
    assert used <= known


def test_every_settings_of_the_page_are_settings(tmp_path: Path) -> None:
    found = blocks("docs/deploy.md", "yaml")
    assert len(found) == 2
    for block in found:
        path = tmp_path / "audio_extract_config.yaml"
        path.write_text(block)
        assert load_settings(path, environ={}).config_path == path
    [mount, trace] = [yaml.safe_load(block) for block in found]
    assert mount["storage"]["gcs_mount"]["enabled"] is True
    assert "telemetry" in trace
    given = dict(re.findall(r"(AUDIO_EXTRACT__\w+)=(\S+)", "\n".join(line for _, line in ALL)))
    assert len(given) == 2
    assert load_settings(environ=given).telemetry.cloud_trace.project == "my-project"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_drop_in_of_the_page(tmp_path: Path) -> None:
    [drop_in] = blocks("docs/deploy.md", "ini")
    unit = (ROOT / "deploy" / "systemd" / "audio-extract.service").read_text(encoding="utf-8")
    (tmp_path / "audio-extract.service").write_text(unit.replace("/usr/local/bin/audio-extract", "/bin/true"))
    (tmp_path / "audio-extract.service.d").mkdir()
    (tmp_path / "audio-extract.service.d" / "secret.conf").write_text(drop_in)
    words = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "audio-extract.service")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


def test_each_place_that_the_program_runs_in_has_a_quick_start() -> None:
    readme = " ".join(lines("README.md"))
    for command in (
        "scp dist/audio-extract",
        "audio-extract service install",
        "docker run",
        "docker compose up",
        "docker-compose.prod.yml",
        "ENABLE_GCSFUSE=true",
        "make mount",
        "kubectl apply -k",
        "make jaeger",
        "CLOUD_TRACE",
    ):
        assert command in readme, command
    assert "`make bench`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_page_that_is_linked_is_there() -> None:
    for page in ("docs/deploy.md", "docs/access.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (ROOT / page).parent.joinpath(link).exists(), link

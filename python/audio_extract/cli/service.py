"""``audio-extract service install|uninstall``: the program as a service of systemd.

Owns what has to be where; the unit itself is ``systemd/audio-extract.service`` beside this file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from audio_extract.cli.invocation import Invocation, command
from audio_extract.exceptions import ConfigurationError, PermissionDeniedError

app = typer.Typer(help="Make the program a service of systemd, or undo that.", no_args_is_help=True)

_UNIT = Path(__file__).parent / "systemd" / "audio-extract.service"
_NAME = "audio-extract"
_UNIT_PLACE = Path("etc/systemd/system/audio-extract.service")
_DROP_IN_PLACE = Path("etc/systemd/system/audio-extract.service.d/folders.conf")
_USER_PLACE = Path("etc/sysusers.d/audio-extract.conf")
_SETTINGS_PLACE = Path("etc/audio-extract/config.yaml")
_PROGRAM_PLACE = Path("usr/local/bin/audio-extract")
_STANDARD_PROGRAM = f"/{_PROGRAM_PLACE}"
_USER = f'u {_NAME} - "audio-extract" /var/lib/audio-extract\n'
#: The unit does not let the service see these.
_HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108

Root = Annotated[
    Path, typer.Option(help="Work below this folder, for making an image of a system.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be done.")]


@dataclass
class Steps:
    """What is done, or with ``--dry-run`` only said.

    Attributes:
        root: Everything is below it.
        dry_run: Change nothing.
        invocation: Says it.
        said: What was said so far.
    """

    root: Path
    dry_run: bool
    invocation: Invocation
    said: list[str] = field(default_factory=list)

    @property
    def is_this_machine(self) -> bool:
        """Whether the system is the running one."""
        return self.root == Path("/")

    def say(self, text: str) -> None:
        """Say one step."""
        self.said.append(text)
        typer.echo(text)

    def write(self, place: Path, text: str, mode: int) -> None:
        """Write a file, whole or not at all."""
        path = self.root / place
        self.say(f"write /{place}")
        if self.dry_run:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.new")
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(mode)
        temporary.replace(path)

    def copy_program(self, program: Path) -> None:
        """Copy the executable to where the unit starts it; a running one keeps the old file."""
        path = self.root / _PROGRAM_PLACE
        self.say(f"copy {program} to {_STANDARD_PROGRAM}")
        if self.dry_run:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.new")
        shutil.copyfile(program, temporary)
        temporary.chmod(0o755)
        temporary.replace(path)

    def remove(self, place: Path) -> None:
        """Remove a file if it is there."""
        path = self.root / place
        if not path.exists():
            return
        self.say(f"remove /{place}")
        if not self.dry_run:
            path.unlink()

    def call(self, *words: str, only_here: bool = False) -> None:
        """Call a program of the system.

        Args:
            words: The program and its words; ``--root`` is added where it works on another system.
            only_here: It makes no sense for a system that does not run.

        Raises:
            ConfigurationError: It failed.
        """
        if only_here and not self.is_this_machine:
            return
        full = [*words] if self.is_this_machine else [words[0], f"--root={self.root}", *words[1:]]
        self.say(" ".join(full))
        if self.dry_run:
            return
        done = subprocess.run(full, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            reason = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            raise ConfigurationError(
                f"`{' '.join(full)}` failed: {reason or done.returncode}", code="service.failed"
            )


def _prepared(root: Path, invocation: Invocation, *, dry_run: bool) -> Steps:
    if shutil.which("systemctl") is None or shutil.which("systemd-sysusers") is None:
        raise ConfigurationError(
            "there is no systemd here; run `audio-extract run` under the supervisor of this system",
            code="service.no_systemd",
        )
    root = root.absolute()
    if not root.is_dir():
        raise ConfigurationError(f"{root} is no folder; name one with --root", code="usage.invalid")
    if root == Path("/") and not dry_run:
        if os.geteuid() != 0:
            raise PermissionDeniedError(
                "only root can do that; run it with sudo, or look with --dry-run", code="service.not_root"
            )
        if not Path("/run/systemd/system").is_dir():
            raise ConfigurationError(
                "systemd does not run this machine; to prepare the image of a system there is --root",
                code="service.no_systemd",
            )
    return Steps(root, dry_run, invocation)


def _program() -> Path:
    """The file that starts this program."""
    if getattr(sys, "frozen", False):
        return Path(sys.executable).resolve()
    beside = Path(sys.executable).parent / _NAME
    return beside if beside.is_file() else Path(sys.argv[0]).resolve()


def started_by(steps: Steps, program: Path) -> str:
    """Copy the one-file executable to its place, or return where the program is already.

    Args:
        steps: Where to, and whether at all.
        program: The file that starts the program.

    Raises:
        ConfigurationError: The service could not see it there.
    """
    is_one_file = getattr(sys, "frozen", False) and Path(sys._MEIPASS).parent != program.parent  # type: ignore[attr-defined]  # noqa: SLF001
    if is_one_file:
        if program != Path(_STANDARD_PROGRAM):
            steps.copy_program(program)
        return _STANDARD_PROGRAM
    hidden = next((folder for folder in _HIDDEN if program.is_relative_to(folder)), None)
    if hidden is not None and steps.is_this_machine:
        raise ConfigurationError(
            f"{program} is below {hidden}, which the service does not see; install the program elsewhere "
            "(/opt/audio-extract), or use the one-file executable",
            code="service.hidden_program",
        )
    return str(program)


def unit_text(program: str) -> str:
    """Return the unit that starts ``program``."""
    # To systemd a percent sign means something, and a blank ends the word.
    word = program.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    text = _UNIT.read_text(encoding="utf-8")
    start = f'ExecStart="{word}" run' if word != program or " " in word else f"ExecStart={word} run"
    return text.replace(f"ExecStart={_STANDARD_PROGRAM} run", start)


def _folder_lines(write: list[Path], read: list[Path]) -> str:
    lines = ["# Made by `audio-extract service install`.", "[Service]"]
    for setting, folders in (("ReadWritePaths", write), ("ReadOnlyPaths", read)):
        for folder in folders:
            if not folder.is_absolute() or '"' in str(folder) or "\n" in str(folder):
                raise ConfigurationError(
                    f"{folder} is no full path of a folder; write it as /srv/audio", code="usage.invalid"
                )
            word = str(folder).replace("\\", "\\\\").replace("%", "%%")
            lines.append(f'{setting}="{word}"')
    if any(folder.is_relative_to("/home") or folder.is_relative_to("/root") for folder in (*write, *read)):
        # What is named above is shown again, and nothing else of it.
        lines.append("ProtectHome=tmpfs")
        lines.extend(f'BindPaths="{folder}"' for folder in write)
        lines.extend(f'BindReadOnlyPaths="{folder}"' for folder in read)
    return "\n".join(lines) + "\n"


@app.command()
@command
def install(
    invocation: Invocation,
    *,
    write_to: Annotated[
        list[Path] | None,
        typer.Option(help="A folder the service may write to: a local destination or a mount; repeatable."),
    ] = None,
    read_from: Annotated[
        list[Path] | None,
        typer.Option(help="A folder below /home the service may read: a local source; repeatable."),
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it at once, too.")] = False,
    root: Root = Path("/"),
    dry_run: DryRun = False,
) -> None:
    """Make a user, settings and a unit, and have the service started with the machine."""
    steps = _prepared(root, invocation, dry_run=dry_run)
    folders = _folder_lines(write_to or [], read_from or [])
    program = started_by(steps, _program())
    steps.write(_USER_PLACE, _USER, 0o644)
    steps.call("systemd-sysusers", f"/{_USER_PLACE}" if steps.is_this_machine else _USER_PLACE.name)
    if not (steps.root / _SETTINGS_PLACE).exists():
        from audio_extract.settings import example_text

        steps.write(_SETTINGS_PLACE, example_text(), 0o640)
        _for_the_service_only(steps)
    steps.write(_UNIT_PLACE, unit_text(program), 0o644)
    if write_to or read_from:
        steps.write(_DROP_IN_PLACE, folders, 0o644)
    steps.call("systemctl", "daemon-reload", only_here=True)
    steps.call("systemctl", "enable", "audio-extract.service")
    if start:
        # Also a new version: what runs is drained first.
        steps.call("systemctl", "restart", "audio-extract.service", only_here=True)
        return
    invocation.say(
        f"next: edit /{_SETTINGS_PLACE}, look with `sudo -u audio-extract audio-extract check`, then "
        "`systemctl start audio-extract`; its log: `journalctl -u audio-extract`"
    )


def _for_the_service_only(steps: Steps) -> None:
    """Let the service's group read the settings, and nobody else: key files are put beside them."""
    steps.say(f"chgrp {_NAME} /{_SETTINGS_PLACE.parent}")
    if steps.dry_run:
        return
    group = _group_id(steps.root)
    for path, mode in ((steps.root / _SETTINGS_PLACE.parent, 0o750), (steps.root / _SETTINGS_PLACE, 0o640)):
        os.chown(path, 0, group)
        path.chmod(mode)


def _group_id(root: Path) -> int:
    for line in (root / "etc/group").read_text(encoding="utf-8").splitlines():
        name, _, number, *_ = line.split(":")
        if name == _NAME:
            return int(number)
    raise ConfigurationError(f"the group {_NAME} was not made", code="service.failed")


@app.command()
@command
def uninstall(invocation: Invocation, *, root: Root = Path("/"), dry_run: DryRun = False) -> None:
    """Stop the service and remove its unit. Settings, database and audio stay."""
    steps = _prepared(root, invocation, dry_run=dry_run)
    if not (steps.root / _UNIT_PLACE).exists():
        invocation.say(f"/{_UNIT_PLACE} is not there: nothing to do")
        return
    steps.call("systemctl", "stop", "audio-extract.service", only_here=True)
    steps.call("systemctl", "disable", "audio-extract.service")
    for place in (_UNIT_PLACE, _DROP_IN_PLACE, _USER_PLACE):
        steps.remove(place)
    steps.call("systemctl", "daemon-reload", only_here=True)
    invocation.say(
        "what stays: /etc/audio-extract, /var/lib/audio-extract, the user audio-extract, the program itself"
    )

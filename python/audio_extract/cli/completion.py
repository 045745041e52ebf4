"""``audio-extract completion``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from audio_extract.cli.invocation import Invocation, command


class Shell(StrEnum):
    """A shell that can complete our words."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@command
def completion(
    invocation: Invocation,
    *,
    shell: Annotated[Shell, typer.Argument(help="The shell to complete in.")] = Shell.BASH,
) -> None:
    """Print the script that makes a shell complete commands, flags, recordings and states.

    bash: audio-extract completion bash > ~/.local/share/bash-completion/completions/audio-extract

    zsh, in ~/.zshrc behind compinit: eval "$(audio-extract completion zsh)"

    fish: audio-extract completion fish > ~/.config/fish/completions/audio-extract.fish
    """
    del invocation
    # Typer prints it only for the shell it finds itself in; here the person says which.
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typer.echo(
        get_completion_script(
            prog_name="audio-extract", complete_var="_AUDIO_EXTRACT_COMPLETE", shell=shell.value
        )
    )

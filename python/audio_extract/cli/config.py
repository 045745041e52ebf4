"""``audio-extract config init|show|schema|hash-password``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from audio_extract.cli.invocation import Invocation, command
from audio_extract.exceptions import ConfigurationError

app = typer.Typer(help="Write, show or describe the settings.", no_args_is_help=True)


@app.command()
@command
def init(
    invocation: Invocation,
    *,
    path: Annotated[Path, typer.Argument(help="The file to write; - prints it.", show_default=True)] = Path(
        "audio_extract_config.yaml"
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only print it.")] = False,
) -> None:
    """Write a settings file with every key explained."""
    from audio_extract.settings import example_text

    text = example_text()
    if dry_run or str(path) == "-":
        typer.echo(text, nl=False)
        return
    try:
        if path.is_file():
            invocation.confirm(f"{path} exists. Replace it?")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}; name another file", code="usage.invalid"
        ) from error
    typer.echo(str(path))
    invocation.say("next: set the folder and the bucket in it, then run: audio-extract check")


@app.command()
@command
def show(
    invocation: Invocation,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of YAML.")] = False,
) -> None:
    """Print the settings as they are in force, secrets masked."""
    from audio_extract.settings import masked_dict

    settings = invocation.settings()
    values = masked_dict(settings)
    if as_json:
        typer.echo(json.dumps(values, ensure_ascii=False))
        return
    import yaml

    invocation.say(f"from {settings.config_path or 'defaults and environment: no settings file was found'}")
    typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), nl=False)


@app.command("hash-password")
@command
def hash_password(
    invocation: Invocation,
    *,
    from_stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the password from stdin, up to the first line break.")
    ] = False,
) -> None:
    """Print the hash of a password, for security.password_hash or security.users. It is asked for, unseen."""
    import sys

    from audio_extract.web.access.passwords import LEAST_CHARACTERS, MOST_CHARACTERS, hash_of

    if from_stdin:
        try:
            password = sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ConfigurationError("the password on stdin is not UTF-8", code="usage.invalid") from None
    elif sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True)
    else:
        raise ConfigurationError(
            "there is no terminal to type a password on; give it with --stdin", code="usage.invalid"
        )
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise ConfigurationError(
            f"a password has {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters, not {len(password)}",
            code="usage.invalid",
        )
    typer.echo(hash_of(password))
    invocation.say(
        "for security.password_hash; in a compose file or a shell's double quotes, mind its $ signs"
    )


@app.command()
@command
def schema(invocation: Invocation) -> None:
    """Print the JSON schema of the settings file, for editors."""
    del invocation
    from audio_extract.settings import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))

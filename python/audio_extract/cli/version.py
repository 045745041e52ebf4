"""``audio-extract version``."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from typing import Annotated

import typer

from audio_extract.cli.invocation import Invocation, command


@command
def version(
    invocation: Invocation,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the versions of the program, its engine and what they run on."""
    from audio_extract import _engine

    facts = {
        "audio_extract": metadata.version("audio-extract"),
        "engine": _engine.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    if as_json:
        typer.echo(json.dumps(facts))
    elif invocation.verbosity > 0:
        for name, value in facts.items():
            typer.echo(f"{name} {value}")
    else:
        typer.echo(f"audio-extract {facts['audio_extract']}")

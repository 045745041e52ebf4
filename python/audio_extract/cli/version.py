"""``audio-extract version``."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from audio_extract.cli.invocation import Invocation, command
from audio_extract.exceptions import ConfigurationError


@command
def version(
    invocation: Invocation,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    licenses: Annotated[
        bool,
        typer.Option("--licenses", help="Print the licences of all that is inside."),
    ] = False,
) -> None:
    """Print the versions of the program, its engine and what they run on."""
    if licenses:
        typer.echo(_licenses())
    elif as_json:
        typer.echo(json.dumps(_facts()))
    elif invocation.verbosity > 0:
        for name, value in _facts().items():
            typer.echo(f"{name} {value}")
    else:
        typer.echo(f"audio-extract {metadata.version('audio-extract')}")


def _facts() -> dict[str, str | None]:
    from audio_extract import _engine
    from audio_extract.ffmpeg import find_ffmpeg
    from audio_extract.frozen import build_facts

    try:
        found = find_ffmpeg()
        ffmpeg: str | None = f"{found.version} ({found.origin}, {found.path})"
    except ConfigurationError:
        ffmpeg = None
    return {
        "audio_extract": metadata.version("audio-extract"),
        "engine": _engine.__version__,
        "ffmpeg": ffmpeg,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **build_facts(),
    }


def _licenses() -> str:
    folder = Path(__file__).parent.parent / "licenses"
    if not folder.is_dir():
        return "This audio-extract carries nothing else; it is itself under the Apache License 2.0."
    # Few lines about FFmpeg first, the long list of everything else last.
    files = sorted(
        folder.iterdir(),
        key=lambda path: (path.name == "THIRD-PARTY.txt", path.name != "SOURCE.md", path.name),
    )
    return "\n".join(f"──── {path.name}\n\n{path.read_text('utf-8')}" for path in files)

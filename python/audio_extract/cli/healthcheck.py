"""``audio-extract healthcheck``: asks the service of this machine whether it lives. For containers."""

from __future__ import annotations

import http.client

import typer

from audio_extract.cli import errors
from audio_extract.cli.invocation import Invocation, command

#: A probe answers within a second, whatever is down.
_SECONDS = 4.0


@command
def healthcheck(invocation: Invocation) -> None:
    """Ask the service on this machine whether it lives: exit code 0, or 1."""
    monitoring = invocation.settings().monitoring
    # Listening on every address includes this one.
    host = "127.0.0.1" if monitoring.health_host in {"0.0.0.0", "::"} else monitoring.health_host  # noqa: S104
    connection = http.client.HTTPConnection(host, monitoring.health_port, timeout=_SECONDS)
    try:
        connection.request("GET", "/live")
        answer = connection.getresponse()
        text = answer.read(10_000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        invocation.say(f"http://{host}:{monitoring.health_port}/live does not answer: {error}")
        raise typer.Exit(errors.EXIT_SOME_FAILED) from error
    finally:
        connection.close()
    typer.echo(text)
    if answer.status != http.client.OK:
        raise typer.Exit(errors.EXIT_SOME_FAILED)

"""``audio-extract run``: the service."""

from __future__ import annotations

from typing import Annotated

import typer

from audio_extract.cli.invocation import Invocation, command


@command
def run(
    invocation: Invocation,
    *,
    dashboard_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Overrides the settings.", show_default=False)
    ] = None,
    health_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Overrides the settings.", show_default=False)
    ] = None,
    dashboard: Annotated[bool, typer.Option(help="Serve the page.")] = True,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Run the service: discovery, workers, dashboard and probes. SIGTERM and Ctrl-C let it finish."""
    from audio_extract.cli.serving import serve

    monitoring = {
        "dashboard_port": dashboard_port,
        "health_port": health_port,
        "enable_dashboard": None if dashboard else False,
    }
    serve(invocation.settings({"monitoring": monitoring}), invocation, open_browser=open_browser)

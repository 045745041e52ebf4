"""``audio-extract worker``: only takes jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from audio_extract.cli.invocation import Invocation, command
from audio_extract.exceptions import ConfigurationError


@command
def worker(
    invocation: Invocation,
    *,
    health_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Overrides the settings.", show_default=False)
    ] = None,
) -> None:
    """Only take jobs, beside any number of other workers. SIGTERM and Ctrl-C let it finish."""
    from audio_extract.cli.serving import serve

    # The page is the service's; a worker shows only how it is.
    monitoring = {"health_port": health_port, "enable_dashboard": False}
    settings = invocation.settings({"monitoring": monitoring})
    if settings.execution.backend != "procrastinate":
        raise ConfigurationError(
            f"execution.backend is {settings.execution.backend}, so there are no jobs to take: "
            "`audio-extract run` transfers by itself; for workers set it to procrastinate",
            code="execution.no_queue",
        )
    serve(settings, invocation, only_take_jobs=True)

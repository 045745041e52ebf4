"""``audio-extract top``: the live view of the running service, in the terminal."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from audio_extract.cli.errors import print_error
from audio_extract.cli.invocation import Invocation, command
from audio_extract.exceptions import AudioExtractError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from audio_extract.cli.live_state import LiveFeed, LiveState
    from audio_extract.cli.service_client import ServiceClient

_KEYS: Final = " q quit · r retry failed "
_PIPED_WIDTH: Final = 200


@command
def top(
    invocation: Invocation,
    *,
    url: Annotated[
        str | None,
        typer.Option(help="Where its page is; else as the settings say.", show_default=False),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="AUDIO_EXTRACT_TOKEN",
            show_default=False,
            show_envvar=False,
            help="Lets in where one has to sign in; better in AUDIO_EXTRACT_TOKEN: ps shows this one.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print how it is now, and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Watch the running service: health, transfers, what failed, what is new."""
    from audio_extract.cli.live_state import LiveFeed, ask_once
    from audio_extract.cli.screen import has_screen, show_screen
    from audio_extract.cli.service_client import ServiceClient, address_of, token_of

    address = url
    if address is None:
        settings = invocation.settings()
        address, token = address_of(settings), token or token_of(settings)

    def connect() -> ServiceClient:
        return ServiceClient(address, token)

    client = connect()
    try:
        state = ask_once(client)
    except AudioExtractError as error:
        if error.code == "service.unreachable" and url is None:
            _show_database(invocation, as_json=as_json)
        raise
    finally:
        client.close()
    if as_json:
        typer.echo(json.dumps(state.json_values(), ensure_ascii=False))
        return
    if once or not has_screen():
        _print(state, client.url)
        return
    with LiveFeed(connect, state) as feed:
        desk = _Desk(feed, connect, client.url)
        show_screen(desk.draw, desk.on_key)


class _Desk:
    """What a person sees and asks for."""

    def __init__(self, feed: LiveFeed, connect: Callable[[], ServiceClient], title: str) -> None:
        self._feed = feed
        self._connect = connect
        self._title = title
        self._asked: int | None = None
        self._said = ""

    def draw(self) -> RenderableType:
        """Return the picture as it is now."""
        from audio_extract.cli.live_view import LiveView

        footer = _KEYS + (f"· {self._said} " if self._said else "")
        if self._asked is not None:
            failed = (
                "1 recording that failed" if self._asked == 1 else f"{self._asked:,} recordings that failed"
            )
            footer = f" Try {failed} again? y yes · n no "
        return LiveView(
            self._feed.state(), title=self._title, now=datetime.now(UTC), footer=footer, is_screen=True
        )

    def on_key(self, key: str) -> bool:
        """Do what a key stands for; returns whether it ends the command."""
        from audio_extract.cli.screen import GONE

        if key in {"q", "Q", GONE}:
            return True
        if self._asked is not None:
            if key in {"y", "Y"}:
                self._said = "asking for it…"
                threading.Thread(target=self._retry, name="retry", daemon=True).start()
            self._asked = None
        elif key in {"r", "R"}:
            stats = self._feed.state().stats
            failed = 0 if stats is None else stats.failed
            self._asked = failed or None
            self._said = "" if failed else "nothing failed"
        return False

    def _retry(self) -> None:
        client = self._connect()
        try:
            count = client.post("/api/retry", {"failed": True})["count"]
            self._said = f"{count} due now"
        except AudioExtractError as error:
            self._said = f"not done: {error.message}"
        finally:
            client.close()
        self._feed.refresh()


def _print(state: LiveState, title: str) -> None:
    from rich.console import Console

    from audio_extract.cli.live_view import LiveView

    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    with console.capture() as drawn:
        console.print(LiveView(state, title=title, now=datetime.now(UTC)))
    typer.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def _show_database(invocation: Invocation, *, as_json: bool) -> None:
    """Show what the database knows, where no service answers; if it can be read."""
    from audio_extract.cli.live_state import of_database
    from audio_extract.cli.recordings import open_tracker

    try:
        with open_tracker(invocation) as tracker:
            state, title = of_database(tracker), tracker.location
    except AudioExtractError as error:
        print_error(error)
        return
    if as_json:
        typer.echo(json.dumps(state.json_values(), ensure_ascii=False))
    else:
        _print(state, f"no service runs; this is what {title} knows")

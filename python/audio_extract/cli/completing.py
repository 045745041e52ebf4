"""What a shell offers for a word that is typed: recordings, states.

Shells carry what they get through ``eval``, globs and their own quoting, so ids and states are plain words,
and of a name only letters, digits, spaces and a few harmless signs are left.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer  # noqa: TC002 - Typer reads annotations when the program runs

from audio_extract.exceptions import AudioExtractError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from audio_extract.tracker.tracker import Tracker
    from audio_extract.tracker.values import RecordingRow

STATES: Final = ("discovered", "pending", "in_progress", "completed", "failed", "quarantined", "skipped")
_ROWS: Final = 50
_FILE: Final = "sqlite:///"
_HARMLESS: Final = frozenset(" .-_")


def states(incomplete: str) -> list[str]:
    """Return the states that begin with what is typed."""
    return [state for state in STATES if state.startswith(incomplete)]


def recordings(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the newest recordings whose id begins with what is typed, and their names."""
    return _offered(context, incomplete, lambda tracker: tracker.listing(limit=_ROWS).rows)


def failed(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the same of those that failed."""
    return _offered(context, incomplete, lambda tracker: tracker.failed(limit=_ROWS).rows)


def _offered(
    context: typer.Context, incomplete: str, read: Callable[[Tracker], Iterable[RecordingRow]]
) -> list[tuple[str, str]]:
    # Whoever presses Tab gets offers or none, and no error in the middle of a line.
    with suppress(AudioExtractError, OSError):
        from audio_extract.settings import load_settings
        from audio_extract.tracker.tracker import Tracker

        config = context.params.get("config")
        settings = load_settings(None if config is None else Path(config))
        url = settings.database_url
        if url.startswith(_FILE) and not Path(url.removeprefix(_FILE)).exists():
            # Opening it would make it.
            return []
        with Tracker.open(settings, upgrade=False) as tracker:
            found = tracker.status()
            if found.revision is None or found.needs_upgrade:
                return []
            typed = set(context.params.get("recordings") or ())
            rows = [row for row in read(tracker) if row.id not in typed]
            return [(row.id, _plain(row.name)) for row in rows if row.id.startswith(incomplete)]
    return []


def _plain(name: str) -> str:
    words = "".join(one if one.isalnum() or one in _HARMLESS else " " for one in name)
    return " ".join(words.split())

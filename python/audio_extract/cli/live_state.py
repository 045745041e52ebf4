"""What a running service says of itself, kept fresh in the background for ``top``."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import BaseModel, ValidationError

from audio_extract.exceptions import AudioExtractError, ConfigurationError
from audio_extract.web import schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from audio_extract.cli.service_client import ServiceClient
    from audio_extract.tracker.tracker import Tracker

_ROWS: Final = 50
#: Part → where it is asked for, and its type.
_PARTS: Final[dict[str, tuple[str, type[BaseModel]]]] = {
    "health": ("/api/health", schemas.Health),
    "active": ("/api/active", schemas.ActiveTransfers),
    "stats": ("/api/stats", schemas.Stats),
    "failed": (f"/api/failed?limit={_ROWS}", schemas.Recordings),
    "recent": (f"/api/recent?days=365&limit={_ROWS}", schemas.Recordings),
}
#: Parts that are asked one after another, and how often. Apart from each other: what the database is asked
#: for may hang, and what runs and how all is must be told nevertheless.
_LANES: Final = ((("health", "active"), 1.0), (("stats", "failed", "recent"), 2.0))


@dataclass(frozen=True, slots=True)
class LiveState:
    """What is known.

    Attributes:
        health: How the service is; None: not known.
        active: Transfers that run now.
        stats: How much there is; None: not known.
        failed: The newest that failed.
        recent: The newest that were stored, or change in another way.
        problems: Part → why it could not be asked for the last time; what is known of it is older then.
    """

    health: schemas.Health | None = None
    active: schemas.ActiveTransfers = field(default_factory=lambda: schemas.ActiveTransfers([]))
    stats: schemas.Stats | None = None
    failed: schemas.Recordings = field(default_factory=lambda: schemas.Recordings([]))
    recent: schemas.Recordings = field(default_factory=lambda: schemas.Recordings([]))
    problems: dict[str, AudioExtractError] = field(default_factory=dict)

    def json_values(self) -> dict[str, Any]:
        """Return it as JSON values, in the shapes of the API."""
        values: dict[str, Any] = {}
        for part in _PARTS:
            value: BaseModel | None = getattr(self, part)
            values[part] = None if value is None else value.model_dump(mode="json")
        values["problems"] = {part: error.message for part, error in self.problems.items()}
        return values


def ask_once(client: ServiceClient) -> LiveState:
    """Ask for everything, once.

    Raises:
        AudioExtractError: Nobody answers, or answers who asks. What only one part does not answer is in
            ``problems``.
    """
    values: dict[str, Any] = {"health": _part(client, "health")}
    problems = {}
    for part in _PARTS:
        if part != "health":
            try:
                values[part] = _part(client, part)
            except AudioExtractError as error:
                problems[part] = error
    return LiveState(**values, problems=problems)


def of_database(tracker: Tracker) -> LiveState:
    """Return what the database knows, while no service runs."""
    from audio_extract.web.view import row_json, success_rate

    def rows(found: Iterable[Any]) -> schemas.Recordings:
        # No page serves the audio now.
        values = [{**row_json(row, ""), "storage_url": None} for row in found]
        return schemas.Recordings([schemas.Recording.model_validate(value) for value in values])

    stats = tracker.stats()
    return LiveState(
        stats=schemas.Stats(**asdict(stats), success_rate=success_rate(stats)),
        failed=rows(tracker.failed(limit=_ROWS).rows),
        recent=rows(tracker.listing(limit=_ROWS).rows),
    )


class LiveFeed:
    """Asks again and again while the block runs.

    Args:
        connect: Makes a client; each thread has its own.
        first: What is known at the beginning.
    """

    def __init__(self, connect: Callable[[], ServiceClient], first: LiveState) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._values: dict[str, Any] = {part: getattr(first, part) for part in _PARTS}
        self._problems = dict(first.problems)
        self._stop = threading.Event()
        self._wake = [threading.Event() for _ in _LANES]

    def __enter__(self) -> Self:
        for lane, (parts, seconds) in enumerate(_LANES):
            # Daemons: a question that hangs must not keep the program from ending.
            threading.Thread(
                target=self._loop, args=(lane, parts, seconds), name=f"live-{lane}", daemon=True
            ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.refresh()

    def state(self) -> LiveState:
        """Return what is known now."""
        with self._lock:
            return LiveState(**self._values, problems=dict(self._problems))

    def refresh(self) -> None:
        """Ask at once, and not when it is time."""
        for event in self._wake:
            event.set()

    def _loop(self, lane: int, parts: tuple[str, ...], seconds: float) -> None:
        client = self._connect()
        try:
            while not self._stop.is_set():
                self._wake[lane].clear()
                for part in parts:
                    self._look(client, part)
                self._wake[lane].wait(seconds)
        finally:
            client.close()

    def _look(self, client: ServiceClient, part: str) -> None:
        try:
            value = _part(client, part)
        except AudioExtractError as error:
            with self._lock:
                self._problems[part] = error
            return
        with self._lock:
            self._values[part] = value
            self._problems.pop(part, None)


def _part(client: ServiceClient, part: str) -> Any:
    path, kind = _PARTS[part]
    try:
        return kind.model_validate(client.get(path))
    except ValidationError as error:
        message = (
            f"what {client.url}{path} answers is not what this version of audio-extract expects; "
            "use the `audio-extract` that the service runs from"
        )
        raise ConfigurationError(message, code="service.not_ours") from error

"""One look at a source: what it says is recorded, then how far it was read.

Owns the order of things: the cursor is kept only after the recordings are, so that a crash in between leads
to looking twice and never to missing something. When to look is decided by ``jobs``.
"""

from __future__ import annotations

import dataclasses
import logging
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from audio_extract.exceptions import AudioExtractError, NotFoundError, PermissionDeniedError, TransientError
from audio_extract.plan.selection import Skipped, select
from audio_extract.tracker.states import State
from audio_extract.tracker.values import SyncRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from audio_extract.settings import Settings
    from audio_extract.sources.base import Recording, Source
    from audio_extract.tracker import Tracker

_PAGE = 500

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryResult:
    """What one look at a source found.

    Attributes:
        source: ``drive`` or ``local``.
        kind: ``incremental``: what changed since the last look; ``full``: everything.
        seen: Recordings that the source named.
        new: Of these, seen for the first time.
        changed: Known with another revision.
        skipped: Not wanted by the selection rules, as decided now.
        skipped_reasons: Of all that were seen, how many are not wanted for which reason.
        waiting: Not whole yet; looked at again the next time.
        removed: Marked as gone.
        refused: Ids too long to record.
        problems: Folders that could not be looked at; nothing was marked as gone, and the next look begins
            where this one did.
    """

    source: str
    kind: Literal["incremental", "full"]
    seen: int
    new: int
    changed: int
    skipped: int
    skipped_reasons: dict[str, int]
    waiting: int
    removed: int
    refused: tuple[str, ...] = ()
    problems: tuple[AudioExtractError, ...] = ()


def cursor_name(source: str) -> str:
    """The name under which the tracker keeps how far a source was read."""
    return f"discovery:{source}"


def reconciled_name(source: str) -> str:
    """The name under which the tracker keeps when a source was compared as a whole."""
    return f"reconciled:{source}"


def discover(
    source: Source,
    tracker: Tracker,
    settings: Settings,
    now: datetime,
    *,
    full: bool = False,
    timed: Callable[[str], AbstractContextManager[object]] = nullcontext,
    trace_id: str | None = None,
) -> DiscoveryResult:
    """Look at a source and record what it says.

    Args:
        source: Where to look.
        tracker: Where to record.
        settings: The selection rules.
        now: With time zone.
        full: Look at everything and compare, instead of only at what changed (reconcile). That is done
            by itself when the last time is ``behavior.reconcile_hours`` ago.
        timed: Times a part by its name.
        trace_id: The look's trace; transfers of what it finds are linked to it.

    Raises:
        AudioExtractError: The source cannot be read; nothing was recorded, and the cursor stands as before.
    """
    name = cursor_name(source.name)
    known = _Known(tracker, source.name)
    cursor = tracker.get_cursor(name)
    is_due = _is_reconcile_due(source, tracker, settings, now)
    try:
        changes = source.changes(cursor, reconcile=full or is_due, before_listing=known.load)
    except TransientError as error:
        if full or not is_due or error.code != "source.incomplete_listing":
            raise
        # What is new is not held up by a listing that Drive cannot make.
        _log.warning(
            "comparing everything is put off: %s",
            error,
            extra={"event": "discovery.full_put_off", "source": source.name, "code": error.code},
        )
        changes = source.changes(cursor, before_listing=known.load)
    found = {recording.source_id: recording for recording in changes.recordings}
    removed = list(changes.removed)
    if not changes.full:
        _look_again(source, tracker, found, removed)
    elif not changes.kept and not changes.problems:
        unseen = known.below(changes.unseen)
        removed += [one for one in known.ids if one not in found and one not in unseen]
    rules = _Rules(settings, now, first=changes.first, known_ids=lambda: known.ids)
    with timed("plan"):
        decisions = {source_id: rules.decide(recording) for source_id, recording in found.items()}
    recorded = tracker.record(
        found.values(),
        now,
        unwanted=lambda item: decisions[item.source_id],
        new_revisions=settings.behavior.new_revisions,
    )
    for source_id in recorded.refused:
        _log.warning(
            "%s… cannot be recorded: its path is too long. Move or rename it.",
            source_id[:80],
            extra={"event": "recording.unusable_name", "source": source.name},
        )
    result = DiscoveryResult(
        source=source.name,
        kind="full" if changes.full else "incremental",
        seen=len(found),
        new=recorded.new,
        changed=recorded.changed,
        skipped=recorded.skipped,
        skipped_reasons=_counts(one for one in decisions.values() if one is not None and not one.later),
        waiting=sum(one is not None and one.later for one in decisions.values()),
        removed=tracker.remove(source.name, removed, now),
        refused=recorded.refused,
        problems=changes.problems,
    )
    tracker.add_sync(
        SyncRun(
            source=source.name,
            kind=result.kind,
            started_at=now,
            ended_at=now,
            seen=result.seen,
            new=result.new,
            changed=result.changed,
            skipped=result.skipped,
            removed=result.removed,
            trace_id=trace_id,
        )
    )
    if not changes.problems:
        if changes.full and not changes.kept:
            tracker.set_cursor(reconciled_name(source.name), now.isoformat(), now)
        tracker.set_cursor(name, changes.cursor, now)
    return result


def _is_reconcile_due(source: Source, tracker: Tracker, settings: Settings, now: datetime) -> bool:
    """Whether it is time to compare everything. The database knows, so that no restart puts it off."""
    last = tracker.get_cursor(reconciled_name(source.name))
    hours = settings.behavior.reconcile_hours
    return last is None or now - datetime.fromisoformat(last) >= timedelta(hours=hours)


class _Known:
    """What the tracker knows of a source, asked for only where it matters."""

    def __init__(self, tracker: Tracker, source: str) -> None:
        self._tracker = tracker
        self._source = source

    @cached_property
    def ids(self) -> set[str]:
        """All but those that are gone."""
        return self._tracker.known_ids(self._source)

    def load(self) -> None:
        """Ask now: what others record from here on is not known."""
        self.__dict__.pop("ids", None)
        _ = self.ids

    def below(self, unseen: frozenset[str]) -> set[str]:
        """Those in folders that could not be looked at, and such files themselves."""
        if not unseen:
            return set()
        inside = {one for one in self.ids if not unseen.isdisjoint((one, *map(str, PurePath(one).parents)))}
        return inside | self._tracker.known_ids(self._source, folders=unseen)


class _Rules:
    """The selection rules for what a source just said."""

    def __init__(
        self, settings: Settings, now: datetime, *, first: bool, known_ids: Callable[[], set[str]]
    ) -> None:
        self._settings = settings
        self._now = now
        self._first = first
        self._known_ids = known_ids

    def decide(self, recording: Recording) -> Skipped | None:
        """Why a recording is not wanted, or not yet; None: it is.

        Age counts when a folder is read for the first time. Later, what is old and new to us was moved there.
        (That what was wanted once stays so, however long a failure lasts, is the tracker's rule.)
        """
        decision = select(recording, self._settings, self._now)
        if isinstance(decision, Skipped) and decision.reason == "too_old" and not self._first:
            arrived = recording.source_id not in self._known_ids()
            decision = select(recording, self._settings, self._now, arrived=arrived)
        return decision if isinstance(decision, Skipped) else None


def _look_again(source: Source, tracker: Tracker, found: dict[str, Recording], removed: list[str]) -> None:
    """Ask about recordings that were not whole: that they are now is not always reported as a change."""
    for source_id, folder_id in list(_unfinished(tracker, source.name)):
        if source_id in found or source_id in removed:
            continue
        try:
            recording = source.get(source_id)
        except (NotFoundError, PermissionDeniedError):
            removed.append(source_id)
        except AudioExtractError as error:
            # One file that cannot be asked about must not hold up all others.
            _log.warning(
                "%s is asked about again the next time: %s",
                source_id,
                error,
                extra={"event": "discovery.recording_unseen", "source": source.name, "code": error.code},
            )
        else:
            found[source_id] = dataclasses.replace(recording, folder_id=folder_id or recording.folder_id)


def _unfinished(tracker: Tracker, source: str) -> Iterator[tuple[str, str | None]]:
    """Id and folder of recordings that were not whole when they were seen."""
    cursor: str | None = None
    while True:
        page = tracker.listing(states=(State.DISCOVERED,), limit=_PAGE, cursor=cursor)
        for row in page.rows:
            if row.source == source:
                yield row.source_id, row.metadata.get("folder_id")
        cursor = page.next_cursor
        if cursor is None:
            return


def _counts(skipped: Iterable[Skipped]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in skipped:
        counts[one.reason] = counts.get(one.reason, 0) + 1
    return counts

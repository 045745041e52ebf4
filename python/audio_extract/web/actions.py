"""What a person asks of the service, on a page or through the API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from audio_extract.settings.audio_sections import MOST_OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from datetime import timedelta

    from audio_extract.settings.audio_sections import Output
    from audio_extract.tracker.tracker import Tracker
    from audio_extract.tracker.values import RecordingRow
    from audio_extract.web.view import AudioLocation


@dataclass(frozen=True, slots=True)
class Link:
    """A link to stored audio.

    Attributes:
        path: Where this server gives it out, for whoever may look.
        url: Where it leads; None: this server gives it out itself.
        expires_at: Until when it works; None: it does not expire.
    """

    path: str
    url: str | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Actions:
    """Carries out what was asked; each change reaches the audit log with the name of who asked.

    Attributes:
        tracker: What is known of recordings.
        due_now: Tells the service that recordings became due.
        audio: Gives the place of a completed recording's audio, as on the page.
        link_lifetime: How long a link works that expires.
        configured: Names of the outputs that every recording gets.
        now: The clock.
    """

    tracker: Tracker
    due_now: Callable[[], None]
    audio: Callable[[RecordingRow, bool, str | None], AudioLocation | None]
    link_lifetime: timedelta
    configured: Collection[str] = ()
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def retry(self, ids: Iterable[str], actor: str) -> list[str]:
        """Make recordings due at once, with all their attempts; returns those that are.

        Unknown ones are left out, those in progress, and those that are stored.
        """
        return self._due(self.tracker.retry(ids, self.now(), actor=actor))

    def retry_failed(self, actor: str) -> list[str]:
        """Make every failed and quarantined recording due at once; returns their ids."""
        return self._due(self.tracker.retry_failed(self.now(), actor=actor))

    def reprocess(self, recording_id: str, actor: str, outputs: Iterable[Output] | None = None) -> bool:
        """Extract a recording again, also one that is stored; False while it is in progress.

        Args:
            recording_id: Which.
            actor: Who asks.
            outputs: What should be stored beside its audio too; None: as before.

        Raises:
            HTTPException: 422, with what it has already that is more than is made of one recording.
        """
        wanted = None
        if outputs is not None:
            outputs = list(outputs)
            names = {*self.configured, *(one.name for one in outputs)}
            if outputs:
                names |= self.tracker.wanted_outputs_of(recording_id)
            if len(names) > MOST_OUTPUTS:
                raise HTTPException(
                    422,
                    f"outputs: with those that it has already there would be {len(names)} beside the audio; "
                    f"at most {MOST_OUTPUTS} are made. An empty list takes back what was asked for",
                )
            # What a preset stands for is said key by key, so that it stays what was asked for.
            wanted = [
                {**one.model_dump(exclude_unset=True, exclude={"preset"}), "name": one.name}
                for one in outputs
            ]
        moved = self.tracker.retry([recording_id], self.now(), actor=actor, completed=True, outputs=wanted)
        return bool(self._due(moved))

    def clean_up(self, days: int, actor: str) -> int:
        """Delete details older than some days; returns how many rows."""
        return self.tracker.cleanup(days, self.now(), actor=actor)

    def fresh_link(self, storage_path: str) -> Link | None:
        """Make a new link to audio that is recorded as stored; None: nothing is, under this name.

        Raises:
            AudioExtractError: Nothing can sign a link now.
        """
        row = self.tracker.stored_as(storage_path)
        location = None if row is None else self.audio(row, False, storage_path)
        if row is None or location is None:
            return None
        path = f"recordings/{row.id}/audio"
        if storage_path != row.storage_path:
            outputs = self.tracker.outputs_of(row.id)
            name = next((one.name for one in outputs if one.object_name == storage_path), "")
            path = f"recordings/{row.id}/outputs/{name}"
        expires = location.url is not None and "X-Goog-Expires=" in location.url
        return Link(path, location.url, self.now() + self.link_lifetime if expires else None)

    def _due(self, moved: list[str]) -> list[str]:
        if moved:
            self.due_now()
        return moved

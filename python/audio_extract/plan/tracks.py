"""Which of a recording's sound tracks are meant. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from audio_extract.exceptions import MediaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audio_extract.engine_types import ProbeTrack

#: Every track by itself, and all of them in one; everything else that is no number is a language.
ALL: Final = "all"
MIX: Final = "mix"


@dataclass(frozen=True, slots=True)
class Chosen:
    """One sound to be made.

    Attributes:
        index: The track, from 0.
        mixed: So many tracks are made one; 0: none are.
    """

    index: int
    mixed: int = 0


def chosen(wanted: int | str, tracks: Sequence[ProbeTrack], name: str) -> list[Chosen]:
    """Return which tracks are meant; of several the first is the main one.

    Args:
        wanted: A number, a language such as ``eng``, ``all`` or ``mix``.
        tracks: What is there; need not be known for a number.
        name: The recording's, for messages.

    Raises:
        MediaError: There is no such track.
    """
    if isinstance(wanted, int):
        return [Chosen(wanted)]
    if not tracks:
        raise MediaError(f"{name} has no audio track", code="media.no_audio")
    if wanted == ALL:
        return [Chosen(track["index"]) for track in tracks]
    if wanted == MIX:
        return [Chosen(0, mixed=len(tracks) if len(tracks) > 1 else 0)]
    for track in tracks:
        if (track["language"] or "").lower() == wanted:
            return [Chosen(track["index"])]
    there = ", ".join(track["language"] or "none" for track in tracks)
    raise MediaError(
        f"{name} has no audio track in the language {wanted}; the languages of its tracks are: {there}",
        code="media.track_not_found",
    )

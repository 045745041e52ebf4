"""What one recording is made into: the settings and what a person asked for, in terms of this recording.

A track may be named by its language, and what a copy becomes depends on the sound that is there: only where
one of these is asked for, the recording's index is read before the transfer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audio_extract import plan
from audio_extract.exceptions import MediaError
from audio_extract.settings.audio_sections import AudioFormat, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from audio_extract.engine_types import Audio, ProbeTrack, Tags
    from audio_extract.normalization import Loudness
    from audio_extract.settings import Settings


@dataclass(frozen=True, slots=True)
class WantedSound:
    """One output of one recording.

    Attributes:
        name: What it is called; empty: the audio itself.
        format: What it is.
        plan_id: Which output that is, for the object's metadata.
        extension: Of its name.
        track: Which track of this recording.
    """

    name: str
    format: AudioFormat
    plan_id: str
    extension: str
    track: int

    def request(self, tags: Tags, loudness: Loudness) -> Audio:
        """Return it in the engine's words.

        Args:
            tags: What the file says of itself.
            loudness: What makes it as loud as wanted.
        """
        audio = plan.audio_request(self.format, self.track, tags)
        if "gain_db" in loudness:
            audio["gain_db"] = loudness["gain_db"]
        if "loudness_lufs" in loudness:
            audio["loudness_lufs"] = loudness["loudness_lufs"]
        return audio


def wanted_sounds(
    settings: Settings,
    more: Sequence[Mapping[str, Any]],
    tracks: Callable[[], Sequence[ProbeTrack]],
    *,
    name: str,
) -> list[WantedSound]:
    """Return the audio and then all other outputs of a recording.

    Args:
        settings: ``processing``.
        more: What a person asked for; one takes the place of a configured one of its name.
        tracks: Reads the recording's index; called only where that has to be known.
        name: The recording's, for messages.

    Raises:
        MediaError: There is no track in the wanted language.
    """
    outputs = {one.name: one for one in settings.processing.outputs}
    outputs.update((one.name, one) for one in map(Output.model_validate, more))
    formats: list[tuple[str, AudioFormat]] = [("", settings.processing.audio_format), *outputs.items()]
    known = None
    if any(one.codec == "copy" or isinstance(one.track, str) for _, one in formats):
        known = tracks()
    wanted = []
    for output, audio in formats:
        track = _track(audio.track, known or (), name)
        wanted.append(
            WantedSound(
                name=output,
                format=audio,
                plan_id=plan.format_id(audio) if output else plan.plan_id(settings),
                extension=_extension(audio, track, known or ()),
                track=track,
            )
        )
    return wanted


def _track(wanted: int | str, tracks: Sequence[ProbeTrack], name: str) -> int:
    if isinstance(wanted, int):
        return wanted
    for track in tracks:
        if (track["language"] or "").lower() == wanted:
            return track["index"]
    there = ", ".join(track["language"] or "none" for track in tracks) or "no tracks"
    raise MediaError(
        f"{name} has no audio track in the language {wanted}; the languages of its tracks are: {there}",
        code="media.track_not_found",
    )


def _extension(audio: AudioFormat, track: int, tracks: Sequence[ProbeTrack]) -> str:
    if audio.codec != "copy":
        return plan.EXTENSIONS[audio.codec]
    # Without such a track any name will do: the transfer says what is wrong.
    return tracks[track]["copy_extension"] if track < len(tracks) else "m4a"

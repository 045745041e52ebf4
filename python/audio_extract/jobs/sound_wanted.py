"""What one recording is made into: the settings and what a person asked for, in terms of this recording.

A track may be named by its language, and what a copy becomes depends on the sound that is there: only where
one of these is asked for, the recording's index is read before the transfer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pydantic import ValidationError

from audio_extract import plan
from audio_extract.exceptions import MediaError
from audio_extract.plan.tracks import Chosen, chosen
from audio_extract.settings.audio_sections import MOST_OUTPUTS, AudioFormat, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from audio_extract.engine_types import Audio, ChunkRule, ProbeTrack, Tags
    from audio_extract.measuring import Shaping
    from audio_extract.settings import Settings


@dataclass(frozen=True, slots=True)
class WantedSound:
    """One output of one recording.

    Attributes:
        name: What it is called; empty: the audio itself.
        format: What it is.
        plan_id: Which output that is, for the object's metadata.
        extension: Of its name.
        track: Which track of this recording, or all of them mixed.
        rule: How it is cut into chunks; None: not at all.
    """

    name: str
    format: AudioFormat
    plan_id: str
    extension: str
    track: Chosen
    rule: ChunkRule | None

    @property
    def needs_silence(self) -> bool:
        """Whether it is cut where there is silence."""
        return self.rule is not None and self.rule["silence"] is not None

    def request(self, tags: Tags, shaping: Shaping) -> Audio:
        """Return it in the engine's words.

        Args:
            tags: What the file says of itself.
            shaping: What makes it as loud and as long as wanted.
        """
        return cast("Audio", {**plan.audio_request(self.format, self.track, tags), **shaping})


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
        MediaError: There is no track in the wanted language, these are more files than are made of one
            recording, or silence is looked for in a sound that is not listened to.
    """
    outputs = {one.name: one for one in settings.processing.outputs}
    try:
        outputs.update((one.name, one) for one in map(Output.model_validate, more))
    except ValidationError as error:
        raise MediaError(
            f"{name}: what was asked for beside its audio is not possible: {error}",
            code="media.outputs_impossible",
        ) from error
    formats: list[tuple[str, AudioFormat]] = [("", settings.processing.audio_format), *outputs.items()]
    known: Sequence[ProbeTrack] = ()
    if any(one.codec == "copy" or isinstance(one.track, str) for _, one in formats):
        known = tracks()
    wanted: list[WantedSound] = []
    for output, audio in formats:
        for number, track in enumerate(chosen(audio.track, known, name)):
            # Of every track: the first under the output's own name, the others beside it.
            called = output if number == 0 else f"{output}-track-{number}".lstrip("-")
            # processing.chunks are of the audio, not of its other tracks.
            cuts = (
                audio.chunks if isinstance(audio, Output) else None if called else settings.processing.chunks
            )
            rule = None if cuts is None else plan.chunk_rule(settings, cuts)
            of_one = audio if number == 0 else audio.model_copy(update={"track": track.index})
            wanted.append(
                WantedSound(
                    name=called,
                    format=audio,
                    plan_id=plan.format_id(settings, of_one, rule) if called else plan.plan_id(settings),
                    extension=_extension(audio, track, known),
                    track=track,
                    rule=rule,
                )
            )
    if len(wanted) > MOST_OUTPUTS + 1:
        raise MediaError(
            f"{name} has {len(known)} audio tracks, of which {len(wanted)} files would be made; at most "
            f"{MOST_OUTPUTS + 1} are. Choose tracks in processing.outputs, or track: mix.",
            code="media.outputs_impossible",
        )
    for one in wanted[1:]:
        _refuse_other_silence(wanted[0], one, name)
    return wanted


def _refuse_other_silence(audio: WantedSound, one: WantedSound, name: str) -> None:
    """All that is cut at silence is cut where one sound is silent: it is listened to once."""
    is_other = one.track != audio.track or one.format.trim_silence != audio.format.trim_silence
    if one.needs_silence and is_other:
        raise MediaError(
            f"{name}: {one.name} cannot be cut at silence, which is looked for in the audio itself: that "
            "is of another track or trimmed otherwise. Leave out its chunks.at_silence, or give both the "
            "same track and trim_silence.",
            code="media.outputs_impossible",
        )


def _extension(audio: AudioFormat, track: Chosen, tracks: Sequence[ProbeTrack]) -> str:
    if audio.codec != "copy":
        return plan.EXTENSIONS[audio.codec]
    # Without such a track any name will do: the transfer says what is wrong.
    return tracks[track.index]["copy_extension"] if track.index < len(tracks) else "m4a"

"""What audio is made of a recording: ``processing.audio_format`` and each of ``processing.outputs``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator

from audio_extract.engine_types import Codec, Quality  # noqa: TC001 - pydantic reads them
from audio_extract.presets import PRESETS
from audio_extract.settings.base import Bitrate, Section, bits_per_second, key

if TYPE_CHECKING:
    from collections.abc import Sequence

#: ISO/IEC 11172-3 and 13818-3, and MPEG-2.5: sample rates and the constant bitrates (kbit/s) they have.
_MP3_BITRATES: Final = (
    (
        frozenset({32_000, 44_100, 48_000}),
        frozenset({32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}),
    ),
    (
        frozenset({16_000, 22_050, 24_000}),
        frozenset({8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}),
    ),
    (frozenset({8_000, 11_025, 12_000}), frozenset({8, 16, 24, 32, 40, 48, 56, 64})),
)
_AAC_RATES: Final = frozenset(
    {8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000}
)
_OPUS_RATES: Final = frozenset({8_000, 12_000, 16_000, 24_000, 48_000})


def _track(value: object) -> object:
    text = str(value).strip().lower()
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,2}|[a-z]{2,3}", text):
        raise ValueError("a track's number from 0 to 63, a language such as eng, all, or mix")
    if text.isdecimal():
        if int(text) > 63:
            raise ValueError("a track's number from 0 to 63, a language such as eng, all, or mix")
        return int(text)
    return text


#: The number of a track, or the language that the recording names it by.
Track = Annotated[int | str, BeforeValidator(_track, json_schema_input_type=int | str)]


class AudioFormat(Section):
    """What the audio is stored as."""

    codec: Codec = key("mp3", "mp3, aac, opus, flac, wav, or copy (the audio as it was recorded).")
    quality: Quality = key("standard", "Encoder effort: fast, standard or best.")
    bitrate: Bitrate = key("128k", "For mp3, aac and opus. aac and opus choose their own unless it is set.")
    sample_rate: int = key(
        44_100, "In Hz. opus and copy keep the recording's unless it is set.", ge=8_000, le=192_000
    )
    channels: int = key(1, "1 is mono, 2 is stereo. copy keeps the recording's.", ge=1, le=8)
    track: Track = key(
        0,
        "Which audio track of a recording that has several: its number from 0, its language as the recording"
        " names it (eng, deu), all (each in a file of its own), or mix (all in one).",
    )
    compression_level: int | None = key(
        None, "Overrides what quality means (FFmpeg's -compression_level).", ge=0, le=12
    )
    sample_bits: Literal[16, 24] | None = key(
        None, "Of flac; absent: as many as the recording's decoder gives (24 for AAC)."
    )
    normalize: float | None = key(
        None,
        "Loudness in LUFS (EBU R128), for example -16. A local recording is measured first and gets one gain,"
        " any other one a gain that follows the sound; no true peak is above -1 dBTP.",
        ge=-70,
        le=-5,
    )
    trim_silence: bool = key(
        False,
        "Leave out silence at the beginning and the end (processing.chunks.silence_threshold_db), but for 0.2"
        " seconds of it. The recording is read twice.",
    )

    @property
    def bitrate_bps(self) -> int | None:
        """Bits per second for the engine; None where the codec decides."""
        if self.codec in {"flac", "wav", "copy"}:
            return None
        if self.codec != "mp3" and "bitrate" not in self.model_fields_set:
            return None
        return bits_per_second(self.bitrate)

    @property
    def sample_rate_hz(self) -> int | None:
        """Sample rate for the engine; None keeps the recording's."""
        if self.codec == "copy" or (self.codec == "opus" and "sample_rate" not in self.model_fields_set):
            return None
        return self.sample_rate

    @property
    def channel_count(self) -> int | None:
        """Channels for the engine; None keeps the recording's."""
        return None if self.codec == "copy" else self.channels

    @model_validator(mode="after")
    def _meant(self) -> AudioFormat:
        if self.sample_bits is not None and self.codec != "flac":
            raise ValueError("sample_bits: only of flac; remove it or choose codec: flac")
        if self.codec == "copy":
            if self.normalize is not None:
                raise ValueError("normalize: a copy is as loud as it is; choose another codec")
            if self.trim_silence:
                raise ValueError("trim_silence: a copy is as long as it is; choose another codec")
            if self.track == "mix":
                raise ValueError("track: a copy is of one track; choose another codec, or all")
        return self

    @model_validator(mode="after")
    def _possible(self) -> AudioFormat:
        rate = self.sample_rate_hz
        if self.codec == "opus" and rate is not None and rate not in _OPUS_RATES:
            raise ValueError(
                "sample_rate: opus knows 8000, 12000, 16000, 24000 and 48000; remove it or choose one"
            )
        if self.codec == "opus" and self.bitrate_bps is not None:
            most = 256_000 * self.channels
            if not 6_000 <= self.bitrate_bps <= most:
                raise ValueError(f"bitrate: of this many channels opus knows 6k to {most // 1000}k")
        if self.codec == "aac" and rate not in _AAC_RATES:
            raise ValueError(
                f"sample_rate: aac knows {', '.join(str(number) for number in sorted(_AAC_RATES))}"
            )
        if self.codec == "mp3":
            kbit = bits_per_second(self.bitrate) / 1000
            known = next((bitrates for rates, bitrates in _MP3_BITRATES if rate in rates), None)
            if known is None:
                raise ValueError(
                    "sample_rate: mp3 knows 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100 and 48000"
                )
            if kbit not in known:
                choices = ", ".join(f"{number}k" for number in sorted(known))
                raise ValueError(f"bitrate: at this sample_rate mp3 knows {choices}")
            if self.channels > 2:
                raise ValueError("channels: mp3 has 1 or 2")
        return self


#: Engine's word → key of :class:`AudioFormat`.
_FORMAT_KEYS: Final = {
    "codec": "codec",
    "bitrate_bps": "bitrate",
    "sample_rate_hz": "sample_rate",
    "channels": "channels",
    "sample_bits": "sample_bits",
}


Preset = Literal["podcast", "speech", "speech-small", "archive"]


def _output_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
        raise ValueError("a name of up to 32 lower-case letters, digits and '-' between them")
    return name


OutputName = Annotated[str, AfterValidator(_output_name)]


class Cuts(Section):
    """Pieces of one output. There are none unless one of the first two keys is set."""

    duration_seconds: float | None = key(
        None, "How long a chunk should be, for example 900.", ge=1, le=86_400
    )
    max_size_mb: float | None = key(
        None, "Every chunk is smaller, for example 24 where a service takes 25 MB.", ge=0.3, le=4_000
    )
    overlap_seconds: float = key(
        0.0, "What of the end of a chunk comes again at the beginning of the next.", ge=0, le=60
    )
    at_silence: bool = key(
        False, "Cut in the silence nearest to the place, at most 30 seconds (a quarter of a chunk) away."
    )

    @property
    def are_wanted(self) -> bool:
        """Whether anything is cut."""
        return self.duration_seconds is not None or self.max_size_mb is not None

    def refuse(self, codec: Codec) -> None:
        """Refuse what cannot be cut so.

        Raises:
            ValueError: The codec has no places to cut at, or the overlap is too long.
        """
        if not self.are_wanted:
            return
        if codec not in {"mp3", "flac", "wav"}:
            raise ValueError(
                "chunks: only mp3, flac and wav can be cut without encoding them again; choose one as codec"
            )
        if self.duration_seconds is not None and self.overlap_seconds > self.duration_seconds / 2:
            raise ValueError("chunks.overlap_seconds: at most half of chunks.duration_seconds")


class Output(AudioFormat):
    """One more output of a recording: a preset, or a name and the keys of ``audio_format``."""

    name: OutputName = key(
        "",
        "What stands behind the audio's name, as in Weekly_…_audio_speech.flac; absent: the preset's or the"
        " codec's.",
    )
    preset: Preset | None = key(None, "podcast, speech, speech-small or archive.")
    chunks: Cuts = key(Cuts, "Pieces of this output, in a folder of its name.")

    @model_validator(mode="after")
    def _can_be_cut(self) -> Output:
        self.chunks.refuse(self.codec)
        return self

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"preset": given.strip()}
        if not isinstance(given, dict):
            return given
        preset = given.get("preset")
        made_of = PRESETS.get(preset) if isinstance(preset, str) else None
        if made_of is not None:
            twice = [name for name in _FORMAT_KEYS.values() if name in given]
            if twice:
                raise ValueError(f"preset: it says what {' and '.join(twice)} would; give one or the others")
            fixed = {_FORMAT_KEYS[word]: value for word, value in made_of.items()}
            given = {**fixed, **given}
        return {**given, "name": given.get("name") or preset or given.get("codec", "mp3")}


def _objects(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(
            'presets with commas between them, or in the environment JSON: [{"preset": "speech"}, …]'
        ) from None


#: A preset by its name, or an object.
OneOutput = Annotated[Output, BeforeValidator(lambda given: given, json_schema_input_type=Preset | Output)]
Outputs = Annotated[
    list[OneOutput], BeforeValidator(_objects, json_schema_input_type=str | list[Preset | Output])
]
#: With the audio itself the engine makes at most eight of one recording.
MOST_OUTPUTS: Final = 7


def refuse_outputs(outputs: Sequence[Output]) -> None:
    """Refuse outputs that cannot stand beside each other.

    Raises:
        ValueError: There are too many, or two have one name.
    """
    if len(outputs) > MOST_OUTPUTS:
        raise ValueError(
            f"outputs: there are {len(outputs)}; at most {MOST_OUTPUTS} are made beside the audio"
        )
    names = [one.name for one in outputs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"outputs: two are called {twice}; give one another name")

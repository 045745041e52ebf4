"""Sample recordings: what a folder of meeting recordings holds, good ones and bad ones.

Made with FFmpeg from a moving picture and speech-like sound; names and dates as Google Meet writes them. The
demo and the tests use the table :data:`SAMPLES`.

The picture comes with the package, because the FFmpeg of the executable makes none. It was made with::

    ffmpeg -f lavfi -i testsrc2=size=320x180:rate=25:duration=10 -c:v libx264 -preset veryslow -crf 40 \
        -pix_fmt yuv420p -g 50 -bf 0 meeting.mp4
    ffmpeg -f lavfi -i testsrc2=size=160x90:rate=5:duration=10 -c:v libvpx -b:v 60k -crf 50 meeting.webm
"""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from audio_extract.emulator.drive.item import guess_media_type
from audio_extract.emulator.speech import SAMPLE_RATE, speech
from audio_extract.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Shown again and again.
_PICTURES = Path(__file__).parent / "pictures"
#: For long recordings, H.264 where there is an encoder for it. The second column keeps them quick.
_VIDEO_ENCODERS = (
    ("libx264", ("-preset", "ultrafast", "-crf", "36", "-pix_fmt", "yuv420p", "-g", "50", "-bf", "0")),
    ("libopenh264", ("-pix_fmt", "yuv420p", "-g", "50")),
    ("mpeg4", ("-q:v", "6", "-g", "50")),
)
_LONG_BASE_SECONDS = 60.0
_AUDIO_BITS_PER_SECOND = 128_000


class SampleError(ConfigurationError):
    """FFmpeg cannot make the samples."""

    default_code = "ffmpeg.bad_options"


@dataclass(frozen=True)
class Sample:
    """One recording of the demo's folder.

    Attributes:
        key: Short name, also that of its file.
        title: What the meeting was; a code of the form ``abc-defg-hij`` where it had no name.
        suffix: Extension of the file.
        days_ago: Age in days.
        start: When it began, in UTC.
        error: Code of the error that its transfer must end with; None for a good one.
        description: What is special about it.
    """

    key: str
    title: str
    suffix: str
    days_ago: int
    start: time
    error: str | None
    description: str

    @property
    def mime_type(self) -> str:
        """What Drive says it is."""
        return guess_media_type(f"{self.key}.{self.suffix}")

    def name(self, created: datetime) -> str:
        """Its name in Drive, as Meet writes it."""
        if re.fullmatch(r"[a-z]{3}-[a-z]{4}-[a-z]{3}", self.title):
            return f"{self.title} ({created:%Y-%m-%d at %H:%M} GMT).{self.suffix}"
        return f"{self.title} - {created:%Y/%m/%d %H:%M} UTC - Recording.{self.suffix}"


_UNREADABLE = "media.unreadable"

SAMPLES: tuple[Sample, ...] = (
    Sample("moov_first", "Weekly Sync", "mp4", 1, time(9, 30), None, "index before the media"),
    Sample("moov_last", "Design Review", "mp4", 1, time(14, 5), None, "index behind the media"),
    Sample("fragmented", "hqx-knzr-vcm", "mp4", 2, time(8, 0), None, "fragmented MP4"),
    Sample("webm", "Customer Interview", "webm", 2, time(16, 45), None, "VP8 and Opus"),
    Sample("mkv", "Town Hall", "mkv", 3, time(10, 0), None, "Matroska"),
    Sample(
        "two_tracks", "Interpreted Session", "mp4", 3, time(13, 15), None, "two tracks, the first is taken"
    ),
    Sample("no_audio", "fzd-wqaa-tie", "mp4", 4, time(11, 20), "media.no_audio", "picture only"),
    Sample(
        "truncated", "Quarterly Numbers", "mp4", 4, time(15, 30), _UNREADABLE, "the media ends in the middle"
    ),
    Sample("no_index", "Retrospective", "mp4", 5, time(12, 0), _UNREADABLE, "ends before its index"),
    Sample("not_a_video", "Notes renamed", "mp4", 5, time(17, 10), _UNREADABLE, "text named as a video"),
    Sample("empty", "uvb-mkyo-rsa", "mp4", 6, time(9, 0), _UNREADABLE, "no byte in it"),
)


@dataclass(frozen=True)
class Recording:
    """A sample that was made.

    Attributes:
        sample: Its row of the table.
        path: The file.
        name: Its name in Drive.
        created_time: When Meet put it into Drive.
        seconds: Length of its sound; 0 for a bad one.
    """

    sample: Sample
    path: Path
    name: str
    created_time: datetime
    seconds: float


def generate(
    directory: Path,
    ffmpeg: Path | str,
    *,
    seconds: float = 6.0,
    now: datetime | None = None,
    keys: frozenset[str] | None = None,
) -> list[Recording]:
    """Make the sample recordings.

    Args:
        directory: Where the files go; made if it is not there.
        ffmpeg: The FFmpeg to make them with; it needs encoders of AAC and Opus.
        seconds: Length of each.
        now: Their dates lie some days before this; by default the present.
        keys: Only these.

    Raises:
        SampleError: FFmpeg failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    moment = now or datetime.now(UTC)
    with TemporaryDirectory(prefix="audio-extract-samples-") as scratch:
        studio = _Studio(Path(scratch), str(ffmpeg), seconds, _PICTURES / "meeting.mp4")
        wanted = [sample for sample in SAMPLES if keys is None or sample.key in keys]
        with ThreadPoolExecutor(max_workers=4) as pool:
            return list(pool.map(lambda sample: _make(sample, studio, directory, moment), wanted))


def generate_long(
    directory: Path,
    ffmpeg: Path | str,
    *,
    hours: float = 1.0,
    moov_first: bool = False,
    interleave_seconds: float | None = None,
    megabytes_per_hour: float = 400.0,
    size: tuple[int, int] = (1280, 720),
) -> Path:
    """Make one long recording: a minute of real interleaved samples, repeated by copying them.

    Args:
        directory: Where the file goes.
        ffmpeg: The FFmpeg to make it with; it needs an encoder of H.264 or MPEG-4.
        hours: Length.
        moov_first: Whether the index comes before the media; by default it comes behind it.
        interleave_seconds: Picture and sound take turns about so often, as in Meet's recordings; by default
            after every picture, as FFmpeg writes. Needs FFmpeg 7.1, which imageio-ffmpeg has, and leaves the
            index at the end.
        megabytes_per_hour: Size, reached by the picture's bit rate.
        size: Width and height of the picture.

    Raises:
        SampleError: FFmpeg failed, or is too old for ``interleave_seconds``.
        ValueError: ``interleave_seconds`` with ``moov_first``.
    """
    if moov_first and interleave_seconds is not None:
        raise ValueError("FFmpeg interleaves again when it puts the index first")
    directory.mkdir(parents=True, exist_ok=True)
    place = "first" if moov_first else "last"
    path = directory / f"long-{hours:g}h-moov-{place}.mp4"
    picture = int(megabytes_per_hour * 8_000_000 / 3600) - _AUDIO_BITS_PER_SECOND
    with TemporaryDirectory(prefix="audio-extract-samples-", dir=directory) as scratch:
        shown = Path(scratch) / "picture.mp4"
        _show(shown, str(ffmpeg), size, picture)
        studio = _Studio(Path(scratch), str(ffmpeg), _LONG_BASE_SECONDS, shown)
        base = Path(scratch) / "minute.mp4"
        studio.record(base, voices=[(1, 118.0)])
        loops = ["-stream_loop", "-1", "-i", str(base), "-t", str(hours * 3600)]
        flags = ["-movflags", "+faststart"] if moov_first else []
        if interleave_seconds is not None:
            # A fragment becomes one chunk of each track when FFmpeg makes a plain file of a fragmented one.
            microseconds = str(round(interleave_seconds * 1_000_000))
            flags = ["-movflags", "+hybrid_fragmented", "-frag_duration", microseconds]
        studio.run(*loops, "-map", "0", "-c", "copy", *flags, str(path))
    return path


def _make(sample: Sample, studio: _Studio, directory: Path, now: datetime) -> Recording:
    path = directory / f"{sample.key}.{sample.suffix}"
    _BUILDERS[sample.key](studio, path, SAMPLES.index(sample))
    day = now.astimezone(UTC).date() - timedelta(days=sample.days_ago)
    created = datetime.combine(day, sample.start, tzinfo=UTC)
    return Recording(sample, path, sample.name(created), created, 0.0 if sample.error else studio.seconds)


@cache
def _encoders(ffmpeg: str) -> frozenset[str]:
    """Names of the encoders an FFmpeg has."""
    done = subprocess.run(  # noqa: S603 - the FFmpeg that the caller chose
        [ffmpeg, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode != 0:
        raise SampleError(f"{ffmpeg} -encoders failed: {done.stderr.strip()[-500:]}")
    return frozenset(parts[1] for line in done.stdout.splitlines() if len(parts := line.split()) > 1)


def _run(ffmpeg: str, *arguments: str) -> None:
    command = [ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments]
    done = subprocess.run(  # noqa: S603 - the FFmpeg that the caller chose
        command, capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode != 0:
        raise SampleError(f"FFmpeg could not make a sample: {done.stderr.strip()[-1000:]}")


def _show(path: Path, ffmpeg: str, size: tuple[int, int], bits_per_second: int) -> None:
    """Make a moving picture without sound, of a minute and of exactly this bit rate."""
    available = _encoders(ffmpeg)
    encoder, options = next((row for row in _VIDEO_ENCODERS if row[0] in available), (None, ()))
    if encoder is None:
        names = ", ".join(name for name, _ in _VIDEO_ENCODERS)
        raise SampleError(
            f"{ffmpeg} has none of the video encoders {names}; a long recording needs a full FFmpeg: "
            "install one (apt-get install ffmpeg, brew install ffmpeg) and name it in "
            "AUDIO_EXTRACT__PROCESSING__FFMPEG__PATH"
        )
    bits = str(bits_per_second)
    rate = ["-b:v", bits, "-minrate", bits, "-maxrate", bits, "-bufsize", str(2 * bits_per_second)]
    if encoder == "libx264":
        rate += ["-x264-params", "nal-hrd=cbr"]
    source = f"testsrc2=size={size[0]}x{size[1]}:rate=25:duration={_LONG_BASE_SECONDS}"
    _run(ffmpeg, "-f", "lavfi", "-i", source, "-c:v", encoder, *options, *rate, "-an", str(path))


class _Studio:
    """Makes sound once, and recordings from it and a picture."""

    def __init__(self, scratch: Path, ffmpeg: str, seconds: float, picture: Path) -> None:
        self.seconds = seconds
        self._scratch = scratch
        self._ffmpeg = ffmpeg
        self._picture = picture

    @property
    def loop(self) -> list[str]:
        """Input arguments of the picture, again and again; the output has to be cut."""
        return ["-stream_loop", "-1", "-i", str(self._picture)]

    @property
    def cut(self) -> list[str]:
        """Output arguments for the wanted length."""
        return ["-t", str(self.seconds)]

    def run(self, *arguments: str) -> None:
        _run(self._ffmpeg, *arguments)

    def voice(self, seed: int, pitch: float) -> list[str]:
        """Input arguments of a voice, which is made once."""
        path = self._scratch / f"voice-{seed}.pcm"
        if not path.exists():
            path.write_bytes(speech(self.seconds, seed=seed, pitch=pitch))
        return ["-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", str(path)]

    def record(self, path: Path, *, voices: list[tuple[int, float]], options: tuple[str, ...] = ()) -> None:
        """Put picture and voices together."""
        inputs = self.loop
        maps = ["-map", "0:v"]
        for number, (seed, pitch) in enumerate(voices, start=1):
            inputs += self.voice(seed, pitch)
            maps += ["-map", f"{number}:a"]
        # The default coder takes four times as long.
        sound = ["-c:a", "aac", "-aac_coder", "fast", "-b:a", str(_AUDIO_BITS_PER_SECOND)]
        sound += ["-ar", "48000", "-ac", "2"]
        self.run(*inputs, *maps, "-c:v", "copy", *sound, *self.cut, *options, str(path))


def _plain(*options: str) -> Callable[[_Studio, Path, int], None]:
    def build(studio: _Studio, path: Path, number: int) -> None:
        studio.record(path, voices=[(number + 1, 105.0 + 12.0 * number)], options=options)

    return build


def _two_tracks(studio: _Studio, path: Path, number: int) -> None:
    languages = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu")
    studio.record(path, voices=[(number + 1, 118.0), (number + 101, 205.0)], options=languages)


def _webm(studio: _Studio, path: Path, number: int) -> None:
    picture = ["-stream_loop", "-1", "-i", str(_PICTURES / "meeting.webm")]
    arguments = [*picture, *studio.voice(number + 1, 190.0), "-map", "0:v", "-map", "1:a"]
    studio.run(*arguments, "-c:v", "copy", "-c:a", "libopus", "-b:a", "64k", *studio.cut, str(path))


def _no_audio(studio: _Studio, path: Path, _number: int) -> None:
    studio.run(*studio.loop, "-c", "copy", *studio.cut, str(path))


def _cut(*options: str) -> Callable[[_Studio, Path, int], None]:
    """Made whole, then cut off after 60 % of its bytes."""

    def build(studio: _Studio, path: Path, number: int) -> None:
        _plain(*options)(studio, path, number)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size * 6 // 10)

    return build


def _text(_studio: _Studio, path: Path, _number: int) -> None:
    path.write_text("Agenda\n\n1. Numbers\n2. Next steps\n" * 200, encoding="utf-8")


def _nothing(_studio: _Studio, path: Path, _number: int) -> None:
    path.write_bytes(b"")


_BUILDERS: dict[str, Callable[[_Studio, Path, int], None]] = {
    "moov_first": _plain("-movflags", "+faststart"),
    "moov_last": _plain(),
    "fragmented": _plain("-movflags", "frag_keyframe+empty_moov+default_base_moof"),
    "webm": _webm,
    "mkv": _plain(),
    "two_tracks": _two_tracks,
    "no_audio": _no_audio,
    "truncated": _cut("-movflags", "+faststart"),
    "no_index": _cut(),
    "not_a_video": _text,
    "empty": _nothing,
}

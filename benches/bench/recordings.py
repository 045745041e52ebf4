"""The recordings that are measured with: made once, kept in the account's cache folder."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import imageio_ffmpeg

from audio_extract.emulator.samples import generate_long

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "audio-extract-bench")


@dataclass(frozen=True)
class Recording:
    """A recording, or as many links to it as a folder has recordings.

    Attributes:
        count: None: one, whose Drive id is its name. Else a Drive folder of that name with so many in it.
    """

    name: str
    minutes: float
    moov_first: bool = True
    interleave_seconds: float | None = None
    megabytes_per_hour: float = 400.0
    size: tuple[int, int] = (1280, 720)
    count: int | None = None

    def short(self) -> Recording:
        """A small one of the kind, to try the bench itself."""
        minutes = self.minutes / 10 if self.minutes > 1 else self.minutes
        return replace(self, minutes=minutes, count=self.count and min(self.count, 20, self.count // 6 + 3))

    def make(self, ffmpeg: str) -> Path:
        """The file, made now if it is not in the cache."""
        kind = [f"{self.minutes:g}min", f"{self.size[1]}p", "first" if self.moov_first else "last"]
        if self.interleave_seconds is not None:
            kind.append(f"interleaved-{self.interleave_seconds:g}s")
            # A plain file of fragments needs FFmpeg 7.1.
            ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        path = CACHE / "recordings" / ("-".join(kind) + ".mp4")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            print(f"making {path.name} …", file=sys.stderr, flush=True)
            made = generate_long(
                path.parent / "making",
                ffmpeg,
                hours=self.minutes / 60,
                moov_first=self.moov_first and self.interleave_seconds is None,
                interleave_seconds=self.interleave_seconds,
                megabytes_per_hour=self.megabytes_per_hour,
                size=self.size,
            )
            made.rename(path)
            shutil.rmtree(path.parent / "making")
        return path

    def ids(self) -> list[str]:
        """The Drive ids the server gives them."""
        if self.count is None:
            return [self.name]
        return [f"{self.name}~meeting-{number:03}" for number in range(1, self.count + 1)]

    def link(self, folder: Path, ffmpeg: str) -> None:
        """Put it into the server's folder."""
        if self.count is not None:
            (folder / self.name).mkdir()
        path = self.make(ffmpeg) if self.ids() else folder
        for file_id in self.ids():
            (folder / file_id.replace("~", "/")).symlink_to(path)


HOUR = Recording("sixty-minutes", 60)
HOUR_LAST = Recording("hour-moov-last", 60, moov_first=False)
HOUR_1080P = Recording("hour-1080p", 60, megabytes_per_hour=900, size=(1920, 1080))
HOUR_INTERLEAVED = Recording("hour-interleaved", 60, moov_first=False, interleave_seconds=1)
TEN_HOURS = Recording("ten-hours", 600, moov_first=False)
SIX_MINUTES = Recording("six-minutes", 6, moov_first=False)
#: The same as a Drive folder, for `audio-extract once`.
ONE_HOUR = Recording("one-hour", 60, count=1)
THIRTY = Recording("thirty", 10, count=30)
HOURS = Recording("hours", 60, count=4)
HUNDRED = Recording("hundred", 0.5, count=100)
EMPTY = Recording("empty", 0.5, count=0)

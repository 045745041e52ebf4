"""Which sides take turns on which recordings, behind which network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench import recordings, sides
from bench.network import FAR, LOOPBACK, NARROW, NEAR, Network

if TYPE_CHECKING:
    from bench.recordings import Recording
    from bench.sides import Side


@dataclass(frozen=True)
class Scenario:
    """Sides that take turns: A B C, A B C ….

    Attributes:
        recordings: What the server has.
    """

    name: str
    network: Network
    recordings: tuple[Recording, ...]
    sides: tuple[Side, ...]


def _compared(name: str) -> tuple[Side, ...]:
    """This program and every peer, on one recording."""
    # FFmpeg cannot read an MP4 with its index at the end from a pipe.
    pipe = () if name == recordings.HOUR_LAST.name else (sides.pipe("pipe", name),)
    return (
        sides.extract("standard", name, *sides.MP3),
        sides.sequential("sequential", [name]),
        *pipe,
        sides.url("url", name),
    )


def _hour() -> Scenario:
    name = recordings.HOUR.name
    return Scenario(
        "hour",
        NEAR,
        (recordings.HOUR, recordings.ONE_HOUR),
        (
            *_compared(name),
            sides.extract("fast", name, *sides.MP3, "--quality", "fast"),
            sides.once(
                "level 3", recordings.ONE_HOUR.name, audio=sides.settings(level=sides.LAME_DEFAULT_LEVEL)
            ),
            sides.once("defaults", recordings.ONE_HOUR.name),
            sides.extract("copy", name, "--codec", "copy"),
            sides.sequential("sequential copy", [name], "-vn", "-c:a", "copy", suffix=".m4a"),
            # What each costs in parts, alone.
            sides.fetch("one GET", name, 1),
            sides.fetch("eight GETs", name, 8),
            sides.rclone_fetch("rclone cat", name),
            sides.ffmpeg("FFmpeg", name),
            sides.ffmpeg("FFmpeg level 5", name, *sides.LEVEL_5),
            sides.extract("idle", name, *sides.MP3, "--dry-run"),
        ),
    )


def _local() -> Scenario:
    name = recordings.HOUR.name
    return Scenario(
        "local",
        LOOPBACK,
        (recordings.HOUR,),
        (
            sides.extract_local("standard", name, *sides.MP3),
            sides.ffmpeg("FFmpeg", name),
            sides.ffmpeg("FFmpeg level 5", name, *sides.LEVEL_5),
        ),
    )


def _batch(thirty: Recording) -> Scenario:
    assert thirty.count is not None
    name, count = thirty.name, thirty.count
    ids = thirty.ids()
    return Scenario(
        "thirty",
        NEAR,
        (thirty, recordings.EMPTY),
        (
            sides.once("standard, 3 workers", name, count, workers=3, audio=sides.settings()),
            sides.sequential("sequential, 3 threads", ids, threads=3),
            sides.once("fast, 3 workers", name, count, workers=3, audio=sides.settings("fast")),
            sides.sequential("sequential", ids),
            sides.once("standard, 8 workers", name, count, workers=8, audio=sides.settings()),
            sides.once("idle", recordings.EMPTY.name, 0),
        ),
    )


def scenarios(*, short: bool) -> dict[str, Scenario]:
    """All of them by name; ``short``: with small recordings, to try the bench itself."""

    def sized(recording: Recording) -> Recording:
        return recording.short() if short else recording

    # Their sides have to know how many there are; the others only need a name.
    thirty, hours, hundred = (sized(one) for one in (recordings.THIRTY, recordings.HOURS, recordings.HUNDRED))
    ten_hours, interleaved = recordings.TEN_HOURS.name, recordings.HOUR_INTERLEAVED.name
    six_minutes = recordings.SIX_MINUTES.name
    copy = ("--codec", "copy", "--strategy")
    all_of_them = (
        _hour(),
        _local(),
        Scenario("moov-last", NEAR, (recordings.HOUR_LAST,), _compared(recordings.HOUR_LAST.name)),
        Scenario("1080p", NEAR, (recordings.HOUR_1080P,), _compared(recordings.HOUR_1080P.name)),
        Scenario("far", FAR, (recordings.HOUR,), _compared(recordings.HOUR.name)),
        Scenario("narrow", NARROW, (recordings.HOUR,), _compared(recordings.HOUR.name)),
        Scenario("loopback", LOOPBACK, (recordings.HOUR,), _compared(recordings.HOUR.name)),
        _batch(thirty),
        Scenario(
            "hours",
            NEAR,
            (hours,),
            (
                sides.once("standard", hours.name, hours.count or 1, audio=sides.settings()),
                sides.once("fast", hours.name, hours.count or 1, audio=sides.settings("fast")),
            ),
        ),
        Scenario(
            "hundred",
            LOOPBACK,
            (hundred,),
            (sides.once("standard", hundred.name, hundred.count or 1, workers=1, audio=sides.settings()),),
        ),
        Scenario(
            "4gb",
            NEAR,
            (recordings.TEN_HOURS, recordings.SIX_MINUTES),
            (
                sides.extract("fast", ten_hours, *sides.MP3, "--quality", "fast"),
                sides.extract("six minutes, fast", six_minutes, *sides.MP3, "--quality", "fast"),
                sides.extract("idle", ten_hours, *sides.MP3, "--dry-run"),
            ),
        ),
        Scenario(
            "interleaved",
            NARROW,
            (recordings.HOUR_INTERLEAVED,),
            (
                sides.extract("audio_only", interleaved, *copy, "audio_only"),
                sides.extract("whole", interleaved, *copy, "parallel"),
            ),
        ),
    )
    counted = {thirty, hours, hundred}
    return {
        one.name: replace(
            one, recordings=tuple(each if each in counted else sized(each) for each in one.recordings)
        )
        for one in all_of_them
    }

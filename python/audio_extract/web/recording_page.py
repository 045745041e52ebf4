"""What the page of one recording shows beside its row: facts in words, the stages of a transfer as bars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from audio_extract.presentation import duration, size
from audio_extract.sound import loudness_text, svg_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audio_extract.tracker.values import RecordingRow

#: The bars' drawing is so many units wide.
_WIDTH: Final = 1000
#: A stage that took next to no time can still be seen.
_LEAST: Final = 3


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage of a transfer: in words, and where its bar lies (of 1,000 units)."""

    name: str
    after: str
    took: str
    x: int
    width: int


def facts(row: RecordingRow) -> list[tuple[str, str]]:
    """Return what is known of a recording, named for people; what is not known is left out."""
    shown: list[tuple[str, str | None]] = [
        ("Source", row.source),
        ("Id in the source", row.source_id),
        ("Revision", row.revision),
        ("Recording's size", None if row.source_size_bytes is None else size(row.source_size_bytes)),
        ("Fetched of it", None if row.fetched_bytes is None else size(row.fetched_bytes)),
        ("Length", None if row.audio_seconds is None else duration(row.audio_seconds)),
        ("Audio's size", None if row.stored_size_bytes is None else size(row.stored_size_bytes)),
        ("Stored as", row.storage_path or row.object_name),
        ("Where", row.storage_url),
        ("CRC32C", row.crc32c),
        ("Generation", None if row.generation is None else str(row.generation)),
        ("Strategy", None if row.strategy is None else row.strategy.replace("_", " ")),
        ("Took", None if row.elapsed_seconds is None else took(row)),
        ("Attempts", str(row.attempts)),
        ("Processes that died over it", str(row.crashes) if row.crashes else None),
    ]
    return [(name, value) for name, value in shown if value]


def about(attempts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return what the recording says of itself, named for people."""
    reports = ((attempt.get("report") or {}).get("about") for attempt in reversed(attempts))
    found = next(filter(None, reports), None) or {}
    shown: list[tuple[str, str]] = []
    if found.get("title"):
        shown.append(("Title in the file", found["title"]))
    if found.get("created_unix_seconds") is not None:
        made = datetime.fromtimestamp(found["created_unix_seconds"], UTC)
        shown.append(("Made, as the file says", f"{made:%Y-%m-%d %H:%M} UTC"))
    if found.get("chapters"):
        words = [f"{duration(one['start_seconds'])} {one['title']}".strip() for one in found["chapters"]]
        shown.append(("Chapters", " · ".join(words)))
    return shown


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of a recording as a picture and in words.

    Attributes:
        pixels: Width of the picture.
        path: Around the waveform, 256 units high.
        facts: Named for people.
    """

    pixels: int
    path: str
    facts: list[tuple[str, str]]


def last_sound(attempts: Sequence[Mapping[str, Any]]) -> Sound | None:
    """Return what was measured on a recording's sound the last time; what only adopts measures nothing.

    Args:
        attempts: In order, each with the engine's report as the database keeps it.
    """
    sounds = ((attempt.get("report") or {}).get("sound") for attempt in reversed(attempts))
    sound = next(filter(None, sounds), None)
    if sound is None:
        return None
    pixels, path = svg_path(sound["waveform"])
    silence = sound["silence"]
    shown = [
        ("Loudness", loudness_text(sound["loudness"]) or "nothing is heard"),
        ("Silence", f"{duration(silence['total_seconds'])} of {duration(sound['seconds'])}"),
        ("Before the first sound", f"{silence['leading_seconds']:.1f} s"),
        ("After the last sound", f"{silence['trailing_seconds']:.1f} s"),
    ]
    return Sound(pixels, path, shown)


def stage_rows(report: Mapping[str, Any] | None) -> list[StageRow]:
    """Return the stages of a transfer in the order they began.

    Args:
        report: The engine's report as the database keeps it; None: there is none.
    """
    stages = sorted((report or {}).get("stages") or (), key=lambda stage: stage["start_unix_nanos"])
    if not stages:
        return []
    start = stages[0]["start_unix_nanos"]
    whole = max(1, max(stage["end_unix_nanos"] for stage in stages) - start)
    rows = []
    for stage in stages:
        after = stage["start_unix_nanos"] - start
        lasted = stage["end_unix_nanos"] - stage["start_unix_nanos"]
        width = max(_LEAST, lasted * _WIDTH // whole)
        x = min(_WIDTH - width, after * _WIDTH // whole)
        rows.append(StageRow(stage["name"], f"{after / 1e9:.2f} s", f"{lasted / 1e9:.2f} s", x, width))
    return rows


def took(row: RecordingRow | Mapping[str, Any]) -> str:
    """Return how long the last transfer of a recording, or one attempt of it, took: ``0.8 s``, ``12:03``."""
    if isinstance(row, dict):
        started, ended = row["started_at"], row["ended_at"]
        return "–" if ended is None else _seconds((ended - started).total_seconds())
    seconds = row.elapsed_seconds  # type: ignore[union-attr]
    return "–" if seconds is None else _seconds(seconds)


def _seconds(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 100 else duration(seconds)

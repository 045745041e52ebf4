"""The history as the page draws it: bars a day, in words for who cannot see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audio_extract.tracker.values import Day

_HEIGHT: Final = 100
#: Width of a day in the drawing's units, and of the gap after it.
_DAY: Final = 10
_GAP: Final = 2
#: What is there at all can be seen.
_LEAST: Final = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle, in units of the drawing."""

    kind: str
    title: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Chart:
    """One drawing."""

    title: str
    total: str
    summary: str
    width: int
    height: int
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class HistoryView:
    """What the page shows of the last days."""

    days: Sequence[Day]
    charts: list[Chart]


def history_view(days: Sequence[Day]) -> HistoryView | None:
    """Return the charts; None while nothing has ended on any of the days."""
    if not any(day.completed or day.failed for day in days):
        return None
    stored = sum(day.completed for day in days)
    failed = sum(day.failed for day in days)
    hours = sum(day.audio_seconds for day in days) / 3600
    return HistoryView(
        days,
        [
            _chart(days, "recordings stored", f"{stored}", _Value("completed", "{:.0f} stored", _completed)),
            _chart(days, "hours of audio", f"{hours:.1f}", _Value("hours", "{:.1f} h", _hours)),
            _chart(days, "failed attempts", f"{failed}", _Value("failed", "{:.0f} failed", _failed)),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Value:
    """What a chart shows of a day: the kind of its bars, how it is written, and the figure."""

    kind: str
    words: str
    of: Callable[[Day], float]


def _completed(day: Day) -> float:
    return day.completed


def _hours(day: Day) -> float:
    return day.audio_seconds / 3600


def _failed(day: Day) -> float:
    return day.failed


def _chart(days: Sequence[Day], title: str, total: str, value: _Value) -> Chart:
    highest = max(days, key=value.of)
    most = value.of(highest)
    bars = []
    for number, day in enumerate(days):
        if not value.of(day):
            continue
        height = max(_LEAST, round(value.of(day) / most * _HEIGHT))
        text = f"{day.day}: {value.words.format(value.of(day))}"
        bars.append(Bar(value.kind, text, number * _DAY, _HEIGHT - height, _DAY - _GAP, height))
    summary = f"{title} a day: {total} in {len(days)} days"
    if most:
        summary += f", most on {highest.day} ({value.words.format(most)})"
    return Chart(title, total, summary, len(days) * _DAY - _GAP, _HEIGHT, bars)

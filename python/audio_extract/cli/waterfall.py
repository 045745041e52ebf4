"""The stages of a transfer as bars on a common line of time, for ``extract --profile`` and ``trace show``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from audio_extract.presentation import one_line, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from audio_extract.engine_types import StageTiming

_WIDTH = 40
#: No name and no note is wider, so that nothing is folded when the output is a file.
_PIPED_WIDTH = 200


def print_waterfall(stages: Sequence[StageTiming], *, to_stderr: bool = False) -> None:
    """Print stages in the order they began, parts below what they belong to.

    Args:
        stages: Of the engine's report, or of a processing log.
        to_stderr: Keep stdout for results.
    """
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else _PIPED_WIDTH
    console: Console = Console(file=stream, width=width, highlight=False)
    console.print(_table(stages))


def _table(stages: Sequence[StageTiming]) -> Table:
    from rich.table import Table
    from rich.text import Text

    start = min(stage["start_unix_nanos"] for stage in stages)
    whole = max(1, max(stage["end_unix_nanos"] for stage in stages) - start)
    table = Table(box=None, pad_edge=False)
    for title, justify in (("stage", "left"), ("", "left"), ("from", "right"), ("took", "right")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("what", overflow="fold")
    for stage in _in_order(stages):
        after = stage["start_unix_nanos"] - start
        lasted = stage["end_unix_nanos"] - stage["start_unix_nanos"]
        is_part = _whole_of(stage, stages) is not None
        table.add_row(
            Text(("  " if is_part else "") + one_line(stage["name"])),
            Text(_bar(after, lasted, whole), style="dim" if is_part else "cyan"),
            f"{after / 1e9:.3f} s",
            f"{lasted / 1e9:.3f} s",
            Text(one_line(_notes(stage))),
        )
    table.add_row("all", "", "", f"{whole / 1e9:.3f} s", "")
    return table


def _whole_of(stage: StageTiming, stages: Sequence[StageTiming]) -> StageTiming | None:
    """Return the stage that a part such as ``upload.chunk`` belongs to."""
    name = stage["name"].rpartition(".")[0]
    begun = [
        one for one in stages if one["name"] == name and one["start_unix_nanos"] <= stage["start_unix_nanos"]
    ]
    return max(begun, key=lambda one: one["start_unix_nanos"], default=None)


def _in_order(stages: Sequence[StageTiming]) -> list[StageTiming]:
    def place(stage: StageTiming) -> tuple[int, int, int]:
        whole = _whole_of(stage, stages)
        head = stage if whole is None else whole
        return head["start_unix_nanos"], stages.index(head), 0 if whole is None else stage["start_unix_nanos"]

    return sorted(stages, key=place)


def _bar(after: int, lasted: int, whole: int) -> str:
    before = min(_WIDTH - 1, after * _WIDTH // whole)
    length = max(1, min(_WIDTH - before, round(lasted * _WIDTH / whole)))
    return " " * before + "━" * length


def _notes(stage: StageTiming) -> str:
    attributes = stage["attributes"]
    notes = []
    if isinstance(count := attributes.get("bytes"), int):
        notes.append(size(count))
    counted = ("requests", "encoders", "encoder", "segment")
    notes += [f"{name} {attributes[name]}" for name in counted if name in attributes]
    events: dict[str, int] = {}
    for event in stage["events"]:
        events[event["name"]] = events.get(event["name"], 0) + 1
    notes += [f"{name} ×{count}" if count > 1 else name for name, count in events.items()]
    return ", ".join(notes)

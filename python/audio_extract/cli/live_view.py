"""How ``top`` looks: health, what runs, what failed, what is new, in as many lines as there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from audio_extract.cli.errors import remedy_for
from audio_extract.presentation import duration, moment, one_line, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from audio_extract.cli.live_state import LiveState
    from audio_extract.web.schemas import Active, Component, Health, Recording, Stats

#: From this width on there is room for every column.
_WIDE: Final = 120
#: Rows of each list in a snapshot, which has no height.
_ROWS: Final = 10
_MARKS: Final = {"healthy": "🟢", "degraded": "🟡", "unhealthy": "🔴"}
_STYLES: Final = {"healthy": "green", "degraded": "yellow", "unhealthy": "bold red"}
_STATES: Final = {"completed": "green", "failed": "red", "quarantined": "red", "in_progress": "yellow"}


class LiveView:
    """One picture of the service.

    Args:
        state: What is known.
        title: Whose picture this is: the service's address, or the database.
        now: The time.
        footer: Keys, a question, or what was done.
        is_screen: Fill the height of the terminal; else as long as it gets.
    """

    def __init__(
        self, state: LiveState, *, title: str, now: datetime, footer: str = "", is_screen: bool = False
    ) -> None:
        self._state = state
        self._title = title
        self._now = now
        self._footer = footer
        self._is_screen = is_screen

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        wide = options.max_width >= _WIDE
        options = options.update(height=None)

        def lines(*parts: RenderableType) -> list[list[Segment]]:
            return console.render_lines(Group(*parts), options, pad=False)

        state = self._state
        failed, recent = state.failed.root, [row for row in state.recent.root if not _is_failed(row)]
        top = lines(*self._head(), *self._running(wide))
        if not self._is_screen:
            rest = lines(*_failures(failed[:_ROWS], state.stats, wide), *_newest(recent[:_ROWS], wide))
            yield from _joined([*top, *rest])
            return
        room = options.size.height - 1
        top = top[:room]
        # Two lines each, under a heading; half of what is left at most, so that news are seen too.
        most = max(0, (max(room - len(top), 0) // 2 - 2) // 2)
        if len(recent) + 4 < room - len(top) - 2 * len(failed):
            most = len(failed)
        shown = lines(*_failures(failed[:most], state.stats, wide))
        left = room - len(top) - len(shown) - 3
        body = [*top, *shown, *(lines(*_newest(recent[:left], wide)) if left > 0 else [])][:room]
        empty: list[Segment] = []
        body += [empty] * (room - len(body))
        # The last line has no line break behind it: it would push the first one out.
        footer = lines(Text(self._footer, style="reverse", no_wrap=True, overflow="ellipsis"))[:1]
        yield from _joined([*body, *footer], ends=False)

    def _head(self) -> Iterable[RenderableType]:
        grid = Table.grid(expand=True)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True)
        state = self._state
        title = Text.assemble(("audio-extract", "bold"), f"  {one_line(self._title)}")
        grid.add_row(title, Text(self._now.astimezone().strftime("%H:%M:%S"), style="dim"))
        yield grid
        asked = state.problems.get("health")
        if asked is not None:
            remedy = remedy_for(asked)
            yield Text(
                f"🔴 {_sentence(asked.message)} {_to_do(remedy)}What follows is older.", style="bold red"
            )
        elif state.health is not None:
            yield from _health(state.health)
        said = {error.message: None for part, error in state.problems.items() if part != "health"}
        if asked is None:
            for message in said:
                yield Text(f"🔴 {_sentence(message)} Lists and counts are older.", style="red")
        if state.stats is not None:
            yield _counts(state.stats)

    def _running(self, wide: bool) -> Iterable[RenderableType]:
        active = self._state.active.root
        if self._state.health is None and not active:
            return
        yield _heading(f"Running ({len(active)})" if active else "Running: nothing just now")
        yield from (_transfer(one, wide) for one in active)


def _health(health: Health) -> Iterable[RenderableType]:
    words = {"healthy": "everything works", "degraded": "works, with limits", "unhealthy": "does not work"}
    line = Text(f"{_MARKS[health.status]} {health.status}: {words[health.status]}", _STYLES[health.status])
    good = [name for name, part in health.components.items() if part.status == "healthy"]
    if good:
        line.append(f"   🟢 {', '.join(_component(name) for name in good)}", style="not bold default")
    yield line
    for name, part in health.components.items():
        if part.status != "healthy":
            yield _trouble(name, part)


def _trouble(name: str, part: Component) -> RenderableType:
    text = Text(f"{_MARKS[part.status]} ")
    text.append(f"{_component(name)} is {part.status}: ", style=_STYLES[part.status])
    text.append(f"{_sentence(part.message)} {part.meaning or ''} ".replace("  ", " "))
    text.append(_to_do(part.remedy), style="bold")
    return text


def _component(name: str) -> str:
    return one_line(name).replace("_", " ")


def _counts(stats: Stats) -> RenderableType:
    # Without "left": this line is read as one sentence.
    text = Text()
    text.append(f"{stats.completed:,} stored", style="green")
    text.append(f" · {stats.in_progress:,} running · {stats.pending:,} waiting · ")
    text.append(f"{stats.failed:,} failed", style="red" if stats.failed else "")
    if stats.skipped:
        text.append(f" · {stats.skipped:,} skipped")
    if stats.completed:
        bytes_text = f"{size(stats.source_bytes)} → {size(stats.stored_bytes)}"
        text.append(f" · {stats.audio_seconds / 3600:,.1f} h of audio · {bytes_text}")
    return text


def _heading(text: str) -> RenderableType:
    return Group(Text(), Text(text, style="bold underline"))


def _transfer(one: Active, wide: bool) -> RenderableType:
    bar = ProgressBar(total=1.0, completed=one.fraction or 0.0, width=20 if wide else 16)
    percent = "" if one.fraction is None else f"{one.fraction:.0%}"
    grid = Table.grid(expand=True, padding=(0, 1))
    if wide:
        _columns(grid, 1, 10, 20, 4, 48)
        grid.add_row(_name(one.name), one.stage, bar, percent, Text(one_line(one.text)))
        return grid
    _columns(grid, 1, 10)
    grid.add_row(_name(one.name), one.stage)
    under = Table.grid(padding=(0, 1))
    _columns(under, 16, 4, 0)
    under.add_row(bar, percent, Text(one_line(one.text)))
    return Group(grid, under)


def _columns(grid: Table, *widths: int) -> None:
    """Add columns: 1 takes what is left, 0 what it needs."""
    for width in widths:
        ratio = 1 if width == 1 else None
        grid.add_column(ratio=ratio, width=width if width > 1 else None, no_wrap=True, overflow="ellipsis")


def _failures(rows: Sequence[Recording], stats: Stats | None, wide: bool) -> Iterable[RenderableType]:
    if not rows:
        return
    number = max(len(rows), stats.failed if stats else 0)
    yield _heading(f"Failed ({number:,})")
    for row in rows:
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(_name(row.name), Text(_attempts(row, wide), style="red"))
        yield grid
        reason = (row.reason or row.error_message or row.state_reason or "").removeprefix(f"{row.name}: ")
        yield Text(f"  {_sentence(reason)}", style="dim", no_wrap=True, overflow="ellipsis")


def _attempts(row: Recording, wide: bool) -> str:
    words: list[str] = ["given up" if row.status == "quarantined" else row.status]
    if row.attempts:
        words.append(f"attempt {row.attempts}")
    if row.next_attempt_at is not None and row.status == "failed":
        words.append(f"again at {row.next_attempt_at.astimezone():%H:%M}")
    if wide:
        words.append(f"id {row.id}")
    return " · ".join(words)


def _newest(rows: Sequence[Recording], wide: bool) -> Iterable[RenderableType]:
    if not rows:
        return
    yield _heading("Newest")
    grid = Table.grid(expand=True, padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for _ in range(6 if wide else 3):
        grid.add_column(justify="right", no_wrap=True)
    for row in rows:
        at = row.processed_at or row.state_changed_at
        cells = [
            Text(row.status.replace("_", " "), style=_STATES.get(row.status, "")),
            Text(duration(row.audio_seconds)),
            Text(size(row.stored_size_bytes)),
        ]
        if wide:
            cells[2] = Text(f"{size(row.source_size_bytes)} → {size(row.stored_size_bytes)}")
            took = "–" if row.elapsed_seconds is None else f"took {duration(row.elapsed_seconds)}"
            cells += [Text(took), Text(one_line(row.strategy or "–")), Text(f"id {row.id}")]
        grid.add_row(Text(moment(at)), _name(row.name), *cells)
    yield grid


def _is_failed(row: Recording) -> bool:
    return row.status in {"failed", "quarantined"}


def _name(name: str) -> Text:
    return Text(one_line(name), no_wrap=True, overflow="ellipsis")


def _sentence(text: str) -> str:
    line = one_line(text).strip()
    return line[:1].upper() + line[1:] + ("" if not line or line.endswith((".", "!", "?", "…")) else ".")


def _to_do(remedy: str | None) -> str:
    return f"To do: {one_line(remedy)}. " if remedy else ""


def _joined(lines: Sequence[Sequence[Segment]], *, ends: bool = True) -> Iterable[Segment]:
    for number, line in enumerate(lines):
        if number:
            yield Segment.line()
        yield from line
    if ends:
        yield Segment.line()

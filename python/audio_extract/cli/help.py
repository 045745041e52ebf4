"""``--help`` in plain text, commands in groups.

Typer's rich help costs a third of a second of imports for its frames; plain text says the same at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Iterator


class CommandGroups(TyperGroup):
    """Lists commands under the headings they were registered with (``rich_help_panel``)."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self._visible(ctx):
            heading = getattr(command, "rich_help_panel", None) or "Commands"
            width = formatter.width - 14
            groups.setdefault(heading, []).append((name, command.get_short_help_str(width)))
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<10}", text) for name, text in rows])

    def _visible(self, ctx: Any) -> Iterator[tuple[str, Any]]:
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                yield name, command

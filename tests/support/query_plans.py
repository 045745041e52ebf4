"""How a database answers the tracker's questions: with an index, or by reading everything."""

from __future__ import annotations

import re
from collections.abc import Callable

from sqlalchemy import event

from audio_extract.tracker import Tracker

_TABLES = "(recordings|transfers|audit_log|sync_history)"
#: A whole table is read. (PostgreSQL; SQLite.)
_SCAN = re.compile(rf"Seq Scan on {_TABLES}|SCAN {_TABLES}(?! USING)")
#: Rows are sorted that no index gave in order; those of one moment (``Incremental Sort``) are few.
_SORT = re.compile(r"(?<!Incremental )Sort  \(|USE TEMP B-TREE FOR ORDER BY")
_STATEMENT = re.compile(r"\s*(SELECT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)


def plans(tracker: Tracker, ask: Callable[[], object]) -> list[str]:
    """Ask something, and say how the database finds what each statement of it needs."""
    statements: list[tuple[str, object]] = []
    engine = tracker._database.engine

    def keep(_c: object, _u: object, statement: str, parameters: object, *_rest: object) -> None:
        if _STATEMENT.match(statement):
            statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", keep)
    try:
        ask()
    finally:
        event.remove(engine, "before_cursor_execute", keep)
    prefix = "EXPLAIN QUERY PLAN " if tracker._database.file else "EXPLAIN "
    with tracker._database.read() as connection:
        return [
            "\n".join(
                " ".join(map(str, row))
                for row in [*connection.exec_driver_sql(prefix + statement, parameters)]  # type: ignore[arg-type]
            )
            for statement, parameters in statements
        ]


def slow_parts(tracker: Tracker, ask: Callable[[], object], *, may_sort: bool = False) -> list[str]:
    """Return the plans of a question that read a whole table, or sort it; empty when an index has it all.

    Args:
        tracker: The database.
        ask: The question.
        may_sort: It is about so few rows that putting them in order costs nothing, as are leases.
    """
    found = plans(tracker, ask)
    assert found, "nothing was asked"
    return [
        plan
        for plan in found
        if _SCAN.search(plan) or (_SORT.search(plan) and not may_sort and "ix_recordings_lease" not in plan)
    ]

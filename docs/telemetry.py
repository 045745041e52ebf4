"""Writes docs/telemetry.md from the code: what `/metrics` shows, what logs and spans are called.

Metrics are asked of the program. Log lines are read from the sources: each call of a logger names its event,
and `telemetry/vocabulary.py` says what that means; so do spans, whose names stand in the Rust engine too.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from audio_extract.telemetry.metrics import LABELS, Metrics
from audio_extract.telemetry.vocabulary import EVENTS, PLAIN_LINES, SPANS

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "audio_extract"
ENGINE = ROOT / "rust" / "core" / "src"
TARGET = Path(__file__).with_suffix(".md")

_LEVELS = {name: name.upper() for name in ("debug", "info", "warning", "error", "critical")}
_LEVELS |= {"exception": "ERROR", "log": ""}
_ORDER = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass
class Line:
    """What the sources say of one event's log lines."""

    levels: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


def log_lines(sources: dict[str, str]) -> tuple[dict[str, Line], list[str]]:
    """Return what is logged, by event, and the places where a line has none.

    Args:
        sources: Name of a file → its text.
    """
    found: dict[str, Line] = defaultdict(Line)
    unnamed = []
    trees = {name: ast.parse(text) for name, text in sources.items()}
    own = {name: _functions(tree) for name, tree in trees.items()}
    everywhere = {name: function for functions in own.values() for name, function in functions.items()}
    for name, tree in trees.items():
        # What a file does not define it imports.
        functions = {**everywhere, **own[name]}
        for node in ast.walk(tree):
            # One line is made by hand, where the log itself failed.
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "said.event":
                found[ast.literal_eval(node.value)].levels.add("WARNING")
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if ast.unparse(node.func.value) != "_log" or node.func.attr not in _LEVELS:
                continue
            keys = _extra(node, functions)
            if keys.get("event") is None:
                unnamed.append(f"{name}:{node.lineno}")
                continue
            line = found[str(keys.pop("event"))]
            line.levels |= {_LEVELS[node.func.attr]} - {""} or _levels_around(node, functions.values())
            line.keys |= set(keys)
    return dict(found), unnamed


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def _levels_around(call: ast.Call, functions: Iterable[ast.FunctionDef]) -> set[str]:
    """The levels that a function names which passes one on as a value."""
    around = next(one for one in functions if call in ast.walk(one))
    return {node.attr for node in ast.walk(around) if isinstance(node, ast.Attribute) and node.attr in _ORDER}


def _extra(call: ast.Call, functions: dict[str, ast.FunctionDef]) -> dict[str, str | None]:
    """Keys of a call's `extra`, with their values where those are written out."""
    given = next((word.value for word in call.keywords if word.arg == "extra"), None)
    return {} if given is None else dict(_entries(given, functions))


def _entries(node: ast.expr, functions: dict[str, ast.FunctionDef]) -> list[tuple[str, str | None]]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        returned = functions[node.func.id].body[-1]
        assert isinstance(returned, ast.Return)  # noqa: S101 - such a function is one line
        assert returned.value is not None  # noqa: S101
        return _entries(returned.value, functions)
    if not isinstance(node, ast.Dict):
        return []
    found: list[tuple[str, str | None]] = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            found += _entries(value, functions)
        elif isinstance(key, ast.Constant):
            found.append((str(key.value), value.value if isinstance(value, ast.Constant) else None))
    return found


def engine_names(sources: dict[str, str]) -> tuple[set[str], set[str]]:
    """Return the names of the engine's stages, and of what happens in them."""
    text = "\n".join(_without_tests(source) for source in sources.values())
    stages = set(re.findall(r'stages\.(?:begin|part)\("([^"]+)"\)', text))
    events = set(re.findall(r'stages\.event\(\s*[^,]+,\s*"([^"]+)"', text))
    return stages, events


def _without_tests(source: str) -> str:
    return source.partition("#[cfg(test)]")[0]


def python_spans(sources: dict[str, str]) -> set[str]:
    """Return the names of the spans that Python makes."""
    found = set()
    for text in sources.values():
        found |= set(re.findall(r'(?:\.span|\.stage|\btimed|start_span)\(\s*"([a-z.]+)"', text))
    return found


def sources_of(folder: Path, ending: str) -> dict[str, str]:
    """Return the text of each file, by its path below the project."""
    return {
        str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
        for file in sorted(folder.rglob(f"*{ending}"))
    }


def problems() -> list[str]:
    """Return where code and `telemetry/vocabulary.py` differ."""
    python, rust = sources_of(PACKAGE, ".py"), sources_of(ENGINE, ".rs")
    lines, unnamed = log_lines(python)
    stages, events = engine_names(rust)
    spans = python_spans(python) | stages
    described = {name for name, span in SPANS.items() if not span.is_call}
    told = {event for span in SPANS.values() for event in span.events}
    text = "\n".join((*python.values(), *map(_without_tests, rust.values())))
    attributes = {name for span in SPANS.values() for name in (*span.attributes, *span.events)}
    return [
        *(f"{place}: this log line names no event: extra={{'event': …}}" for place in unnamed),
        *(f"{name}: is logged, and not in EVENTS" for name in sorted(set(lines) - set(EVENTS))),
        *(f"{name}: is in EVENTS, and never logged" for name in sorted(set(EVENTS) - set(lines))),
        *(f"{name}: is a span, and not in SPANS" for name in sorted(spans - described)),
        *(f"{name}: is in SPANS, and no span" for name in sorted(described - spans)),
        *(f"{name}: happens in a span, and is not in SPANS" for name in sorted(events - told)),
        *(
            f"{name}: is in SPANS, and not in the code"
            for name in sorted(attributes)
            if f'"{name}"' not in text
        ),
    ]


def document() -> str:
    """Return the page."""
    return "\n".join((*_head(), *_metrics(), *_logs(), *_spans())) + "\n"


def _head() -> list[str]:
    return [
        "# Metrics, logs and spans",
        "",
        "Made from the code by `make docs`; do not edit it here. What to do when an alert fires:",
        "[runbook.md](runbook.md). The board: [deploy/grafana](../deploy/grafana).",
        "",
    ]


def _metrics() -> list[str]:
    rows = [
        f"| `{fact.name}` | {fact.kind} | {', '.join(f'`{label}`' for label in fact.labels) or '–'} "
        f"| {fact.scope} | {fact.text} |"
        for fact in sorted(Metrics().facts, key=lambda fact: fact.name)
    ]
    labels = [
        f"| `{label}` | {', '.join(f'`{value}`' for value in values)} |"
        for label, values in sorted(LABELS.items())
    ]
    return [
        "## Metrics",
        "",
        "`GET /metrics` on the health port and the dashboard's. OpenMetrics, when it is asked for, has",
        "exemplars: the trace id of one of the transfers that a number counts. The same through OTLP, under the",
        "same names, where `telemetry.otlp_metrics_endpoint`, `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` or",
        "`OTEL_METRICS_EXPORTER=otlp` asks for it.",
        "",
        "Scope *process*: each replica counts what it did; sum what it counted. Scope *service*: it is read from",
        "the database, and every replica says the same; take `max`.",
        "",
        "| Metric | Type | Labels | Scope | What it says |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "| Label | Values |",
        "|---|---|",
        *labels,
        "| `reason` | the error codes of the engine, such as `source.rate_limited` |",
        "| `version`, `engine`, `python` | one each for a process |",
        "",
    ]


def _logs() -> list[str]:
    lines, _ = log_lines(sources_of(PACKAGE, ".py"))
    rows = []
    for name, text in sorted(EVENTS.items()):
        line = lines.get(name, Line())
        levels = ", ".join(sorted(line.levels, key=_ORDER.index))
        keys = ", ".join(f"`{key}`" for key in sorted(line.keys)) or "–"
        rows.append(f"| `{name}` | {levels} | {keys} | {text} |")
    return [
        "## Log lines",
        "",
        "One JSON object a line in the file, and on the console with `--log-format json`. Each has `timestamp`,",
        "`level`, `logger` (and `name`, the old key), `event`, `message` (a sentence for people, which may",
        "change), `trace_id`, `span_id` and `recording_id`, null where there is none. Search for `event`. What",
        f"libraries say has the event `{PLAIN_LINES}`.",
        "",
        "| Event | Level | Further keys | When |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _spans() -> list[str]:
    rows = []
    for name, span in SPANS.items():
        attributes = "<br>".join(f"`{key}` {text}" for key, text in span.attributes.items()) or "–"
        events = "<br>".join(f"`{key}` {text}" for key, text in span.events.items()) or "–"
        rows.append(f"| `{name}` | {span.inside} | {span.text} | {attributes} | {events} |")
    return [
        "## Spans",
        "",
        "Where a transfer or a look fails, its span has the status *error* and `error.type`, the error's code, and",
        "the stages inside show how far it came. A transfer has links to the look that found its recording and to",
        "its earlier attempts.",
        "",
        "| Span | Inside | What it is | Attributes | Events |",
        "|---|---|---|---|---|",
        *rows,
    ]


def main() -> int:
    """Write the page, unless something has no name or no meaning; returns the exit code."""
    if found := problems():
        print(
            *found,
            "python/audio_extract/telemetry/vocabulary.py says what each means",
            sep="\n",
            file=sys.stderr,
        )
        return 1
    TARGET.write_text(document(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""docs/telemetry.md says what the code has, and nothing else."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from audio_extract.telemetry.metrics import Metrics
from audio_extract.telemetry.vocabulary import EVENTS, SPANS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("telemetry_docs", DOCS / "telemetry.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rows(heading: str) -> list[str]:
    """What the first column of a section's first table names."""
    section = (DOCS / "telemetry.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = next(block for block in section.split("\n\n") if block.startswith("| "))
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def test_code_and_vocabulary_agree_and_the_page_is_what_they_make(writer: ModuleType) -> None:
    assert writer.problems() == []
    assert (DOCS / "telemetry.md").read_text() == writer.document(), "run: make docs"


def test_every_metric_event_and_span_is_a_row_of_the_page_and_every_row_is_one() -> None:
    assert rows("Metrics") == sorted(fact.name for fact in Metrics().facts)
    assert {fact.name for fact in Metrics().facts} >= {
        family.name + ("_total" if family.type == "counter" else "_info" if family.type == "info" else "")
        for family in Metrics().registry.collect()
    }
    assert rows("Log lines") == sorted(EVENTS)
    assert rows("Spans") == list(SPANS)


def test_a_line_without_an_event_and_one_with_keys_of_a_function_are_seen(writer: ModuleType) -> None:
    source = """
def _ids(claim):
    return {"recording_id": claim.id}

def work():
    _log.info("done", extra={**_ids(claim), "event": "work.done", "code": 1})
    _log.exception("oh", extra={"event": "work.done"})
    _log.warning("no name")
    _log.warning("no name either", extra=_ids(claim))
"""
    lines, unnamed = writer.log_lines({"work.py": source})
    assert unnamed == ["work.py:8", "work.py:9"]
    assert (lines["work.done"].levels, lines["work.done"].keys) == (
        {"INFO", "ERROR"},
        {"recording_id", "code"},
    )


def test_what_the_engine_calls_its_stages_is_read_from_its_sources(writer: ModuleType) -> None:
    source = """
let stage = self.stages.begin("fetch.odd");
self.stages.event("fetch.odd", "odd", []);
#[cfg(test)]
stages.begin("x")
"""
    assert writer.engine_names({"lib.rs": source}) == ({"fetch.odd"}, {"odd"})

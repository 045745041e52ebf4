"""What an operator sees in a real Jaeger: one recording's whole way, parents and times right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from audio_extract.telemetry.trace_export import configure_traces
from support.engine import make_recording, wait_until
from support.jaeger import jaeger
from support.service import world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.jaeger import Jaeger
    from support.service import World


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    with jaeger(tmp_path_factory.mktemp("jaeger")) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


def run_traced(here: World, receiver: Jaeger) -> list[str]:
    """One round of the service; returns the trace ids of what it transferred, by recording."""
    traces = configure_traces(endpoint=receiver.otlp, version="1", environment="test")
    try:
        with here.service(traces=traces) as service:
            service.run_once()
            rows = service.tracker.listing(limit=100).rows
            return [row.trace_id for row in sorted(rows, key=lambda row: row.name) if row.trace_id]
    finally:
        traces.close()


def tags(span: dict[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def parent_of(span: dict[str, Any]) -> str | None:
    found = [one["spanID"] for one in span["references"] if one["refType"] == "CHILD_OF"]
    return found[0] if found else None


def ends(span: dict[str, Any]) -> int:
    return int(span["startTime"] + span["duration"])


def covered(spans: list[dict[str, Any]]) -> int:
    """Microseconds in which at least one of them runs."""
    total = until = 0
    for span in sorted(spans, key=lambda span: int(span["startTime"])):
        total += max(0, ends(span) - max(until, span["startTime"]))
        until = max(until, ends(span))
    return total


def test_each_recording_is_one_trace_with_all_stages_inside_it_and_linked_to_its_discovery(
    here: World, receiver: Jaeger, tmp_path: Path, ffmpeg: Path
) -> None:
    recording = make_recording(tmp_path / "meeting.mp4", ffmpeg, seconds=30)
    for number in range(3):
        here.add(recording, f"Meeting {number}.mp4")
    trace_ids = run_traced(here, receiver)
    assert len(set(trace_ids)) == 3
    wait_until(lambda: set(trace_ids) <= set(receiver.trace_ids("transfer")))
    for trace_id in trace_ids:
        spans = receiver.spans(trace_id)
        by_id = {span["spanID"]: span for span in spans}
        by_name = {span["operationName"]: span for span in spans}
        (root,) = (span for span in spans if parent_of(span) is None)
        assert root["operationName"] == "transfer"
        stages = {"fetch.index", "fetch.ranges", "extract", "upload", "verify", "record"}
        assert stages <= set(by_name)
        for span in spans:
            if span is root:
                continue
            parent = by_id[parent_of(span) or ""]
            # Microseconds, rounded each for itself.
            assert parent["startTime"] - 1 <= span["startTime"], span["operationName"]
            assert ends(span) <= ends(parent) + 1, span["operationName"]
        for name in stages:
            assert parent_of(by_name[name]) == root["spanID"], name
        for name in ("extract.decode", "extract.encode", "upload.chunk"):
            assert parent_of(by_name[name]) == by_name[name.partition(".")[0]]["spanID"], name
        assert tags(by_name["fetch.ranges"])["requests"] >= 1
        # Fetching, encoding and uploading go on at the same time; the upload lasts as long.
        in_turn = [by_name[name] for name in ("fetch.index", "upload", "record")]
        assert ends(in_turn[0]) <= in_turn[1]["startTime"] + 1
        assert ends(in_turn[1]) <= in_turn[2]["startTime"] + 1
        children = [span for span in spans if parent_of(span) == root["spanID"]]
        assert covered(children) == pytest.approx(root["duration"], rel=0.05)
        (linked,) = (one for one in root["references"] if one["refType"] == "FOLLOWS_FROM")
        discovery = {span["operationName"]: span for span in receiver.spans(linked["traceID"])}
        assert discovery["discovery"]["spanID"] == linked["spanID"]
        assert parent_of(discovery["plan"]) == linked["spanID"]
        assert tags(root)["strategy"]
        assert tags(root)["bytes.fetched"] > 0

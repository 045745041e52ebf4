"""What spans and numbers of the running service say, also of a transfer that failed, and across processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from audio_extract.emulator.faults import Answer
from audio_extract.telemetry.calls import Calls
from audio_extract.telemetry.metrics import Metrics
from audio_extract.telemetry.trace_export import configure_traces
from audio_extract.telemetry.traces import Traces
from audio_extract.telemetry.vocabulary import SPANS
from support.databases import restartable_postgresql
from support.engine import make_recording, wait_until
from support.service import World, world


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("recording") / "meeting.mp4", ffmpeg, seconds=4)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> Iterator[Traces]:
    processor = SimpleSpanProcessor(exporter)
    made = configure_traces(version="1", environment="test", processor=processor)
    undo = Calls(made._tracer).watch()
    yield made
    undo()


def of_trace(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """The spans of the newest trace that begins with this name, its root first."""
    spans = exporter.get_finished_spans()
    root = next(span for span in reversed(spans) if span.name == name and span.parent is None)
    trace_id = root.context.trace_id
    return [root, *(span for span in spans if span.context.trace_id == trace_id and span is not root)]


def counted(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return {tuple(labels.values()): value for labels, value in metrics.read(name) if value}


def unknown(spans: list[ReadableSpan]) -> set[tuple[str, str]]:
    """Attributes and events that docs/telemetry.md does not name."""
    found = set()
    for span in spans:
        attributes = dict(span.attributes or {})
        if "db.system.name" in attributes:
            text = SPANS["SELECT, UPDATE, …"]
        elif "http.request.method" in attributes:
            text = SPANS["GET, POST, … (client)"]
        else:
            text = SPANS[span.name]
        found |= {(span.name, key) for key in attributes if key not in {*text.attributes, "error.type"}}
        found |= {(span.name, event.name) for event in span.events if event.name not in text.events}
    return found


def test_a_transfer_that_failed_shows_how_far_it_came_and_its_requests_are_counted(
    here: World, recording: Path, traces: Traces, exporter: InMemorySpanExporter
) -> None:
    here.add(recording, "weekly.mp4")
    here.storage.emulator.faults.add(Answer(reason="backendError"), kind="storage.upload_chunk")
    here.storage.emulator.faults.add(Answer(reason="forbidden"), kind="storage.upload_chunk")
    with here.service(traces=traces) as service:
        assert len(service.run_once().failures) == 1
        root, *inside = of_trace(exporter, "transfer")
        requests = counted(service.metrics, "audio_extract_requests_total")
        retries = counted(service.metrics, "audio_extract_retries_total")
        fetched = counted(service.metrics, "audio_extract_fetched_bytes_total")
    assert not root.status.is_ok
    assert root.attributes is not None
    assert root.attributes["error.type"] == "destination.permission_denied"
    # The refusal itself, and that nothing of the chunk was kept.
    assert root.attributes["retries"] == 2
    stages = {span.name: span for span in inside}
    assert {"fetch.index", "fetch.ranges", "extract", "upload", "upload.chunk"} <= set(stages)
    assert "record" not in stages
    assert [event.name for event in stages["upload"].events] == ["retry", "retry"]
    for span in inside:
        whole = root if "." not in span.name else stages.get(span.name.rpartition(".")[0], root)
        assert span.start_time is not None
        assert span.end_time is not None
        assert (whole.start_time or 0) <= span.start_time <= span.end_time <= (whole.end_time or 0), span.name
    # The folder was listed by Python, the recording fetched by the engine: one number holds both.
    assert requests["drive", "ok"] >= 3
    assert requests["gcs", "retry"] == 2
    assert requests["gcs", "error"] >= 1
    assert retries == {("gcs", "destination.server_error"): 2}
    assert fetched[()] > 0
    assert unknown([root, *inside]) == set()


def test_spans_of_a_round_say_nothing_that_the_documentation_does_not_name(
    here: World, recording: Path, traces: Traces, exporter: InMemorySpanExporter
) -> None:
    here.add(recording, "weekly.mp4")
    here.drive.emulator.faults.add(Answer(reason="rateLimitExceeded"), kind="drive.media")
    here.drive.emulator.faults.add(Answer(reason="rateLimitExceeded"), kind="drive.list")
    with here.service(traces=traces) as service:
        assert service.run_once().completed == 1
        retries = counted(service.metrics, "audio_extract_retries_total")
    spans = list(exporter.get_finished_spans())
    assert unknown(spans) == set()
    assert {name for name, text in SPANS.items() if not text.is_call} <= {span.name for span in spans}
    assert "retry" in {event.name for span in spans for event in span.events}
    # One of the listing, one of the engine.
    assert retries == {("drive", "source.rate_limited"): 2}


def test_a_trace_goes_on_from_who_found_a_recording_to_the_worker_that_takes_it_out_of_the_queue(
    here: World, recording: Path
) -> None:
    """Two services share a database and Procrastinate's queue, and nothing else."""
    here.add(recording, "weekly.mp4")
    exporters = InMemorySpanExporter(), InMemorySpanExporter()
    finder, taker = (configure_traces(processor=SimpleSpanProcessor(one)) for one in exporters)
    with restartable_postgresql() as postgresql:
        overrides: dict[str, Any] = {
            "monitoring": {"database_path": postgresql.url},
            "execution": {"backend": "procrastinate"},
        }
        with here.service(overrides, traces=finder) as service:
            assert service.run_once().deferred == 1
        with here.service(overrides, traces=taker) as worker:
            worker.start(only_take_jobs=True)
            wait_until(lambda: len(here.objects()) == 1)
            worker.stop()
    discovery, *_ = of_trace(exporters[0], "discovery")
    transfer, *inside = of_trace(exporters[1], "transfer")
    assert "record" in {span.name for span in inside}
    (link,) = transfer.links
    assert (link.context.trace_id, link.context.span_id) == (
        discovery.context.trace_id,
        discovery.context.span_id,
    )

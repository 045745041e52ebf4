"""``auto`` skips the picture where the network is known to be the limit and the requests are allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio_ffmpeg
import pytest

from audio_extract import _engine
from audio_extract.emulator.faults import Answer
from audio_extract.emulator.samples import generate_long
from support.engine import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audio_extract.engine_types import Fetch, ProbeReport, TransferReport
    from support.engine import Stage

MEDIA = "drive.media"
RANGE_BYTES = 1024 * 1024
#: 36 seconds whose sound takes turns with 100 KB of picture each second.
SECONDS = 36


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_long(
        tmp_path_factory.mktemp("turns"),
        imageio_ffmpeg.get_ffmpeg_exe(),
        hours=SECONDS / 3600,
        size=(640, 360),
        megabytes_per_hour=500,
        interleave_seconds=1,
    )


@pytest.fixture
def stage(recording: Path, ffmpeg: Path) -> Iterator[Stage]:
    yield from serve(recording, ffmpeg)


def transfer(stage: Stage, fetch: Fetch) -> TransferReport:
    request = stage.request(
        fetch={"range_size_bytes": RANGE_BYTES, "max_ranges": 4, "stall_timeout_seconds": 20.0, **fetch}
    )
    request["retry"] = {"max_attempts": 7, "base_seconds": 0.01, "max_seconds": 0.02}
    # Again and again to the same place.
    request["sink"]["if_generation_match"] = None  # type: ignore[typeddict-unknown-key]
    return stage.transfer(request)


def learn(stage: Stage, *, total: float | None, connection: float | None = None) -> None:
    """See what one connection brings, and what several bring together."""
    network = stage.drive.emulator.network
    network.total_bytes_per_second, network.connection_bytes_per_second = total, connection
    assert transfer(stage, {"strategy": "stream"})["strategy"] == "stream"
    assert transfer(stage, {"strategy": "parallel"})["strategy"] == "parallel"


def test_nothing_is_skipped_before_the_network_was_measured(stage: Stage, recording: Path) -> None:
    stage.drive.emulator.network.total_bytes_per_second = 4_000_000
    report = transfer(stage, {"strategy": "auto"})
    assert report["strategy"] == "parallel"
    # Everything was read, and the promised checksum compared.
    assert report["fetched_bytes"] >= recording.stat().st_size


def test_the_picture_is_skipped_where_the_link_is_the_limit_and_the_requests_are_allowed(
    stage: Stage, recording: Path
) -> None:
    learn(stage, total=6_000_000)
    assert transfer(stage, {"strategy": "auto", "request_budget": SECONDS // 2})["strategy"] == "parallel"
    report = transfer(stage, {"strategy": "auto", "request_budget": 400})
    assert report["strategy"] == "audio_only"
    assert report["fetched_bytes"] < recording.stat().st_size // 3
    events = [event["name"] for stage in report["stages"] for event in stage["events"]]
    assert "picture skipped" in events


def test_nothing_is_skipped_where_each_connection_brings_its_own(stage: Stage) -> None:
    learn(stage, total=None, connection=1_500_000)
    assert transfer(stage, {"strategy": "auto"})["strategy"] == "parallel"


def test_complaints_about_too_many_requests_leave_the_budget_to_others(stage: Stage) -> None:
    learn(stage, total=6_000_000)
    stage.drive.emulator.faults.add(Answer(reason="userRateLimitExceeded"), kind=MEDIA, times=5)
    report = transfer(stage, {"strategy": "stream"})
    assert report["retries"] == {"source.rate_limited": 5}
    assert transfer(stage, {"strategy": "auto", "request_budget": 400})["strategy"] == "parallel"
    # Who asks for it gets it, in the fewest requests there are.
    report = transfer(stage, {"strategy": "audio_only"})
    assert report["strategy"] == "audio_only"
    assert sum(report["source_requests"].values()) < SECONDS


def probe(stage: Stage, **source: str | None) -> ProbeReport:
    request = stage.request()["source"]
    return _engine.probe({"source": {**request, **source}})  # type: ignore[typeddict-item]


def test_probe_says_what_each_way_costs_and_what_that_rests_on(stage: Stage, recording: Path) -> None:
    stage.drive.emulator.network.latency_seconds = 0.02
    report = probe(stage)
    plans = {plan["strategy"]: plan for plan in report["plans"]}
    assert list(plans) == ["parallel", "audio_only", "stream"]
    # A checksum is promised: the whole file is read.
    assert plans["parallel"]["fetch_bytes"] == plans["stream"]["fetch_bytes"] == recording.stat().st_size
    assert plans["audio_only"]["fetch_bytes"] < recording.stat().st_size // 3
    assert SECONDS <= plans["audio_only"]["requests"] <= SECONDS + 3
    for plan in plans.values():
        assert plan["quota_units"] == 200 * plan["requests"]
        assert plan["predicted_seconds"] is not None
        assert plan["predicted_seconds"] > 0.02
    network = report["network"]
    assert network is not None
    assert network["latency_seconds"] > 0.02
    assert "latency_seconds" not in network["assumed"]
    assert "all_bytes_per_second" in network["assumed"]


def test_probe_of_a_local_file_predicts_nothing_and_costs_no_quota(recording: Path) -> None:
    report = _engine.probe({"source": {"kind": "file", "path": str(recording)}})
    assert report["network"] is None
    assert [(plan["quota_units"], plan["predicted_seconds"]) for plan in report["plans"]] == [(0, None)] * 3

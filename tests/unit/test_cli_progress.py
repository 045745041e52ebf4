from __future__ import annotations

from typing import Any

import pytest

from audio_extract.cli.progress import fraction_done, progress_text
from audio_extract.engine_types import ProgressSnapshot
from audio_extract.presentation import duration, size


def snapshot(**changes: Any) -> ProgressSnapshot:
    values: dict[str, Any] = {
        "stage": "transfer",
        "fetched_bytes": 100_000_000,
        "fetch_total_bytes": 400_000_000,
        "source_size_bytes": 407_200_000,
        "stored_bytes": 0,
        "audio_seconds": 900.0,
        "audio_total_seconds": 3600.0,
        "elapsed_seconds": 4.0,
    }
    return {**values, **changes}  # type: ignore[typeddict-item, return-value]


@pytest.mark.parametrize(
    ("changes", "fraction"),
    [
        ({}, 0.25),
        ({"audio_seconds": 4000.0}, 1.0),
        ({"audio_total_seconds": None}, 0.25),
        ({"audio_total_seconds": None, "fetched_bytes": 500_000_000}, 1.0),
        ({"audio_total_seconds": None, "fetch_total_bytes": None}, None),
        ({"audio_total_seconds": 0.0, "fetch_total_bytes": 0}, None),
    ],
)
def test_the_sound_that_was_made_says_how_much_is_done_and_bytes_only_where_it_is_unknown(
    changes: dict[str, Any], fraction: float | None
) -> None:
    assert fraction_done(snapshot(**changes)) == fraction


def test_the_line_says_bytes_speed_and_time_left() -> None:
    assert progress_text(snapshot()) == "100.0 MB of 407.2 MB · 25.0 MB/s · 0:12 left"
    assert progress_text(snapshot(source_size_bytes=None)).startswith("100.0 MB · ")
    assert (
        progress_text(snapshot(fetched_bytes=0, elapsed_seconds=0.0, audio_seconds=0.0)) == "0 B of 407.2 MB"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (407_200_000, "407.2 MB"),
        (4e15, "4000.0 TB"),
    ],
)
def test_sizes_are_written_for_people(value: int | None, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (36_000, "10:00:00")]
)
def test_lengths_are_written_for_people(value: float | None, text: str) -> None:
    assert duration(value) == text

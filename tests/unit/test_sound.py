"""What was measured on sound, in words and as a picture."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from audio_extract.sound import KEPT_PIXELS, kept, loudness_text, shrunk, svg_path, terminal_lines


def waveform(pairs: list[tuple[int, int]]) -> dict[str, Any]:
    return {
        "version": 2,
        "channels": 1,
        "sample_rate": 8000,
        "samples_per_pixel": 64,
        "bits": 8,
        "length": len(pairs),
        "data": [value for pair in pairs for value in pair],
    }


PAIRS = st.lists(st.tuples(st.integers(-128, 0), st.integers(0, 127)), max_size=900)


@given(PAIRS, st.integers(1, 300))
def test_a_smaller_waveform_keeps_the_extremes_and_the_length(
    pairs: list[tuple[int, int]], pixels: int
) -> None:
    small = shrunk(waveform(pairs), pixels)
    assert small["length"] == len(small["data"]) // 2 <= pixels
    assert min(small["data"], default=0) == min((low for low, _ in pairs), default=0)
    assert max(small["data"], default=0) == max((high for _, high in pairs), default=0)
    drawn = small["length"] * small["samples_per_pixel"]
    assert len(pairs) * 64 <= drawn < len(pairs) * 64 + small["samples_per_pixel"]


@given(PAIRS, st.integers(1, 120), st.integers(1, 6))
def test_pictures_are_as_wide_as_there_is_room(pairs: list[tuple[int, int]], columns: int, rows: int) -> None:
    lines = terminal_lines(waveform(pairs), columns, rows)
    assert len(lines) == rows
    assert all(len(line) <= columns for line in lines)
    width, path = svg_path(waveform(pairs))
    assert width == len(pairs)
    numbers = [point.split(",") for point in path.strip("MZ ").replace("L", "").split()]
    assert all(0 <= int(x) < width and 0 <= int(y) <= 256 for x, y in numbers)
    assert len(numbers) == 2 * len(pairs)


def test_full_scale_fills_the_picture_and_silence_leaves_it_empty() -> None:
    assert terminal_lines(waveform([(-127, 127)] * 3), 3, 2) == ["███", "███"]
    assert terminal_lines(waveform([(0, 0)] * 3), 3, 2) == ["", ""]


def test_loudness_in_words() -> None:
    everything = {"integrated_lufs": -18.25, "range_lu": 6.1, "true_peak_dbtp": -1.26}
    assert loudness_text(everything) == "-18.2 LUFS, range 6.1 LU, true peak -1.3 dBTP"
    quiet = {"integrated_lufs": None, "range_lu": None, "true_peak_dbtp": -80.0}
    assert loudness_text(quiet) == "true peak -80.0 dBTP"
    assert loudness_text(dict.fromkeys(everything)) is None


def test_the_database_keeps_a_small_waveform() -> None:
    assert kept(None) is None
    small = kept({"loudness": {}, "waveform": waveform([(-1, 1)] * 800)})
    assert small is not None
    assert small["waveform"]["length"] == KEPT_PIXELS

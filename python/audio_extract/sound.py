"""What was measured on a recording's sound, in words and as a picture. Pure functions.

The engine's waveform has the form of audiowaveform's JSON: least and greatest value of each pixel, from -128
to 127.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Pixels of a waveform that the database keeps for the page; the processing log has all.
KEPT_PIXELS: Final = 200
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def kept(sound: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what the database keeps of a measurement: everything, with a smaller waveform."""
    if sound is None:
        return None
    return {**sound, "waveform": shrunk(sound["waveform"], KEPT_PIXELS)}


def shrunk(waveform: Mapping[str, Any], pixels: int) -> dict[str, Any]:
    """Return a waveform of at most so many pixels; nothing loud is lost."""
    step = max(1, -(-int(waveform["length"]) // pixels))
    data = waveform["data"]
    merged: list[int] = []
    for at in range(0, len(data), 2 * step):
        part = data[at : at + 2 * step]
        merged += [min(part[::2]), max(part[1::2])]
    return {
        **waveform,
        "samples_per_pixel": int(waveform["samples_per_pixel"]) * step,
        "length": len(merged) // 2,
        "data": merged,
    }


def loudness_text(loudness: Mapping[str, float | None]) -> str | None:
    """Return ``-18.2 LUFS, range 6.1 LU, true peak -1.3 dBTP``; None where there is no sound."""
    integrated, spread, peak = (
        loudness.get(name) for name in ("integrated_lufs", "range_lu", "true_peak_dbtp")
    )
    parts = []
    if integrated is not None:
        parts.append(f"{integrated:.1f} LUFS")
        if spread is not None:
            parts.append(f"range {spread:.1f} LU")
    if peak is not None:
        parts.append(f"true peak {peak:.1f} dBTP")
    return ", ".join(parts) or None


def svg_path(waveform: Mapping[str, Any]) -> tuple[int, str]:
    """Return the number of pixels and a path around them: x is the pixel, y is 0 (loud) to 256."""
    pairs = list(_pairs(waveform))
    top = " ".join(f"{x},{128 - high}" for x, (_, high) in enumerate(pairs))
    bottom = " ".join(f"{x},{128 - low}" for x, (low, _) in reversed(list(enumerate(pairs))))
    return len(pairs), f"M{top} L{bottom} Z" if pairs else ""


def terminal_lines(waveform: Mapping[str, Any], columns: int, rows: int = 4) -> list[str]:
    """Return a picture of the loudest value of each column, in blocks."""
    pairs = list(_pairs(shrunk(waveform, max(1, columns))))
    heights = [max(-low, high) * rows * 8 // 127 for low, high in pairs]
    return [
        "".join(_BLOCKS[min(8, max(0, height - 8 * row))] for height in heights).rstrip()
        for row in reversed(range(rows))
    ]


def _pairs(waveform: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    data = waveform["data"]
    return zip(data[::2], data[1::2], strict=True)

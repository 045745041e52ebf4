"""A chart for README: how long each way takes for one recording, as an SVG without any dependency."""

from __future__ import annotations

import statistics
from html import escape
from typing import TYPE_CHECKING

from bench.results import RESULTS

if TYPE_CHECKING:
    from pathlib import Path

    from bench.measures import Sample

#: Side, what it is called, whether it is ours.
_BARS = (
    ("copy", "audio-extract, copy", True),
    ("fast", "audio-extract, MP3 fast", True),
    ("standard", "audio-extract, MP3 standard", True),
    ("sequential copy", "download, ffmpeg -c copy, upload", False),
    ("pipe", "rclone cat | ffmpeg | rclone rcat, MP3", False),
    ("url", "ffmpeg -i URL, upload, MP3", False),
    ("sequential", "download, ffmpeg, upload, MP3", False),
)
_ROW, _LABELS, _BAR_WIDTH, _TOP = 26, 270, 400, 40
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f } .head { font-weight: 600 }
.ours { fill: #1a7f37 } .peer { fill: #8c959f }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .ours { fill: #3fb950 } .peer { fill: #6e7681 } }
"""


def draw(rounds: list[dict[str, Sample]], title: str) -> str:
    """The chart of the sides that ran."""
    bars = [
        (label, ours, statistics.median(one[side].usage.seconds for one in rounds))
        for side, label, ours in _BARS
        if side in rounds[0]
    ]
    longest = max((seconds for _, _, seconds in bars), default=1.0)
    width, height = _LABELS + _BAR_WIDTH + 80, _TOP + _ROW * len(bars) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<text class="head" x="8" y="22">{escape(title)}</text>',
    ]
    for number, (label, ours, seconds) in enumerate(bars):
        top = _TOP + number * _ROW
        kind = "ours" if ours else "peer"
        length = max(2, round(_BAR_WIDTH * seconds / longest))
        parts += [
            f'<text x="{_LABELS - 8}" y="{top + 15}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="{kind}" x="{_LABELS}" y="{top}" width="{length}" height="19" rx="2"/>',
            f'<text x="{_LABELS + length + 6}" y="{top + 15}">{seconds:.1f} s</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(rounds: list[dict[str, Sample]], title: str) -> Path:
    """Draw into ``benches/results/latest.svg``."""
    path = RESULTS / "latest.svg"
    path.write_text(draw(rounds, title))
    return path

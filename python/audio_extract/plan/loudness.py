"""How much louder a recording has to be made. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from audio_extract.engine_types import Loudness

#: EBU R128: no true peak is higher after normalisation.
MOST_PEAK_DBTP: Final = -1.0
#: What the engine takes; more would be noise.
_MOST_GAIN_DB: Final = 60.0


def linear_gain(measured: Loudness, target_lufs: float) -> float | None:
    """Return the gain in dB that brings a recording to a loudness; None: nothing is heard in it.

    It stays the same all the time, so nothing of the dynamics changes. Where the loudest peak would be cut
    off, it is as much as the peak allows: the result is then quieter than asked.
    """
    integrated, peak = measured["integrated_lufs"], measured["true_peak_dbtp"]
    if integrated is None:
        return None
    gain = target_lufs - integrated
    if peak is not None:
        gain = min(gain, MOST_PEAK_DBTP - peak)
    return round(max(-_MOST_GAIN_DB, min(_MOST_GAIN_DB, gain)), 2)

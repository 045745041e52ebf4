"""Speech-like sound: voices with pitch, vowels, consonants and pauses, for sample recordings.

Not intelligible, but it has what matters to codecs, silence detection and loudness meters: voiced sounds
with resonances, noise bursts, syllables at a speaking rate, phrases, and pauses. The same seed gives the same
samples.
"""

from __future__ import annotations

import math
import random
import sys
from array import array

SAMPLE_RATE = 24_000

#: First three resonances (Hz) of some vowels (Peterson & Barney 1952, rounded).
_VOWELS = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (300, 870, 2240),
    (640, 1190, 2390),
)
_RESONANCE_GAINS = (1.0, 0.6, 0.25)
_RESONANCE_WIDTH = 180.0
_PEAK = 11_000
_NOISE_FLOOR = 3


def speech(seconds: float, *, seed: int = 1, pitch: float = 118.0) -> bytes:
    """Make mono 16-bit little-endian PCM at 24 kHz.

    Args:
        seconds: Length.
        seed: Another one says something else.
        pitch: Mean pitch of the voice in Hz.
    """
    dice = random.Random(seed)  # noqa: S311 - sound, not secrets
    wanted = round(seconds * SAMPLE_RATE)
    samples = array("h")
    while len(samples) < wanted:
        for _ in range(dice.randint(6, 14)):
            _syllable(samples, dice, pitch)
        _pause(samples, dice, dice.uniform(0.35, 1.1))
    del samples[wanted:]
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _pause(samples: array[int], dice: random.Random, seconds: float) -> None:
    samples.extend(dice.randint(-_NOISE_FLOOR, _NOISE_FLOOR) for _ in range(int(seconds * SAMPLE_RATE)))


def _syllable(samples: array[int], dice: random.Random, pitch: float) -> None:
    if dice.random() < 0.6:
        _consonant(samples, dice)
    period = round(SAMPLE_RATE / (pitch * dice.uniform(0.88, 1.15)))
    begin = _period(dice.choice(_VOWELS), period)
    end = _period(dice.choice(_VOWELS), period)
    count = max(4, int(dice.uniform(0.11, 0.24) * SAMPLE_RATE / period))
    loudness = _PEAK * dice.uniform(0.55, 1.0)
    for number in range(count):
        blend = number / count
        gain = loudness * math.sin(math.pi * (number + 0.5) / count) ** 0.6
        samples.extend(
            int(gain * (first + (last - first) * blend)) for first, last in zip(begin, end, strict=True)
        )


def _consonant(samples: array[int], dice: random.Random) -> None:
    """A burst of high-passed noise."""
    length = int(dice.uniform(0.02, 0.07) * SAMPLE_RATE)
    before = 0.0
    for number in range(length):
        now = dice.uniform(-1.0, 1.0)
        gain = 0.12 * _PEAK * math.sin(math.pi * number / length)
        samples.append(int(gain * (now - before)))
        before = now


def _period(resonances: tuple[int, int, int], length: int) -> list[float]:
    """One period of a vowel: harmonics of the pitch, weighted by their distance from the resonances."""
    pitch = SAMPLE_RATE / length
    weights = []
    for number in range(1, int(4000 / pitch)):
        frequency = number * pitch
        weight = sum(
            gain * math.exp(-(((frequency - resonance) / _RESONANCE_WIDTH) ** 2))
            for resonance, gain in zip(resonances, _RESONANCE_GAINS, strict=True)
        )
        if weight > 0.01:
            weights.append((number, weight))
    wave = [
        sum(weight * math.sin(2 * math.pi * number * at / length) for number, weight in weights)
        for at in range(length)
    ]
    peak = max(abs(value) for value in wave) or 1.0
    return [value / peak for value in wave]

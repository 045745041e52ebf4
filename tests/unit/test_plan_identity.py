"""The plan id changes exactly when the audio would, and the engine is asked for just that audio."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from audio_extract.ffmpeg import FoundFfmpeg
from audio_extract.plan import (
    CONTENT_TYPES,
    EXTENSIONS,
    audio_request,
    fetch_request,
    ffmpeg_request,
    memory_limit_bytes,
    plan_id,
)
from audio_extract.plan.tracks import Chosen
from audio_extract.settings import Settings, load_settings


def settings(audio: dict[str, Any] | None = None, **sections: Any) -> Settings:
    overrides = {**sections, "processing": {"audio_format": audio or {}}}
    return load_settings(environ={}, overrides=overrides)


def test_it_is_sixteen_hex_digits_and_stays_the_same_in_every_version() -> None:
    # Objects carry this text: another value for the same audio would make all of them strangers.
    assert plan_id(settings()) == "e878c19fcaded2fc"
    assert re.fullmatch(r"[0-9a-f]{16}", plan_id(settings({"codec": "opus"})))


def test_every_setting_of_the_audio_changes_it() -> None:
    variants = [
        {},
        {"codec": "flac"},
        {"codec": "copy"},
        {"codec": "wav"},
        {"bitrate": "64k"},
        {"sample_rate": 48_000},
        {"channels": 2},
        {"quality": "best"},
        {"compression_level": 7},
        {"track": 1},
        {"track": "eng"},
        {"normalize": -16},
        {"codec": "flac", "sample_bits": 16},
    ]
    ids = [plan_id(settings(variant)) for variant in variants]
    assert all(first != second for first, second in combinations(ids, 2))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"bitrate": "128k"}, {"bitrate": 128_000}),
        ({}, {"bitrate": "128k", "codec": "mp3", "quality": "standard"}),
        ({"codec": "flac"}, {"codec": "flac", "bitrate": "64k"}),
        ({"codec": "copy"}, {"codec": "copy", "channels": 2, "quality": "best", "sample_rate": 8_000}),
    ],
)
def test_what_makes_the_same_audio_has_the_same_id(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert plan_id(settings(first)) == plan_id(settings(second))


def test_settings_that_do_not_touch_the_audio_do_not_change_it() -> None:
    other = settings(
        environment="production", transfer={"strategy": "stream"}, storage={"gcs": {"bucket_name": "abc"}}
    )
    assert plan_id(other) == plan_id(settings())


def test_the_engine_is_asked_for_what_the_settings_say() -> None:
    found = FoundFfmpeg(Path("/bin/ffmpeg"), "7.1", "path")
    given = settings(
        {"codec": "flac", "channels": 2, "track": 1},
        transfer={"strategy": "stream", "range_size_mb": 1, "memory_limit_mb": 64},
    )
    audio = audio_request(given.processing.audio_format, Chosen(1), {"title": "Sync"})
    assert audio["codec"] == "flac"
    assert audio["channels"] == 2
    assert audio["track"] == 1
    assert audio["tags"] == {"title": "Sync"}
    assert fetch_request(given)["strategy"] == "stream"
    assert fetch_request(given)["range_size_bytes"] == 1024 * 1024
    assert ffmpeg_request(given, found)["path"] == "/bin/ffmpeg"
    assert memory_limit_bytes(given) == 64 * 1024 * 1024


def test_every_codec_has_an_extension_with_a_content_type() -> None:
    assert set(EXTENSIONS) == {"mp3", "aac", "opus", "flac", "wav"}
    assert set(EXTENSIONS.values()) <= set(CONTENT_TYPES)
    # What the engine's probe can say a copy becomes (engine_types.ProbeTrack).
    assert {"m4a", "ogg", "mp3", "flac", "wav", "mka"} <= set(CONTENT_TYPES)

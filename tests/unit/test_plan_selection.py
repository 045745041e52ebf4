"""Which recordings are wanted, and why the others are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audio_extract.plan import Selected, Skipped, select
from audio_extract.settings import Settings, load_settings
from audio_extract.sources.base import Recording

NOW = datetime(2025, 2, 10, 12, 0, tzinfo=UTC)
MIB = 1024 * 1024


def settings(**sections: Any) -> Settings:
    return load_settings(environ={}, overrides=sections)


def recording(**changed: Any) -> Recording:
    known: dict[str, Any] = {
        "source": "drive",
        "source_id": "id",
        "revision": "md5",
        "md5": "md5",
        "name": "Weekly sync.mp4",
        "mime_type": "video/mp4",
        "size_bytes": 1000,
        "created_at": NOW - timedelta(days=1),
    }
    return Recording(**(known | changed))


def reason(found: Recording, rules: Settings | None = None, *, arrived: bool = False) -> str | None:
    decision = select(found, rules or settings(), NOW, arrived=arrived)
    return decision.reason if isinstance(decision, Skipped) else None


def test_an_ordinary_recording_is_wanted() -> None:
    assert select(recording(), settings(), NOW) == Selected()


@pytest.mark.parametrize(
    ("name", "mime_type", "wanted"),
    [
        ("a.mp4", "video/mp4", True),
        ("a.m4a", "audio/mp4; codecs=mp4a", True),
        ("a.MKV", None, True),
        ("a.webm", "application/octet-stream", True),
        ("a.txt", None, False),
        ("a.mp4", "application/vnd.google-apps.document", False),
        ("chat", "text/plain", False),
        ("folder", "application/vnd.google-apps.folder", False),
    ],
)
def test_the_kind_of_a_file_decides_and_its_extension_where_the_source_does_not_know(
    name: str, mime_type: str | None, wanted: bool
) -> None:
    assert reason(recording(name=name, mime_type=mime_type)) == (None if wanted else "kind")


def test_kinds_can_be_narrowed() -> None:
    rules = settings(google_drive={"mime_types": ["video/mp4"]})
    assert reason(recording(), rules) is None
    assert reason(recording(mime_type="video/webm"), rules) == "kind"


def test_patterns_of_names_do_not_care_about_capitals_and_belong_to_their_source() -> None:
    rules = settings(
        google_drive={"name_patterns": ["*SYNC*", "review*"]}, sources={"local": {"name_patterns": ["x*"]}}
    )
    assert reason(recording(), rules) is None
    assert reason(recording(name="Town hall.mp4"), rules) == "name"
    assert reason(recording(source="local", name="X.mp4"), rules) is None
    assert reason(recording(source="local"), rules) == "name"


def test_old_recordings_are_left_alone_when_a_folder_is_first_read() -> None:
    assert reason(recording(created_at=NOW - timedelta(days=7))) is None
    assert reason(recording(created_at=NOW - timedelta(days=7, seconds=1))) == "too_old"
    everything = settings(google_drive={"days_to_look_back": 0})
    assert reason(recording(created_at=NOW - timedelta(days=4000)), everything) is None


def test_a_file_that_was_moved_into_the_folder_is_wanted_whatever_its_dates() -> None:
    assert reason(recording(created_at=NOW - timedelta(days=400)), arrived=True) is None


def test_an_old_file_that_was_replaced_lately_is_wanted() -> None:
    old = NOW - timedelta(days=400)
    assert reason(recording(created_at=old, modified_at=NOW)) is None
    assert reason(recording(created_at=old, modified_at=old)) == "too_old"


def test_the_size_limit_takes_files_of_exactly_that_size() -> None:
    rules = settings(processing={"max_file_size_mb": 5})
    assert reason(recording(size_bytes=5 * MIB), rules) is None
    assert reason(recording(size_bytes=5 * MIB + 1), rules) == "too_large"


def test_an_empty_file_is_taken_so_that_it_is_seen_to_fail() -> None:
    assert reason(recording(size_bytes=0)) is None


@pytest.mark.parametrize(
    ("changed", "expected", "later"),
    [
        ({"can_download": False}, "cannot_download", False),
        ({"settled": False}, "not_settled", True),
        ({"md5": None}, "incomplete", True),
        ({"size_bytes": None}, "incomplete", True),
    ],
)
def test_what_is_not_whole_yet_is_looked_at_again(
    changed: dict[str, Any], expected: str, later: bool
) -> None:
    decision = select(recording(**changed), settings(), NOW)
    assert isinstance(decision, Skipped)
    assert (decision.reason, decision.later) == (expected, later)
    assert decision.message


def test_a_local_file_needs_no_checksum() -> None:
    assert reason(recording(source="local", md5=None)) is None
    assert reason(recording(md5=None, sha256="abc")) is None

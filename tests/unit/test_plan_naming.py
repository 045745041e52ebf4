"""Object names: what Meet's names mean, and laws that hold for any name whatever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_extract.plan import log_name, object_name
from audio_extract.plan.meeting_names import meeting
from audio_extract.settings import Settings, load_settings
from audio_extract.sources.base import Recording

CREATED = datetime(2025, 2, 3, 4, 5, 6, tzinfo=UTC)


def settings(prefix: str | None = None, time_zone: str = "") -> Settings:
    storage = {"type": "gcs", "gcs": {"prefix": prefix}}
    drive = {"time_zone": time_zone or None}
    return load_settings(environ={}, overrides={"storage": storage, "google_drive": drive})


def recording(name: str, created_at: datetime = CREATED) -> Recording:
    return Recording(source="drive", source_id="id", revision="md5", name=name, created_at=created_at)


@pytest.mark.parametrize(
    ("name", "title", "wall", "utc_offset_hours"),
    [
        ("Weekly sync (2025-01-29 at 10:00 GMT-5).mp4", "Weekly sync", "2025-01-29 10:00", -5),
        ("Weekly sync (2025-01-29 at 10:00 GMT-5)", "Weekly sync", "2025-01-29 10:00", -5),
        ("Sync (2025-01-29 at 10:00 GMT+05:30).mp4", "Sync", "2025-01-29 10:00", 5.5),
        ("Sync (2025-01-29 at 10:00 GMT+5:30).mp4", "Sync", "2025-01-29 10:00", 5.5),
        ("Sync (2025-01-29 at 10:00 GMT−3).mp4", "Sync", "2025-01-29 10:00", -3),
        ("abc-defg-hij (2025-01-29 at 10:00 GMT).webm", "abc-defg-hij", "2025-01-29 10:00", 0),
        ("Title - 2025/01/29 10:00 EST - Recording", "Title", "2025-01-29 10:00", -5),
        ("Title - 2025/01/29 10:00 GMT-03:00.mp4", "Title", "2025-01-29 10:00", -3),
        ("Title - 2025/01/29 10:00 GMT-03:00 - Recording.mp4", "Title", "2025-01-29 10:00", -3),
        ("Title - 2025/01/29 10:00 GMT.mp4", "Title", "2025-01-29 10:00", 0),
        ("Title - 2025/01/29 10:00 UTC - Recording.mp4", "Title", "2025-01-29 10:00", 0),
        ("Title – 2025/01/29 10:00 CET – Recording (1).mp4", "Title (1)", "2025-01-29 10:00", 1),
        ("A - B - 2025/01/29 9:05 PM PST - Recording.mp4", "A - B", "2025-01-29 21:05", -8),
        ("Noon (2025-01-29 at 12:00 PM EST).mp4", "Noon", "2025-01-29 12:00", -5),
        ("Midnight (2025-01-29 at 12:00 AM EST).mp4", "Midnight", "2025-01-29 00:00", -5),
        ("Runde (2025-01-29 um 10:00 MEZ) – Aufzeichnung.mp4", "Runde", "2025-01-29 10:00", 1),
        ("Sync (2025-01-29 at 10:00 GMT-5) (1).mp4", "Sync (1)", "2025-01-29 10:00", -5),
        ("Plan (draft) (2025-01-29 at 10:00 GMT-5).mp4", "Plan (draft)", "2025-01-29 10:00", -5),
        ("Sync (2025-01-29 at 10:00 XYZ).mp4", "Sync", "2025-01-29 10:00", 0),
    ],
)
def test_title_and_time_are_taken_from_a_name_that_meet_wrote(
    name: str, title: str, wall: str, utc_offset_hours: float
) -> None:
    found = meeting(name, CREATED)
    assert found.from_name
    assert found.title == title
    assert f"{found.began_at:%Y-%m-%d %H:%M}" == wall
    assert found.began_at.utcoffset() == timedelta(hours=utc_offset_hours)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Plan 2025.mp4", "Plan 2025"),
        ("Weekly sync.v2", "Weekly sync.v2"),
        ("Weekly sync.v2.mp4", "Weekly sync.v2"),
        ("Sync (2025-13-45 at 10:00 GMT).mp4", "Sync (2025-13-45 at 10:00 GMT)"),
        ("Sync (2025-01-29 at 25:00 GMT).mp4", "Sync (2025-01-29 at 25:00 GMT)"),
        ("Sync (2025-01-29 at 13:00 PM EST).mp4", "Sync (2025-01-29 at 13:00 PM EST)"),
        ("no extension", "no extension"),
    ],
)
def test_any_other_name_is_its_own_title_with_the_files_time(name: str, title: str) -> None:
    assert meeting(name, CREATED) == meeting(name, CREATED)
    found = meeting(name, CREATED)
    assert (found.title, found.began_at, found.from_name) == (title, CREATED, False)


def test_an_object_is_named_by_month_title_date_and_time() -> None:
    name = object_name(recording("Weekly sync (2025-01-29 at 10:00 GMT-5).mp4"), settings(), extension="mp3")
    assert name == "dev/2025/01/Weekly sync_2025-01-29_10-00_audio.mp3"
    assert object_name(recording("a.mp4"), settings("x/y"), extension="flac") == (
        "x/y/2025/02/a_2025-02-03_04-05_audio.flac"
    )
    assert object_name(recording("a.mp4"), settings(""), extension="mp3").startswith("2025/02/a_")


def test_times_are_converted_to_the_configured_zone_even_over_a_new_year() -> None:
    berlin = settings("", "Europe/Berlin")
    name = "Sync (2024-12-31 at 18:30 GMT-5).mp4"
    assert object_name(recording(name), berlin, extension="mp3") == "2025/01/Sync_2025-01-01_00-30_audio.mp3"
    at_night = recording("a.mp4", datetime(2025, 6, 30, 22, 30, tzinfo=UTC))
    assert object_name(at_night, berlin, extension="mp3") == "2025/07/a_2025-07-01_00-30_audio.mp3"


def test_a_time_without_zone_is_one_of_the_configured_zone() -> None:
    name = "Sync - 2025/07/01 10:00 - Recording.mp4"
    assert meeting(name, CREATED, "Europe/Berlin").began_at.utcoffset() == timedelta(hours=2)


def test_a_log_stands_beside_the_months_under_the_same_name() -> None:
    name = "dev/2025/01/Weekly sync_2025-01-29_10-00_audio.mp3"
    assert log_name(name, settings()) == (
        "dev/metadata/processing-logs/2025/01/Weekly sync_2025-01-29_10-00_audio.json"
    )
    assert log_name("2025/01/a_audio.mp3", settings("")) == "metadata/processing-logs/2025/01/a_audio.json"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "recording"),
        ("", "recording"),
        ("a\u202eb\x00c/d\\e.mp4", "ab c_d_e"),
        ("Q&A: what's next?.mp4", "Q&A_ what's next_"),
        ("  spaced   out  .mp4", "spaced out"),
        ("Besprechung über Öl 会議 🎉.mp4", "Besprechung über Öl 会議 🎉"),
        ("cafe\u0301.mp4", "café"),
    ],
)
def test_what_a_path_must_not_hold_is_replaced_and_the_rest_stays_readable(name: str, title: str) -> None:
    found = object_name(recording(name), settings(""), extension="mp3")
    assert found == f"2025/02/{title}_2025-02-03_04-05_audio.mp3"


@pytest.mark.parametrize(("extension", "serial"), [("../x", 1), ("", 1), ("MP3", 1), ("mp3", 0)])
def test_an_extension_or_serial_that_could_break_out_is_refused(extension: str, serial: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        object_name(recording("a.mp4"), settings(), extension=extension, serial=serial)


LONGEST_PREFIX = "/".join(("p" * 255, "ü" * 127, "q"))
PREFIXES = st.sampled_from(["", "dev", "team/audio", LONGEST_PREFIX])
NAMES = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="./\\ ~\x00é会🎉\u202e-_a", max_size=600),
    st.builds(
        "{} (2025-01-29 at 10:00 GMT-5){}".format, st.text(max_size=300), st.sampled_from(["", ".mp4", ".."])
    ),
    # What Python makes of file names that are not UTF-8.
    st.binary(max_size=300).map(lambda data: data.decode("utf-8", "surrogateescape")),
)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
SETTINGS = {prefix: settings(prefix) for prefix in ("", "dev", "team/audio", LONGEST_PREFIX)}


@given(name=NAMES, created_at=MOMENTS, prefix=PREFIXES, serial=st.integers(1, 9_999_999))
def test_no_name_leaves_the_prefix_or_is_too_long(
    name: str, created_at: datetime, prefix: str, serial: int
) -> None:
    found = object_name(recording(name, created_at), SETTINGS[prefix], extension="mp3", serial=serial)
    log = log_name(found, SETTINGS[prefix])
    for written, depth in ((found, 3), (log, 5)):
        below = written.removeprefix(f"{prefix}/") if prefix else written
        assert not prefix or written.startswith(f"{prefix}/")
        parts = below.split("/")
        assert len(parts) == depth
        for part in parts:
            assert part not in {"", ".", ".."}
            assert part.isprintable()
            assert part == part.strip()
            assert len(part.encode()) <= 255
        assert len(written.encode()) <= 1024
    assert found.endswith("_audio.mp3")


@given(name=NAMES, first=st.integers(1, 9_999_999), second=st.integers(1, 9_999_999))
def test_two_serials_never_give_the_same_name(name: str, first: int, second: int) -> None:
    names = [
        object_name(recording(name), SETTINGS["dev"], extension="mp3", serial=n) for n in (first, second)
    ]
    assert (names[0] == names[1]) == (first == second)


@given(name=NAMES, created_at=MOMENTS)
def test_the_same_recording_always_gets_the_same_name(name: str, created_at: datetime) -> None:
    names = {object_name(recording(name, created_at), SETTINGS["dev"], extension="mp3") for _ in range(2)}
    assert len(names) == 1


@given(title=st.text(alphabet="aB1 é会", min_size=1, max_size=40), offset=st.integers(-12, 14))
def test_a_name_as_meet_writes_it_is_read_back(title: str, offset: int) -> None:
    title = " ".join(title.split()) or "x"
    found = meeting(f"{title} (2025-01-29 at 10:00 GMT{offset:+d}).mp4", CREATED)
    assert found.title == title
    assert found.began_at.utcoffset() == timedelta(hours=offset)

"""The emulators' small parts, without a server: ranges, masks, queries, contents, pacing, speech."""

from __future__ import annotations

import base64
import hashlib
from array import array
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_extract.emulator.content import (
    BytesContent,
    ConcatenatedContent,
    Content,
    FileContent,
    GeneratedContent,
    checksums,
)
from audio_extract.emulator.drive.query import parse_query
from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.fields import apply_mask, parse_mask
from audio_extract.emulator.network import NetworkShape, Pacer
from audio_extract.emulator.ranges import ByteRange, RangeNotSatisfiableError, requested_range, upload_range
from audio_extract.emulator.speech import SAMPLE_RATE, speech

#: Laws hold on a busy machine too.
without_deadline = settings(deadline=None)

# Ranges.


@without_deadline
@given(size=st.integers(1, 1000), first=st.integers(0, 1100), last=st.integers(0, 1100))
def test_a_range_never_leaves_the_content(size: int, first: int, last: int) -> None:
    try:
        span = requested_range(f"bytes={first}-{last}", size)
    except RangeNotSatisfiableError:
        assert first >= size
        return
    if span is None:
        assert last < first
        return
    data = bytes(number % 251 for number in range(size))
    assert data[span.start : span.end] == data[first : last + 1]
    assert span.length >= 1


@without_deadline
@given(size=st.integers(0, 1000), length=st.integers(0, 1100))
def test_a_suffix_range_is_the_end(size: int, length: int) -> None:
    if size == 0 or length == 0:
        with pytest.raises(RangeNotSatisfiableError):
            requested_range(f"bytes=-{length}", size)
        return
    assert requested_range(f"bytes=-{length}", size) == ByteRange(max(0, size - length), size)


@pytest.mark.parametrize(
    "header", [None, "", "bytes=", "bytes=a-b", "bytes=1-2,3-4", "bytes=٣-٤", "items=0-1"]
)
def test_what_is_not_one_range_of_bytes_is_ignored(header: str | None) -> None:
    assert requested_range(header, 100) is None


@without_deadline
@given(first=st.integers(0, 2**63), length=st.integers(1, 2**33), rest=st.integers(0, 2**33))
def test_a_content_range_is_read_as_it_is_written(first: int, length: int, rest: int) -> None:
    span = ByteRange(first, first + length)
    read = upload_range(span.content_range(span.end + rest))
    assert read is not None
    assert (read.bytes, read.total) == (span, span.end + rest)


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes 0-1", "bytes 1-0/*", "bytes 0-9/5", "bytes -1/5", "bytes */", "bytes 0-1/2 "],
)
def test_a_malformed_content_range_is_none(header: str) -> None:
    expected = header.endswith(" ")
    assert (upload_range(header) is not None) is expected


# Masks.

RESOURCE = {
    "files": [
        {
            "id": "1",
            "name": "a",
            "owners": [{"me": True, "emailAddress": "x"}],
            "capabilities": {"canEdit": True},
        },
        {"id": "2"},
    ],
    "nextPageToken": "t",
}

#: (mask, what it leaves)
MASKS = [
    ("*", RESOURCE),
    ("files", {"files": RESOURCE["files"]}),
    ("nextPageToken,files(id)", {"files": [{"id": "1"}, {"id": "2"}], "nextPageToken": "t"}),
    ("files(id),files(name)", {"files": [{"id": "1", "name": "a"}, {"id": "2"}]}),
    ("files(id),files", {"files": RESOURCE["files"]}),
    ("files/owners/me", {"files": [{"owners": [{"me": True}]}, {}]}),
    ("files(owners(me,emailAddress))", {"files": [{"owners": [{"me": True, "emailAddress": "x"}]}, {}]}),
    ("files(*)", {"files": RESOURCE["files"]}),
    ("*/id", {"files": [{"id": "1"}, {"id": "2"}], "nextPageToken": "t"}),
    (" files ( id , name ) ", {"files": [{"id": "1", "name": "a"}, {"id": "2"}]}),
]


@pytest.mark.parametrize(("text", "expected"), MASKS, ids=[row[0] for row in MASKS])
def test_a_mask_leaves_what_it_names(text: str, expected: object) -> None:
    assert apply_mask(parse_mask(text, "drive.v3", "FileList"), RESOURCE) == expected


@without_deadline
@given(st.text(alphabet="ab(),/* .files", max_size=30))
def test_a_mask_is_read_or_refused(text: str) -> None:
    try:
        mask = parse_mask(text, "drive.v3", "FileList")
    except GoogleError as error:
        status = error.status
    else:
        status = 400
        assert isinstance(apply_mask(mask, RESOURCE), dict)
    assert status == 400


# Queries.


@dataclass
class Item:
    """Something to search."""

    name: str = ""
    trashed: bool = False
    parents: list[str] = field(default_factory=list)
    created: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def search_text(self, term: str) -> str | None:
        return self.name if term == "name" else None

    def search_flag(self, term: str) -> bool:
        return self.trashed

    def search_time(self, term: str) -> datetime | None:
        return self.created if term == "createdTime" else None

    def search_members(self, term: str) -> list[str]:
        return self.parents

    def search_property(self, term: str, key: str) -> str | None:
        return None


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@without_deadline
@given(st.text(max_size=30))
def test_any_name_can_be_asked_for(name: str) -> None:
    predicate = parse_query(f"name = {quoted(name)}", lambda folder: folder)
    assert predicate(Item(name=name))
    assert not predicate(Item(name=name + "x"))


@without_deadline
@given(st.text(alphabet="'\\ ()andornotinname=!<>tr{}", max_size=40))
def test_a_query_is_read_or_refused(text: str) -> None:
    try:
        predicate = parse_query(text, lambda folder: folder)
    except GoogleError as error:
        status = error.status
    else:
        status = 400
        assert isinstance(predicate(Item()), bool)
    assert status == 400


Truth = st.recursive(
    st.sampled_from([("trashed = true", True), ("trashed = false", False)]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: (f"({two[0][0]} and {two[1][0]})", two[0][1] and two[1][1])),
        st.tuples(inner, inner).map(lambda two: (f"({two[0][0]} or {two[1][0]})", two[0][1] or two[1][1])),
        inner.map(lambda one: (f"not ({one[0]})", not one[1])),
    ),
    max_leaves=12,
)


@without_deadline
@given(Truth)
def test_and_or_and_not_mean_what_they_say(case: tuple[str, bool]) -> None:
    text, expected = case
    assert parse_query(text, lambda folder: folder)(Item(trashed=True)) is expected


def test_a_time_is_compared_in_milliseconds() -> None:
    item = Item(created=datetime(2026, 1, 1, 0, 0, 0, 1999, tzinfo=UTC))
    assert parse_query("createdTime = '2026-01-01T00:00:00.001Z'", str)(item)
    assert not parse_query("createdTime > '2026-01-01T00:00:00.001Z'", str)(item)
    assert not parse_query("modifiedTime != '2026-01-01'", str)(item), (
        "an item without that time is never found"
    )


# Contents.


@without_deadline
@given(
    parts=st.lists(st.binary(max_size=50), max_size=6),
    offset=st.integers(0, 320),
    length=st.integers(0, 320),
)
def test_contents_one_after_the_other_read_as_one(parts: list[bytes], offset: int, length: int) -> None:
    content = ConcatenatedContent([BytesContent(part) for part in parts])
    whole = b"".join(parts)
    with content.open() as reader:
        assert reader.read(offset, length) == whole[offset : offset + length]
    assert content.size == len(whole)


@without_deadline
@given(size=st.integers(0, 200_000), offset=st.integers(0, 200_000), length=st.integers(0, 70_000))
def test_generated_bytes_are_the_same_wherever_reading_begins(size: int, offset: int, length: int) -> None:
    content = GeneratedContent(size, seed=3)
    whole = content.read(0, size)
    assert len(whole) == size
    assert content.read(offset, length) == whole[offset : offset + length]


def test_generated_bytes_differ_at_other_offsets_and_seeds() -> None:
    content = GeneratedContent(4 * 1024**3)
    assert content.read(0, 1000) != content.read(1024**2, 1000)
    assert content.read(0, 1000) != GeneratedContent(1000, seed=1).read(0, 1000)


def test_checksums_are_those_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    path = tmp_path / "file"
    path.write_bytes(data)
    contents: list[Content] = [BytesContent(data), FileContent(path)]
    for content in contents:
        sums = checksums(content)
        assert sums.md5 == hashlib.md5(data).hexdigest()  # noqa: S324
        assert sums.sha256 == hashlib.sha256(data).hexdigest()
        assert sums.crc32c == base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


# Pacing.


def test_a_pacer_keeps_its_rate() -> None:
    pacer = Pacer()
    now = 100.0
    for _ in range(50):
        now += pacer.reserve(1000, 10_000, now)
    assert now == pytest.approx(104.95, abs=0.01)


def test_a_pacer_makes_up_for_sleeping_too_long() -> None:
    pacer = Pacer()
    now = 100.0
    for _ in range(100):
        wait = pacer.reserve(1000, 100_000, now)
        now += wait + (0.003 if wait > 0 else 0.0)
    assert now == pytest.approx(100.95, abs=0.02)


def test_a_pacer_saves_nothing_up_while_idle() -> None:
    pacer = Pacer()
    pacer.reserve(1000, 10_000, 0.0)
    assert pacer.reserve(10_000, 10_000, 1000.0) == pytest.approx(0.95)


def test_an_unlimited_network_does_not_wait() -> None:
    assert Pacer().reserve(10**9, None, 0.0) == 0.0
    assert NetworkShape().piece_size() == 1024 * 1024
    assert NetworkShape(connection_bytes_per_second=25_000_000).piece_size() == 250_000
    assert NetworkShape(total_bytes_per_second=1000).piece_size() == 16 * 1024


# Speech.


def test_speech_has_the_wanted_length_and_is_reproducible() -> None:
    assert len(speech(1.5)) == 3 * SAMPLE_RATE
    assert speech(1.0, seed=4) == speech(1.0, seed=4)
    assert speech(1.0, seed=4) != speech(1.0, seed=5)


def test_speech_has_sound_and_pauses_and_never_clips() -> None:
    samples = array("h", speech(10.0))
    window = SAMPLE_RATE // 10
    levels = [max(abs(value) for value in samples[at : at + window]) for at in range(0, len(samples), window)]
    quiet = sum(level < 30 for level in levels)
    loud = sum(level > 3000 for level in levels)
    assert 5 < quiet < 50
    assert loud > 30
    assert max(levels) < 20_000

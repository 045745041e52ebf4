"""Listings that Redis keeps: fewer requests, nothing missed, and nothing broken when it is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from audio_extract.discover import discover
from audio_extract.emulator import DriveEmulator, EmulatorServer
from audio_extract.exceptions import ConfigurationError, TransientError
from audio_extract.settings import load_settings
from audio_extract.sources.drive import DriveSource
from audio_extract.sources.drive_client import DriveClient
from audio_extract.sources.factory import listing_cache
from audio_extract.sources.listing_cache import KeptListing, RedisListingCache
from audio_extract.tracker import State, Tracker
from support.redis import RedisServer, redis_server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


class Place:
    """A Drive folder, and replicas that look at it through one Redis."""

    def __init__(self, server: EmulatorServer[DriveEmulator], redis: RedisServer) -> None:
        self.server = server
        self.drive = server.emulator
        self.redis = redis
        self.folder = self.drive.add_folder("Meet Recordings")
        self.caches: list[RedisListingCache] = []
        self.sources: list[DriveSource] = []
        self.now = 1000.0

    def replica(self, keep_seconds: int = 300, **options: Any) -> DriveSource:
        cache = RedisListingCache(self.redis.url, keep_seconds=keep_seconds, clock=lambda: self.now)
        client = DriveClient(endpoint=self.server.url, sleep=lambda _: None, max_attempts=2)
        source = DriveSource(client, [self.folder], cache=cache, **options)
        self.caches.append(cache)
        self.sources.append(source)
        return source

    def add(self, name: str) -> str:
        return self.drive.add_file(name.encode(), name=name, parent=self.folder)

    def listings(self) -> int:
        count = self.drive.requests.count("drive.list")
        self.drive.requests.reset()
        return count

    def close(self) -> None:
        for closed in (*self.sources, *self.caches):
            closed.close()


@pytest.fixture
def place(redis: RedisServer) -> Iterator[Place]:
    with EmulatorServer(DriveEmulator()) as server:
        place = Place(server, redis)
        yield place
        place.close()


def names(recordings: Any) -> list[str]:
    return sorted(recording.name for recording in recordings)


def test_a_second_replica_takes_the_listing_of_the_first(place: Place) -> None:
    place.add("a.mp4")
    first = place.replica().changes(None)
    assert place.listings() == 1
    second = place.replica()
    again = second.changes(None, reconcile=True)
    assert (names(again.recordings), again.full) == (names(first.recordings), True)
    assert second.check().recordings == 1
    assert place.listings() == 0


def test_what_happened_after_the_listing_is_in_the_next_look(place: Place) -> None:
    place.replica().changes(None)
    place.add("later.mp4")
    late = place.replica()
    kept = late.changes(None)
    # The listing is old, and the cursor is as old.
    assert names(kept.recordings) == []
    assert names(late.changes(kept.cursor).recordings) == ["later.mp4"]


@pytest.mark.parametrize("happens", ["added", "trashed", "moved away"])
def test_a_change_that_the_feed_names_makes_the_kept_listing_go(place: Place, happens: str) -> None:
    file_id = place.add("a.mp4")
    one = place.replica()
    cursor = one.changes(None).cursor
    match happens:
        case "added":
            place.add("b.mp4")
        case "trashed":
            place.drive.trash(file_id)
        case "moved away":
            place.drive.move(file_id, place.drive.add_folder("Elsewhere"))
    one.changes(cursor)
    place.listings()
    found = place.replica().changes(None)
    assert place.listings() == 1
    assert names(found.recordings) == {"added": ["a.mp4", "b.mp4"]}.get(happens, [])


def test_a_listing_is_kept_for_its_time(place: Place) -> None:
    import redis as library

    place.replica(keep_seconds=200).changes(None)
    with library.Redis.from_url(place.redis.url) as client:
        assert 190 < client.ttl(f"folder:{place.folder}") <= 200  # type: ignore[operator]


def test_what_another_account_listed_is_not_taken(place: Place) -> None:
    place.add("a.mp4")
    cache = RedisListingCache(place.redis.url, keep_seconds=60)
    place.caches.append(cache)
    cache.put(place.folder, KeptListing("somebody@else.example", [], {"my-drive": "1"}, 1.0))
    assert names(place.replica().changes(None).recordings) == ["a.mp4"]


def test_a_key_of_another_program_is_no_listing(place: Place) -> None:
    import redis as library

    place.add("a.mp4")
    with library.Redis.from_url(place.redis.url) as client:
        client.set(f"folder:{place.folder}", b"not ours")
    assert names(place.replica().changes(None).recordings) == ["a.mp4"]


@pytest.mark.parametrize("how", ["stopped", "stalled"])
def test_without_redis_it_is_slower_and_not_broken(
    place: Place, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    place.add("a.mp4")
    source = place.replica()
    cursor = source.changes(None).cursor
    if how == "stopped":
        place.redis.stop()
    else:
        place.redis.stall()
    place.add("b.mp4")
    with caplog.at_level(logging.INFO):
        assert names(source.changes(cursor).recordings) == ["b.mp4"]
        assert names(source.changes(None, reconcile=True).recordings) == ["a.mp4", "b.mp4"]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.event for record in warnings] == ["redis.failed"]  # type: ignore[attr-defined]
    with pytest.raises(TransientError, match="does not answer"):
        place.caches[0].version()
    place.redis.stop()
    place.redis.start()
    place.now += 30
    caplog.clear()
    with caplog.at_level(logging.INFO):
        source.changes(None, reconcile=True)
    assert [record.event for record in caplog.records if hasattr(record, "event")] == ["redis.recovered"]
    assert place.caches[0].version()


def test_a_stalled_redis_costs_its_timeout_once_and_not_for_each_folder(place: Place) -> None:
    for number in range(20):
        sub = place.drive.add_folder(f"sub {number}", parent=place.folder)
        place.drive.add_file(b"video", name=f"{number}.mp4", parent=sub)
    source = place.replica(include_subfolders=True)
    place.redis.stall()
    began = time.monotonic()
    assert len(source.changes(None).recordings) == 20
    # Each of 42 questions would wait a second.
    assert time.monotonic() - began < 15


def test_a_kept_listing_says_that_it_is_one(place: Place) -> None:
    place.add("a.mp4")
    assert not place.replica().changes(None).kept
    assert place.replica().changes(None).kept


def test_a_kept_listing_makes_nothing_go_that_came_after_it(place: Place, tmp_path: Path) -> None:
    settings = load_settings(overrides={"google_drive": {"recordings_folder_id": "abc"}}, environ={})
    now = datetime.now(UTC)
    place.replica().changes(None)
    place.add("later.mp4")
    with Tracker.open(str(tmp_path / "tracker.db"), now=now) as tracker:
        # Its own cache holds nothing, as if deleting the listing had failed.
        alone = DriveSource(DriveClient(endpoint=place.server.url, sleep=lambda _: None), [place.folder])
        place.sources.append(alone)
        assert discover(alone, tracker, settings, now).new == 1
        result = discover(place.replica(), tracker, settings, now, full=True)
        assert (result.seen, result.removed) == (0, 0)
        assert [row.status for row in tracker.listing().rows] == [State.PENDING]


def test_a_wrong_url_is_named_without_its_password() -> None:
    settings = load_settings(overrides={"redis": {"url": "http://user:geheim@host"}}, environ={})
    with pytest.raises(ConfigurationError, match=r"redis\.url") as caught:
        listing_cache(settings)
    assert "geheim" not in str(caught.value)


def test_without_the_setting_there_is_no_cache() -> None:
    assert listing_cache(load_settings(overrides={}, environ={})) is None

"""Requests cost quota: one is enough for an encoder, unless it has to wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audio_extract.emulator.faults import Answer, Reset, Stall, Truncate
from support.engine import RANGE_BYTES, make_recording, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audio_extract.emulator.faults import Action
    from audio_extract.engine_types import TransferReport
    from support.engine import Stage

MEDIA = "drive.media"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("demand") / "meeting.mp4", ffmpeg, seconds=90)


@pytest.fixture
def stage(recording: Path, ffmpeg: Path) -> Iterator[Stage]:
    yield from serve(recording, ffmpeg)


@pytest.fixture(scope="module")
def undisturbed(recording: Path, ffmpeg: Path) -> bytes:
    for stage in serve(recording, ffmpeg):
        transfer(stage, "mp3")
        stored = stage.stored()
        assert stored is not None
        return stored
    raise AssertionError("not reached")


def transfer(stage: Stage, codec: str) -> TransferReport:
    request = stage.request(codec=codec, audio={"codec": codec, "quality": "fast"})  # type: ignore[typeddict-item]
    # Several would want to begin at once.
    request["ffmpeg"]["encoders"] = 1
    return stage.transfer(request)


def transfer_again(stage: Stage, codec: str) -> TransferReport:
    """The same to the same place."""
    request = stage.request(codec=codec)
    request["sink"]["if_generation_match"] = None  # type: ignore[typeddict-unknown-key]
    return stage.transfer(request)


def test_one_request_serves_an_encoder_that_is_slower_than_the_link(stage: Stage, recording: Path) -> None:
    transfer(stage, "mp3")
    # The index first, in one or two.
    assert stage.drive.emulator.requests.count(MEDIA) <= 3 < recording.stat().st_size // RANGE_BYTES


def test_ranges_side_by_side_serve_a_consumer_that_starves(stage: Stage, recording: Path) -> None:
    stage.drive.emulator.network.connection_bytes_per_second = 600_000
    transfer(stage, "wav")
    requests = stage.drive.emulator.requests.count(MEDIA)
    assert requests > recording.stat().st_size // RANGE_BYTES // 2


@pytest.mark.parametrize(
    "action",
    [Reset(after_bytes=500_000), Truncate(after_bytes=700_000)],
    ids=lambda action: type(action).__name__,
)
def test_a_long_request_that_breaks_is_resumed_where_it_broke(
    stage: Stage, undisturbed: bytes, action: Action
) -> None:
    stage.drive.emulator.faults.add(action, kind=MEDIA, after=1)
    report = transfer(stage, "mp3")
    assert sum(report["retries"].values()) == 1
    assert stage.stored() == undisturbed
    stage.assert_nothing_open()


def test_a_long_request_that_hangs_is_given_up_as_soon_as_the_encoder_starves(
    stage: Stage, undisturbed: bytes
) -> None:
    stage.drive.emulator.faults.add(Stall(after_bytes=900_000), kind=MEDIA, after=1)
    report = transfer(stage, "mp3")
    assert report["retries"] == {}
    assert stage.stored() == undisturbed


def test_after_complaints_about_too_many_requests_one_serves_even_who_starves(
    stage: Stage, recording: Path
) -> None:
    ranges = recording.stat().st_size // RANGE_BYTES
    requests = stage.drive.emulator.requests
    transfer(stage, "copy")
    assert requests.count(MEDIA) > ranges
    # In the middle of a transfer,
    stage.drive.emulator.faults.add(Answer(reason="userRateLimitExceeded"), kind=MEDIA, after=2, times=4)
    before = requests.count(MEDIA)
    report = transfer_again(stage, "copy")
    assert report["retries"] == {"source.rate_limited": 4}
    assert requests.count(MEDIA) - before < ranges // 2
    # and for some time after it.
    before = requests.count(MEDIA)
    transfer_again(stage, "copy")
    assert requests.count(MEDIA) - before <= 3


def test_one_complaint_changes_nothing(stage: Stage, recording: Path) -> None:
    stage.drive.emulator.faults.add(Answer(reason="userRateLimitExceeded"), kind=MEDIA, after=2)
    assert transfer(stage, "copy")["retries"] == {"source.rate_limited": 1}
    assert stage.drive.emulator.requests.count(MEDIA) > recording.stat().st_size // RANGE_BYTES

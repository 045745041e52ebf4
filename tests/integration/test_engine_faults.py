"""Every fault ends in success after retries or in one clear error: never a wrong or partial object."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from audio_extract import _engine
from audio_extract.emulator.faults import (
    Answer,
    ChangeRevision,
    Corrupt,
    Delay,
    IgnoreRange,
    KeepPart,
    LoseAnswer,
    Reset,
    Stall,
    Truncate,
    WrongContentRange,
)
from audio_extract.exceptions import (
    AudioExtractError,
    CancelledError,
    ConfigurationError,
    CorruptionError,
    DestinationExistsError,
    PermissionDeniedError,
    QuotaError,
    SourceChangedError,
    TransientError,
)
from support.engine import (
    BUCKET,
    CHUNK_BYTES,
    OBJECT,
    Stage,
    children,
    make_recording,
    serve,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audio_extract.emulator.faults import Action

MEDIA = "drive.media"
CHUNK = "storage.upload_chunk"
STATUS = "storage.upload_status"
START = "storage.upload_start"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("recording") / "meeting.mp4", ffmpeg)


@pytest.fixture(scope="module")
def undisturbed(recording: Path, ffmpeg: Path) -> bytes:
    """What a transfer without faults stores."""
    for stage in serve(recording, ffmpeg):
        stage.transfer()
        stored = stage.stored()
        assert stored is not None
        assert len(stored) > 3 * CHUNK_BYTES
        return stored
    raise AssertionError("not reached")


@pytest.fixture
def stage(recording: Path, ffmpeg: Path) -> Iterator[Stage]:
    yield from serve(recording, ffmpeg)


def fault(stage: Stage, service: str, action: Action, **rule: Any) -> None:
    emulator = stage.drive.emulator if service == "drive" else stage.storage.emulator
    if isinstance(action, WrongContentRange):
        content = stage.drive.emulator.item(stage.file_id).content
        assert content is not None
        action = WrongContentRange(value=action.value.replace("{size}", str(content.size)))
    emulator.faults.add(action, **rule)


#: name, service, action, which requests, the retry reason it must be counted under
SURVIVED: list[tuple[str, str, Any, dict[str, Any], str | None]] = [
    (
        "503 in mid-download",
        "drive",
        Answer(reason="backendError"),
        {"kind": MEDIA, "after": 3},
        "source.server_error",
    ),
    (
        "429 on a range",
        "drive",
        Answer(reason="rateLimitExceeded", status=429),
        {"kind": MEDIA, "after": 2},
        "source.rate_limited",
    ),
    (
        "userRateLimitExceeded",
        "drive",
        Answer(reason="userRateLimitExceeded"),
        {"kind": MEDIA, "after": 2},
        "source.rate_limited",
    ),
    (
        "reset in mid-download",
        "drive",
        Reset(after_bytes=50_000),
        {"kind": MEDIA, "after": 3},
        "source.network",
    ),
    ("reset before an answer", "drive", Reset(), {"kind": MEDIA, "after": 3}, "source.network"),
    (
        "stall in mid-download",
        "drive",
        Stall(after_bytes=50_000),
        {"kind": MEDIA, "after": 3},
        "source.stalled",
    ),
    ("stall before an answer", "drive", Stall(), {"kind": MEDIA, "after": 3}, "source.stalled"),
    ("truncated body", "drive", Truncate(after_bytes=50_000), {"kind": MEDIA, "after": 3}, "source.network"),
    (
        "body shorter than its range",
        "drive",
        Truncate(after_bytes=50_000, announced=True),
        {"kind": MEDIA, "after": 3},
        "source.truncated",
    ),
    (
        "wrong Content-Range once",
        "drive",
        WrongContentRange(value="bytes 7-8/{size}"),
        {"kind": MEDIA, "after": 3},
        "source.bad_range",
    ),
    (
        "503 on a chunk",
        "storage",
        Answer(reason="backendError", status=503),
        {"kind": CHUNK, "after": 1},
        "destination.server_error",
    ),
    (
        "503 on a chunk that was kept",
        "storage",
        Answer(reason="backendError", status=503, after_work=True),
        {"kind": CHUNK, "after": 1},
        "destination.server_error",
    ),
    (
        "408 on a chunk",
        "storage",
        Answer(reason="backendError", status=408),
        {"kind": CHUNK, "after": 1},
        "destination.server_error",
    ),
    (
        "429 on a chunk",
        "storage",
        Answer(reason="rateLimitExceeded", status=429),
        {"kind": CHUNK, "after": 1},
        "destination.rate_limited",
    ),
    (
        "reset in mid-upload",
        "storage",
        Reset(after_bytes=100_000, side="request"),
        {"kind": CHUNK, "after": 1},
        "destination.network",
    ),
    ("upload answer lost", "storage", LoseAnswer(), {"kind": CHUNK, "after": 1}, "destination.network"),
    (
        "last upload answer lost",
        "storage",
        LoseAnswer(),
        {"kind": CHUNK, "path": "", "after": -1},
        "destination.network",
    ),
    (
        "a chunk kept only in part",
        "storage",
        KeepPart(bytes=CHUNK_BYTES // 2),
        {"kind": CHUNK, "after": 1},
        None,
    ),
    (
        "nothing of a chunk kept",
        "storage",
        KeepPart(bytes=0),
        {"kind": CHUNK, "after": 1},
        "destination.server_error",
    ),
    (
        "stall in mid-upload",
        "storage",
        Stall(after_bytes=100_000, side="request"),
        {"kind": CHUNK, "after": 1},
        "destination.stalled",
    ),
    (
        "503 on the start",
        "storage",
        Answer(reason="backendError", status=503),
        {"kind": START},
        "destination.server_error",
    ),
    ("answer of the start lost", "storage", LoseAnswer(), {"kind": START}, "destination.network"),
]


@pytest.mark.parametrize(
    ("name", "service", "action", "rule", "reason"), SURVIVED, ids=[row[0] for row in SURVIVED]
)
def test_a_passing_fault_is_survived_and_the_object_is_right(
    *,
    stage: Stage,
    undisturbed: bytes,
    name: str,
    service: str,
    action: Action,
    rule: dict[str, Any],
    reason: str | None,
) -> None:
    rule = dict(rule)
    if rule.get("after") == -1:
        rule["after"] = -(-len(undisturbed) // CHUNK_BYTES) - 1
    fault(stage, service, action, **rule)
    report = stage.transfer()
    emulator = stage.drive.emulator if service == "drive" else stage.storage.emulator
    assert all(not rule.times for rule in emulator.faults.pending()), "the fault did not happen"
    assert stage.stored() == undisturbed
    assert report["stored"]["crc32c"] == stage.storage.emulator.object(BUCKET, OBJECT).crc32c
    if reason is not None:
        assert reason in report["retries"]
    # The lost answer of a start leaves a session nobody knows of: it ends by itself.
    if name != "answer of the start lost":
        stage.assert_nothing_open()


#: name, service, action, which requests, error, code
FATAL: list[tuple[str, str, Any, dict[str, Any], type[AudioExtractError], str]] = [
    (
        "503 for ever on media",
        "drive",
        Answer(reason="backendError"),
        {"kind": MEDIA, "after": 3, "times": None},
        TransientError,
        "source.server_error",
    ),
    (
        "downloadQuotaExceeded",
        "drive",
        Answer(reason="downloadQuotaExceeded"),
        {"kind": MEDIA, "after": 3},
        QuotaError,
        "source.quota_exceeded",
    ),
    (
        "userRateLimitExceeded for ever",
        "drive",
        Answer(reason="userRateLimitExceeded"),
        {"kind": MEDIA, "after": 3, "times": None},
        QuotaError,
        "source.rate_limited",
    ),
    (
        "no permission in mid-download",
        "drive",
        Answer(reason="insufficientFilePermissions", status=403),
        {"kind": MEDIA, "after": 3},
        PermissionDeniedError,
        "source.permission_denied",
    ),
    (
        "changed revision in mid-download",
        "drive",
        ChangeRevision(),
        {"kind": MEDIA, "after": 3},
        SourceChangedError,
        "source.changed",
    ),
    (
        "a byte damaged on the way",
        "drive",
        Corrupt(offset=1000),
        {"kind": MEDIA, "after": 3},
        CorruptionError,
        "source.checksum_mismatch",
    ),
    (
        "wrong Content-Range for ever",
        "drive",
        WrongContentRange(value="bytes 7-8/{size}"),
        {"kind": MEDIA, "after": 3, "times": None},
        CorruptionError,
        "source.bad_range",
    ),
    (
        "stall for ever",
        "drive",
        Stall(),
        {"kind": MEDIA, "after": 3, "times": None},
        TransientError,
        "source.stalled",
    ),
    (
        "ranges ignored in mid-download",
        "drive",
        IgnoreRange(),
        {"kind": MEDIA, "after": 3},
        SourceChangedError,
        "source.changed",
    ),
    (
        "503 for ever on chunks",
        "storage",
        Answer(reason="backendError", status=503),
        {"path": "upload_id", "method": "PUT", "times": None},
        TransientError,
        "destination.server_error",
    ),
    (
        "the session is gone",
        "storage",
        Answer(reason="uploadGone"),
        {"kind": CHUNK, "after": 1},
        TransientError,
        "destination.session_gone",
    ),
    (
        "the session was never there",
        "storage",
        Answer(reason="uploadNotFound"),
        {"kind": CHUNK, "after": 1},
        TransientError,
        "destination.session_gone",
    ),
    (
        "a chunk damaged on the way",
        "storage",
        Corrupt(offset=1000, side="request"),
        {"kind": CHUNK, "after": 1},
        CorruptionError,
        "destination.checksum_mismatch",
    ),
    (
        "no permission to write",
        "storage",
        Answer(reason="forbidden", status=403),
        {"kind": START},
        PermissionDeniedError,
        "destination.permission_denied",
    ),
]


@pytest.mark.parametrize(
    ("name", "service", "action", "rule", "error", "code"), FATAL, ids=[row[0] for row in FATAL]
)
def test_a_lasting_fault_is_one_clear_error_and_leaves_nothing(
    *,
    stage: Stage,
    name: str,
    service: str,
    action: Action,
    rule: dict[str, Any],
    error: type[AudioExtractError],
    code: str,
) -> None:
    fault(stage, service, action, **rule)
    with pytest.raises(error) as caught:
        stage.transfer()
    assert caught.value.code.startswith(code)
    assert "Weekly Sync.mp4" in str(caught.value) or f"gs://{BUCKET}/{OBJECT}" in str(caught.value)
    stage.drive.emulator.faults.clear()
    stage.storage.emulator.faults.clear()
    stage.assert_nothing_left()


def test_a_status_answer_lost_too_is_asked_for_again(stage: Stage, undisturbed: bytes) -> None:
    fault(stage, "storage", LoseAnswer(), kind=CHUNK, after=1)
    fault(stage, "storage", Answer(reason="backendError", status=503), kind=STATUS)
    fault(stage, "storage", LoseAnswer(), kind=STATUS)
    report = stage.transfer()
    assert stage.stored() == undisturbed
    assert stage.storage.emulator.requests.count(STATUS) == 3
    assert sum(report["retries"].values()) == 3


def test_an_expired_token_is_refreshed(stage: Stage, undisturbed: bytes) -> None:
    accounts = stage.drive.emulator.accounts
    old = accounts.issue()
    calls = []

    def token() -> tuple[str, float]:
        calls.append(1)
        return (old if len(calls) == 1 else accounts.issue()), time.time() + 3600

    stage.overrides["source_token"] = token
    fault(stage, "drive", Answer(reason="authError", status=401), kind=MEDIA, after=4)
    stage.transfer()
    assert stage.stored() == undisturbed
    assert len(calls) == 2


def test_what_a_token_callback_raises_comes_back_as_it_was(stage: Stage) -> None:
    class NoKeyError(Exception):
        pass

    def token() -> tuple[str, float]:
        raise NoKeyError("the key file is gone")

    stage.overrides["source_token"] = token
    with pytest.raises(NoKeyError, match="the key file is gone"):
        stage.transfer()
    stage.assert_nothing_left()


def test_an_object_of_that_name_is_left_alone(stage: Stage) -> None:
    stage.storage.emulator.put_object(BUCKET, OBJECT, b"somebody else's")
    with pytest.raises(DestinationExistsError):
        stage.transfer()
    assert stage.stored() == b"somebody else's"
    stage.assert_nothing_open()


def test_an_object_that_appears_in_mid_upload_is_left_alone(stage: Stage) -> None:
    fault(stage, "storage", Delay(seconds=0.4), kind=CHUNK, after=1)

    def interfere() -> None:
        assert wait_until(lambda: stage.storage.emulator.requests.count(CHUNK) >= 2)
        stage.storage.emulator.put_object(BUCKET, OBJECT, b"somebody else's")

    thread = threading.Thread(target=interfere)
    thread.start()
    with pytest.raises(DestinationExistsError):
        stage.transfer()
    thread.join()
    assert stage.stored() == b"somebody else's"


def test_a_bucket_that_does_not_exist_is_a_matter_of_configuration(stage: Stage) -> None:
    request = stage.request()
    request["sink"]["bucket"] = "no-such-bucket"  # type: ignore[typeddict-unknown-key]
    with pytest.raises(ConfigurationError, match=r"no-such-bucket.*create the bucket or correct its name"):
        stage.transfer(request)


def test_the_caller_can_refuse_before_anything_appears(stage: Stage) -> None:
    def changed() -> None:
        raise SourceChangedError("another revision")

    with pytest.raises(SourceChangedError, match="another revision"):
        stage.transfer(before_commit=changed)
    stage.assert_nothing_left()


@pytest.mark.parametrize("codec", ["copy", "mp3", "wav"])
@pytest.mark.parametrize("moment", [(MEDIA, 1), (MEDIA, 5), (CHUNK, 1), (CHUNK, 3)], ids=str)
def test_a_cancel_at_any_stage_ends_within_a_second_and_leaves_nothing(
    stage: Stage, codec: str, moment: tuple[str, int]
) -> None:
    kind, count = moment
    if codec == "mp3" and kind == CHUNK:
        count = 1
    if codec != "copy" and kind == MEDIA:
        # One long request serves an encoder.
        count = min(count, 2)
    emulator = stage.drive.emulator if kind == MEDIA else stage.storage.emulator
    emulator.faults.add(Stall(), kind=kind, after=count - 1, times=None)
    cancel = _engine.CancelToken()
    ended: list[float] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            request = stage.request(codec=codec, fetch={"stall_timeout_seconds": 30.0})
            stage.transfer(request, cancel=cancel)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            errors.append(error)
        ended.append(time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    assert wait_until(lambda: emulator.requests.count(kind) >= count, 20)
    asked = time.monotonic()
    cancel.cancel()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(errors[0], CancelledError)
    assert ended[0] - asked < 1.0
    emulator.faults.clear()
    assert wait_until(lambda: not children())
    assert wait_until(lambda: not stage.storage.emulator.uploads.open_sessions())
    stage.assert_nothing_left()


@pytest.mark.parametrize("strategy", ["parallel", "audio_only", "stream"])
@pytest.mark.parametrize("faststart", [True, False], ids=["moov first", "moov last"])
def test_every_strategy_stores_the_same_bytes(
    tmp_path: Path, ffmpeg: Path, strategy: Any, faststart: bool
) -> None:
    recording = make_recording(tmp_path / "r.mp4", ffmpeg, seconds=8, faststart=faststart)
    for stage in serve(recording, ffmpeg):
        report = stage.transfer(stage.request(codec="mp3", fetch={"strategy": strategy}))
        assert report["strategy"] == strategy
        stored = stage.stored()
        assert stored is not None
        expected = _engine.transfer(
            {
                "source": {"kind": "file", "path": str(recording)},
                "sink": {"kind": "file", "path": str(tmp_path / f"{strategy}.mp3")},
                "audio": {"codec": "mp3"},
                "ffmpeg": {"path": str(ffmpeg)},
            }
        )
        assert (
            hashlib.sha256((tmp_path / f"{strategy}.mp3").read_bytes()).digest()
            == hashlib.sha256(stored).digest()
        )
        assert expected["stored"]["crc32c"] == report["stored"]["crc32c"]


def test_a_server_without_ranges_is_streamed(stage: Stage, undisturbed: bytes) -> None:
    fault(stage, "drive", IgnoreRange(), kind=MEDIA, times=None)
    report = stage.transfer()
    assert report["strategy"] == "stream"
    assert report["fallback_reason"] == "the server does not support ranges"
    assert stage.stored() == undisturbed


def test_a_promised_size_that_is_not_there_is_another_revision(stage: Stage) -> None:
    request = stage.request()
    request["source"]["size_bytes"] = 12345  # type: ignore[typeddict-unknown-key]
    with pytest.raises(SourceChangedError, match="its size was 12345 bytes"):
        stage.transfer(request)
    stage.assert_nothing_left()


@pytest.mark.parametrize("strategy", ["parallel", "audio_only", "stream"])
@pytest.mark.parametrize("codec", ["wav", "copy"])
def test_memory_stays_within_the_least_permits_and_nothing_waits_for_itself(
    stage: Stage, codec: str, strategy: Any
) -> None:
    request = stage.request(codec=codec, fetch={"strategy": strategy, "range_size_bytes": 4 * 1024 * 1024})
    least = 2 * CHUNK_BYTES + 2 * 1024 * 1024
    request["memory_limit_bytes"] = least
    report = stage.transfer(request)
    assert report["peak_permits_bytes"] <= least
    assert stage.stored() is not None

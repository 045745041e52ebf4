"""What crosses between Python and Rust: small values, the right exceptions, and nothing else."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from audio_extract import _engine, exceptions
from audio_extract.exceptions import ERROR_KINDS, AudioExtractError, ConfigurationError
from support.engine import make_recording

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("recording") / "meeting.mp4", ffmpeg, seconds=4)


def request(recording: Path, target: Path, ffmpeg: Path, **changes: Any) -> dict[str, Any]:
    return {
        "source": {"kind": "file", "path": str(recording)},
        "sink": {"kind": "file", "path": str(target)},
        "audio": {"codec": "mp3"},
        "ffmpeg": {"path": str(ffmpeg)},
        **changes,
    }


def test_every_kind_of_the_engine_has_its_exception_and_every_exception_a_kind() -> None:
    assert {kind for _, kind in _engine.error_codes()} == set(ERROR_KINDS)
    defined = {
        item
        for _, item in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(item, AudioExtractError) and item is not AudioExtractError
    }
    assert set(ERROR_KINDS.values()) == defined


def test_codes_are_unique_and_say_where_they_belong() -> None:
    codes = [code for code, _ in _engine.error_codes()]
    assert len(codes) == len(set(codes))
    areas = {"source", "media", "ffmpeg", "destination", "token", "request", "internal", "cancelled"}
    assert {code.split(".")[0] for code in codes} == areas


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"surprise": 1}, "surprise"),
        ({"audio": {"codec": "mp4"}}, "mp4"),
        ({"audio": {"codec": "mp3", "channels": 7}}, r"audio\.channels"),
        ({"fetch": {"max_ranges": 0}}, r"fetch\.max_ranges is 0"),
        ({"fetch": {"range_size_bytes": 1}}, r"fetch\.range_size_bytes is 1"),
        ({"memory_limit_bytes": 1000}, "memory limit"),
        ({"retry": {"base_seconds": -1.0}}, r"retry\.base_seconds"),
    ],
)
def test_a_wrong_request_is_refused_and_the_key_is_named(
    recording: Path, tmp_path: Path, ffmpeg: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        _engine.transfer(request(recording, tmp_path / "a.mp3", ffmpeg, **changes))  # type: ignore[arg-type]
    assert caught.value.code == "request.invalid"
    assert list(tmp_path.iterdir()) == []


def test_no_value_that_comes_back_holds_media(recording: Path, tmp_path: Path, ffmpeg: Path) -> None:
    report = _engine.transfer(request(recording, tmp_path / "a.mp3", ffmpeg))  # type: ignore[arg-type]
    assert len(repr(report)) < 8_000 < (tmp_path / "a.mp3").stat().st_size

    def no_bytes(value: object) -> bool:
        if isinstance(value, dict):
            return all(map(no_bytes, value.values()))
        if isinstance(value, list):
            return all(map(no_bytes, value))
        return not isinstance(value, bytes | bytearray | memoryview)

    assert no_bytes(report)


def test_a_progress_ends_where_the_report_says(recording: Path, tmp_path: Path, ffmpeg: Path) -> None:
    progress = _engine.Progress()
    assert progress.snapshot()["stage"] == "index"
    report = _engine.transfer(request(recording, tmp_path / "a.mp3", ffmpeg), progress=progress)  # type: ignore[arg-type]
    snapshot = progress.snapshot()
    assert snapshot["stage"] == "done"
    assert snapshot["stored_bytes"] == report["stored"]["size_bytes"] == (tmp_path / "a.mp3").stat().st_size
    assert snapshot["fetched_bytes"] == report["fetched_bytes"]
    assert report["audio_seconds"] is not None
    assert abs(snapshot["audio_seconds"] - report["audio_seconds"]) < 0.1


def test_a_token_cancelled_before_the_start_is_obeyed(recording: Path, tmp_path: Path, ffmpeg: Path) -> None:
    cancel = _engine.CancelToken()
    cancel.cancel()
    assert cancel.cancelled
    with pytest.raises(exceptions.CancelledError):
        _engine.transfer(request(recording, tmp_path / "a.mp3", ffmpeg), cancel=cancel)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_is_not_overwritten(recording: Path, tmp_path: Path, ffmpeg: Path) -> None:
    target = tmp_path / "a.mp3"
    target.write_bytes(b"mine")
    with pytest.raises(exceptions.DestinationExistsError, match=r"a\.mp3.*allow overwriting"):
        _engine.transfer(request(recording, target, ffmpeg))  # type: ignore[arg-type]
    assert target.read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp3"]

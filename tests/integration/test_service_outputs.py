"""More outputs of one recording in the service: each stored exactly once, beside the audio."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_extract.exceptions import ConfigurationError
from audio_extract.plan import format_id, plan_id
from audio_extract.settings.audio_sections import Output
from support.service import BUCKET, World, only_row, world

OUTPUTS: dict[str, Any] = {"processing": {"outputs": ["speech", {"name": "small", "preset": "speech-small"}]}}
AUDIO = "dev/2025/02/Weekly_2025-02-28_12-00_audio"
NAMES = [f"{AUDIO}.mp3", f"{AUDIO}_small.opus", f"{AUDIO}_speech.flac"]


@pytest.fixture(scope="module")
def meeting(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    """Ten seconds with two tracks: a low one in English, a high one in German."""
    path = tmp_path_factory.mktemp("meeting") / "meeting.mp4"
    tracks = [word for hertz in (300, 900) for word in ("-f", "lavfi", "-i", f"sine={hertz}:r=48000:d=10")]
    languages = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu"]
    command = [ffmpeg, "-v", "error", *tracks, "-map", "0", "-map", "1", *languages, "-c:a", "aac", path]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def here(tmp_path: Path, meeting: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        found.add(meeting, "Weekly.mp4")
        yield found


def said_of(ffprobe: Path, content: bytes, entries: str) -> str:
    command = [ffprobe, "-v", "error", "-show_entries", entries, "-of", "csv=p=0", "-"]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout.decode().strip()


def test_all_are_stored_from_one_fetch_recorded_and_not_made_again(here: World, ffprobe: Path) -> None:
    with here.service(OUTPUTS) as service:
        assert service.run_once().completed == 1
        row = only_row(service)
        outputs = service.tracker.outputs_of(row.id)
    assert sorted(here.objects()) == sorted(NAMES)
    # The index is at the end of the file: one request for it, one for the rest, whatever is made of it.
    assert here.moved()[0] <= 3
    stored = {item.name: item for item in here.storage.emulator.objects(BUCKET)}
    for output, audio in zip(outputs, sorted(OUTPUTS["processing"]["outputs"], key=str)[::-1], strict=True):
        item = stored[output.object_name]
        assert (output.size_bytes, output.crc32c) == (item.size, item.crc32c)
        assert output.audio_seconds == pytest.approx(10, abs=0.1)
        del audio
    assert [output.name for output in outputs] == ["small", "speech"]
    speech = here.storage.emulator.find(BUCKET, f"{AUDIO}_speech.flac")
    assert speech is not None
    assert said_of(ffprobe, speech.read(), "stream=codec_name,sample_rate,channels") == "flac,16000,1"
    assert stored[f"{AUDIO}_speech.flac"].metadata["plan-id"] == format_id(
        here.settings(), Output.model_validate("speech")
    )
    assert stored[f"{AUDIO}.mp3"].metadata["plan-id"] == plan_id(here.settings())
    here.reset_counters()
    with here.service(OUTPUTS) as service:
        assert service.run_once().due == 0
    assert here.moved() == (0, 0)


def test_a_lost_database_adopts_all_of_them(here: World, tmp_path: Path) -> None:
    with here.service(OUTPUTS) as service:
        service.run_once()
    here.forget_everything()
    here.reset_counters()
    with here.service(OUTPUTS) as service:
        assert service.run_once().adopted == 1
        outputs = service.tracker.outputs_of(only_row(service).id)
    assert [output.name for output in outputs] == ["small", "speech"]
    assert [output.audio_seconds for output in outputs] == [pytest.approx(10, abs=0.1)] * 2
    assert here.moved() == (0, 0)


def test_what_is_asked_for_later_is_made_and_the_audio_stays(here: World) -> None:
    with here.service() as service:
        service.run_once()
        row = only_row(service)
    before = here.storage.emulator.object(BUCKET, f"{AUDIO}.mp3").generation
    with here.service(OUTPUTS) as service:
        assert service.run_once().due == 0
        service.tracker.retry([row.id], here.now, completed=True)
        assert service.run_once().completed == 1
        assert only_row(service).storage_path == f"{AUDIO}.mp3"
        assert len(service.tracker.outputs_of(row.id)) == 2
    assert sorted(here.objects()) == sorted(NAMES)
    assert here.storage.emulator.object(BUCKET, f"{AUDIO}.mp3").generation == before


def test_only_the_one_that_is_missing_is_made_again(here: World, tmp_path: Path) -> None:
    with here.service(OUTPUTS) as service:
        service.run_once()
    generations = {item.name: item.generation for item in here.storage.emulator.objects(BUCKET)}
    here.forget_everything()
    here.storage.emulator.delete_object(BUCKET, f"{AUDIO}_small.opus")
    with here.service(OUTPUTS) as service:
        assert service.run_once().completed == 1
    assert sorted(here.objects()) == sorted(NAMES)
    kept = {f"{AUDIO}.mp3", f"{AUDIO}_speech.flac"}
    for item in here.storage.emulator.objects(BUCKET):
        if item.name in kept:
            assert item.generation == generations[item.name]


def test_what_an_attempt_left_before_the_audio_is_taken_as_it_is(here: World, tmp_path: Path) -> None:
    with here.service(OUTPUTS) as service:
        service.run_once()
    generation = here.storage.emulator.object(BUCKET, f"{AUDIO}_speech.flac").generation
    here.forget_everything()
    # As if its holder had died between the outputs and the audio.
    here.storage.emulator.delete_object(BUCKET, f"{AUDIO}.mp3")
    with here.service(OUTPUTS) as service:
        assert service.run_once().completed == 1
    assert sorted(here.objects()) == sorted(NAMES)
    assert here.storage.emulator.object(BUCKET, f"{AUDIO}_speech.flac").generation == generation


def test_somebody_elses_object_stays_and_the_next_name_is_taken(here: World) -> None:
    here.storage.emulator.put_object(BUCKET, f"{AUDIO}_speech.flac", b"mine")
    with here.service(OUTPUTS) as service:
        assert service.run_once().completed == 1
    assert sorted(here.objects()) == sorted([*NAMES, f"{AUDIO}_speech-2.flac"])
    assert here.storage.emulator.object(BUCKET, f"{AUDIO}_speech.flac").size == 4


def test_a_folder_gets_them_and_adopts_them(here: World, tmp_path: Path) -> None:
    settings = {**OUTPUTS, "storage": {"type": "local", "local": {"path": str(tmp_path / "audio")}}}
    with here.service(settings) as service:
        assert service.run_once().completed == 1
    folder = tmp_path / "audio" / "2025" / "02"
    assert sorted(path.name for path in folder.iterdir()) == sorted(name.rpartition("/")[2] for name in NAMES)
    here.forget_everything()
    here.reset_counters()
    with here.service(settings) as service:
        assert service.run_once().adopted == 1
    assert here.moved()[0] == 0


def test_what_a_person_asks_for_is_made_and_stays_wanted(here: World, tmp_path: Path) -> None:
    with here.service() as service:
        service.run_once()
        row = only_row(service)
        wanted = [{"name": "wav", "codec": "wav", "track": 1}]
        assert service.tracker.retry([row.id], here.now, completed=True, outputs=wanted) == [row.id]
        assert service.run_once().completed == 1
        assert [one.object_name for one in service.tracker.outputs_of(row.id)] == [f"{AUDIO}_wav.wav"]
        assert service.tracker.stored_as(f"{AUDIO}_wav.wav").id == row.id
        service.tracker.retry([row.id], here.now, completed=True)
        here.reset_counters()
        assert service.run_once().adopted == 1
        assert here.moved() == (0, 0)
        assert len(service.tracker.outputs_of(row.id)) == 1


def test_a_track_that_is_not_there_fails_before_media_is_fetched_and_leaves_nothing(here: World) -> None:
    with here.service({"processing": {"outputs": [{"codec": "wav", "track": 5}]}}) as service:
        (failure,) = service.run_once().failures
    assert failure.error is not None
    assert failure.error.code == "media.track_not_found"
    assert here.objects() == []
    assert here.moved()[1] == 0


def test_the_audit_knows_all_of_them(here: World) -> None:
    from audio_extract.jobs.audit import Audit

    with here.service(OUTPUTS) as service:
        service.run_once()
        audit = Audit(service.tracker, service.storage, here.settings(OUTPUTS), now=here.now)
        assert list(audit.findings()) == []
        assert (audit.summary.recordings, audit.summary.matching) == (1, 3)
        here.storage.emulator.delete_object(BUCKET, f"{AUDIO}_speech.flac")
        audit = Audit(service.tracker, service.storage, here.settings(OUTPUTS), now=here.now)
        assert [(one.kind, one.name) for one in audit.findings()] == [("missing", f"{AUDIO}_speech.flac")]


def test_a_track_is_found_by_its_language(here: World, ffmpeg: Path, tmp_path: Path) -> None:
    german = {"name": "german", "codec": "wav", "track": "deu"}
    with here.service({"processing": {"outputs": [german]}}) as service:
        assert service.run_once().completed == 1
    content = here.storage.emulator.find(BUCKET, f"{AUDIO}_german.wav")
    assert content is not None
    sound = tmp_path / "german.wav"
    sound.write_bytes(content.read())
    # What is left above 600 Hz: nearly everything of the high track, next to nothing of the low one.
    command = [ffmpeg, "-i", sound, "-af", "highpass=f=600:poles=2,astats=metadata=0", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, check=True).stderr.decode()
    level = next(line for line in said.splitlines() if "RMS level dB" in line)
    assert float(level.rpartition(":")[2]) > -25


def test_a_language_that_is_not_there_is_said_with_those_that_are(here: World) -> None:
    with here.service({"processing": {"audio_format": {"track": "fra"}}}) as service:
        (failure,) = service.run_once().failures
        row = only_row(service)
    assert "fra" in str(failure)
    assert (row.status, row.error_code) == ("quarantined", "media.track_not_found")
    assert "eng, deu" in row.error_message
    assert here.objects() == []


def test_normalizing_a_recording_that_is_streamed_comes_near_the_loudness(here: World) -> None:
    audio = {"codec": "flac", "sample_rate": 48_000, "normalize": -20}
    with here.service({"processing": {"audio_format": audio}}) as service:
        assert service.run_once().completed == 1
        report = service.tracker.attempts_of(only_row(service).id)[-1]["report"]
    assert report["sound"]["loudness"]["integrated_lufs"] == pytest.approx(-20, abs=1.5)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (["speech", "speech"], "two are called speech"),
        (["speechy"], "podcast"),
        ([{"preset": "speech", "codec": "mp3"}], "codec"),
        ([{"codec": "opus", "sample_rate": 44_100}], "opus knows"),
        ([{"codec": "aac", "sample_rate": 50_000}], "aac knows"),
        ([{"name": "../x", "codec": "mp3"}], "lower-case"),
        ([{"codec": "copy", "normalize": -16}], "a copy is as loud as it is"),
        ([{"codec": "mp3", "sample_bits": 16}], "only of flac"),
        ([{"codec": "mp3", "track": 64}], "0 to 63"),
        ([{"codec": "mp3", "track": "english"}], "such as eng, all, or mix"),
        ([{"name": f"o{number}"} for number in range(8)], "at most 7"),
    ],
)
def test_settings_that_cannot_work_are_refused(outputs: list[Any], said: str, here: World) -> None:
    with pytest.raises(ConfigurationError, match=said):
        here.settings({"processing": {"outputs": outputs}})


def test_presets_may_stand_in_a_variable(here: World) -> None:
    settings = here.settings({"processing": {"outputs": "speech, archive"}})
    assert [output.name for output in settings.processing.outputs] == ["speech", "archive"]

"""What is asked for beside audio that is stored: its names, its chunks, and what cannot be made."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from audio_extract.exceptions import ConfigurationError
from audio_extract.jobs import Outcome
from audio_extract.plan import plan_id
from audio_extract.tracker import Owner
from support.service import BUCKET, World, only_row, world

AUDIO = "dev/2025/02/Weekly_2025-02-28_12-00_audio"
CUT: dict[str, Any] = {"preset": "speech", "chunks": {"duration_seconds": 15, "at_silence": True}}
CHUNKS: dict[str, Any] = {"processing": {"outputs": [CUT]}}
NAMES = [
    f"{AUDIO}.mp3",
    f"{AUDIO}_speech.flac",
    *(f"{AUDIO}_speech/chunk-00{number}.flac" for number in range(3)),
    f"{AUDIO}_speech/chunks.json",
]


@pytest.fixture(scope="module")
def meeting(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    """Forty seconds with two tracks, the first with a second of silence in each seven."""
    path = tmp_path_factory.mktemp("meeting") / "meeting.mp4"
    sound = "aevalsrc='0.4*sin(2*PI*300*t)*gt(mod(t,7),1)':s=48000:d=40"
    inputs = ["-f", "lavfi", "-i", sound, "-f", "lavfi", "-i", "sine=900:r=48000:d=40"]
    command = [ffmpeg, "-v", "error", *inputs, "-map", "0", "-map", "1", "-c:a", "aac", path]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def here(tmp_path: Path, meeting: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        found.add(meeting, "Weekly.mp4")
        yield found


def local(folder: Path, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    return {**(settings or {}), "storage": {"type": "local", "local": {"path": str(folder)}}}


# Chunks of an output.


def test_an_output_has_chunks_of_its_own_which_are_not_made_again(here: World, tmp_path: Path) -> None:
    with here.service(CHUNKS) as service:
        assert service.run_once().completed == 1
        row = only_row(service)
        (speech,) = service.tracker.outputs_of(row.id)
        assert service.tracker.chunks_of(row.id) == []
    assert sorted(here.objects()) == sorted(NAMES)
    stored = {item.name: item for item in here.storage.emulator.objects(BUCKET)}
    index = json.loads(gzip.decompress(stored[f"{AUDIO}_speech/chunks.json"].read()))
    assert [one["file"] for one in index["chunks"]] == [f"chunk-00{number}.flac" for number in range(3)]
    for chunk in speech.chunks:
        item = stored[chunk.object_name]
        assert (chunk.size_bytes, chunk.crc32c) == (item.size, item.crc32c)
    assert [chunk.silence_cut for chunk in speech.chunks] == [True, True, False]
    # They cover it once.
    assert [chunk.start_seconds for chunk in speech.chunks[1:]] == [
        chunk.end_seconds for chunk in speech.chunks[:-1]
    ]
    assert speech.chunks[-1].end_seconds == pytest.approx(40, abs=0.1)
    # The audio itself is what it would be without.
    assert stored[f"{AUDIO}.mp3"].metadata["plan-id"] == plan_id(here.settings())
    here.forget_everything()
    here.reset_counters()
    with here.service(CHUNKS) as service:
        assert service.run_once().adopted == 1
        (speech,) = service.tracker.outputs_of(only_row(service).id)
        assert len(speech.chunks) == 3
    assert here.moved() == (0, 0)


def test_an_output_whose_chunks_were_not_complete_is_made_again_in_its_place(
    here: World, tmp_path: Path
) -> None:
    with here.service(CHUNKS) as service:
        service.run_once()
    before = here.storage.emulator.object(BUCKET, f"{AUDIO}.mp3").generation
    here.forget_everything()
    here.storage.emulator.delete_object(BUCKET, f"{AUDIO}_speech/chunks.json")
    here.storage.emulator.delete_object(BUCKET, f"{AUDIO}_speech/chunk-001.flac")
    with here.service(CHUNKS) as service:
        report = service.run_once()
        assert (report.completed, report.failures) == (1, [])
    assert sorted(here.objects()) == sorted(NAMES)
    assert here.storage.emulator.object(BUCKET, f"{AUDIO}.mp3").generation == before


def test_chunks_of_one_recording_are_asked_for_later(here: World) -> None:
    with here.service() as service:
        service.run_once()
        row = only_row(service)
        wanted = [{"name": "parts", "codec": "mp3", "chunks": {"max_size_mb": 0.3}}]
        service.tracker.retry([row.id], here.now, completed=True, outputs=wanted)
        assert service.run_once().completed == 1
        (parts,) = service.tracker.outputs_of(row.id)
    assert [one.object_name for one in parts.chunks] == [
        f"{AUDIO}_parts/chunk-000.mp3",
        f"{AUDIO}_parts/chunk-001.mp3",
        f"{AUDIO}_parts/chunk-002.mp3",
    ][: len(parts.chunks)]
    assert len(parts.chunks) >= 2
    assert all(one.size_bytes < 300_000 for one in parts.chunks)


def test_a_copy_as_audio_does_not_keep_an_output_from_being_cut_at_silence(
    here: World, tmp_path: Path
) -> None:
    settings = {"processing": {"audio_format": {"codec": "copy"}, "outputs": [CUT]}}
    with here.service(local(tmp_path / "audio", settings)) as service:
        assert service.run_once().completed == 1
        (speech,) = service.tracker.outputs_of(only_row(service).id)
    assert [chunk.silence_cut for chunk in speech.chunks] == [True, True, False]


def test_silence_of_another_sound_than_the_audio_is_not_looked_for(here: World) -> None:
    with here.service({"processing": {"outputs": [{**CUT, "track": 1}]}}) as service:
        (failure,) = service.run_once().failures
    assert failure.error is not None
    assert failure.error.code == "media.outputs_impossible"
    assert "at_silence" in str(failure.error)
    assert here.objects() == []


def test_the_audit_knows_chunks_of_outputs(here: World) -> None:
    from audio_extract.jobs.audit import Audit

    with here.service(CHUNKS) as service:
        service.run_once()
        audit = Audit(service.tracker, service.storage, here.settings(CHUNKS), now=here.now)
        assert list(audit.findings()) == []
        assert audit.summary.matching == len(NAMES)


# Names.


def test_a_file_of_somebody_else_in_a_folder_is_never_replaced(here: World, tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    below = folder / AUDIO.removeprefix("dev/")
    mine, made = Path(f"{below}_speech.flac"), Path(f"{below}_speech-2.flac")
    with here.service(local(folder)) as service:
        service.run_once()
        row = only_row(service)
    mine.write_bytes(b"mine")
    with here.service(local(folder, {"processing": {"outputs": ["speech"]}})) as service:
        service.tracker.retry([row.id], here.now, completed=True)
        assert service.run_once().completed == 1
        assert mine.read_bytes() == b"mine"
        before = made.stat()
        service.tracker.retry([row.id], here.now, completed=True)
        assert service.run_once().adopted == 1
    assert mine.read_bytes() == b"mine"
    assert made.stat().st_ino == before.st_ino


def test_what_an_attempt_that_died_left_in_a_folder_is_replaced(here: World, tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    left = Path(f"{folder / AUDIO.removeprefix('dev/')}_speech.flac")
    with here.service(local(folder, {"processing": {"outputs": ["speech"]}})) as service:
        service.discover()
        claim = service.tracker.claim_one(only_row(service).id, Owner.current(), here.now)
        assert claim is not None
        name = AUDIO.removeprefix("dev/")
        service.tracker.assign_object_name(claim, f"{name}.mp3", here.now)
        service.tracker.assign_output_names(claim, {"speech": f"{name}_speech.flac"})
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
        service.tracker.release(claim, here.now)
        assert service.run_once().completed == 1
    assert left.read_bytes()[:4] == b"fLaC"
    assert not Path(f"{folder / name}_speech-2.flac").exists()


@pytest.mark.parametrize("destination", ["bucket", "folder"])
def test_chunks_of_a_recording_that_is_gone_in_between_do_not_stay(
    here: World, tmp_path: Path, destination: str
) -> None:
    settings = CHUNKS if destination == "bucket" else local(tmp_path / "audio", CHUNKS)
    audio = AUDIO if destination == "bucket" else AUDIO.removeprefix("dev/")
    with here.service(settings) as service:
        service.discover()
        row = only_row(service)
        claim = service.tracker.claim_one(row.id, Owner.current(), here.now)
        assert claim is not None
        service.tracker.assign_object_name(claim, f"{audio}.mp3", here.now)
        service.tracker.assign_output_names(claim, {"speech": f"{audio}_speech.flac"})
        # As its holder left them, and as somebody else's stand beside another name.
        content, ours = tmp_path / "piece", {"source-id": row.source_id, "revision": "r", "plan-id": "p"}
        content.write_bytes(b"piece")
        left, other = f"{audio}_speech/chunk-000.flac", f"{audio}_other/chunk-000.flac"
        service.storage.save(content, left, metadata=ours, content_type="audio/flac")
        theirs = {**ours, "source-id": "somebody"}
        service.storage.save(content, other, metadata=theirs, content_type="audio/flac")
        service.tracker.release(claim, here.now)
        here.drive.emulator.delete(row.source_id)
        service.run_once()
        assert only_row(service).status == "skipped"
        service.run_once()
        assert [service.storage.exists(name) for name in (left, other)] == [False, True]


def test_audio_that_a_dead_worker_stored_is_known_whatever_becomes_of_the_rest(here: World) -> None:
    with here.service(CHUNKS) as service:
        service.run_once()
    here.forget_everything()
    here.storage.emulator.delete_object(BUCKET, f"{AUDIO}_speech/chunks.json")
    with here.service(CHUNKS) as service:
        service.discover()
        row = only_row(service)
        dead = Owner("elsewhere", 1, "gone.1.1")
        claim = service.tracker.claim_one(row.id, dead, here.now, lease_seconds=60)
        assert claim is not None
        assert service.tracker.assign_object_name(claim, f"{AUDIO}.mp3", here.now)
        service.tracker.assign_output_names(claim, {"speech": f"{AUDIO}_speech.flac"})
        here.drive.emulator.delete(row.source_id)
        here.now += timedelta(seconds=61)
        service.run_once()
        service.run_once()
        after = only_row(service)
    assert (after.status, after.storage_path) == ("completed", f"{AUDIO}.mp3")
    assert here.objects() == [f"{AUDIO}.mp3"]


# What cannot be made.


@pytest.mark.parametrize("destination", ["bucket", "folder"])
def test_what_cannot_be_made_leaves_the_recording_as_it_was(
    here: World, tmp_path: Path, destination: str
) -> None:
    heard: list[Outcome] = []
    with here.service({} if destination == "bucket" else local(tmp_path / "audio")) as service:
        service.run_once()
        row = only_row(service)
        wanted = [
            {"name": "speech", "preset": "speech"},
            {"name": "french", "codec": "wav", "track": "fra"},
        ]
        service.tracker.retry([row.id], here.now, completed=True, outputs=wanted)
        (failure,) = service.run_once(on_outcome=heard.append).failures
        assert failure.error is not None
        assert failure.error.code == "media.track_not_found"
        assert heard == [failure]
        after = only_row(service)
        assert (after.status, after.storage_path, after.crc32c) == ("completed", row.storage_path, row.crc32c)
        assert (after.error_code, service.tracker.wanted_outputs_of(row.id)) == (None, set())
        entry = service.tracker.audit(row.id)[-1]
        assert (entry.event, entry.detail["code"]) == ("kept", "media.track_not_found")
        assert not service.pool.paused()
        assert service.run_once().due == 0


def test_a_recording_that_is_gone_keeps_its_audio_when_more_is_asked_of_it(here: World) -> None:
    with here.service() as service:
        service.run_once()
        row = only_row(service)
        here.drive.emulator.delete(row.source_id)
        service.tracker.retry(
            [row.id], here.now, completed=True, outputs=[{"name": "speech", "preset": "speech"}]
        )
        assert len(service.run_once().failures) == 1
        assert only_row(service).status == "completed"


def test_audio_that_is_gone_too_is_not_called_completed(here: World) -> None:
    with here.service() as service:
        service.run_once()
        row = only_row(service)
        here.drive.emulator.delete(row.source_id)
        here.storage.emulator.delete_object(BUCKET, f"{AUDIO}.mp3")
        service.tracker.retry(
            [row.id], here.now, completed=True, outputs=[{"name": "speech", "preset": "speech"}]
        )
        service.run_once()
        assert only_row(service).status == "skipped"


def test_a_link_to_stored_audio_works_while_more_is_made_of_it(here: World) -> None:
    from audio_extract.cli.serving import audio_location

    with here.service() as service:
        service.run_once()
        row = only_row(service)
        service.tracker.retry(
            [row.id], here.now, completed=True, outputs=[{"name": "speech", "preset": "speech"}]
        )
        pending = only_row(service)
        assert pending.status == "pending"
        assert service.tracker.stored_as(f"{AUDIO}.mp3") is not None
        location = audio_location(service.storage, pending)
        assert location is not None
        assert location.url is not None


def test_the_picture_of_the_sound_stays_when_more_is_made(here: World) -> None:
    with here.service() as service:
        service.run_once()
        row = only_row(service)
        before = service.tracker.sounds_of([row.id])
        service.tracker.retry(
            [row.id], here.now, completed=True, outputs=[{"name": "speech", "preset": "speech"}]
        )
        assert service.run_once().completed == 1
        assert service.tracker.sounds_of([row.id]) == before != {}


def test_audio_of_a_process_that_died_before_it_told_is_told(here: World) -> None:
    from audio_extract.cli.telling import tell
    from audio_extract.notify import Ending

    heard: list[Ending] = []

    class Heard:
        def tell(self, ending: Ending) -> None:
            heard.append(ending)

    with here.service() as service:
        service.run_once()
    here.forget_everything()
    outcomes: list[Outcome] = []
    with here.service(on_outcome=outcomes.append) as service:
        service.discover()
        row = only_row(service)
        dead = Owner("elsewhere", 1, "gone.1.1")
        claim = service.tracker.claim_one(row.id, dead, here.now, lease_seconds=60)
        assert claim is not None
        here.now += timedelta(seconds=61)
        assert service.tracker.assign_object_name(claim, f"{AUDIO}.mp3", here.now)
        service.run_once()
        (outcome,) = outcomes
        assert outcome.adopted
        settings = here.settings()
        tell(Heard(), outcome, service.tracker, service.storage, settings)  # type: ignore[arg-type]
    (ending,) = heard
    assert (ending.status, ending.storage_path) == ("completed", f"{AUDIO}.mp3")


# Settings.


def test_what_counts_as_silence_decides_about_trimmed_audio(here: World) -> None:
    trimmed = {"audio_format": {"trim_silence": True}}
    other = {**trimmed, "chunks": {"silence_threshold_db": -60}}
    plain, louder = (plan_id(here.settings({"processing": one})) for one in (trimmed, other))
    assert plain != louder
    untrimmed = {"chunks": {"silence_threshold_db": -60}}
    assert plan_id(here.settings({"processing": untrimmed})) == plan_id(here.settings())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"processing": {"outputs": [{"preset": "speech-small", "chunks": {"duration_seconds": 60}}]}},
            "only mp3",
        ),
        (
            {
                "processing": {
                    "outputs": [{"codec": "mp3", "chunks": {"duration_seconds": 9, "overlap_seconds": 6}}]
                }
            },
            "at most half",
        ),
        (
            {"processing": {"outputs": [{"codec": "mp3", "chunks": {"silence_seconds": 1}}]}},
            "silence_seconds",
        ),
        ({"processing": {"outputs": [{"codec": "opus", "bitrate": "1000k"}]}}, "opus knows 6k to 256k"),
        (
            {
                "processing": {"outputs": [{"name": f"o{number}"} for number in range(7)]},
                "transfer": {"memory_limit_mb": 20},
                "upload": {"chunk_size_mb": 4},
            },
            "14 MB for processing.outputs and chunks",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str, here: World) -> None:
    with pytest.raises(ConfigurationError, match=said):
        here.settings(settings)


def test_a_rate_that_mp3_does_not_know_is_trimmed_where_the_silence_is(tmp_path: Path, ffmpeg: Path) -> None:
    from support.cli import run_cli

    sound = "aevalsrc='0.3*sin(2*PI*300*t)*gt(t,4)':s=96000:d=10"
    subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", sound, tmp_path / "in.wav"], check=True)
    done = run_cli("extract", "in.wav", "-o", "out.mp3", "--trim-silence", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert json.loads(done.out)["audio_seconds"] == pytest.approx(6.2, abs=0.1)

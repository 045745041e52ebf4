"""Transcript, notes and chat of a meeting: found beside the recording, and copied where that is wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audio_extract.emulator.faults import Answer
from audio_extract.exceptions import TransientError
from audio_extract.jobs.transfer import Outcome
from audio_extract.plan.companions import DOCUMENT
from audio_extract.sources.local import LocalSource
from audio_extract.tracker.states import State
from support.engine import make_recording
from support.service import BUCKET, World, world

NAME = "Weekly sync (2025-02-28 at 12:00 GMT)"
AUDIO = "dev/2025/02/Weekly sync_2025-02-28_12-00_audio"
SAID = "Ann: Guten Tag – hello\n"


@pytest.fixture
def here(tmp_path: Path, ffmpeg: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        found.add(make_recording(tmp_path / "meeting.mp4", ffmpeg, seconds=3), f"{NAME}.mp4")
        add_text(found, f"{NAME} - Transcript", SAID, mime_type=DOCUMENT)
        add_text(found, f"{NAME} - Chat.txt", "12:00 Ann: it's late\n")
        add_text(
            found, "Weekly sync (2025-02-21 at 12:00 GMT) - Transcript", "another week", mime_type=DOCUMENT
        )
        yield found


def add_text(here: World, name: str, text: str, **values: Any) -> str:
    return here.drive.emulator.add_file(text.encode(), name=name, parent=here.folder, **values)


def completed_row(service: Any) -> Any:
    return next(row for row in service.tracker.listing().rows if row.status == "completed")


def test_links_are_noted_without_being_asked_for(here: World) -> None:
    with here.service() as service:
        assert service.run_once().completed == 1
        found = service.tracker.companions_of(completed_row(service).id)
    assert [(one["kind"], one["name"]) for one in sorted(found, key=lambda one: one["kind"])] == [
        ("chat", f"{NAME} - Chat.txt"),
        ("transcript", f"{NAME} - Transcript"),
    ]
    assert all(one["link"].startswith("https://") for one in found)
    assert here.objects() == [f"{AUDIO}.mp3"]


def test_texts_are_copied_beside_the_audio_once(here: World, tmp_path: Path) -> None:
    settings = {"processing": {"companions": "text"}}
    with here.service(settings) as service:
        assert service.run_once().completed == 1
        outputs = service.tracker.outputs_of(completed_row(service).id)
        assert [one.name for one in outputs] == ["chat", "transcript"]
    assert sorted(here.objects()) == [f"{AUDIO}.mp3", f"{AUDIO}_chat.txt", f"{AUDIO}_transcript.txt"]
    stored = here.storage.emulator.find(BUCKET, f"{AUDIO}_transcript.txt")
    assert stored is not None
    assert stored.read().decode() == SAID
    assert stored.content_type == "text/plain; charset=utf-8"
    generation = stored.generation
    with here.service(settings) as service:
        row = completed_row(service)
        service.tracker.retry([row.id], here.now, completed=True, outputs=[{"name": "wav", "codec": "wav"}])
        assert service.run_once().completed == 1
        assert len(service.tracker.outputs_of(row.id)) == 3
        # What is not looked for again stays written down.
        service.tracker.retry([row.id], here.now, completed=True)
        assert service.run_once().adopted == 1
        assert len(service.tracker.outputs_of(row.id)) == 3
        assert len(service.tracker.companions_of(row.id)) == 2
    assert here.storage.emulator.object(BUCKET, f"{AUDIO}_transcript.txt").generation == generation


def test_a_folder_of_this_machine_has_them_too(tmp_path: Path, ffmpeg: Path) -> None:
    from support.cli import run_cli

    folder = tmp_path / "recordings"
    folder.mkdir()
    make_recording(folder / "Budget.mp4", ffmpeg, seconds=2)
    (folder / "Budget.vtt").write_text("WEBVTT\n", "utf-8")
    (folder / "Other.vtt").write_text("WEBVTT\n", "utf-8")
    env = {
        "AUDIO_EXTRACT__SOURCES__LOCAL__PATH": str(folder),
        "AUDIO_EXTRACT__SOURCES__LOCAL__SETTLE_SECONDS": "0",
        "AUDIO_EXTRACT__STORAGE__TYPE": "local",
        "AUDIO_EXTRACT__STORAGE__LOCAL__PATH": str(tmp_path / "audio"),
        "AUDIO_EXTRACT__PROCESSING__COMPANIONS": "text",
        "AUDIO_EXTRACT__MONITORING__DATABASE_PATH": str(tmp_path / "audio.db"),
        "AUDIO_EXTRACT__MONITORING__NOTIFICATIONS__FILE__PATH": str(tmp_path / "events.jsonl"),
    }
    done = run_cli("once", "-q", cwd=tmp_path, env=env)
    assert done.code == 0, done.err
    (text,) = (tmp_path / "audio").rglob("*.txt")
    assert text.name.endswith("_audio_captions.txt")
    assert text.read_text("utf-8") == "WEBVTT\n"
    (event,) = (json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines())
    assert event["data"]["companions"] == [{"kind": "captions", "name": "Budget.vtt"}]


def test_drive_that_refuses_them_leaves_the_audio_stored(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    here.drive.emulator.faults.add(Answer(reason="forbidden"), kind="drive.export")
    with here.service({"processing": {"companions": "text"}}) as service:
        assert service.run_once().completed == 1
        row = completed_row(service)
    assert row.storage_path == f"{AUDIO}.mp3"
    assert "what belongs to" in caplog.text


def test_what_cannot_be_written_down_leaves_the_audio_stored_and_told(
    here: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, told = [], list[Outcome]()

    def refuse(*_: object) -> None:
        # They are looked for when the recording is completed: its audio waits for nobody.
        seen.append(completed_row(service).status)
        raise TransientError("the database is away", code="database.unavailable")

    with here.service(on_outcome=told.append) as service:
        monkeypatch.setattr(service.tracker, "note_companions", refuse)
        assert service.run_once().completed == 1
        row = completed_row(service)
        assert (row.storage_path, service.tracker.companions_of(row.id)) == (f"{AUDIO}.mp3", [])
    assert seen == ["completed"]
    assert [outcome.state for outcome in told] == [State.COMPLETED]
    assert "could not be written down: the database is away" in caplog.text


def test_what_others_left_is_not_taken(here: World) -> None:
    secret = "Weekly sync with legal (2025-02-28 at 12:05 GMT) - Transcript"
    add_text(here, secret, "secret", mime_type=DOCUMENT, created_time=here.now - timedelta(days=1))
    with here.service({"processing": {"companions": "text"}}) as service:
        assert service.run_once().completed == 1
        found = service.tracker.companions_of(completed_row(service).id)
    assert secret not in [one["name"] for one in found]
    transcript = here.storage.emulator.object(BUCKET, f"{AUDIO}_transcript.txt")
    assert transcript.read().decode() == SAID


@pytest.mark.parametrize("first_week", [-150, 1])
def test_texts_of_a_meeting_are_found_among_those_of_many_other_weeks(here: World, first_week: int) -> None:
    for week in range(first_week, first_week + 150):
        day = here.now + timedelta(weeks=week)
        name = f"Weekly sync ({day:%Y-%m-%d} at 12:00 GMT) - Transcript"
        add_text(here, name, "another week", mime_type=DOCUMENT, created_time=day)
    notes = f"{NAME} - Notes by Gemini"
    add_text(here, notes, "decided", mime_type=DOCUMENT, created_time=here.now - timedelta(hours=23))
    with here.service() as service:
        assert service.run_once().completed == 1
        found = service.tracker.companions_of(completed_row(service).id)
    assert notes in [one["name"] for one in found]


def test_a_folder_with_the_texts_of_many_weeks_gives_those_of_the_recording(tmp_path: Path) -> None:
    for week in range(150):
        day = datetime(2022, 1, 7, tzinfo=UTC) + timedelta(weeks=week)
        (tmp_path / f"Weekly sync ({day:%Y-%m-%d} at 12:00 GMT) - Chat.txt").touch()
    (tmp_path / f"{NAME}.mp4").touch()
    (tmp_path / f"{NAME} - Chat.txt").touch()
    source = LocalSource(tmp_path)
    found = source.neighbours(source.get(f"{NAME}.mp4"), "Weekly sync")
    assert len(found) == 100
    assert found[0].name == f"{NAME} - Chat.txt"

"""Which file of a folder belongs to a recording, and what it is to it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_extract.plan.companions import DOCUMENT, Kind, kind_of

MADE = datetime(2025, 1, 29, 15, 40, tzinfo=UTC)
MEET = "Weekly sync - 2025/01/29 10:00 EST - Recording.mp4"
OLD = "Weekly sync (2025-01-29 at 10:00 GMT-5).mp4"
TEXT = "text/plain"


@pytest.mark.parametrize(
    ("recording", "name", "mime_type", "kind"),
    [
        (MEET, "Weekly sync - 2025/01/29 10:00 EST - Transcript", DOCUMENT, "transcript"),
        (MEET, "Weekly sync - 2025/01/29 10:02 EST - Notes by Gemini", DOCUMENT, "notes"),
        (MEET, "Weekly sync - 2025/01/29 10:00 EST - Chat.txt", TEXT, "chat"),
        (MEET, "Weekly sync - 2025/01/29 10:00 EST - Transkript", DOCUMENT, "transcript"),
        (MEET, "Weekly sync – 2025/01/29 16:00 CET – Notizen von Gemini", DOCUMENT, "notes"),
        (MEET, "Weekly sync - 2025/01/29 12:00 GMT-03:00 - Anotações do Gemini", DOCUMENT, "notes"),
        (MEET, "Weekly sync - 2025/01/29 09:00 CST - Notas de Gemini", DOCUMENT, "notes"),
        (MEET, "Weekly sync - 2025/01/29 16:00 CET - Notes par Gemini", DOCUMENT, "notes"),
        (MEET, "Weekly sync - 2025/01/29 16:00 CET - Appunti di Gemini", DOCUMENT, "notes"),
        (MEET, "Weekly sync - 2025/01/30 00:00 JST - Gemini によるメモ", DOCUMENT, "notes"),
        (MEET, "Weekly sync - 2025_01_29 10_00 EST - Notes by Gemini.md", "text/markdown", "notes"),
        (MEET, "WEEKLY SYNC - 2025/01/29 10:00 EST - TRANSCRIPT", DOCUMENT, "transcript"),
        # Transcribing was stopped and started again.
        (MEET, "Weekly sync - 2025/01/29 10:00 EST - Transcript 2", DOCUMENT, "transcript"),
        (MEET, "Weekly sync - 2025/01/29 10:00 EST - Recording.vtt", "text/vtt", "captions"),
        (OLD, "Weekly sync (2025-01-29 at 10:00 GMT-5).sbv", None, "captions"),
        (OLD, "Weekly sync (2025-01-29 at 10:00 GMT-5).txt", TEXT, "transcript"),
        (OLD, "Weekly sync (2025-01-29 at 10:00 GMT-5) - Chat.txt", TEXT, "chat"),
        (OLD, "Weekly sync (2025-01-29 at 10:00 GMT-5) - Chat Transcript", DOCUMENT, "chat"),
        (OLD, "Weekly sync (2025-01-29 at 10:00 GMT-5) – Transcript", DOCUMENT, "transcript"),
        (OLD, "Weekly sync (2025-01-29 at 10:00 GMT-5).en.vtt", "text/vtt", "captions"),
        ("Sync - 2025/01/29 10:00 GMT-03:00.mp4", "Sync - 2025/01/29 10:01 GMT-03:00.vtt", None, "captions"),
        # The quotes of one meeting's titles are not always the same.
        (
            "Ann's sync - 2025/01/29 10:00 EST - Recording.mp4",
            "Ann’s sync - 2025/01/29 10:00 EST - Transcript",
            DOCUMENT,
            "transcript",
        ),
        # Words of the title that could be a kind.
        (
            "Team chat (2025-01-29 at 10:00 GMT).mp4",
            "Team chat (2025-01-29 at 10:00 GMT) - Transcript",
            DOCUMENT,
            "transcript",
        ),
        ("Team chat.mp4", "Team chat transcript.txt", TEXT, "transcript"),
        ("Budget.mp4", "Budget.vtt", "text/vtt", "captions"),
        ("Budget.mp4", "Budget.mp4.vtt", "text/vtt", "captions"),
        ("Budget.mp4", "Budget.en.vtt", "text/vtt", "captions"),
        ("Budget.mp4", "Budget-de.srt", None, "captions"),
        ("Budget.mp4", "Budget - Untertitel_pt-BR.vtt", None, "captions"),
        ("Budget.mp4", "Budget transcript.txt", TEXT, "transcript"),
        ("Budget.mp4", "Budget_transcript.txt", TEXT, "transcript"),
        ("Budget.mp4", "Budget-Transkripte.txt", TEXT, "transcript"),
        ("Budget.mp4", "Budget.transcript.txt", TEXT, "transcript"),
        ("Budget.mp4", "Budget (sous-titres).srt", None, "captions"),
        ("Budget.mp4", "Budget – Notes by Gemini", DOCUMENT, "notes"),
        ("Budget (draft).mp4", "Budget (draft) - Notes.md", None, "notes"),
        ("Entrevista.mp4", "Entrevista - Transcripcio\u0301n.txt", TEXT, "transcript"),
        # Another week, another meeting, another kind of file.
        (MEET, "Weekly sync - 2025/01/22 10:00 EST - Transcript", DOCUMENT, None),
        (MEET, "Weekly sync - 2025/01/29 10:16 EST - Transcript", DOCUMENT, None),
        (MEET, "Weekly sync - Transcript", DOCUMENT, None),
        (MEET, "Weekly synchronisation - 2025/01/29 10:00 EST - Transcript", DOCUMENT, None),
        (MEET, "Weekly sync with legal - 2025/01/29 10:05 EST - Transcript", DOCUMENT, None),
        (MEET, "Weekly sync chat - 2025/01/29 10:05 EST - Transcript", DOCUMENT, None),
        (MEET, "Weekly sync - 2025/01/29 10:05 EST - Legal - Transcript", DOCUMENT, None),
        (MEET, "Weekly - 2025/01/29 10:00 EST - Transcript", DOCUMENT, None),
        (MEET, "Weekly sync - 2025/01/29 10:00 EST - Chat.pdf", "application/pdf", None),
        (MEET, "Weekly sync - 2025/01/29 10:00 EST - Agenda", DOCUMENT, None),
        (OLD, "Weekly sync with legal (2025-01-29 at 10:05 GMT-5) - Transcript", DOCUMENT, None),
        ("Sync (2025-01-29 at 10:00 GMT).mp4", "Sync.txt", TEXT, None),
        ("Sync.mp4", "Sync (2025-01-29 at 10:00 GMT) - Transcript", DOCUMENT, None),
        ("Call.mp4", "Call me maybe.txt", TEXT, None),
        ("Call.mp4", "Call chat me.txt", TEXT, None),
        ("Call.mp4", "Calltranscript.txt", TEXT, None),
        ("Q1.mp4", "Q1 salaries - notes.md", None, None),
        ("Q1.mp4", "Q1.2 notes.md", None, None),
        ("Q1.mp4", "Q1 transcriptomics.md", None, None),
        # Departments, not languages; and only captions are written in several.
        ("Q1.mp4", "Q1-HR.vtt", None, None),
        ("Q1.mp4", "Q1.de.md", None, None),
        ("Budget.mp4", "Budget 2.vtt", "text/vtt", None),
        ("Budget.mp4", "Budget transcript 2.txt", TEXT, None),
        ("Budget 2.mp4", "Budget.vtt", "text/vtt", None),
        ("C++.mp4", "C - transcript.txt", TEXT, None),
        (".mp4", "anything.txt", TEXT, None),
        ("(2025-01-29 at 10:00 GMT).mp4", "(2025-01-29 at 10:05 GMT) - Transcript", DOCUMENT, None),
        (" - .mp4", " - transcript.txt", TEXT, None),
    ],
)
def test_a_file_belongs_by_title_time_and_kind(
    recording: str, name: str, mime_type: str | None, kind: str | None
) -> None:
    assert kind_of(recording, MADE, name, MADE, mime_type) == kind


_TITLES = st.lists(st.sampled_from(["Sync", "sync", "with", "legal", "Chat", "Notes", "by", "Gemini", "2"]))


@given(_TITLES, _TITLES)
def test_no_title_takes_what_another_one_left(mine: list[str], other: list[str]) -> None:
    recording, name = " ".join(mine), " ".join(other)
    # Whatever the titles share, words of kinds included, only one that is the same is the same meeting.
    found = kind_of(
        f"{recording} (2025-01-29 at 10:00 GMT).mp4",
        MADE,
        f"{name} (2025-01-29 at 10:05 GMT) - Transcript",
        MADE,
        DOCUMENT,
    )
    is_same = recording.casefold() == name.casefold() != ""
    assert found == ("transcript" if is_same else None)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_name_is_answered(recording: str, name: str) -> None:
    kinds = {None, *get_args(Kind)}
    assert kind_of(recording, MADE, name, MADE, DOCUMENT) in kinds
    assert kind_of(recording, MADE, f"{name}.vtt", MADE, None) in kinds


@pytest.mark.parametrize(
    "filling", [" ", "-", ".", "(", ")", "1", " - ", "-en", " 2", " notes by gemini", "ß"]
)
def test_a_name_that_is_made_to_cost_time_costs_none(filling: str) -> None:
    began = time.process_time()
    for count in (450 // len(filling), 100_000):
        name = f"{filling * count} (2025-01-29 at 10:00 GMT) - Transcript"
        for suffix in ("", ".vtt", " 2", "x"):
            kind_of(f"{filling * count}.mp4", MADE, f"{name}{suffix}", MADE, DOCUMENT)
    assert time.process_time() - began < 5

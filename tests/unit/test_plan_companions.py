"""Which file of a folder belongs to a recording, and what it is to it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from audio_extract.plan.companions import DOCUMENT, kind_of

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
        (OLD, "Weekly sync (2025-01-29 at 10:00 GMT-5).sbv", None, "captions"),
        (OLD, "Weekly sync (2025-01-29 at 10:00 GMT-5) - Chat.txt", TEXT, "chat"),
        (OLD, "Weekly sync (2025-01-29 at 10:00 GMT-5) – Transcript", DOCUMENT, "transcript"),
        ("Budget.mp4", "Budget.vtt", "text/vtt", "captions"),
        ("Budget.mp4", "Budget transcript.txt", TEXT, "transcript"),
        # Another week, another meeting, another kind of file.
        (MEET, "Weekly sync - 2025/01/22 10:00 EST - Transcript", DOCUMENT, None),
        (MEET, "Weekly sync - Transcript", DOCUMENT, None),
        (MEET, "Weekly synchronisation - 2025/01/29 10:00 EST - Transcript", DOCUMENT, None),
        (MEET, "Weekly sync - 2025/01/29 10:00 EST - Chat.pdf", "application/pdf", None),
        (MEET, "Weekly sync - 2025/01/29 10:00 EST - Agenda", DOCUMENT, None),
        ("Budget.mp4", "Budget 2.vtt", "text/vtt", "captions"),
        ("Budget 2.mp4", "Budget.vtt", "text/vtt", None),
        (".mp4", "anything.txt", TEXT, None),
    ],
)
def test_a_file_belongs_by_title_time_and_kind(
    recording: str, name: str, mime_type: str | None, kind: str | None
) -> None:
    assert kind_of(recording, MADE, name, MADE, mime_type) == kind

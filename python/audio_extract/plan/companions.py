"""What a meeting leaves beside its recording: transcript, notes, chat, captions. Pure.

Meet puts them into the folder of the recording, under the meeting's title and time; people put text under the
recording's own name. What is not surely the recording's own is left: it may be another meeting's, for other
people.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal
from unicodedata import normalize

from audio_extract.plan.meeting_names import Meeting, meeting, without_media_suffix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

Kind = Literal["transcript", "notes", "chat", "captions"]

DOCUMENT: Final = "application/vnd.google-apps.document"
#: Extension of a text → what it is where its name does not say.
_EXTENSIONS: Final[dict[str, Kind]] = {
    ".txt": "transcript", ".md": "notes", ".vtt": "captions", ".srt": "captions", ".sbv": "captions",
}  # fmt: skip
#: What names end with, in the languages that Meet writes them in; whole, for "by" alone says nothing.
_PHRASES: Final[tuple[tuple[str, Kind], ...]] = (
    *((phrase, "captions") for phrase in (
        "captions", "closed captions", "subtitles", "untertitel", "sous titres", "subtítulos", "legendas",
        "sottotitoli", "字幕",
    )),
    *((phrase, "chat") for phrase in ("chat", "chat transcript")),
    *((phrase, "notes") for phrase in (
        "notes", "notizen", "notas", "anotações", "appunti",
        "notes by gemini", "gemini notes", "notizen von gemini", "gemini notizen", "notes par gemini",
        "notes de gemini", "notas de gemini", "notas do gemini", "anotações do gemini", "appunti di gemini",
        "gemini によるメモ",
    )),
    *((phrase, "transcript") for phrase in (
        "transcript", "transcripts", "transcription", "transcript by gemini",
        *(f"transkript{ending}" for ending in ("", "e", "ion")),
        "transcripción", "transcripció", "transcrição", "trascrizione", "文字起こし",
    )),
)  # fmt: skip
#: What stands between a title and a kind; no closing bracket, which belongs to the time.
_JOINTS: Final = " \t\n\r\u00a0\u202f\u3000-‐‑–—_~～.,:;([{"
#: What stands between words, as a blank each; other signs tell names apart: C++ is not C.
_BLANKS: Final = dict.fromkeys(map(ord, _JOINTS + ")]}/\\|\"'‘’“”«»"), " ")
#: Of captions. Small letters: ``Sync-IT`` is the meeting of a department.
_LANGUAGE: Final = re.compile(
    r"[._-](?:ar|ca|cs|da|de|el|en|es|fi|fr|he|hi|hu|id|it|ja|ko|nb|nl|no|pl|pt|ro|ru|sv|th|tr|uk|vi|zh)"
    r"(?:[_-](?:[A-Z]{2}|[A-Z][a-z]{3}|419))?\Z"
)
#: So much may lie between what two names of one meeting say.
_SAME_SECONDS: Final = 15 * 60


def kind_of(
    recording: str, made_at: datetime, candidate: str, candidate_made_at: datetime, mime_type: str | None
) -> Kind | None:
    """Return what a file is to a recording; None: it does not belong to it.

    Names that both carry a time must have one title, and nothing but a kind behind the time. Without times
    only the recording's whole name tells one meeting from the next.

    Args:
        recording: The recording's file name.
        made_at: When it was made, where its name does not say.
        candidate: The other file's name.
        candidate_made_at: When that was made, where its name does not say.
        mime_type: The other file's kind.
    """
    # Meet's dates have slashes: a name is no path.
    before, dot, ending = candidate.rpartition(".")
    suffix = dot + ending.lower()
    by_extension = _EXTENSIONS.get(suffix)
    if mime_type != DOCUMENT and by_extension is None:
        return None
    stem = normalize("NFC", before if by_extension else candidate)
    recording = normalize("NFC", recording)
    own = without_media_suffix(recording)
    if not _words(own):
        return None
    mine = meeting(own, made_at)
    stems = (stem, _LANGUAGE.sub("", stem)) if by_extension == "captions" else (stem,)
    for head, kind in (reading for one in stems for reading in _readings(one, numbered=mine.from_name)):
        is_named_after = head in {recording.rstrip(_JOINTS), own.rstrip(_JOINTS)}
        if is_named_after or _is_same(mine, meeting(head, candidate_made_at)):
            return kind or by_extension
    return None


def _readings(stem: str, *, numbered: bool) -> Iterator[tuple[str, Kind | None]]:
    """Give each way to read a name: what stands before a kind, and the kind.

    Args:
        stem: The name, without extension.
        numbered: A kind may have a number: *Transcript 2* of one title and time.
    """
    yield stem.rstrip(_JOINTS), None
    # Sign for sign: a place in one is a place in the other.
    spaced = stem.translate(_BLANKS).rstrip()
    bodies = [spaced]
    if numbered and spaced[-2:].strip().isdecimal():
        bodies.append(spaced[:-2].rstrip())
    for body in bodies:
        for phrase, kind in _PHRASES:
            at = len(body) - len(phrase)
            if at > 0 and body[at - 1] == " " and body[at:].casefold() == phrase:
                yield stem[:at].rstrip(_JOINTS), kind


def _is_same(mine: Meeting, other: Meeting) -> bool:
    return (
        mine.from_name
        and other.from_name
        and _words(mine.title) == _words(other.title) != []
        and abs((mine.began_at - other.began_at).total_seconds()) <= _SAME_SECONDS
    )


def _words(text: str) -> list[str]:
    return text.casefold().translate(_BLANKS).split()

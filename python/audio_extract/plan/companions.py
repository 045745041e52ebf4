"""What a meeting leaves beside its recording: transcript, notes, chat, captions. Pure.

Meet puts them into the folder of the recording, under the meeting's title and time; people put text under the
recording's own name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from audio_extract.plan.meeting_names import meeting, without_media_suffix

if TYPE_CHECKING:
    from datetime import datetime

Kind = Literal["transcript", "notes", "chat", "captions"]

DOCUMENT: Final = "application/vnd.google-apps.document"
#: Extension of a text → what it is where its name does not say.
_EXTENSIONS: Final[dict[str, Kind]] = {
    ".txt": "transcript", ".md": "notes", ".vtt": "captions", ".srt": "captions", ".sbv": "captions",
}  # fmt: skip
#: Words of names, in the languages that Meet writes them in.
_WORDS: Final[tuple[tuple[Kind, str], ...]] = (
    ("captions", r"captions|untertitel|sous-titres|subtítulos|legendas"),
    ("chat", r"chat"),
    ("notes", r"notes|notizen|notas|gemini"),
    ("transcript", r"transcript\w*|transkript\w*|transcripción|transcrição|trascrizione"),
)
#: So much may lie between what two names of one meeting say.
_SAME_SECONDS: Final = 15 * 60


def kind_of(
    recording: str, made_at: datetime, candidate: str, candidate_made_at: datetime, mime_type: str | None
) -> Kind | None:
    """Return what a file is to a recording; None: it does not belong to it.

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
    if mime_type != DOCUMENT and suffix not in _EXTENSIONS:
        return None
    stem = before if suffix in _EXTENSIONS else candidate
    mine, other = meeting(recording, made_at), meeting(stem, candidate_made_at)
    title = _words(mine.title)
    if not title or _words(stem)[: len(title)] != title:
        return None
    if mine.from_name and other.from_name:
        if abs((mine.began_at - other.began_at).total_seconds()) > _SAME_SECONDS:
            return None
    elif not stem.startswith(without_media_suffix(recording)):
        # Without times only the recording's whole name tells one weekly meeting from the next.
        return None
    rest = stem.casefold()[len(mine.title) :]
    for kind, words in _WORDS:
        if re.search(rf"\b(?:{words})\b", rest):
            return kind
    return _EXTENSIONS.get(suffix)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())

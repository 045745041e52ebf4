"""What a recording's name says: the meeting's title and when it began.

Google Meet writes names in a few forms, by language and year; :data:`FORMS` is the one table of them. A name
that has none of these forms is its own title.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePath
from typing import Final
from zoneinfo import ZoneInfo

from audio_extract.plan.formats import MEDIA_TYPES

_DATE: Final = r"(?P<year>20\d\d|19\d\d)[-/_.](?P<month>\d\d?)[-/_.](?P<day>\d\d?)"
_TIME: Final = r"(?P<hour>\d\d?)[:_.\-h](?P<minute>\d\d)(?:[:_.\-]\d\d)?(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?"
_ZONE: Final = r"(?:\s*(?P<zone>(?:GMT|UTC)?\s?[+−-]\d\d?(?::?\d\d)?|[A-Z]{1,5}))?"
_OFFSET: Final = r"(?:GMT|UTC)\s?[+−-]\d\d?(?::?\d\d)?"

#: Longer names are not Meet's; matching them would only cost time.
_MAX_PARSED_LENGTH: Final = 500

#: One row for each form; the first that matches the whole name (without its extension) wins.
FORMS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # Weekly sync (2025-01-29 at 10:00 GMT-5); also with "um", "à", "alle" … in other languages.
        rf"(?P<title>.*?)\s*\({_DATE}\s+(?:\w{{1,4}}\s+)?{_TIME}{_ZONE}\)(?P<rest>.*)",
        # Weekly sync - 2025/01/29 10:00 GMT-03:00, where "-03:00" is not what follows GMT
        rf"(?P<title>.*?)\s*[-–—]\s*{_DATE}[\sT]+(?:at\s+)?{_TIME}\s*(?P<zone>{_OFFSET})(?P<rest>)",
        # Weekly sync - 2025/01/29 10:00 EST - Recording
        rf"(?P<title>.*?)\s*[-–—]\s*{_DATE}[\sT]+(?:at\s+)?{_TIME}{_ZONE}\s*[-–—]\s*(?P<rest>\S.*)",
        # Weekly sync - 2025/01/29 10:00 EST, and 2025-01-29 10-00 Weekly sync of other recorders
        rf"(?P<title>.*?)\s*[-–—]\s*{_DATE}[\sT]+(?:at\s+)?{_TIME}{_ZONE}(?P<rest>)",
    )
)

#: Abbreviations that people's recordings carry. Where one means two zones, Meet's most frequent reading.
ZONES: Final = {
    "Z": 0, "GMT": 0, "UTC": 0, "WET": 0, "BST": 1, "WEST": 1, "CET": 1, "CEST": 2, "MEZ": 1, "MESZ": 2,
    "EET": 2, "EEST": 3, "MSK": 3, "IST": 5.5, "SGT": 8, "HKT": 8, "JST": 9, "KST": 9, "AWST": 8,
    "ACST": 9.5, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13, "BRT": -3, "ART": -3, "AST": -4, "ADT": -3,
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "AKST": -9,
    "AKDT": -8, "HST": -10,
}  # fmt: skip

#: What Meet adds to a second file of the same kind; it is no part of the title.
_KINDS: Final = re.compile(
    r"\s*[-–—]?\s*(?:Recording|Aufzeichnung|Enregistrement|Grabación|Gravação)\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Meeting:
    """What is known about the meeting that was recorded.

    Attributes:
        title: Without extension, date and the word *Recording*; may be empty.
        began_at: With time zone. Of the name where it says so, else when the file was made.
        from_name: The time was taken from the name.
    """

    title: str
    began_at: datetime
    from_name: bool


def meeting(name: str, created_at: datetime, time_zone: str | None = None) -> Meeting:
    """Return what a recording's name and creation time say about its meeting.

    Args:
        name: File name, with or without extension.
        created_at: With time zone.
        time_zone: Times are converted to it. Without it a time of the name stays as the name has it, and
            ``created_at`` is taken in UTC.
    """
    zone = ZoneInfo(time_zone) if time_zone else None
    stem = without_media_suffix(name)
    for form in FORMS if len(stem) <= _MAX_PARSED_LENGTH else ():
        match = form.fullmatch(stem)
        began = _moment(match, zone) if match else None
        if match is None or began is None:
            continue
        rest = _KINDS.sub(" ", match["rest"]).strip(" -–—")
        title = " ".join(part for part in (match["title"].strip(), rest) if part)
        return Meeting(title, began, from_name=True)
    return Meeting(stem, created_at.astimezone(zone or UTC), from_name=False)


def without_media_suffix(name: str) -> str:
    """Return a name without the extension of a media file: ``Weekly sync.v2`` keeps its ``.v2``."""
    suffix = PurePath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in MEDIA_TYPES else name


def _moment(match: re.Match[str], zone: ZoneInfo | None) -> datetime | None:
    hour = int(match["hour"])
    half = match["half"]
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half in "pP" else 0)
    offset = _offset(match["zone"])
    try:
        wall = datetime(
            int(match["year"]),
            int(match["month"]),
            int(match["day"]),
            hour,
            int(match["minute"]),
            tzinfo=offset or zone or UTC,
        )
    except ValueError:
        # 2025-13-40: digits that are no date. The name is then its own title.
        return None
    return wall.astimezone(zone) if zone else wall


def _offset(text: str | None) -> timezone | None:
    if not text:
        return None
    compact = text.replace(" ", "").replace("−", "-")
    if compact in ZONES:
        return timezone(timedelta(hours=ZONES[compact]))
    match = re.fullmatch(r"(?:GMT|UTC)?([+-])(\d\d?):?(\d\d)?", compact)
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
    if offset >= timedelta(hours=24):
        return None
    return timezone(-offset if match[1] == "-" else offset)

"""What all settings sections share: refusing unknown keys, hiding secrets, and the kinds of values.

Owns no setting of its own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from audio_extract.telemetry.redaction import redact_value

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB: Final = 1024 * 1024


class Section(BaseModel):
    """One section of the file. Unknown keys are refused; values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False, str_strip_whitespace=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show no secret, whoever prints a section."""
        for name, value in super().__repr_args__():
            is_section = isinstance(value, BaseModel)
            yield name, value if is_section or name is None else redact_value(name, value)


def key(default: Any, description: str, **constraints: Any) -> Any:
    """Declare one setting.

    Args:
        default: Its value when nobody sets it.
        description: For people: in the example file, the JSON schema and messages.
        **constraints: As of :func:`pydantic.Field`; ``expected`` says in words what a value looks like.
    """
    expected = constraints.pop("expected", None)
    extra = {"expected": expected} if expected else None
    if isinstance(default, type):
        return Field(default_factory=default, description=description, json_schema_extra=extra, **constraints)
    if isinstance(default, list):
        return Field(
            default_factory=lambda: list(default),
            description=description,
            json_schema_extra=extra,
            **constraints,
        )
    return Field(default, description=description, json_schema_extra=extra, **constraints)


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("a path without ~, because this account has no home folder") from None


#: A path; ``~`` is the home folder.
ExpandedPath = Annotated[Path, AfterValidator(_expanded)]


def _texts(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError('a list such as [a, b] in YAML or ["a", "b"] in the environment') from None
    return [part.strip() for part in text.split(",") if part.strip()]


#: Of a list: one text, or several with commas between them, is taken too (as the environment gives it).
COMMA_LIST: Final = BeforeValidator(_texts, json_schema_input_type=str | list[str])
Texts = Annotated[list[str], COMMA_LIST]


def _bitrate(value: object) -> object:
    text = str(value).strip().lower().removesuffix("bps").removesuffix("bit/s")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([km]?)", text)
    if isinstance(value, bool) or match is None:
        raise ValueError("a bitrate such as 128k")
    bits = round(float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2]])
    if not 6_000 <= bits <= 10_000_000:
        raise ValueError("a bitrate between 6k and 10m, such as 128k")
    return f"{bits // 1000}k" if bits % 1000 == 0 else str(bits)


#: ``128k``, ``128000`` or ``0.128M``, kept as ``128k``.
Bitrate = Annotated[str, BeforeValidator(_bitrate, json_schema_input_type=str | int)]


def bits_per_second(bitrate: str) -> int:
    """Return a loaded :data:`Bitrate` as a number."""
    return int(bitrate.removesuffix("k")) * 1000 if bitrate.endswith("k") else int(bitrate)


#: Objects have at most 1,024 bytes; what follows the prefix needs up to 300 (see ``plan.naming``).
MAX_PREFIX_BYTES: Final = 512


def _prefix(value: str) -> str:
    parts = [part for part in value.replace("\\", "/").split("/") if part]
    if any(part in {".", ".."} for part in parts):
        raise ValueError("a prefix without '.' and '..' parts")
    if re.search(r"[\x00-\x1f\x7f-\x9f#\[\]*?]", value):
        raise ValueError("a prefix without control characters and without any of # [ ] * ?")
    if any(len(part.encode()) > 255 for part in parts) or len("/".join(parts).encode()) > MAX_PREFIX_BYTES:
        raise ValueError(f"a prefix of at most {MAX_PREFIX_BYTES} bytes, 255 between two slashes")
    return "/".join(parts)


#: What object names begin with; slashes at its ends do not matter.
Prefix = Annotated[str, AfterValidator(_prefix)]


def _time_zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("a time zone such as Europe/Berlin") from None


#: A name of the time zone database.
TimeZone = Annotated[str, AfterValidator(_time_zone)]


def _bucket(name: str) -> str:
    bare = name.removeprefix("gs://").rstrip("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", bare):
        raise ValueError("a bucket name of lower-case letters, digits, '-', '_' and '.', without a path")
    return bare


#: A bucket; ``gs://`` before it is taken off.
Bucket = Annotated[str, AfterValidator(_bucket)]


def _cron(text: str) -> str:
    from apscheduler.triggers.cron import CronTrigger

    try:
        CronTrigger.from_crontab(text)
    except ValueError:
        raise ValueError('five fields as in cron, such as "0 2 * * *" (every day at 02:00)') from None
    return text


#: When something runs, as cron writes it.
Cron = Annotated[str, AfterValidator(_cron)]


def _folder_id(value: str) -> str:
    match = re.search(r"/folders/([A-Za-z0-9_-]+)", value)
    bare = match[1] if match else value
    if not re.fullmatch(r"[A-Za-z0-9_-]+", bare):
        raise ValueError("a Drive folder's id (what follows /folders/ in its address) or its link")
    return bare


#: A Drive folder's id, or its address in the browser.
FolderId = Annotated[str, AfterValidator(_folder_id)]
FolderIds = Annotated[list[FolderId], BeforeValidator(_texts, json_schema_input_type=str | list[str])]

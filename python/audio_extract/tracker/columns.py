"""Column types that mean the same on SQLite and PostgreSQL, whatever a source's names contain."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy import Dialect

#: What PostgreSQL (NUL) or both (lone surrogates, which Python makes of file names that are not UTF-8) refuse
#: to store, and the escape character itself.
_UNSTORABLE = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED = re.compile("\x1a([0-9a-f]{4})")


def escape(text: str) -> str:
    """Return text that every database stores; `unescape` gives the original back.

    Nearly every text is returned as it is. A character that cannot be stored becomes U+001A (SUBSTITUTE) and
    four hexadecimal digits.
    """
    return _UNSTORABLE.sub(lambda found: f"\x1a{ord(found[0]):04x}", text)


def unescape(text: str) -> str:
    """Return what `escape` was given."""
    if "\x1a" not in text:
        return text
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


class AnyText(TypeDecorator[str]):
    """Text of any content, NUL and lone surrogates included."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Escape what the database would refuse."""
        return None if value is None else escape(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Give the original back."""
        return None if value is None else unescape(value)


class JsonText(TypeDecorator[Any]):
    """A JSON document as ASCII text: PostgreSQL's own JSON types refuse NUL and lone surrogates."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write the document; times as ISO 8601."""
        return None if value is None else json.dumps(value, default=_plain)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Read the document."""
        return None if value is None else json.loads(value)


class Moment(TypeDecorator[datetime]):
    """A point in time with zone; kept as UTC, which SQLite stores as text that sorts."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC.

        Raises:
            ValueError: The time has no zone, so that it means different moments on different machines.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            message = f"{value.isoformat()} has no time zone"
            raise ValueError(message)
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


#: SQLite numbers rows by itself only in a column of the type INTEGER.
RowId = BigInteger().with_variant(Integer(), "sqlite")


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    message = f"{type(value).__name__} is not a JSON value"
    raise TypeError(message)

"""Where the change feed was read to: one page token for each log of changes, as one text.

My Drive and each shared drive keep a log of their own. A cursor belongs to the folders it was made for; for
other folders it says nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

#: The log of changes of the account itself, beside those of shared drives.
MY_DRIVE = ""
_FORM = 1


@dataclass(frozen=True, slots=True)
class DriveCursor:
    """Page tokens of the change feed.

    Attributes:
        scope: What the cursor was made for: folder ids and whether sub-folders count.
        tokens: Shared drive's id, or :data:`MY_DRIVE` → page token.
        tree: Which folders stood in the tree then. A folder that came since brings files that the feed does
            not name.
    """

    scope: tuple[str, ...]
    tokens: dict[str, str]
    tree: str

    def to_text(self) -> str:
        """As it is kept."""
        document = {"form": _FORM, "scope": list(self.scope), "tokens": self.tokens, "tree": self.tree}
        return json.dumps(document, separators=(",", ":"), sort_keys=True)

    @classmethod
    def of_text(
        cls, text: str | None, *, scope: tuple[str, ...], logs: set[str] | None
    ) -> DriveCursor | None:
        """Read a kept cursor; None: there is none, or it was made for something else.

        Args:
            text: As it was kept.
            scope: What it must have been made for.
            logs: The logs that it must have tokens of; None: that is not known now.
        """
        if text is None:
            return None
        try:
            document: Any = json.loads(text)
            cursor = cls(
                tuple(document["scope"]),
                {str(log): str(token) for log, token in document["tokens"].items()},
                str(document["tree"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        fits = document.get("form") == _FORM and cursor.scope == scope
        return cursor if fits and (logs is None or set(cursor.tokens) == logs) else None

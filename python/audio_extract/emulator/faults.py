"""Scripted faults: what goes wrong, at which request, how often.

A script is a list of rules. Each request takes the first rule that fits it and is not used up. The gateway
(``gateway.py``) carries most actions out; those marked "by the service" change what a handler does.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from audio_extract.emulator.errors import ANSWERS, error_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audio_extract.emulator.requests import RequestRecord

Side = Literal["request", "response"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Answer with an error, without doing the work.

    Attributes:
        reason: Row of :data:`~audio_extract.emulator.errors.ANSWERS`, which gives status, text and headers;
            or any other reason.
        status: Another status than the row's.
        message: Another text than the row's.
        headers: More headers, for example ``Retry-After``.
        after_work: Do the work first, and then lie about it: what a proxy's 502 or 503 can mean.
        empty: Send no body, as load balancers do.
    """

    documentation: ClassVar[str] = "https://cloud.google.com/storage/docs/json_api/v1/status-codes"
    reason: str = "backendError"
    status: int | None = None
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after_work: bool = False
    empty: bool = False

    def render(self) -> tuple[int, dict[str, str], dict[str, object]]:
        """Status, headers and JSON document of the answer."""
        row = ANSWERS.get(self.reason)
        status = self.status or (row.status if row else 500)
        message = self.message or (row.message.replace("{subject}", "scripted") if row else self.reason)
        body = error_body(
            status,
            row.reason if row else self.reason,
            message,
            domain=row.domain if row else "global",
            location=row.location if row else None,
            location_type=row.location_type if row else None,
        )
        return status, {**dict(row.headers if row else ()), **self.headers}, body


@dataclass(frozen=True, kw_only=True)
class Reset:
    """Break the TCP connection with RST after some bytes of a body; 0 and ``response``: without an answer."""

    documentation: ClassVar[str] = "https://cloud.google.com/storage/docs/retry-strategy"
    after_bytes: int = 0
    side: Side = "response"


@dataclass(frozen=True, kw_only=True)
class Stall:
    """Stop moving bytes; for ever, or for ``seconds`` and then go on."""

    documentation: ClassVar[str] = "https://cloud.google.com/storage/docs/retry-strategy"
    after_bytes: int = 0
    side: Side = "response"
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class LoseAnswer:
    """Do the work, then break the connection instead of answering."""

    documentation: ClassVar[str] = (
        "https://cloud.google.com/storage/docs/performing-resumable-uploads#resume-upload"
    )


@dataclass(frozen=True, kw_only=True)
class KeepPart:
    """By the service: keep only the first ``bytes`` of an upload's chunk, and say so in Range."""

    documentation: ClassVar[str] = (
        "https://cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload"
    )
    bytes: int


@dataclass(frozen=True, kw_only=True)
class WrongContentRange:
    """Answer a range request with a ``Content-Range`` that is not what was asked for."""

    documentation: ClassVar[str] = "https://www.rfc-editor.org/rfc/rfc9110#section-14.4"
    value: str = "bytes 1-2/3"


@dataclass(frozen=True, kw_only=True)
class Truncate:
    """End the body too early: close in an orderly way, or (``announced``) say a smaller Content-Length."""

    documentation: ClassVar[str] = "https://www.rfc-editor.org/rfc/rfc9112#section-8"
    after_bytes: int
    announced: bool = False


@dataclass(frozen=True, kw_only=True)
class IgnoreRange:
    """Answer a range request with 200 and the whole content, as a server may."""

    documentation: ClassVar[str] = "https://www.rfc-editor.org/rfc/rfc9110#section-14.2"


@dataclass(frozen=True, kw_only=True)
class ChangeRevision:
    """By the service: a new revision of the same length takes the file's place before the answer."""

    documentation: ClassVar[str] = "https://developers.google.com/workspace/drive/api/guides/manage-revisions"


@dataclass(frozen=True, kw_only=True)
class Corrupt:
    """Flip the bits of one byte of a body."""

    documentation: ClassVar[str] = "https://cloud.google.com/storage/docs/data-validation"
    offset: int = 0
    side: Side = "response"


@dataclass(frozen=True, kw_only=True)
class Delay:
    """Do everything right, but later."""

    documentation: ClassVar[str] = "https://cloud.google.com/storage/docs/request-rate"
    seconds: float


Action = (
    Answer
    | Reset
    | Stall
    | LoseAnswer
    | KeepPart
    | WrongContentRange
    | Truncate
    | IgnoreRange
    | ChangeRevision
    | Corrupt
    | Delay
)

#: Name of each action in JSON.
ACTIONS: dict[str, type[Action]] = {
    "answer": Answer,
    "reset": Reset,
    "stall": Stall,
    "lose_answer": LoseAnswer,
    "keep_part": KeepPart,
    "wrong_content_range": WrongContentRange,
    "truncate": Truncate,
    "ignore_range": IgnoreRange,
    "change_revision": ChangeRevision,
    "corrupt": Corrupt,
    "delay": Delay,
}


@dataclass(kw_only=True)
class Rule:
    """One fault: what happens, and to which requests.

    Attributes:
        action: What happens.
        kind: Only requests of this kind (``drive.media``, ``storage.upload_chunk``, …).
        method: Only this HTTP method.
        path: Only paths (with query) in which this regular expression is found.
        range_start: Only requests whose ``Range`` or ``Content-Range`` starts at this byte.
        after: So many fitting requests pass first.
        times: How many requests it happens to; None: every one.
    """

    action: Action
    kind: str | None = None
    method: str | None = None
    path: str | None = None
    range_start: int | None = None
    after: int = 0
    times: int | None = 1

    def fits(self, request: RequestRecord) -> bool:
        """Whether the rule is about this request, apart from how often it may be used."""
        return (
            (self.kind is None or self.kind == request.kind)
            and (self.method is None or self.method == request.method)
            and (self.path is None or re.search(self.path, request.target) is not None)
            and (self.range_start is None or self.range_start == request.range_start)
        )


class FaultScript:
    """Rules in order. Tests change it while the server runs, so it locks."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def add(
        self,
        action: Action,
        *,
        kind: str | None = None,
        method: str | None = None,
        path: str | None = None,
        range_start: int | None = None,
        after: int = 0,
        times: int | None = 1,
    ) -> Rule:
        """Append a rule; see :class:`Rule`. Its ``times`` counts down to 0 as it is used."""
        rule = Rule(
            action=action,
            kind=kind,
            method=method,
            path=path,
            range_start=range_start,
            after=after,
            times=times,
        )
        with self._lock:
            self._rules.append(rule)
        return rule

    def add_json(self, document: Mapping[str, object]) -> Rule:
        """Append a rule written as JSON: its own keys, ``action`` by name, and the action's attributes.

        Raises:
            ValueError: An unknown action or key, or a missing one.
        """
        values = dict(document)
        action_class = ACTIONS.get(str(values.pop("action", None)))
        if action_class is None:
            raise ValueError(f"'action' must be one of {', '.join(ACTIONS)}")
        rule_names = {item.name for item in fields(Rule)} - {"action"}
        selection = {name: values.pop(name) for name in list(values) if name in rule_names}
        try:
            action = action_class(**values)  # type: ignore[arg-type]
            rule = Rule(action=action, **selection)  # type: ignore[arg-type]
        except TypeError as error:
            raise ValueError(str(error)) from error
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def pending(self) -> list[Rule]:
        """Rules that can still happen; empty when every fault of a script has happened."""
        with self._lock:
            return [rule for rule in self._rules if rule.times is None or rule.times > 0]

    def take(self, request: RequestRecord) -> Action | None:
        """The fault of this request, if any; uses it up once."""
        with self._lock:
            for rule in self._rules:
                if rule.times == 0 or not rule.fits(request):
                    continue
                if rule.after > 0:
                    rule.after -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                return rule.action
        return None


def action_json(action: Action) -> dict[str, object]:
    """An action as the control interface shows it."""
    name = next(name for name, kind in ACTIONS.items() if kind is type(action))
    values = {item.name: cast("object", getattr(action, item.name)) for item in fields(action)}
    return {"action": name, **values}

"""Who asks, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection

#: Where the middleware leaves, in a request's scope, the person, and what tells whether they may stay.
SCOPE_KEY: Final = "audio_extract.person"
STILL_KEY: Final = "audio_extract.may_stay"


class Role(StrEnum):
    """What a person may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks.

    Attributes:
        name: For the audit log.
        role: What they may do.
        signed_in: Whether by a session, which they can end.
    """

    name: str
    role: Role
    signed_in: bool = False

    @property
    def may_act(self) -> bool:
        """Whether they may change something, and see the settings."""
        return self.role is Role.OPERATOR


#: Whoever asks where nobody has to say who they are.
ANYBODY: Final = Person("dashboard", Role.OPERATOR)


def person_of(request: HTTPConnection) -> Person:
    """Return who asks.

    Raises:
        HTTPException: 401, nobody who may; the middleware lets such a request get to open pages only.
    """
    person = request.scope.get(SCOPE_KEY)
    if not isinstance(person, Person):
        raise HTTPException(401, "sign in first")
    return person


def may_stay(request: HTTPConnection) -> bool:
    """Tell whether who asked may still be answered: an answer can take longer than a session."""
    still: Callable[[], bool] | None = request.scope.get(STILL_KEY)
    return still is None or still()


def require_operator(request: HTTPConnection) -> Person:
    """Return who asks, who may act.

    Raises:
        HTTPException: 403, they may only see.
    """
    person = person_of(request)
    if not person.may_act:
        raise HTTPException(403, f"{person.name} may see, but not do this: it takes an operator")
    return person

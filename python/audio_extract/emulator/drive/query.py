"""Drive's search language: the ``q`` parameter of ``files.list``.

Terms, operators and their meaning: https://developers.google.com/workspace/drive/api/guides/ref-search-terms;
syntax and escapes: https://developers.google.com/workspace/drive/api/guides/search-files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from audio_extract.emulator.clock import parse_time
from audio_extract.emulator.errors import GoogleError

Value = str | bool


class Searchable(Protocol):
    """What a query is asked about."""

    def search_text(self, term: str) -> str | None:
        """Value of a text term."""

    def search_flag(self, term: str) -> bool:
        """Value of a yes/no term."""

    def search_time(self, term: str) -> datetime | None:
        """Value of a date term."""

    def search_members(self, term: str) -> list[str]:
        """Values of a collection term."""

    def search_property(self, term: str, key: str) -> str | None:
        """Value of a custom property."""


Predicate = Callable[[Searchable], bool]


@dataclass(frozen=True)
class Term:
    """One row of the reference: what a term is, and which operators it has."""

    kind: str
    operators: frozenset[str]


_COMPARE = frozenset({"<=", "<", "=", "!=", ">", ">="})
_EQUAL = frozenset({"=", "!="})

#: Each row: https://developers.google.com/workspace/drive/api/guides/ref-search-terms#file_properties
TERMS: dict[str, Term] = {
    "name": Term("text", frozenset({"contains", "=", "!="})),
    "fullText": Term("text", frozenset({"contains"})),
    "mimeType": Term("text", frozenset({"contains", "=", "!="})),
    "modifiedTime": Term("time", _COMPARE),
    "viewedByMeTime": Term("time", _COMPARE),
    "createdTime": Term("time", _COMPARE),
    "trashed": Term("flag", _EQUAL),
    "starred": Term("flag", _EQUAL),
    "sharedWithMe": Term("flag", _EQUAL),
    "parents": Term("members", frozenset({"in"})),
    "owners": Term("members", frozenset({"in"})),
    "writers": Term("members", frozenset({"in"})),
    "readers": Term("members", frozenset({"in"})),
    "properties": Term("property", frozenset({"has"})),
    "appProperties": Term("property", frozenset({"has"})),
    "visibility": Term("text", _EQUAL),
    "shortcutDetails.targetId": Term("text", _EQUAL),
}

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.)*')
      | (?P<operator><=|>=|!=|=|<|>)
      | (?P<mark>[(){}])
      | (?P<word>[A-Za-z][A-Za-z.]*)
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def parse_query(text: str, resolve_id: Callable[[str], str]) -> Predicate:
    """Read a query.

    Args:
        text: The value of ``q``.
        resolve_id: Turns the alias ``root`` into an id; raises for a folder that the asker cannot see.

    Raises:
        GoogleError: 400 ``invalid`` at ``q``.
    """
    parser = _Parser(_tokens(text), resolve_id)
    return parser.parse()


def _refused() -> GoogleError:
    return GoogleError("invalid", "q", location="q")


def _tokens(text: str) -> list[_Token]:
    tokens = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _refused()
        tokens.append(_Token(match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    return tokens


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


class _Parser:
    def __init__(self, tokens: list[_Token], resolve_id: Callable[[str], str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._resolve_id = resolve_id

    def parse(self) -> Predicate:
        predicate = self._sequence()
        if self._at != len(self._tokens):
            raise _refused()
        return predicate

    def _next(self) -> _Token:
        if self._at >= len(self._tokens):
            raise _refused()
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _peek(self) -> str:
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _take(self, text: str) -> None:
        if self._next().text != text:
            raise _refused()

    def _sequence(self) -> Predicate:
        """``and`` and ``or`` bind alike and are evaluated from left to right, as the guide says."""
        left = self._negation()
        while self._peek() in {"and", "or"}:
            word = self._next().text
            left = _both(left, self._negation()) if word == "and" else _either(left, self._negation())
        return left

    def _negation(self) -> Predicate:
        if self._peek() == "not":
            self._next()
            inner = self._negation()
            return lambda item: not inner(item)
        if self._peek() == "(":
            self._next()
            inner = self._sequence()
            self._take(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        first = self._next()
        if first.kind == "text":
            self._take("in")
            return self._membership(_unquote(first.text))
        term = TERMS.get(first.text)
        operator = self._next().text
        if first.kind != "word" or term is None or operator not in term.operators or operator == "in":
            raise _refused()
        if term.kind == "property":
            return self._property(first.text)
        value = self._next()
        if term.kind == "flag":
            if value.text not in {"true", "false"} or value.kind != "word":
                raise _refused()
            return _flag(first.text, (value.text == "true") == (operator == "="))
        if value.kind != "text":
            raise _refused()
        if term.kind == "time":
            return _time(first.text, operator, _unquote(value.text))
        return _text(first.text, operator, _unquote(value.text))

    def _membership(self, value: str) -> Predicate:
        word = self._next().text
        term = TERMS.get(word)
        if term is None or "in" not in term.operators:
            raise _refused()
        wanted = self._resolve_id(value) if word == "parents" else value
        return lambda item: wanted in item.search_members(word)

    def _property(self, word: str) -> Predicate:
        self._take("{")
        self._take("key")
        self._take("=")
        key = self._next()
        self._take("and")
        self._take("value")
        self._take("=")
        value = self._next()
        self._take("}")
        if key.kind != "text" or value.kind != "text":
            raise _refused()
        name, wanted = _unquote(key.text), _unquote(value.text)
        return lambda item: item.search_property(word, name) == wanted


def _both(left: Predicate, right: Predicate) -> Predicate:
    return lambda item: left(item) and right(item)


def _either(left: Predicate, right: Predicate) -> Predicate:
    return lambda item: left(item) or right(item)


def _flag(term: str, wanted: bool) -> Predicate:
    return lambda item: item.search_flag(term) == wanted


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _text(term: str, operator: str, value: str) -> Predicate:
    if operator == "=":
        return lambda item: item.search_text(term) == value
    if operator == "!=":
        return lambda item: item.search_text(term) != value
    if term == "mimeType":
        return lambda item: (item.search_text(term) or "").startswith(value)
    # "contains" looks for words that begin so: 'Hello' finds HelloWorld, 'World' does not.
    wanted = _words(value)
    return lambda item: all(
        any(word.startswith(prefix) for word in _words(item.search_text(term) or "")) for prefix in wanted
    )


def _time(term: str, operator: str, value: str) -> Predicate:
    try:
        moment = parse_time(value)
    except ValueError as error:
        raise _refused() from error
    tests: dict[str, Callable[[datetime], bool]] = {
        "<": lambda time: time < moment,
        "<=": lambda time: time <= moment,
        "=": lambda time: time == moment,
        "!=": lambda time: time != moment,
        ">": lambda time: time > moment,
        ">=": lambda time: time >= moment,
    }
    test = tests[operator]

    def fits(item: Searchable) -> bool:
        time = item.search_time(term)
        return time is not None and test(_milliseconds(time))

    return fits


def _milliseconds(time: datetime) -> datetime:
    """Drive keeps milliseconds: what it shows is what it compares."""
    return time.astimezone(UTC).replace(microsecond=time.microsecond // 1000 * 1000)

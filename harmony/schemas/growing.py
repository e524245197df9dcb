"""JSON that arrives in pieces: every name comes out when it is read, every value when it closes.

The values are those of `json.loads`, whatever the pieces. All state is in immutable links, so that a copy
costs nothing and a piece can be taken back; reading a piece costs in proportion to it and to the values
that it closes. A number that stands alone closes only at the end of the text.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]

DEEPEST: Final = 100
"""The most arrays and objects within each other; checks of a value recur into it."""

_PLAIN: Final = re.compile(r'[^"\\]*')
_GROWN: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?[eE]\+?[0-9]+")
_SCALAR: Final = re.compile(r"[-+.0-9A-Za-z]*")
_BLANKS: Final = " \t\n\r"


class NotJson(ValueError):
    """The text is not JSON, or JSON beyond what is read: too deep, or a number too large."""


@dataclass(frozen=True, slots=True)
class Named:
    """The name of a property was read; `path` leads to its value."""

    path: Path


@dataclass(frozen=True, slots=True)
class Closed:
    """A value ended; `earlier` links the members that came before it in its container, the last one first."""

    path: Path
    value: Any
    earlier: Link | None


@dataclass(frozen=True, slots=True)
class Link:
    """A member of an array or object, or a piece of a text, and what came before it."""

    member: Any
    before: Link | None

    def __iter__(self) -> Iterator[Any]:
        """The members from this one back to the first."""
        link: Link | None = self
        while link is not None:
            yield link.member
            link = link.before


class _Expected(Enum):
    VALUE = auto()
    VALUE_OR_END = auto()
    NAME = auto()
    NAME_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class _Container:
    """An array or object that is not closed yet."""

    around: _Container | None
    path: Path
    is_object: bool
    members: Link | None = None
    count: int = 0
    name: str = ""

    @property
    def inner_path(self) -> Path:
        return (*self.path, self.name if self.is_object else self.count)

    def value(self) -> Any:
        members = [] if self.members is None else [*self.members][::-1]
        return dict(members) if self.is_object else members


@dataclass(frozen=True, slots=True)
class _State:
    expected: _Expected = _Expected.VALUE
    container: _Container | None = None
    depth: int = 0
    text: Link | None = None
    """The pieces of the string or scalar that is being read."""
    in_string: bool = False
    escaped: bool = False


class GrowingJson:
    """A JSON text as far as it has come.

    >>> growing = GrowingJson()
    >>> [event.path for event in growing.feed('{"a": [tr')]
    [('a',)]
    >>> [(event.path, event.value) for event in growing.feed("ue]")]
    [(('a', 0), True), (('a',), [True])]
    """

    def __init__(self) -> None:
        self._state = _State()

    def copy(self) -> GrowingJson:
        """The same text so far, to go on differently."""
        twin = GrowingJson()
        twin._state = self._state
        return twin

    def feed(self, text: str) -> list[Named | Closed]:
        """What the next piece completes, in order; raises `NotJson` and then stays where it was."""
        events: list[Named | Closed] = []
        self._state = _read(self._state, text, events)
        return events

    def finish(self) -> list[Named | Closed]:
        """What the end of the text completes; raises `NotJson` if the value is not complete."""
        events: list[Named | Closed] = []
        state = _read(self._state, " ", events)
        if state.expected is not _Expected.NOTHING:
            _refuse("the text ends before its value does")
        self._state = state
        return events


def _read(state: _State, text: str, events: list[Named | Closed]) -> _State:
    position = 0
    while position < len(text):
        if state.in_string:
            state, position = _read_string(state, text, position, events)
        elif state.text is not None:
            end = _scalar_end(text, position)
            pieces = Link(text[position:end], state.text)
            if end < len(text):
                state = _closed(replace(state, text=None), _scalar(pieces), events)
            else:
                state = _open_scalar(state, pieces)
            position = end
        elif text[position] in _BLANKS:
            position += 1
        else:
            state, position = _begin(state, text, position, events)
    return state


def _begin(state: _State, text: str, position: int, events: list[Named | Closed]) -> tuple[_State, int]:
    """Read the first character of the next token."""
    character, expected = text[position], state.expected
    takes_value = expected in (_Expected.VALUE, _Expected.VALUE_OR_END)
    if character == '"' and (takes_value or expected in (_Expected.NAME, _Expected.NAME_OR_END)):
        return replace(state, in_string=True), position + 1
    if character in "[{" and takes_value:
        return _opened(state, is_object=character == "{"), position + 1
    ended = state.container
    may_end = expected in (_Expected.VALUE_OR_END, _Expected.NAME_OR_END, _Expected.COMMA_OR_END)
    if ended is not None and may_end and character == ("}" if ended.is_object else "]"):
        outside = replace(state, container=ended.around, depth=state.depth - 1)
        return _closed(outside, ended.value(), events), position + 1
    if character == "," and expected is _Expected.COMMA_OR_END and state.container is not None:
        further = _Expected.NAME if state.container.is_object else _Expected.VALUE
        return replace(state, expected=further), position + 1
    if character == ":" and expected is _Expected.COLON:
        return replace(state, expected=_Expected.VALUE), position + 1
    end = _scalar_end(text, position)
    if not takes_value or end == position:
        _refuse(f"{character!r} is out of place")
    return _open_scalar(state, Link(text[position:end], None)), end


def _open_scalar(state: _State, pieces: Link) -> _State:
    """A scalar that may go on; what its exponent has made too large, more digits make larger."""
    if _GROWN.fullmatch(written := _joined(pieces)) and math.isinf(float(written)):
        _refuse("a number is too large")
    return replace(state, text=pieces)


def _read_string(state: _State, text: str, position: int, events: list[Named | Closed]) -> tuple[_State, int]:
    """Read on in a string, to its end if it is there."""
    start = position
    escaped = state.escaped
    while position < len(text):
        if escaped:
            escaped = False
            position += 1
            continue
        plain = _PLAIN.match(text, position)
        position = len(text) if plain is None else plain.end()
        if position == len(text):
            break
        if text[position] == '"':
            raw = _joined(Link(text[start:position], state.text))
            ended = replace(state, in_string=False, escaped=False, text=None)
            return _string_ended(ended, _decoded(f'"{raw}"'), events), position + 1
        escaped = True
        position += 1
    return replace(state, escaped=escaped, text=Link(text[start:], state.text)), position


def _string_ended(state: _State, string: str, events: list[Named | Closed]) -> _State:
    if state.expected in (_Expected.VALUE, _Expected.VALUE_OR_END) or state.container is None:
        return _closed(state, string, events)
    container = replace(state.container, name=string)
    events.append(Named(container.inner_path))
    return replace(state, container=container, expected=_Expected.COLON)


def _opened(state: _State, *, is_object: bool) -> _State:
    if state.depth == DEEPEST:
        _refuse(f"more than {DEEPEST} arrays and objects are within each other")
    path = () if state.container is None else state.container.inner_path
    return replace(
        state,
        container=_Container(state.container, path, is_object),
        depth=state.depth + 1,
        expected=_Expected.NAME_OR_END if is_object else _Expected.VALUE_OR_END,
    )


def _closed(state: _State, value: Any, events: list[Named | Closed]) -> _State:
    """A value ended within the container of a state."""
    container = state.container
    if container is None:
        events.append(Closed((), value, None))
        return replace(state, expected=_Expected.NOTHING)
    events.append(Closed(container.inner_path, value, container.members))
    member = (container.name, value) if container.is_object else value
    grown = replace(container, members=Link(member, container.members), count=container.count + 1)
    return replace(state, container=grown, expected=_Expected.COMMA_OR_END)


def _scalar_end(text: str, position: int) -> int:
    found = _SCALAR.match(text, position)
    return position if found is None else found.end()


def _scalar(pieces: Link) -> Any:
    value = _decoded(_joined(pieces))
    if isinstance(value, float) and not math.isfinite(value):
        _refuse("a number is too large")
    return value


def _joined(pieces: Link) -> str:
    return "".join([*pieces][::-1])


def _decoded(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise NotJson(f"{text[:40]!r} is no JSON value: {error}") from error


def _refuse(what: str) -> NoReturn:
    raise NotJson(what)

"""Regular expressions as symbols: the syntax that the Rust crate regex and JSON schemas share.

Not read, and so unknown: flags other than `s`, Unicode properties, word boundaries, look-around,
backreferences, anchors inside, and operations on classes.
"""

import re
from typing import Final

from harmony.runtime.closing.symbols import (
    LAST,
    NOTHING,
    Chars,
    Choice,
    Range,
    Repeat,
    Sequence,
    Symbol,
    Text,
    Unknown,
    chars,
    others,
)

_DIGIT: Final = ((48, 57),)
_WORD: Final = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final = ((9, 13), (32, 32))
_CLASSES: Final[dict[str, tuple[Range, ...]]] = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
"""Their ASCII; what else they hold is told differently, so that all else is in each and in its opposite."""

_OTHERS: Final[tuple[Range, ...]] = ((128, LAST),)
_CONTROLS: Final = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "a": 7, "0": 0}
_CODE: Final = re.compile(r"x\{([0-9a-fA-F]+)\}|u\{([0-9a-fA-F]+)\}|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})")
_TIMES: Final = re.compile(r"\{(\d+)(,?)(\d*)\}")
_GROUP: Final = re.compile(r"\((?:\?(?:P?<\w+>|(s?):))?")
_LETTERS: Final = frozenset("bBAzZGpPkKQEC")

ANYTHING: Final = chars((0, LAST))
LINE: Final = others(chars((10, 10)))


class _UnreadError(Exception):
    """Syntax that is not read here."""


def whole_match(pattern: str) -> Symbol:
    """What a regular expression matches from end to end."""
    return _read(pattern, around=NOTHING)


def found_in(pattern: str) -> Symbol:
    """The texts in which a regular expression is found somewhere, as JSON schemas mean it."""
    return _read(pattern, around=Repeat(ANYTHING))


def _read(pattern: str, around: Symbol) -> Symbol:
    try:
        parser = _Parser(pattern, around)
        symbol = parser.alternatives(top=True)
        if parser.rest:
            raise _UnreadError(parser.rest)
    except (_UnreadError, ValueError, IndexError, RecursionError) as error:
        return Unknown(f"regular expression {pattern!r}: {error}")
    return symbol


class _Parser:
    def __init__(self, pattern: str, around: Symbol) -> None:
        self.rest = pattern
        self._around = around
        self._dot = LINE

    def alternatives(self, *, top: bool = False) -> Symbol:
        options = [self._sequence(top)]
        while self._takes("|"):
            options.append(self._sequence(top))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self, top: bool) -> Symbol:
        if top and (group := self._only_group()) is not None:
            return group
        anchored = top and self._takes("^")
        parts: list[Symbol] = [] if anchored or not top else [self._around]
        ended = False
        while self.rest and self.rest[0] not in "|)":
            if top and re.match(r"\$([|)]|$)", self.rest):
                self.rest = self.rest[1:]
                ended = True
                break
            parts.append(self._repeated(self._atom()))
        if top and not ended:
            parts.append(self._around)
        return Sequence(tuple(parts))

    def _only_group(self) -> Symbol | None:
        """The group that a sequence consists of, anchors of its own in it, if it is no more than that."""
        before = self.rest
        if (group := _GROUP.match(before)) and not group[1]:
            self.rest = before[group.end() :]
            inner = None if self.rest.startswith("?") else self.alternatives(top=True)
            if inner is not None and self._takes(")") and self.rest[:1] in ("", "|"):
                return inner
            self.rest = before
        return None

    def _repeated(self, symbol: Symbol) -> Symbol:
        while self.rest and (self.rest[0] in "*+?" or _TIMES.match(self.rest)):
            if times := _TIMES.match(self.rest):
                self.rest = self.rest[times.end() :]
                least = int(times[1])
                most = int(times[3]) if times[3] else None if times[2] else least
            else:
                mark, self.rest = self.rest[0], self.rest[1:]
                least, most = int(mark == "+"), 1 if mark == "?" else None
            self._takes("?")
            symbol = Repeat(symbol, least, most)
        return symbol

    def _atom(self) -> Symbol:
        if group := _GROUP.match(self.rest):
            self.rest = self.rest[group.end() :]
            if self.rest.startswith("?"):
                raise _UnreadError(f"({self.rest}")
            outer, self._dot = self._dot, ANYTHING if group[1] else self._dot
            inner = self.alternatives()
            self._dot = outer
            if not self._takes(")"):
                raise _UnreadError("an open group")
            return inner
        if self._takes("["):
            return self._class()
        if self._takes("."):
            return self._dot
        if self.rest[0] in "^$":
            raise _UnreadError(self.rest)
        ranges = self._character()
        (low, high), *more = ranges
        return Text(chr(low)) if low == high and not more else chars(*ranges)

    def _class(self) -> Chars:
        negated = self._takes("^")
        ranges: list[Range] = []
        while not self._takes("]"):
            if self.rest.startswith(("[", "&&", "--", "~~")):
                raise _UnreadError(self.rest)
            (low, high), *more = self._character(negated=negated)
            if not more and low == high and self.rest.startswith("-") and self.rest[1:2] != "]":
                self.rest = self.rest[1:]
                ((_, high),) = self._character()
            ranges += [(low, high), *more]
        return others(chars(*ranges)) if negated else chars(*ranges)

    def _character(self, *, negated: bool = False) -> tuple[Range, ...]:
        """One character or a named class, of which no more than its ASCII if it is to be `negated`."""
        first, self.rest = self.rest[0], self.rest[1:]
        if first != "\\":
            return ((ord(first), ord(first)),)
        if code := _CODE.match(self.rest):
            self.rest = self.rest[code.end() :]
            point = int(next(filter(None, code.groups())), 16)
            return ((point, point),)
        letter, self.rest = self.rest[0], self.rest[1:]
        if letter in _LETTERS or letter in "123456789":
            raise _UnreadError(f"\\{letter}")
        if letter.lower() in _CLASSES:
            named = _CLASSES[letter.lower()]
            if letter.isupper():
                named = tuple(
                    (low, min(high, 127)) for low, high in others(chars(*named)).ranges if low < 128
                )
            return named if negated else (*named, *_OTHERS)
        point = _CONTROLS.get(letter, ord(letter))
        return ((point, point),)

    def _takes(self, mark: str) -> bool:
        if not self.rest.startswith(mark):
            return False
        self.rest = self.rest[len(mark) :]
        return True

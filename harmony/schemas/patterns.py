"""Regular expressions as JSON Schema writes them, said again so that every engine reads the same.

What ECMA-262, Python's `re` and the regex engine of the mask agree on is kept: characters, classes, groups,
alternatives, repetitions, `^` at the beginning and `$` at the very end; `\\d` and `\\w` are ASCII, `\\s` is
what it is in ECMA-262, `.` is all but a line feed. Each class is written out, and what the JSON of the mask
cannot spell (control characters that have no short escape) is left out of it there. Look-around,
backreferences, word boundaries and flags have no portable form, but for texts that a look-ahead bars from
what repeats one class.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from unicodedata import category

from harmony.schemas.finite import spelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Range = tuple[int, int]
Ranges = tuple[Range, ...]

_LAST: Final = 0x10FFFF
_SURROGATES: Final = (0xD800, 0xDFFF)
_CONTROLS: Final = 0x1F
_SHORT_ESCAPES: Final = frozenset(map(ord, "\b\t\n\f\r"))
_DIGIT: Final[Ranges] = ((48, 57),)
_WORD: Final[Ranges] = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final[Ranges] = (
    (9, 13),
    (32, 32),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
)
_CONTROL_LETTERS: Final = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}

_CATEGORIES: Final = {
    "Letter": "L",
    "Mark": "M",
    "Number": "N",
    "Other": "C",
    "Punctuation": "P",
    "Separator": "Z",
    "Symbol": "S",
    "Uppercase_Letter": "Lu",
    "Lowercase_Letter": "Ll",
    "Decimal_Number": "Nd",
}
"""Long names of general categories of Unicode."""

_ESCAPE: Final = (
    r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[dDwWsStnvfr]|[^0-9A-Za-z]"
    rf"|[pP]\{{(?:[CLMNPSZ][a-z]?|{'|'.join(_CATEGORIES)})\}})"
)
_PIECE: Final = re.compile(
    rf"(?P<class>\[(?:{_ESCAPE}|[^\\\]])*\])"
    r"|(?P<syntax>\(\?:|\((?!\?)|[)|^$])"
    r"|(?P<named>\(\?P?<[A-Za-z_][A-Za-z_0-9]*>)"
    r"|(?P<repeated>(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??(?![*+?]|\{[0-9]))"
    rf"|(?P<escape>{_ESCAPE})"
    r"|(?P<any>\.)"
    r"|(?P<character>[^\\()\[*+?])",
    re.DOTALL,
)
_LOOKING_AHEAD: Final = "^(?!"
_MOST_BARRED: Final = 1_000
"""The most texts that a look-ahead may bar beside those that it lists."""

_MEMBER: Final = re.compile(rf"({_ESCAPE})|(.)", re.DOTALL)


@cache
def in_python(pattern: str) -> str:
    r"""The expression for Python's `re.search`; raises `re.error` for what that cannot express.

    >>> in_python(r"^\d$")
    '^[\\u0030-\\u0039]\\Z'
    """
    pieces = _portable(pattern)
    if pieces is None:
        translation = re.sub(r"(\\.)|\$", lambda found: found[1] or r"\Z", pattern, flags=re.DOTALL)
    else:
        translation = "".join(
            _class(piece, spelled=False) if isinstance(piece, tuple) else r"\Z" if piece == "$" else piece
            for piece in pieces
        )
    re.compile(translation)
    return translation


@cache
def in_mask(pattern: str) -> str | None:
    """The expression for a mask, or None if there is none that means the same."""
    pieces = _portable(pattern)
    if pieces is None:
        return None
    return "".join(_class(piece, spelled=True) if isinstance(piece, tuple) else piece for piece in pieces)


def exactly(pattern: str) -> str:
    """The expression that matches a string as a whole, for keywords that search."""
    return f"^(?:{pattern})$"


def of_length(least: int, most: int | None) -> str:
    """Strings of so many characters."""
    return exactly(rf"[\s\S]{{{least},{'' if most is None else most}}}")


def one_of(texts: Sequence[str]) -> str:
    """These strings and no others."""
    if not texts:
        return r"[^\s\S]"
    return exactly("|".join("".join(map(_escaped, map(ord, text))) for text in texts))


def none_of(texts: Sequence[str], end: str = "$") -> str:
    """All strings but these; with an empty `end`, all that do not begin with one of them."""
    listed = "|".join("".join(map(_escaped, map(ord, text))) for text in texts)
    return rf"^(?!(?:{listed}){end})[\s\S]*$" if texts else r"[\s\S]*"


def unmatched(pattern: str, most: int) -> str | None:
    """The strings that an expression does not match, if the others are few, or begin with one of few texts.

    >>> unmatched("^(a|b)", 4)
    '^(?!(?:a|b))[\\s\\S]*$'
    """
    pieces = _portable(pattern)
    if pieces is None:
        return None
    if (texts := spelled(pieces, most)) is not None:
        return none_of(texts)
    begun = spelled(["(?:", *pieces, ")", "$"], most)
    return None if begun is None else none_of(begun, end="")


def texts_of(pattern: str, most: int) -> list[str] | None:
    """The strings that an expression matches, or None where they are not whole, or more than `most`.

    >>> texts_of("^(?:red|blue)$", 4)
    ['blue', 'red']
    """
    pieces = _portable(pattern)
    return None if pieces is None else spelled(pieces, most)


def _portable(pattern: str) -> list[str | Ranges] | None:
    """The pieces of an expression, with every class and character as ranges of code points."""
    if pattern.startswith(_LOOKING_AHEAD):
        return _without(pattern)
    pieces: list[str | Ranges] = []
    position = 0
    while position < len(pattern):
        found = _PIECE.match(pattern, position)
        if found is None:
            return None
        position = found.end()
        text = found[0]
        match found.lastgroup:
            case "class":
                members = _members(text)
                if members is None:
                    return None
                pieces.append(members)
            case "escape":
                pieces.append(_escape(text))
            case "any":
                pieces.append(_outside_of(((10, 10),)))
            case "character":
                pieces.append(((ord(text), ord(text)),))
            case "named":
                pieces.append("(")
            case _:
                pieces.append(text)
    return pieces


def _without(pattern: str) -> list[str | Ranges] | None:
    """`^(?!bar)rest`, where `bar` is some texts, whole or as beginnings, and `rest` repeats one class."""
    depth, position = 1, len(_LOOKING_AHEAD)
    while depth and (found := _PIECE.match(pattern, position)):
        depth += {"(": 1, "(?:": 1, ")": -1}.get(found[0], 0)
        position = found.end()
    bar, rest = pattern[len(_LOOKING_AHEAD) : position - 1], pattern[position:]
    is_whole = bar.endswith("$")
    barred = texts_of(f"^(?:{bar.removesuffix('$')})$", _MOST_BARRED + bar.count("|"))
    match _portable(rest):
        case [tuple() as loop, "*" | "+" | "{0,}" | "{1,}" as repeated, "$"] if barred is not None:
            tree: dict[str, Any] = {}
            for text in barred:
                node = tree
                for character in text:
                    node = node.setdefault(character, {})
                node[""] = {}
            may_be_empty = repeated in ("*", "{0,}")
            return ["^", *_outside(tree, loop, is_whole=is_whole, may_end=may_be_empty), "$"]
    return None


def _outside(tree: dict[str, Any], loop: Ranges, *, is_whole: bool, may_end: bool) -> list[str | Ranges]:
    """Repetitions of a class that leave the tree of the texts at some character, or end where none does."""
    branches: list[list[str | Ranges]] = []
    if "" in tree and not is_whole:
        return [()]
    if may_end and "" not in tree:
        branches.append([])
    onward = {ord(character): node for character, node in tree.items() if character}
    gaps = _outside_of((*_outside_of(loop), *((code, code) for code in onward)))
    if gaps:
        branches.append([gaps, loop, "*"])
    for code, node in onward.items():
        if any(low <= code <= high for low, high in loop):
            branches.append([((code, code),), *_outside(node, loop, is_whole=is_whole, may_end=True)])
    joined = [piece for branch in branches for piece in ("|", *branch)][1:]
    return ["(?:", *joined, ")"] if branches else [()]


def _members(text: str) -> Ranges | None:
    """The code points of a class, or None where the dialects part: no members, a range from a dash."""
    negated = text.startswith("[^")
    members = [
        (_escape(found[1]) if found[1] else ((ord(found[2]), ord(found[2])),), found[2] == "-")
        for found in _MEMBER.finditer(text[1 + negated : -1])
    ]
    ranges: list[Range] = []
    while members:
        part, is_dash = members.pop(0)
        if is_dash and members and members[0][1]:
            return None
        if len(members) > 1 and members[0][1] and _is_character(part) and _is_character(members[1][0]):
            first, last = part[0][0], members[1][0][0][0]
            if first > last:
                return None
            ranges.append((first, last))
            del members[:2]
        else:
            ranges.extend(part)
    if not ranges:
        return None
    return _outside_of(tuple(ranges)) if negated else _merged(ranges)


def _is_character(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]


def _escape(text: str) -> Ranges:
    letter = text[1]
    if letter in "dDwWsS":
        ranges = {"d": _DIGIT, "w": _WORD, "s": _SPACE}[letter.lower()]
        return _outside_of(ranges) if letter.isupper() else ranges
    if letter in "pP":
        name = text[3:-1]
        ranges = _category(_CATEGORIES.get(name, name))
        return _outside_of(ranges) if letter.isupper() else ranges
    code = int(text[2:], 16) if len(text) > 2 else _CONTROL_LETTERS.get(letter, ord(letter))
    return ((code, code),)


@cache
def _category(name: str) -> Ranges:
    """The characters whose general category begins with a name."""
    return _merged((code, code) for code in range(_LAST + 1) if category(chr(code)).startswith(name))


def _merged(ranges: Iterable[Range]) -> Ranges:
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _outside_of(ranges: Ranges) -> Ranges:
    walls = [(-1, -1), *_merged((*ranges, _SURROGATES)), (_LAST + 1, _LAST + 1)]
    return tuple((low + 1, high - 1) for (_, low), (high, _) in pairwise(walls) if low + 1 < high)


def _class(ranges: Ranges, *, spelled: bool) -> str:
    """A class; for the mask, control characters apart, and of them only those with a short escape.

    llguidance 1.9.1 takes a class with control characters for one with all escapes, `\\"` and `\\\\` too.
    """
    if not spelled:
        return f"[{''.join(map(_range, ranges))}]" if ranges else "(?!)"
    printed = [(max(low, _CONTROLS + 1), high) for low, high in ranges if high > _CONTROLS]
    escapes = [
        (code, code) for code in sorted(_SHORT_ESCAPES) if any(low <= code <= high for low, high in ranges)
    ]
    classes = [f"[{''.join(map(_range, part))}]" for part in (printed, escapes) if part]
    return classes[0] if len(classes) == 1 else f"(?:{'|'.join(classes)})" if classes else r"[^\s\S]"


def _range(span: Range) -> str:
    low, high = span
    return _escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}"


def _escaped(code: int) -> str:
    """A character as it stands for itself, inside and outside of a class."""
    character = chr(code)
    plain = code > 0xFFFF or (character.isalnum() and character.isascii())
    return character if plain else f"\\u{code:04x}"

"""Grammars of llama.cpp read as its src/llama-grammar.cpp does: which tokens one lets follow.

Only what ours are written in: rules, strings, positive classes, tokens, groups, alternatives, repetitions.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

_PART = re.compile(
    r'\s*(?:"(?P<text>(?:\\.|[^"\\])*)"|\[(?P<chars>(?:\\.|[^\]\\])*)\]|(?P<bar>!?)<\[(?P<token>\d+)\]>'
    r"|(?P<name>[a-z]\w*)|(?P<mark>[|()*+?])|\{(?P<least>\d+)(?P<comma>,)(?P<most>\d*)\})"
)
_CHAR = re.compile(r"\\x([0-9A-F]{2})|\\U([0-9A-F]{8})|([^\\])")
_TIMES = {"*": (0, None), "+": (1, None), "?": (0, 1)}

Stack = Any  # (symbol, place, below), or None where the grammar is at its end


class Gbnf:
    """A grammar, and where it stands; `pieces` are the bytes of tokens, and at `ends` the model ends."""

    def __init__(self, text: str, pieces: Sequence[bytes], ends: frozenset[int]) -> None:
        self._rules: dict[str, Any] = {}
        self._pieces, self._ends = pieces, ends
        self._partial = b""
        for line in text.splitlines():
            name, _, rule = line.partition(" ::= ")
            self._rules[name] = self._alternatives(list(_parts(rule)))
        self._stacks = self._expanded((("rule", "root"), 0, None))

    def accepts(self, token: int) -> bool:
        """Whether the token may follow; the grammar is then behind it."""
        if token in self._ends:
            return None in self._stacks
        piece = self._pieces[token]
        if not piece or not piece[0]:
            return False
        whole, partial = _decoded(self._partial + piece)
        stacks: set[Stack] = set()
        allowed = False
        for stack in self._stacks - {None}:
            (kind, *what), _, below = stack
            if kind in ("token", "bar"):  # what only begins a character is never one
                if (what[0] == token) == (kind == "token"):
                    stacks |= self._expanded(below)
                    allowed |= bool(whole)
                continue
            reached = {stack}
            for char in whole:
                reached = {after for one in reached for after in self._after(one, ord(char))}
            stacks |= reached
            allowed |= any(not partial or _may_begin(one, partial) for one in reached)
        if allowed:
            self._stacks, self._partial = stacks, partial
        return allowed

    def _after(self, stack: Stack, point: int) -> set[Stack]:
        if stack is None or stack[0][0] != "chars":
            return set()
        is_in = any(low <= point <= high for low, high in stack[0][1])
        return self._expanded(stack[2]) if is_in else set()

    def _expanded(self, start: Stack) -> set[Stack]:
        """The stacks with a terminal on top."""
        found: set[Stack] = set()
        waiting, seen = [start], set()
        while waiting:
            stack = waiting.pop()
            if stack in seen:
                continue
            seen.add(stack)
            if stack is None or stack[0][0] in ("chars", "token", "bar"):
                found.add(stack)
                continue
            (kind, *what), place, below = stack
            if kind == "rule":
                waiting.append((self._rules[what[0]], 0, below))
            elif kind == "choice":
                waiting += [(option, 0, below) for option in what[0]]
            elif kind == "sequence":
                if place + 1 < len(what[0]):
                    waiting.append((what[0][place], 0, (stack[0], place + 1, below)))
                else:
                    waiting.append((what[0][place], 0, below) if what[0] else below)
            else:
                part, least, most = what
                if place >= least:
                    waiting.append(below)
                if most is None or place < most:
                    waiting.append(
                        (part, 0, (stack[0], min(place + 1, least) if most is None else place + 1, below))
                    )
        return found

    def _alternatives(self, parts: list[Any]) -> Any:
        """A choice, up to the end or a closing mark, which is taken."""
        options: list[list[Any]] = [[]]
        while parts:
            kind, *what = parts.pop(0)
            if kind == ")":
                break
            if kind == "|":
                options.append([])
            elif kind == "(":
                options[-1].append(self._alternatives(parts))
            elif kind == "times":
                options[-1][-1] = ("repeat", options[-1][-1], *what)
            else:
                options[-1].append((kind, *what))
        return ("choice", tuple(("sequence", tuple(option)) for option in options))


def _parts(rule: str) -> Iterator[Any]:
    position = 0
    while position < len(rule):
        found = _PART.match(rule, position)
        assert found, f"not read: {rule[position:][:60]}"
        position = found.end()
        if found["text"] is not None:
            yield from (("chars", ((ord(c), ord(c)),)) for c in _characters(found["text"]))
        elif found["chars"] is not None:
            yield "chars", _ranges(found["chars"])
        elif found["token"]:
            yield "bar" if found["bar"] else "token", int(found["token"])
        elif found["name"]:
            yield "rule", found["name"]
        elif found["comma"]:
            yield "times", int(found["least"]), int(found["most"]) if found["most"] else None
        elif found["mark"] in _TIMES:
            yield "times", *_TIMES[found["mark"]]
        else:
            yield (found["mark"],)


def _characters(written: str) -> Iterator[str]:
    return (chr(int(a or b, 16)) if a or b else c for a, b, c in _CHAR.findall(written))


def _ranges(written: str) -> tuple[tuple[int, int], ...]:
    points, ranges = [*_CHAR.finditer(written)], []
    while points:
        low = ord(next(_characters(points.pop(0)[0])))
        is_range = len(points) > 1 and points[0][0] == "-"
        high = ord(next(_characters(points[1][0]))) if is_range else low
        points = points[2:] if is_range else points
        ranges.append((low, high))
    return tuple(ranges)


def _decoded(octets: bytes) -> tuple[str, bytes]:
    """The whole characters, and the bytes of one that is cut."""
    try:
        return octets.decode(), b""
    except UnicodeDecodeError as error:
        return octets[: error.start].decode(), octets[error.start :]


def _may_begin(stack: Stack, partial: bytes) -> bool:
    """Whether a character that begins so may follow; none does before a token or at the end."""
    if stack is None or stack[0][0] != "chars":
        return False
    length = 2 if partial[0] < 0xE0 else 3 if partial[0] < 0xF0 else 4
    value = partial[0] & (0x7F >> length)
    for octet in partial[1:]:
        value = value << 6 | octet & 0x3F
    left = 6 * (length - len(partial))
    low, high = value << left, (value + 1 << left) - 1
    low = max(low, {12: 1 << 11, 18: 1 << 16}.get(left, 0)) if low == 0 else low
    return any(first <= high and low <= last for first, last in stack[0][1])

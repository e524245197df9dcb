"""The symbols of a grammar, and the shortest text of each.

Symbols are compared by identity: a recursive grammar is a graph of them with `Rule`s in its cycles.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf

Piece = str | int
"""A part of a text: characters, or the id of a special token."""

Range = tuple[int, int]
LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_PLAIN = "a0A _-.:/@"


@dataclass(frozen=True, eq=False, slots=True)
class Text:
    """Characters, one after another."""

    text: str


@dataclass(frozen=True, eq=False, slots=True)
class Special:
    """A special token."""

    token: int


@dataclass(frozen=True, eq=False, slots=True)
class Chars:
    """One character of these code points, in ascending ranges."""

    ranges: tuple[Range, ...]

    def __contains__(self, character: str) -> bool:
        return any(low <= ord(character) <= high for low, high in self.ranges)

    @property
    def plainest(self) -> str:
        """A character of the class that needs no explanation, if it has one."""
        return next((c for c in _PLAIN if c in self), chr(self.ranges[0][0]))


@dataclass(frozen=True, eq=False, slots=True)
class Sequence:
    """Symbols one after another."""

    parts: "tuple[Symbol, ...]"


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """One of several symbols; none is a dead end."""

    options: "tuple[Symbol, ...]"


@dataclass(frozen=True, eq=False, slots=True)
class Repeat:
    """A symbol `least` to `most` times."""

    part: "Symbol"
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Example:
    """A symbol of which not every short text will do; `text` is one that does."""

    part: "Symbol"
    text: str


@dataclass(eq=False, slots=True)
class Rule:
    """A symbol by name, to be defined later."""

    name: str
    body: "Symbol | None" = None


@dataclass(frozen=True, eq=False, slots=True)
class Unknown:
    """What could not be read; a grammar with one in the way has no shortest ending."""

    reason: str


Symbol = Text | Special | Chars | Sequence | Choice | Repeat | Example | Rule | Unknown

NOTHING = Text("")


@lru_cache(1024)
def chars(*ranges: Range) -> Chars:
    """The characters of these ranges, surrogates left out."""
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return Chars(tuple(_without_surrogates(merged)))


def others(given: Chars) -> Chars:
    """All characters but these."""
    edges = [-1, *(edge for pair in given.ranges for edge in pair), LAST + 1]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return chars(*((low + 1, high - 1) for low, high in gaps if low + 1 <= high - 1))


def children(symbol: Symbol) -> "tuple[Symbol, ...]":
    """The symbols that a symbol is made of."""
    match symbol:
        case Sequence(parts):
            return parts
        case Choice(options):
            return options
        case Repeat(part) | Example(part):
            return (part,)
        case Rule(_, body) if body is not None:
            return (body,)
    return ()


@dataclass(frozen=True)
class Costs:
    """What the shortest text of each symbol costs, in characters; infinite where there is none.

    The special tokens `avoided` cost so much that a text without them is always shorter.
    """

    root: Symbol
    avoided: frozenset[int] = frozenset()
    cost: dict[Symbol, float] = field(default_factory=dict)
    _best: dict[Symbol, Symbol] = field(default_factory=dict)
    _shortest: "dict[Symbol, tuple[Piece, ...]]" = field(default_factory=dict)

    SPECIAL = 3.0
    AVOIDED = 1e6

    def __post_init__(self) -> None:
        symbols = list(innermost_first(self.root))
        self.cost.update(dict.fromkeys(symbols, inf))
        changed = True
        is_recursive = any(isinstance(symbol, Rule) for symbol in symbols)
        while changed:  # once, but where rules may be recursive until nothing does
            changed = False
            for symbol in symbols:
                lower = self._of(symbol)
                if lower < self.cost[symbol]:
                    self.cost[symbol] = lower
                    changed = is_recursive
                    if isinstance(symbol, Choice):  # noted now, since later a longer way may cost the same
                        self._best[symbol] = min(symbol.options, key=self.cost.__getitem__)

    @property
    def least(self) -> float:
        """That of the whole."""
        return self.cost[self.root]

    def shortest(self, symbol: Symbol) -> "tuple[Piece, ...]":
        """The pieces of the shortest text of a symbol that has one."""
        if symbol not in self._shortest:
            self._shortest[symbol] = tuple(self._pieces(symbol))
        return self._shortest[symbol]

    def _pieces(self, symbol: Symbol) -> Iterator[Piece]:
        match symbol:
            case Text(text) | Example(_, text):
                yield text
            case Special(token):
                yield token
            case Chars():
                yield symbol.plainest
            case Sequence(parts):
                yield from joined(piece for part in parts for piece in self.shortest(part))
            case Choice():
                yield from self.shortest(self._best[symbol])
            case Repeat(part, least):
                yield from joined(self.shortest(part) * least) if least else ()
            case Rule(_, body) if body is not None:
                yield from self.shortest(body)

    def _of(self, symbol: Symbol) -> float:
        match symbol:
            case Text(text) | Example(_, text):
                return len(text)
            case Special(token):
                return self.AVOIDED if token in self.avoided else self.SPECIAL
            case Chars(ranges):
                return 1.0 if ranges else inf
            case Sequence(parts):
                return sum(map(self.cost.__getitem__, parts))
            case Choice(options):
                return min(map(self.cost.__getitem__, options), default=inf)
            case Repeat(part, least):
                return least * self.cost[part] if least else 0.0
            case Rule(_, body):
                return inf if body is None else self.cost[body]
        return inf


def joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces with characters that follow one another together."""
    text = ""
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
        else:
            yield from (text, piece) if text else (piece,)
            text = ""
    if text:
        yield text


def innermost_first(root: Symbol) -> Iterator[Symbol]:
    """The symbols that a symbol is made of, each after its own parts unless it is part of itself."""
    seen, open_ones = {root}, [(root, iter(children(root)))]
    while open_ones:
        symbol, rest = open_ones[-1]
        for child in rest:
            if child not in seen:
                seen.add(child)
                open_ones.append((child, iter(children(child))))
                break
        else:
            open_ones.pop()
            yield symbol


def _without_surrogates(ranges: Iterable[Range]) -> Iterator[Range]:
    first, last = _SURROGATES
    for low, high in ranges:
        for start, end in ((low, min(high, first - 1)), (max(low, last + 1), high)):
            if start <= end:
                yield start, end

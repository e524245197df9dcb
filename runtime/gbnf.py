"""What a constraint lets follow, as a grammar of llama.cpp: help for a server whose tokens are checked here.

The grammar takes more than the constraint does and never less, but for a NUL, with which no grammar of
llama.cpp lets a token begin. Where none can be written that is safe to send, there is none: llama.cpp aborts
when nothing at all may follow, and refuses left recursion.

Sources: https://github.com/ggml-org/llama.cpp, grammars/README.md and src/llama-grammar.cpp: `<[id]>` is a
token and `!<[id]>` any other; a token at which the model ends may follow where the grammar is at its end, and
nowhere else; a character class may match the beginning of a character only if it is not negated.
"""

from collections.abc import Collection, Iterator
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Final

from harmony.runtime.closing.automaton import Automaton
from harmony.runtime.closing.regexes import ANYTHING
from harmony.runtime.closing.symbols import (
    Chars,
    Choice,
    Example,
    Repeat,
    Rule,
    Sequence,
    Special,
    Symbol,
    Text,
    Unknown,
    children,
    innermost_first,
)
from harmony.runtime.letters import letters, pieces

if TYPE_CHECKING:
    from harmony.runtime.closing.automaton import Stack
    from harmony.runtime.constraint import Constraint

_MOST: Final = 256  # repetitions that are counted, of which llama.cpp refuses 2,000, and texts to choose from
_TEXT: Final = r"[\x01-\U0010FFFF]*"
_MARKS: Final = "=.,:;/_-{}()<>|"
_NOT_ASCII: Final = r"[\x80-\U0010FFFF]"


class InexpressibleError(Exception):
    """Symbols of which no safe grammar can be written."""


def gbnf(constraint: "Constraint", ends: Collection[int]) -> str | None:
    """The grammar of what may follow the tokens of a constraint; the model ends at the tokens `ends`.

    None where there is none: within a character, where the constraint's own grammar could not be read or is
    nested too deep, as that of hundreds of optional properties, or where llama.cpp cannot say it.
    """
    known = frozenset(ends)
    try:
        return (
            _Writer(_rest(constraint), known).text
            if constraint.tokens
            else _whole(constraint.costs().root, known)
        )
    except (InexpressibleError, UnicodeDecodeError, RecursionError):
        return None


@lru_cache(64)
def _whole(root: Symbol, ends: frozenset[int]) -> str:
    """The whole grammar, which many generations begin with. Raises InexpressibleError."""
    return _Writer(root, ends).text


def _rest(constraint: "Constraint") -> Symbol:
    """What may follow. Raises InexpressibleError, and UnicodeDecodeError within a character."""
    costs, table = constraint.costs(), constraint.table
    ordinary = len(table.tokens)
    written = [letters(table.tokens[t] if t < ordinary else t) for t in constraint.tokens]
    automaton = Automaton(costs)
    state = reduce(automaton.after, pieces("".join(written)), automaton.start)
    return Choice(tuple(Sequence((*_parts(stack),)) for stack in state))


def _parts(stack: "Stack | None") -> Iterator[Symbol]:
    """What is left of a stack, from its top on."""
    while stack is not None:
        done = stack.done
        match stack.symbol:
            case Text(text):
                yield Text(text[done:])
            case Sequence(parts):
                yield from parts[done:]
            case Repeat(part, least, most):
                yield Repeat(part, max(0, least - done), None if most is None else most - done)
            case Unknown(reason):  # it is never left, so that what follows may have begun
                raise InexpressibleError(reason)
            case symbol:
                yield symbol
        stack = stack.below


class _Writer:
    """Writes the rules of a symbol; its `text` is the grammar."""

    def __init__(self, root: Symbol, ends: frozenset[int]) -> None:
        self._ends = ends
        self._alive, self._nullable = _properties(root)
        if root not in self._alive or self._recurs_left(root):
            raise InexpressibleError("a dead end, or left recursion")
        self._names: dict[tuple[Symbol, bool], str] = {}
        self._rules: dict[str, str] = {}
        self._written: dict[str, str] = {}
        self._recursive: set[str] = set()
        self._barred = next(self._enders(root), None)
        start = self._alternatives(root, last=True)
        self.text = "".join(f"{name} ::= {rule}\n" for name, rule in {"root": start, **self._rules}.items())

    def _alternatives(self, symbol: Symbol, *, last: bool) -> str:
        """The right side of a rule for a symbol, which is the `last` of the grammar or not."""
        while isinstance(symbol, Example | Rule):
            (symbol,) = children(symbol)
        options = symbol.options if isinstance(symbol, Choice) else (symbol,)
        if len(options) > _MOST and all(isinstance(option, Text) for option in options):
            return _TEXT  # llama.cpp would try each of them with each token of the vocabulary
        written = [self._items([option], last=last) for option in options if option in self._alive]
        return " | ".join(dict.fromkeys(items or '""' for items in written))

    def _items(self, parts: list[Symbol], *, last: bool) -> str:
        """Symbols one after another."""
        items: list[str] = []
        waiting = parts[::-1]
        while waiting:
            symbol = waiting.pop()
            if isinstance(symbol, Sequence):
                waiting += symbol.parts[::-1]
            elif _is_anything(symbol):
                items.append(self._anything(waiting[-1] if waiting else None))
            elif item := self._item(symbol, last=last and not waiting):
                items.append(item)
        return " ".join(items)

    def _item(self, symbol: Symbol, *, last: bool) -> str:
        match symbol:
            case Text(text):
                return f'"{_escaped(text)}"' if text else ""
            case Chars(ranges):
                return f"[{''.join(_range(max(1, low), high) for low, high in ranges if high)}]"
            case Special(token) if token not in self._ends:
                return f"<[{token}]>"
            case Special(token):  # it may come where the grammar is at its end
                if not last:
                    raise InexpressibleError(f"something after token {token}")
                return ""
            case Repeat(part) if part not in self._alive:
                return ""
            case Repeat(part, least, most):
                return self._named(part, last=False) + _times(least, most) if most != 0 else ""
            case Unknown():
                return _TEXT
        return self._named(symbol, last=last)

    def _named(self, symbol: Symbol, *, last: bool) -> str:
        """The name of the rule for a symbol; symbols that are written alike share one."""
        key = symbol, last
        if key not in self._names:
            name = self._names[key] = f"r{len(self._names)}"
            rule = self._alternatives(symbol, last=last)
            if name in self._recursive:
                self._rules[name] = rule
            else:
                self._names[key] = self._written.setdefault(rule, name)
                self._rules.setdefault(self._names[key], rule)
        elif self._names[key] not in self._rules:
            self._recursive.add(self._names[key])
        return self._names[key]

    def _anything(self, following: Symbol | None) -> str:
        """Any text: all tokens but one, and those that only begin a character or go on with one."""
        token = following.token if isinstance(following, Special) else None
        barred = self._barred if token is None or token in self._ends else token
        return _TEXT if barred is None else f"(!<[{barred}]> | {_NOT_ASCII})*"

    def _enders(self, root: Symbol) -> Iterator[int]:
        """The special tokens that end texts in the middle of the grammar."""
        for symbol in innermost_first(root):
            if isinstance(symbol, Sequence) and symbol in self._alive:
                for text, end in zip(symbol.parts, symbol.parts[1:], strict=False):
                    if _is_anything(text) and isinstance(end, Special) and end.token not in self._ends:
                        yield end.token

    def _recurs_left(self, root: Symbol) -> bool:
        """Whether a symbol can begin with itself."""
        done: set[Symbol] = set()
        open_ones: dict[Symbol, Iterator[Symbol]] = {root: self._beginnings(root)}
        while open_ones:
            symbol, rest = next(reversed(open_ones.items()))
            following = next(rest, None)
            if following is None:
                done.add(symbol)
                del open_ones[symbol]
            elif following in open_ones:
                return True
            elif following not in done:
                open_ones[following] = self._beginnings(following)
        return False

    def _beginnings(self, symbol: Symbol) -> Iterator[Symbol]:
        """The symbols that a symbol may begin with."""
        match symbol:
            case Sequence(parts):
                for part in parts:
                    yield part
                    if part not in self._nullable:
                        return
            case Repeat(part, _, most) if part in self._nullable and most != 1:
                yield from (part, symbol)
            case _:
                yield from children(symbol)


def _properties(root: Symbol) -> tuple[set[Symbol], set[Symbol]]:
    """The symbols that have a text, and those of which one is empty."""
    alive: set[Symbol] = set()
    nullable: set[Symbol] = set()
    symbols, count = [*innermost_first(root)], -1
    while count < len(alive) + len(nullable):  # until nothing is added
        count = len(alive) + len(nullable)
        for symbol in symbols:
            match symbol:
                case Text(text):
                    is_alive, is_nullable = "\0" not in text, not text
                case Chars(ranges):
                    is_alive, is_nullable = any(high for _, high in ranges), False
                case Special():
                    is_alive, is_nullable = True, False
                case Unknown():
                    is_alive, is_nullable = True, True
                case Choice(options):
                    is_alive, is_nullable = not alive.isdisjoint(options), not nullable.isdisjoint(options)
                case Repeat(part, least):
                    is_alive, is_nullable = not least or part in alive, not least or part in nullable
                case _:
                    parts = children(symbol)
                    is_rule = isinstance(symbol, Rule)
                    is_alive = alive.issuperset(parts) and not (is_rule and not parts)
                    is_nullable = nullable.issuperset(parts) and not (is_rule and not parts)
            alive.update([symbol] * is_alive)
            nullable.update([symbol] * is_nullable)
    return alive, nullable


def _is_anything(symbol: Symbol) -> bool:
    """Whether a symbol is any text."""
    while isinstance(symbol, Rule | Sequence | Choice) and len(children(symbol)) == 1:
        (symbol,) = children(symbol)
    return (
        isinstance(symbol, Repeat)
        and (symbol.least, symbol.most) == (0, None)
        and isinstance(symbol.part, Chars)
        and symbol.part.ranges == ANYTHING.ranges
    )


def _times(least: int, most: int | None) -> str:
    """How often something comes; from _MOST times on as often as you like."""
    if most is None or most > _MOST:
        return {0: "*", 1: "+"}.get(least, f"{{{min(least, _MOST)},}}")
    return "?" if (least, most) == (0, 1) else f"{{{least},{most}}}"


def _range(low: int, high: int) -> str:
    return _code(low) if low == high else f"{_code(low)}-{_code(high)}"


def _escaped(text: str) -> str:
    return "".join(c if c == " " or c in _MARKS else _code(ord(c)) for c in text)


def _code(point: int) -> str:
    """A character, as it may stand in quotes and in brackets."""
    if chr(point).isascii() and chr(point).isalnum():
        return chr(point)
    return f"\\x{point:02X}" if point < 0x100 else f"\\U{point:08X}"

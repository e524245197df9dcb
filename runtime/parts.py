"""A grammar in parts: heads, which tell what follows, and bodies, of which each has a grammar of its own.

It is the same language as that of one whole grammar, as long as a special token opens every body and another
one ends it that no text of the body can hold. What is gained: free text needs no automaton, a body is
compiled once for all grammars that it is in, and none has to wait for the bodies that are not used.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from harmony.errors import GrammarError
from harmony.runtime.closing.lark import symbol_of
from harmony.runtime.closing.symbols import Costs
from harmony.runtime.free_text import TextMatcher
from harmony.runtime.heads import HeadMatcher, Heads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llguidance import LLTokenizer

    from harmony.runtime.grammars import Compiled, Grammars, Once
    from harmony.runtime.heads import Place
    from harmony.runtime.matcher import Matcher, Row


class Body(Protocol):
    """What follows a head: by a `grammar` that ends with the special token `end`, or any text before it.

    `last` says that nothing follows it, and `awaited` that nothing begins before it is compiled.
    """

    @property
    def grammar(self) -> str | None: ...
    @property
    def end(self) -> str: ...
    @property
    def last(self) -> bool: ...
    @property
    def awaited(self) -> bool: ...


class Parts(Protocol):
    """The grammars of the `first` head and of the `rest`, and the bodies by their names.

    A head ends with the special token `opening` and, in the place of a body, its name. The first head is
    `begun` already, in words and special tokens, when a generation begins.
    """

    @property
    def first(self) -> str: ...
    @property
    def rest(self) -> str: ...
    @property
    def begun(self) -> Sequence[str]: ...
    @property
    def opening(self) -> str: ...
    @property
    def bodies(self) -> Mapping[str, Body]: ...


class PartedGrammar:
    """The grammar `text` by its parts, compiled in the background: the bodies that are not awaited last."""

    def __init__(self, grammars: Grammars, text: str, parts: Parts) -> None:
        self.text = text
        self.table = grammars.table
        self._grammars = grammars
        self._parts = parts
        self._first, self._rest = grammars.compiled(parts.first), grammars.compiled(parts.rest)
        self._free_text = grammars.free_text
        bodies = sorted(parts.bodies.values(), key=lambda body: not body.awaited)
        compiled = [(body, grammars.compiled(body.grammar)) for body in bodies if body.grammar is not None]
        self._awaited: list[Once[Compiled]] = [once for body, once in compiled if body.awaited]
        self.opening = self.table.special[parts.opening]

    def done(self) -> bool:
        """Whether nothing has to wait for it."""
        return all(once.done() for once in (self._first, self._rest, *self._awaited))

    def result(self) -> PartedGrammar:
        """Itself, once it is compiled as far as it is awaited; raises GrammarError."""
        for once in (self._first, self._rest, *self._awaited):
            once.result()
        return self

    def uses(self, compiled: Compiled) -> bool:
        """Whether its heads are of this grammar."""
        return compiled.text in (self._parts.first, self._parts.rest)

    @property
    def tokenizer(self) -> LLTokenizer:
        return self._first.result().tokenizer

    @cached_property
    def costs(self) -> Costs:
        """What each part of the grammar costs at least, worked out when it is first asked for."""
        return Costs(symbol_of(self.text, self.table.special), self.table.avoided)

    def start(self) -> PartedMatcher:
        """A matcher at the start."""
        return PartedMatcher(self, HeadMatcher(self._first_heads, self._begun))

    def next_head(self) -> HeadMatcher:
        """A matcher at the start of a head behind a body."""
        return HeadMatcher(self._rest_heads, self._rest_heads.at(()))

    def body(self, name: str) -> tuple[Body, int, Matcher]:
        """A body, its end, and a matcher at its start; raises GrammarError if it cannot be compiled."""
        body = self._parts.bodies[name]
        end = self.table.special[body.end]
        if body.grammar is None:
            return body, end, TextMatcher(self._free_text.result(), end)
        return body, end, self._grammars.compiled(body.grammar).result().start()

    @cached_property
    def _first_heads(self) -> Heads:
        if self._parts.first == self._parts.rest:
            return self._rest_heads
        return Heads(self._first.result(), self.opening)

    @cached_property
    def _rest_heads(self) -> Heads:
        return Heads(self._rest.result(), self.opening)

    @cached_property
    def _begun(self) -> Place:
        tokens: list[int] = []
        for piece in self._parts.begun:
            special = self.table.special.get(piece)
            tokens += self.tokenizer.tokenize_str(piece) if special is None else [special]
        return self._first_heads.at(tokens)


class PartedMatcher:
    """Follows a grammar part by part."""

    def __init__(
        self, grammar: PartedGrammar, matcher: Matcher, body: Body | None = None, end: int | None = None
    ) -> None:
        self._grammar = grammar
        self._matcher = matcher
        self._body = body
        self._end = grammar.opening if end is None else end
        self._refused: str | None = None

    @property
    def compiled(self) -> Compiled:
        return self._matcher.compiled

    @property
    def stopped(self) -> bool:
        return self._matcher.stopped

    @property
    def failure(self) -> str | None:
        return self._refused or self._matcher.failure

    def fill(self, row: Row) -> None:
        self._matcher.fill(row)

    def consume(self, token: int) -> bool:
        if not self._matcher.consume(token):
            return False
        if token == self._end:
            self._go_on()
        return True

    def validate(self, tokens: Sequence[int]) -> int:
        if self._is_last or self._end not in tokens:
            return self._matcher.validate(tokens)
        own = tokens[: tokens.index(self._end) + 1]
        count = self._matcher.validate(own)
        return count if count < len(own) else count + self._behind(own).validate(tokens[count:])

    def forced(self) -> list[int]:
        tokens = self._matcher.forced()
        if self._is_last or tokens[-1:] != [self._end]:
            return tokens
        return tokens + self._behind(tokens).forced()

    def copy(self) -> PartedMatcher:
        return PartedMatcher(self._grammar, self._matcher.copy(), self._body, self._end)

    @property
    def _is_last(self) -> bool:
        return self._body is not None and self._body.last

    def _behind(self, tokens: Sequence[int]) -> PartedMatcher:
        """Where the rest of this part leads."""
        ahead = self.copy()
        for token in tokens:
            ahead.consume(token)
        return ahead

    def _go_on(self) -> None:
        """Enter what follows this part, if anything does."""
        if isinstance(self._matcher, HeadMatcher):
            name = self._matcher.place.name
            assert name is not None
            try:
                self._body, self._end, self._matcher = self._grammar.body(name)
            except GrammarError as error:
                self._refused = str(error)
                raise
        elif not self._is_last:
            self._body, self._end, self._matcher = None, self._grammar.opening, self._grammar.next_head()

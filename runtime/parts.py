"""A grammar in parts: heads, which tell what follows, and bodies, of which each has a grammar of its own.

It is the same language as that of one whole grammar, as long as a special token opens every body and another
one ends it that no text of the body can hold. What is gained: heads and free text need no automaton, a body
is compiled once for all grammars that it is in, and those that are never begun not at all.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from harmony.errors import GrammarError
from harmony.runtime.closing.parted import PartedAutomaton
from harmony.runtime.free_text import ANY_TEXT, TextMatcher
from harmony.runtime.heads import HeadMatcher, Heads
from harmony.runtime.matcher import EndedMatcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harmony.runtime.closing.automaton import Automaton
    from harmony.runtime.grammars import Compiled, Grammars
    from harmony.runtime.heads import Header, Place
    from harmony.runtime.matcher import Matcher, Row


_MOST = 100
"""The ends of turns that are remembered."""


class Body(Protocol):
    """What follows a head before the special token `end`: by a `grammar`, or any text.

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
    """The heads that may come `first` and those of the `rest`, by the names of the bodies that they open.

    A head ends with the special token `opening`. What is `begun`, special tokens by their names, has been
    written when a generation begins.
    """

    @property
    def first(self) -> Mapping[str, Header]: ...
    @property
    def rest(self) -> Mapping[str, Header]: ...
    @property
    def begun(self) -> str: ...
    @property
    def opening(self) -> str: ...
    @property
    def bodies(self) -> Mapping[str, Body]: ...


class PartedGrammar:
    """The grammar `text` by its parts: a body is compiled in the background once no other may come.

    The bodies that are awaited are compiled at once.
    """

    def __init__(self, grammars: Grammars, parts: Parts) -> None:
        self.table = grammars.table
        self.opening = self.table.special[parts.opening]
        self.bodies = parts.bodies
        self._grammars = grammars
        self._awaited = [
            grammars.compiled(body.grammar)
            for body in parts.bodies.values()
            if body.awaited and body.grammar is not None
        ]
        rest = Heads(self.table, parts.rest, parts.begun, self.opening)
        is_same = parts.first is parts.rest
        first = rest if is_same else Heads(self.table, parts.first, parts.begun, self.opening)
        self.first_head, self.next_head = first.begun, rest.start
        self._followed: set[tuple[str | None, tuple[int, ...]]] = set()

    def done(self) -> bool:
        """Whether nothing has to wait for it."""
        return all(once.done() for once in self._awaited)

    def result(self) -> PartedGrammar:
        """Itself, once it is compiled as far as it is awaited; raises GrammarError."""
        for once in self._awaited:
            once.result()
        return self

    def automaton(self) -> PartedAutomaton:
        """What knows the shortest ends."""
        return self._automaton

    @cached_property
    def _automaton(self) -> PartedAutomaton:
        return PartedAutomaton(self)

    def start(self) -> PartedMatcher:
        """A matcher at the start."""
        self.expect(self.first_head)
        return PartedMatcher(self, HeadMatcher(self.first_head))

    def entered(self, name: str | None) -> PartedMatcher:
        """A matcher at the start of a body, or of the head behind one; raises GrammarError."""
        if name is None:
            return PartedMatcher(self, HeadMatcher(self.next_head))
        body, end, matcher = self.body(name)
        return PartedMatcher(self, matcher, body, end)

    def validate(self, name: str | None, tokens: Sequence[int]) -> int:
        """How many of these tokens may follow where it is entered.

        Those that all may are remembered: the end that is planned for a turn is asked for at each token.
        """
        asked = name, tuple(tokens)
        if asked in self._followed:
            return len(tokens)
        count = self.entered(name).validate(tokens)
        if count == len(tokens):
            if len(self._followed) >= _MOST:
                self._followed.clear()
            self._followed.add(asked)
        return count

    def expect(self, place: Place) -> None:
        """Have the body compiled that is opened behind a place of a head, if it is certain which."""
        if place.only is not None and (grammar := self.bodies[place.only].grammar) is not None:
            self._grammars.compiled(grammar)

    def body(self, name: str) -> tuple[Body, int, Matcher]:
        """A body, its end, and a matcher at its start; raises GrammarError if it cannot be compiled."""
        body = self.bodies[name]
        end = self.table.special[body.end]
        if body.grammar is None:
            return body, end, TextMatcher(self._grammars.free_text, end)
        return body, end, EndedMatcher(self._grammars.compiled(body.grammar).result().start(), end)

    def ends(self, name: str) -> Automaton:
        """What knows the shortest ends of a body."""
        return self._grammars.automaton(self.bodies[name].grammar or ANY_TEXT)


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
    def compiled(self) -> Compiled | None:
        return self._matcher.compiled

    @property
    def stopped(self) -> bool:
        return self._matcher.stopped

    @property
    def failure(self) -> str | None:
        return self._refused or self._matcher.failure

    def fill(self, row: Row) -> bool:
        return self._refused is None and self._matcher.fill(row)

    def consume(self, token: int) -> bool:
        if not self._matcher.consume(token):
            return False
        if token == self._end:
            self._go_on()
        elif isinstance(self._matcher, HeadMatcher):
            self._grammar.expect(self._matcher.place)
        return True

    def validate(self, tokens: Sequence[int]) -> int:
        if self._is_last or self._end not in tokens:
            return self._matcher.validate(tokens)
        own = tokens[: tokens.index(self._end) + 1]
        count = self._matcher.validate(own)
        if count < len(own):
            return count
        return count + self._grammar.validate(self._behind(own), tokens[count:])

    def forced(self) -> list[int]:
        tokens = self._matcher.forced()
        if self._is_last or tokens[-1:] != [self._end]:
            return tokens
        return tokens + self._grammar.entered(self._behind(tokens)).forced()

    def copy(self) -> PartedMatcher:
        return PartedMatcher(self._grammar, self._matcher.copy(), self._body, self._end)

    @property
    def _is_last(self) -> bool:
        return self._body is not None and self._body.last

    def _behind(self, tokens: Sequence[int]) -> str | None:
        """The body that the rest of this part opens, if it is a head."""
        return self._matcher.place.opened(tokens) if isinstance(self._matcher, HeadMatcher) else None

    def _go_on(self) -> None:
        """Enter what follows this part, if anything does."""
        if isinstance(self._matcher, HeadMatcher):
            name = self._matcher.place.opened(())
            try:
                self._body, self._end, self._matcher = self._grammar.body(name)
            except GrammarError as error:
                self._refused = str(error)
                raise
        elif not self._is_last:
            self._body, self._end = None, self._grammar.opening
            self._matcher = HeadMatcher(self._grammar.next_head)

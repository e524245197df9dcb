"""The shortest ends of a grammar in parts: what a head or a body still needs, and what must follow it.

A body is read when it is begun, or when all that are known to be shorter were.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from harmony.runtime.closing.automaton import Automaton
from harmony.runtime.closing.symbols import Costs
from harmony.runtime.letters import letters, pieces
from harmony.runtime.rests import following

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harmony.runtime.closing.automaton import State
    from harmony.runtime.closing.symbols import Piece
    from harmony.runtime.parts import PartedGrammar
    from harmony.runtime.rests import Rest


@dataclass(frozen=True)
class InHead:
    """Within a head, of which any of the `rests` may follow."""

    rests: Sequence[Rest]

    @cached_property
    def shortest(self) -> dict[str, str]:
        """The shortest way to open each body that may be opened, in letters."""
        shortest: dict[str, str] = {}
        for rest in self.rests:
            letters = rest.shortest
            if rest.name not in shortest or len(letters) < len(shortest[rest.name]):
                shortest[rest.name] = letters
        return shortest


@dataclass(frozen=True, slots=True)
class InBody:
    """Within the body `name`, in a state of its automaton."""

    name: str
    state: State


PartedState = InHead | InBody | None
"""None is behind the last body."""


class Ending(NamedTuple):
    """The pieces of a way to end, and what they cost."""

    cost: float
    pieces: list[Piece]


class PartedAutomaton:
    """Follows texts of a grammar in parts, each body by an automaton of its own."""

    def __init__(self, grammar: PartedGrammar) -> None:
        self._grammar = grammar
        self._automata: dict[str, Automaton] = {}
        self._next_endings: dict[int, Ending | None] = {}
        self.start: PartedState = InHead(grammar.first_head.rests)
        self._next_head = InHead(grammar.next_head.rests)

    def after(self, state: PartedState, piece: Piece) -> PartedState:
        """The state after the characters of a piece, or after a special token."""
        if isinstance(state, InHead):
            rests = following(state.rests, letters(piece))
            if not rests or rests[0].letters:
                return InHead(rests)
            name = rests[0].name
            return InBody(name, self._automaton(name).start)
        if state is None:
            return InHead(())
        if piece != self._end(state.name):
            return InBody(state.name, self._automaton(state.name).after(state.state, piece))
        return None if self._grammar.bodies[state.name].last else self._next_head

    def endings(self, state: PartedState, enough: int = 0) -> Iterator[list[Piece]]:
        """The text of each way to end from a state, the shortest first.

        One of no more than `enough` characters comes before others are read that might be shorter.
        """
        if state is None:
            yield []
        elif isinstance(state, InHead):
            yield from (ending.pieces for ending in self._opened(state.shortest, enough))
        elif (behind := self._behind(state.name, enough)) is not None:
            for ending in self._automaton(state.name).endings(state.state):
                yield [*ending, self._end(state.name), *behind.pieces]

    def _opened(self, heads: Mapping[str, str], enough: int) -> Iterator[Ending]:
        """The ways to end through each of these bodies, which the letters beside it open."""
        bodies = self._grammar.bodies
        waiting = [(self._end_cost(name), False, not bodies[name].last, name) for name in heads]
        heapify(waiting)
        while waiting:
            cost, is_read, goes_on, name = heappop(waiting)
            if (behind := self._behind(name, enough)) is None:
                continue
            head = pieces(heads[name])
            if not is_read:
                cost += behind.cost + self._grammar.costs(name).least
                cost += sum(len(piece) if isinstance(piece, str) else Costs.SPECIAL for piece in head)
                if cost == inf:
                    continue
                if cost % Costs.AVOIDED > enough:
                    heappush(waiting, (cost, True, goes_on, name))
                    continue
            body = next(self._automaton(name).endings(self._automaton(name).start))
            yield Ending(cost, [*head, *body, self._end(name), *behind.pieces])

    def _behind(self, name: str, enough: int) -> Ending | None:
        """What must follow a body, if anything is known to."""
        return Ending(0.0, []) if self._grammar.bodies[name].last else self._next(enough)

    def _next(self, enough: int) -> Ending | None:
        """What must follow a body that is not the last."""
        if enough not in self._next_endings:
            bodies = self._grammar.bodies
            last = {name: head for name, head in self._next_head.shortest.items() if bodies[name].last}
            self._next_endings[enough] = next(self._opened(last, enough), None)
        return self._next_endings[enough]

    def _automaton(self, name: str) -> Automaton:
        if name not in self._automata:
            self._automata[name] = Automaton(self._grammar.costs(name))
        return self._automata[name]

    def _end(self, name: str) -> int:
        return self._grammar.table.special[self._grammar.bodies[name].end]

    def _end_cost(self, name: str) -> float:
        return Costs.AVOIDED if self._end(name) in self._grammar.table.avoided else Costs.SPECIAL

"""The shortest ends of a grammar in parts: what a head or a body still needs, and what must follow it.

A body is read when it is begun, or when all that are known to be shorter were.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING

from harmony.runtime.closing.automaton import Automaton
from harmony.runtime.closing.symbols import Costs
from harmony.runtime.letters import letters, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harmony.runtime.closing.automaton import State
    from harmony.runtime.closing.symbols import Piece
    from harmony.runtime.heads import Rest
    from harmony.runtime.parts import PartedGrammar


@dataclass(frozen=True, slots=True)
class InHead:
    """Within a head, of which any of the `rests` may follow."""

    rests: Sequence[Rest]


@dataclass(frozen=True, slots=True)
class InBody:
    """Within the body `name`, in a state of its automaton."""

    name: str
    state: State


PartedState = InHead | InBody | None
"""None is behind the last body."""


class PartedAutomaton:
    """Follows texts of a grammar in parts, each body by an automaton of its own."""

    def __init__(self, grammar: PartedGrammar) -> None:
        self._grammar = grammar
        self._automata: dict[str, Automaton] = {}
        self.start: PartedState = InHead(grammar.first_head.rests)

    def after(self, state: PartedState, piece: Piece) -> PartedState:
        """The state after the characters of a piece, or after a special token."""
        if isinstance(state, InHead):
            read = letters(piece)
            rests = [(rest[len(read) :], name) for rest, name in state.rests if rest.startswith(read)]
            if not rests or rests[0][0]:
                return InHead(rests)
            name = rests[0][1]
            return InBody(name, self._automaton(name).start)
        if state is None:
            return InHead(())
        if piece != self._end(state.name):
            return InBody(state.name, self._automaton(state.name).after(state.state, piece))
        return None if self._grammar.bodies[state.name].last else InHead(self._grammar.next_head.rests)

    def endings(self, state: PartedState) -> Iterator[list[Piece]]:
        """The text of each way to end from a state, the shortest first."""
        if state is None:
            yield []
        elif isinstance(state, InHead):
            yield from (ending for _, ending in self._opened(state.rests))
        elif (behind := self._behind(state.name)) is not None:
            for ending in self._automaton(state.name).endings(state.state):
                yield [*ending, self._end(state.name), *behind[1]]

    def _opened(self, rests: Sequence[Rest]) -> Iterator[tuple[float, list[Piece]]]:
        """The ways to end through each body that may be opened, with what they cost, the cheapest first."""
        shortest: dict[str, str] = {}
        for rest, name in rests:
            if name not in shortest or len(rest) < len(shortest[name]):
                shortest[name] = rest
        waiting = [(self._end_cost(name), False, name) for name in shortest]
        heapify(waiting)
        while waiting:
            cost, is_read, name = heappop(waiting)
            head = pieces(shortest[name])
            behind = self._behind(name)
            if is_read and behind is not None:
                body = next(self._automaton(name).endings(self._automaton(name).start))
                yield cost, [*head, *body, self._end(name), *behind[1]]
            elif behind is not None:
                cost += behind[0] + self._grammar.costs(name).least
                cost += sum(len(piece) if isinstance(piece, str) else Costs.SPECIAL for piece in head)
                if cost < inf:
                    heappush(waiting, (cost, True, name))

    def _behind(self, name: str) -> tuple[float, list[Piece]] | None:
        """The shortest that must follow a body, if anything is known to."""
        return (0.0, []) if self._grammar.bodies[name].last else self._next

    @cached_property
    def _next(self) -> tuple[float, list[Piece]] | None:
        """The shortest that must follow a body which is not the last."""
        bodies = self._grammar.bodies
        last = [(rest, name) for rest, name in self._grammar.next_head.rests if bodies[name].last]
        return next(self._opened(last), None)

    def _automaton(self, name: str) -> Automaton:
        if name not in self._automata:
            self._automata[name] = Automaton(self._grammar.costs(name))
        return self._automata[name]

    def _end(self, name: str) -> int:
        return self._grammar.table.special[self._grammar.bodies[name].end]

    def _end_cost(self, name: str) -> float:
        return Costs.AVOIDED if self._end(name) in self._grammar.table.avoided else Costs.SPECIAL

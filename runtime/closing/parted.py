"""The shortest ends of a grammar in parts: what a head or a body still needs, and what must follow it.

A body is read when it is begun, or when all that are known to be shorter were.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from harmony.runtime.closing.symbols import Costs
from harmony.runtime.heads import Place
from harmony.runtime.letters import letters, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harmony.runtime.closing.automaton import Automaton, State
    from harmony.runtime.closing.symbols import Piece
    from harmony.runtime.parts import PartedGrammar


class Outside(Enum):
    """Where no part is: behind the last body, or astray."""

    ENDED = auto()
    ASTRAY = auto()


@dataclass(frozen=True, slots=True)
class InBody:
    """Within the body `name`, in a state of its automaton."""

    name: str
    state: State


PartedState = Place | InBody | Outside
"""A place within a head, a state within a body, or neither."""


class Ending(NamedTuple):
    """The pieces of a way to end, and what they cost."""

    cost: float
    pieces: list[Piece]


class PartedAutomaton:
    """Follows texts of a grammar in parts, each body by an automaton of its own."""

    def __init__(self, grammar: PartedGrammar) -> None:
        self.start: PartedState = grammar.first_head
        self._grammar = grammar
        self._automata: dict[str, Automaton] = {}
        self._next_endings: dict[int, Ending | None] = {}

    def after(self, state: PartedState, piece: Piece) -> PartedState:
        """The state after the characters of a piece, or after a special token."""
        if isinstance(state, Outside):
            return Outside.ASTRAY
        if isinstance(state, Place):
            place = state.behind(letters(piece))
            if place is None:
                return Outside.ASTRAY
            if not place.is_end:
                return place
            name = place.opened(())
            return InBody(name, self._automaton(name).start)
        if piece == self._end(state.name):
            return Outside.ENDED if self._grammar.bodies[state.name].last else self._grammar.next_head
        if isinstance(piece, str) and self._grammar.bodies[state.name].grammar is None:
            return state  # any text goes on as any other
        return InBody(state.name, self._automaton(state.name).after(state.state, piece))

    def endings(self, state: PartedState, enough: int = 0) -> Iterator[list[Piece]]:
        """The text of each way to end from a state, the shortest first.

        One of no more than `enough` characters comes before others are read that might be shorter.
        """
        if state is Outside.ENDED:
            yield []
        elif isinstance(state, Place):
            yield from (ending.pieces for ending in self._opened(state.shortest, enough))
        elif isinstance(state, InBody) and (behind := self._behind(state.name, enough)) is not None:
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
                cost += behind.cost + self._automaton(name).costs.least
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
            last = {
                name: head for name, head in self._grammar.next_head.shortest.items() if bodies[name].last
            }
            self._next_endings[enough] = next(self._opened(last, enough), None)
        return self._next_endings[enough]

    def _automaton(self, name: str) -> Automaton:
        if name not in self._automata:
            self._automata[name] = self._grammar.ends(name)
        return self._automata[name]

    def _end(self, name: str) -> int:
        return self._grammar.table.special[self._grammar.bodies[name].end]

    def _end_cost(self, name: str) -> float:
        return Costs.AVOIDED if self._end(name) in self._grammar.table.avoided else Costs.SPECIAL

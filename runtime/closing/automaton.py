"""A pushdown automaton over the symbols of a grammar: what may still come, and the shortest of it.

A stack is a linked list of symbols, each with how far it has come; a state is the set of stacks that fit what
was read. It may take more than the grammar does, never less where the grammar could be read: what it proposes
is checked by the grammar itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

from harmony.runtime.closing.symbols import (
    Chars,
    Choice,
    Costs,
    Example,
    Piece,
    Repeat,
    Rule,
    Sequence,
    Special,
    Symbol,
    Text,
    Unknown,
)


@dataclass(frozen=True, eq=False, slots=True)
class Stack:
    """A symbol of which `done` parts are past, above what follows it; `cost` is that of the shortest end."""

    symbol: Symbol
    done: int
    below: "Stack | None"
    cost: float


State = tuple[Stack | None, ...]
"""The stacks that fit, each once; None is the empty one, with which the text may end."""

NOWHERE: State = ()


_MOST = 10_000
"""The stacks and steps that are remembered."""


class Automaton:
    """Follows texts of the grammar whose costs are given; any thread may use it."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self._lock = Lock()
        self._stacks: dict[tuple[Symbol, int, Stack | None], Stack] = {}
        self._terminals: dict[Stack, State] = {}
        self._steps: dict[tuple[State, Piece], State] = {}
        self.start: State = (self._stack(costs.root, 0, None),)

    def after(self, state: State, piece: Piece) -> State:
        """The state after the characters of a piece, or after a special token."""
        for read in piece if isinstance(piece, str) else (piece,):
            following = self._steps.get((state, read))
            state = self._learnt(state, read) if following is None else following
        return state

    def endings(self, state: State, enough: int = 0) -> Iterator[list[Piece]]:
        """The shortest text with which each stack of a state ends, the shortest of them first.

        Whether one of `enough` characters would do makes no difference here, where all are known.
        """
        for stack in sorted(state, key=lambda stack: stack.cost if stack else 0.0):
            if stack is None:
                yield []
            elif stack.cost < float("inf"):
                yield list(self._ending(stack))

    def _ending(self, stack: Stack | None) -> Iterator[Piece]:
        while stack is not None:
            match stack.symbol:
                case Text(text):
                    yield text[stack.done :]
                case Sequence(parts):
                    for part in parts[stack.done :]:
                        yield from self.costs.shortest(part)
                case Repeat(part, least):
                    for _ in range(least - stack.done):
                        yield from self.costs.shortest(part)
                case symbol:
                    yield from self.costs.shortest(symbol)
            stack = stack.below

    def _learnt(self, state: State, read: Piece) -> State:
        """The state after a character or a special token, which is remembered."""
        with self._lock:
            if len(self._stacks) + len(self._steps) > _MOST:
                for memory in (self._stacks, self._terminals, self._steps):
                    memory.clear()
            try:
                self._steps[state, read] = tuple(dict.fromkeys(self._step(state, read)))
            except RecursionError:
                self._terminals.clear()  # some are not whole
                raise
            return self._steps[state, read]

    def _step(self, state: State, read: Piece) -> Iterator[Stack | None]:
        for stack in state:
            for terminal in self._expanded(stack):
                if terminal is None:
                    continue
                match terminal.symbol:
                    case Text(text) if text[terminal.done] == read:
                        more = terminal.done + 1 < len(text)
                        yield (
                            self._stack(terminal.symbol, terminal.done + 1, terminal.below)
                            if more
                            else (terminal.below)
                        )
                    case Chars() as characters if isinstance(read, str) and read in characters:
                        yield terminal.below
                    case Special(token) if token == read:
                        yield terminal.below
                    case Unknown():
                        yield terminal

    def _expanded(self, stack: Stack | None) -> State:
        """The stacks with a terminal on top that a stack stands for."""
        if stack is None:
            return (None,)
        if stack not in self._terminals:
            self._terminals[stack] = NOWHERE  # what comes back to itself before it reads adds nothing
            self._terminals[stack] = tuple(dict.fromkeys(self._expansions(stack)))
        return self._terminals[stack]

    def _expansions(self, stack: Stack) -> Iterator[Stack | None]:
        symbol, done, below = stack.symbol, stack.done, stack.below
        match symbol:
            case Text(text):
                yield from [stack] if text else self._expanded(below)
            case Sequence(parts):
                if done + 1 < len(parts):
                    below = self._stack(symbol, done + 1, below)
                yield from self._expanded(self._stack(parts[done], 0, below) if parts else below)
            case Choice(options):
                for option in options:
                    yield from self._expanded(self._stack(option, 0, below))
            case Repeat(part, least, most):
                if done >= least:
                    yield from self._expanded(below)
                if most is None or done < most:
                    counted = min(done + 1, least) if most is None else done + 1
                    yield from self._expanded(self._stack(part, 0, self._stack(symbol, counted, below)))
            case Rule(_, body):
                if body is not None:
                    yield from self._expanded(self._stack(body, 0, below))
            case Example(part):
                yield from self._expanded(self._stack(part, 0, below))
            case Chars() | Special() | Unknown():
                yield stack

    def _stack(self, symbol: Symbol, done: int, below: Stack | None) -> Stack:
        key = symbol, done, below
        if key not in self._stacks:
            cost = self._cost(symbol, done) + (below.cost if below else 0.0)
            self._stacks[key] = Stack(symbol, done, below, cost)
        return self._stacks[key]

    def _cost(self, symbol: Symbol, done: int) -> float:
        cost = self.costs.cost
        match symbol:
            case Text(text):
                return len(text) - done
            case Sequence(parts):
                return sum(cost[part] for part in parts[done:])
            case Repeat(part, least) if least:
                return max(0, least - done) * cost[part] if least > done else 0.0
        return cost[symbol]

"""Keeps the end of a grammar within reach, so that a limit on tokens never cuts a generation in the middle.

A plan is a list of tokens with which the grammar is at its end. As long as each token that is sampled leaves
a plan that fits into the tokens that are left, nothing happens; a token that leaves none is taken back, and
the plan from before it is followed. So a generation that begins with a plan within its limit always ends.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from harmony.runtime.closing.symbols import Piece, joined
from harmony.runtime.constraint import Constraint
from harmony.runtime.token_table import WORD, Mask, unpacked

_FAR = 512  # tokens left from which on it may take a while to find a plan
_ROOM = 64  # tokens beyond twice the last plan from which on it may take a while to find the next
_HOPE = 1024  # tokens left from which on a place with no known end is passed, for one may be behind it
_PAUSE = 16  # tokens between two attempts then
_TRIED = 256  # tokens after which an end that is looked for blindly is given up
_AMPLE = 128  # tokens left with which any end of as many characters will do, be it the shortest or not
_ENDINGS = 6  # how many of the shortest endings are tried
_SEARCHED = 24  # states that the search looks at
_FEW = 48  # tokens that a state may allow for all of them to be searched
_CLOSING = ('"', "}", "]", "0", "1", "9", "a", "A", "-", ".", ":", ",", "/", "@", "_", " ", "null", "true")


Place = tuple[Any, bytes]
"""The state of the automaton, and the first bytes of a character that is not whole yet."""


@dataclass(frozen=True)
class _Way:
    """Tokens that may follow, and where they lead."""

    constraint: Constraint
    place: Place
    taken: list[int]


class Closer:
    """Plans the shortest end of a constraint's generation; `plan` is the last one that was found."""

    def __init__(self, constraint: Constraint) -> None:
        self.plan: list[int] | None = None
        self._planned_at = 0
        self._lost_at = 0
        self._near = _FAR
        self._is_too_far = False
        self._constraint = constraint
        self._table = constraint.table
        self._automaton = constraint.automaton()
        self._read: list[int] = []
        self._places: list[Place] = [(self._automaton.start, b"")]

    def is_near(self, left: int) -> bool:
        """Whether there is no time to look for another plan."""
        return left < self._near

    def must_close(self, left: int, *, hopeful: bool = True) -> bool:
        """Whether the last tokens have to be taken back, since no end is in reach; `plan` is that before.

        `left` is how many tokens may still follow. With _HOPE left and `hopeful`, a place for which no plan
        is found is passed, unless all that are proposed are too long.
        """
        if self.plan is None and self._lost_at - left in range(1, _PAUSE):
            return False
        if self.fits(left):
            return False
        if self.plan is not None and (left < max(self._near, _HOPE) or self._is_too_far or not hopeful):
            return True
        self.plan, self._lost_at = None, left
        return False

    def fits(self, left: int) -> bool:
        """Whether an end within `left` tokens is known for where the constraint is now.

        If so, `plan` is that end; if not, it stays what it was before.
        """
        if self.plan is not None:
            written = self._constraint.tokens[self._planned_at :]
            is_followed = written and written == self.plan[: len(written)]
            for plan in (self.plan[len(written) :], self.plan) if is_followed else (self.plan,):
                if len(plan) <= left and _ends(self._constraint, plan):
                    self._keep(plan)
                    return True
        found = next(self._plans(left), None)
        if found is None:
            return False
        self._keep(found)
        return True

    def _keep(self, plan: list[int]) -> None:
        self.plan, self._near = plan, 2 * len(plan) + _ROOM
        self._planned_at = len(self._constraint.tokens)

    def _plans(self, left: int) -> Iterator[list[int]]:
        """Ends within `left` tokens, the likely shortest first: read off the grammar, searched, or tried."""
        self._catch_up()
        self._is_too_far = False
        here = self._mended(left)
        if here is None:
            return
        if not self._is_known(here.place):
            yield from self._tried(here, left)
        elif next(self._endings(here, left), None) is None:
            self._is_too_far = True
        else:
            yield from self._checked(here, left)
            yield from self._searched(here, left)
            yield from self._tried(here, left)

    def _is_known(self, place: Place) -> bool:
        """Whether the automaton knows an end from here."""
        return next(self._automaton.endings(place[0], _AMPLE), None) is not None

    def _mended(self, left: int) -> _Way | None:
        """Where the generation is, with the bytes that a character that is cut still needs."""
        way = _Way(self._constraint, self._places[-1], [])
        while way.place[1]:
            ways = (
                self._further(way, octet) for octet in self._candidates(way.constraint, self._table.octets)
            )
            following = next(filter(None, ways), None)
            if following is None or len(way.taken) >= left:
                return None
            way = following
        return way

    def _further(self, way: _Way, token: int) -> _Way | None:
        """Where a token leads, if nothing objects to it."""
        constraint = way.constraint.copy()
        if not constraint.take(token):
            return None
        return _Way(constraint, self._after(way.place, token), [*way.taken, token])

    def _endings(self, way: _Way, left: int) -> Iterator[list[int]]:
        """What the automaton proposes, as far as it fits."""
        state, cut = way.place
        endings = self._automaton.endings(state, _AMPLE if left >= _AMPLE else 0)
        for pieces in islice(endings, 0 if cut else _ENDINGS):
            plan = [*way.taken, *self._tokens(pieces)]
            if len(plan) <= left:
                yield plan

    def _checked(self, way: _Way, left: int) -> Iterator[list[int]]:
        """Those of its proposals that the grammar takes."""
        done = len(way.taken)
        return (plan for plan in self._endings(way, left) if _ends(way.constraint, plan[done:]))

    def _searched(self, start: _Way, left: int) -> Iterator[list[int]]:
        """Ends behind a few tokens more, where the grammar is narrower than the automaton: bounds, say."""
        waiting = deque([start])
        looked_at = 0
        while waiting and looked_at < _SEARCHED and len(waiting[0].taken) < left:
            way = waiting.popleft()
            for token in self._candidates(way.constraint):
                if self._is_known(self._after(way.place, token)) and (further := self._further(way, token)):
                    looked_at += 1
                    yield from self._checked(further, left)
                    waiting.append(further)

    def _tried(self, start: _Way, left: int) -> Iterator[list[int]]:
        """An end reached by always taking what looks most like one, where the grammar could not be read."""
        ahead, taken = start.constraint.copy(), [*start.taken]
        most = min(left, _TRIED)
        while len(taken) < most and not _ends(ahead, []):
            if following := ahead.forced()[: most - len(taken)]:
                ahead.accept(*following)
            elif (token := next(filter(ahead.take, self._candidates(ahead)), None)) is not None:
                following = [token]
            else:
                return
            taken += following
        if _ends(ahead, []):
            yield taken

    def _candidates(self, constraint: Constraint, tried: Sequence[int] | None = None) -> list[int]:
        """The tokens that are allowed next, if they are few, else those of `tried`, or that tend to close."""
        mask = constraint.mask()
        if np.bitwise_count(mask).sum() <= _FEW:
            return sorted(unpacked(mask).tolist(), key=self._unlikeliness)
        if tried is not None:
            return _allowed(mask, tried)
        first = len(self._table.tokens) // WORD
        special = unpacked(mask[first:]) + first * WORD
        return [*special.tolist(), *_allowed(mask, self._closing)]

    def _unlikeliness(self, token: int) -> int:
        """A special token closes most likely, then those of `_closing`, in their order."""
        if token >= len(self._table.tokens):
            return -1
        return self._closing.index(token) if token in self._closing else len(self._closing)

    @cached_property
    def _closing(self) -> list[int]:
        """Tokens that tend to close something, the likeliest first."""
        written = map(self._constraint.tokenized, _CLOSING)
        return [token for token, *rest in written if not rest]

    def _tokens(self, pieces: Sequence[Piece]) -> list[int]:
        tokens: list[int] = []
        for piece in joined(pieces):
            tokens += self._constraint.tokenized(piece) if isinstance(piece, str) else [piece]
        return tokens

    def _catch_up(self) -> None:
        """Let the automaton read what was generated since it was last asked."""
        tokens = self._constraint.tokens
        while self._read != tokens[: len(self._read)]:
            self._read.pop()
            self._places.pop()
        for token in tokens[len(self._read) :]:
            self._read.append(token)
            self._places.append(self._after(self._places[-1], token))

    def _after(self, place: Place, token: int) -> Place:
        state, cut = place
        if token >= len(self._table.tokens):
            return self._automaton.after(state, token), b""
        octets = cut + self._table.tokens[token]
        try:
            return self._automaton.after(state, octets.decode()), b""
        except UnicodeDecodeError as error:
            return self._automaton.after(state, octets[: error.start].decode()), octets[error.start :]


def _allowed(mask: Mask, tokens: Sequence[int]) -> list[int]:
    """Those of the tokens that a mask allows, in their order."""
    tried = np.asarray(tokens)
    bits: list[int] = tried[mask[tried // WORD] >> tried % WORD & 1 == 1].tolist()
    return bits


def _ends(constraint: Constraint, plan: Sequence[int]) -> bool:
    """Whether a constraint is at its end after these tokens, or may be."""
    if not plan and constraint.ended:
        return True
    whole = [*plan, constraint.table.end_of_text]
    return constraint.allowed(whole) == len(whole)

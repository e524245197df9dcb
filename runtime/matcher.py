"""Following a grammar token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from harmony.runtime.token_table import WORD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llguidance import LLMatcher
    from numpy.typing import NDArray

    from harmony.runtime.grammars import Compiled
    from harmony.runtime.token_table import Mask


class Row:
    """A mask int32 [words] that is filled again and again, of which no more is written than has changed.

    Who writes to its address sets `same_as`, the mask that it is a copy of, and `nonzero`, the places beside
    which all is zero, to None.
    """

    def __init__(self, words: int) -> None:
        self.mask = np.empty(words, np.int32)
        self.address, self.bytes = self.mask.ctypes.data, self.mask.nbytes
        self.words = self.mask.data.cast("B").cast("I")  # reads words faster than an array does
        self.same_as: Mask | None = None
        self.nonzero: NDArray[np.int64] | int | None = None

    def copy(self, mask: Mask) -> None:
        """Be the same as a mask that never changes."""
        if self.same_as is not mask:
            np.copyto(self.mask, mask)
            self.same_as, self.nonzero = mask, None

    def few(self, places: NDArray[np.int64], words: Mask) -> None:
        """Allow what these words do at their places."""
        self._clear(places)
        self.mask[places] = words

    def only(self, token: int) -> None:
        """Allow this token alone."""
        self._clear(token // WORD)
        self.words[token // WORD] = 1 << token % WORD

    def replace(self, token: int, other: int) -> None:
        """Allow the other token instead of this one, which is allowed."""
        self.same_as = self.nonzero = None
        self.words[token // WORD] ^= 1 << token % WORD
        self.words[other // WORD] |= 1 << other % WORD

    def remove(self, tokens: Mask) -> bool:
        """Take these tokens away unless none would be left; whether any are."""
        rest = self.mask & ~tokens
        if not rest.any():
            return False
        np.copyto(self.mask, rest)
        self.same_as = None
        return True

    def _clear(self, places: NDArray[np.int64] | int) -> None:
        """Allow nothing; `places` are those of what will be allowed."""
        if self.nonzero is None:
            self.mask.fill(0)
        else:
            self.mask[self.nonzero] = 0
        self.same_as, self.nonzero = None, places


class Matcher(Protocol):
    """How far a generation has come in a grammar."""

    @property
    def compiled(self) -> Compiled | None:
        """The grammar that is followed now, or that of the part that is, if it has one."""

    @property
    def stopped(self) -> bool:
        """Whether nothing may follow."""

    @property
    def failure(self) -> str | None:
        """Why it is of no use any more."""

    def fill(self, row: Row) -> bool:
        """Write which tokens may follow, the end of text if nothing may; False after a failure."""

    def consume(self, token: int) -> bool:
        """Go on by a token; if it may not follow, that is a failure."""

    def validate(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, may follow; the end of text may where all may end."""

    def forced(self) -> list[int]:
        """The tokens that must come next."""

    def copy(self) -> Self:
        """Another one that has come as far."""


class GrammarMatcher:
    """Follows a compiled grammar from its start.

    Where tokens are forced the first of them is the whole mask, and the others need not be worked out again.
    """

    def __init__(self, compiled: Compiled, matcher: LLMatcher, forced: list[int] | None = None) -> None:
        self.compiled = compiled
        self._matcher = matcher
        self._forced = forced

    @property
    def stopped(self) -> bool:
        return self._matcher.is_stopped()

    @property
    def failure(self) -> str | None:
        return self._matcher.get_error() if self._matcher.is_error() else None

    def fill(self, row: Row) -> bool:
        if (forced := self._forced) is None:
            forced = self._forced = self._matcher.compute_ff_tokens()
        if forced:
            row.only(forced[0])
        else:
            row.same_as = row.nonzero = None
            self._matcher.unsafe_compute_mask_ptr(row.address, row.bytes)
        return not self._matcher.is_error()

    def consume(self, token: int) -> bool:
        forced = self._forced
        self._forced = forced[1:] if forced and len(forced) > 1 and forced[0] == token else None
        return self._matcher.consume_token(token)

    def validate(self, tokens: Sequence[int]) -> int:
        return self._matcher.validate_tokens(list(tokens))

    def forced(self) -> list[int]:
        if self._forced is None:
            self._forced = self._matcher.compute_ff_tokens()
        return self._forced

    def copy(self) -> GrammarMatcher:
        return GrammarMatcher(self.compiled, self._matcher.deep_copy(), self._forced)


class EndedMatcher:
    """Follows a compiled grammar up to the special token `end`, which may come wherever the grammar may end.

    Within llguidance the end of text stands for it.
    """

    def __init__(self, matcher: GrammarMatcher, end: int, *, stopped: bool = False) -> None:
        self.stopped = stopped
        self._matcher = matcher
        self._end = end
        self._end_of_text = matcher.compiled.table.end_of_text
        self._word, self._bit = self._end_of_text // WORD, 1 << self._end_of_text % WORD
        self._refused: str | None = None
        self._forced: list[int] | None = None

    @property
    def compiled(self) -> Compiled:
        return self._matcher.compiled

    @property
    def failure(self) -> str | None:
        return self._refused or self._matcher.failure

    def fill(self, row: Row) -> bool:
        if self.stopped:
            row.only(self._end_of_text)
            return self.failure is None
        is_whole = self._matcher.fill(row)
        if row.words[self._word] & self._bit:
            row.replace(self._end_of_text, self._end)
        return is_whole and self._refused is None

    def consume(self, token: int) -> bool:
        self._forced = None
        if token != self._end and token != self._end_of_text and not self.stopped:
            return self._matcher.consume(token)
        if not self.validate([token]):
            self._refused = f"token {token} may not follow here"
            return False
        self.stopped = True
        return True

    def validate(self, tokens: Sequence[int]) -> int:
        if self.stopped:
            return 0
        ends = (place for place, token in enumerate(tokens) if token in (self._end, self._end_of_text))
        most = next(ends, len(tokens))
        is_ended = most < len(tokens) and tokens[most] == self._end
        if self._matcher.stopped:
            count = int(is_ended and most == 0)
        else:
            count = self._matcher.validate([*tokens[:most], *[self._end_of_text] * is_ended])
        return count + (count > most and [*tokens[count : count + 1]] == [self._end_of_text])

    def forced(self) -> list[int]:
        if self._forced is None:
            self._forced = self._ahead()
        return self._forced

    def copy(self) -> EndedMatcher:
        return EndedMatcher(self._matcher.copy(), self._end, stopped=self.stopped)

    def _ahead(self) -> list[int]:
        if self.stopped or self._matcher.stopped:
            return [] if self.stopped else [self._end]
        if not (tokens := self._matcher.forced()):
            return []
        ahead = self._matcher.copy()
        for token in tokens:
            ahead.consume(token)
        return [*tokens, self._end] if ahead.stopped else tokens

"""Following a grammar token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from harmony.runtime.token_table import WORD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llguidance import LLMatcher

    from harmony.runtime.grammars import Compiled


class Row:
    """A mask int32 [words] that is filled again and again."""

    def __init__(self, words: int) -> None:
        self.mask = np.empty(words, np.int32)
        self.pointer, self.bytes = self.mask.ctypes.data, self.mask.nbytes
        self._words = self.mask.view(np.uint32)

    def only(self, token: int) -> None:
        """Allow this token alone."""
        self.mask.fill(0)
        self._words[token // WORD] = 1 << token % WORD


class Matcher(Protocol):
    """How far a generation has come in a grammar."""

    @property
    def compiled(self) -> Compiled:
        """The grammar, or that part of it, which is followed now."""

    @property
    def stopped(self) -> bool:
        """Whether nothing may follow."""

    @property
    def failure(self) -> str | None:
        """Why it is of no use any more."""

    def fill(self, row: Row) -> None:
        """Write which tokens may follow; the end of text if nothing may."""

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

    def fill(self, row: Row) -> None:
        if forced := self.forced():
            row.only(forced[0])
        else:
            self._matcher.unsafe_compute_mask_ptr(row.pointer, row.bytes)

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

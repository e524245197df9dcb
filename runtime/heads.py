"""Grammars of a few short texts, such as the headers of messages, whose places are each worked out once.

What may follow depends on what is written and not on how it was cut into tokens, so a place is known by its
text; generations share it, and going on, going back and copying cost next to nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from harmony.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llguidance import LLMatcher

    from harmony.runtime.grammars import Compiled
    from harmony.runtime.matcher import Row

_MOST = 10_000
"""The places that are kept; only who tries all ways to spell many names sees more."""


class Heads:
    """The places of a compiled grammar whose texts all end with the special token `opening` and a name."""

    def __init__(self, compiled: Compiled, opening: int) -> None:
        self.compiled = compiled
        self.opening = opening
        self._places: dict[bytes, Place] = {}

    def at(self, tokens: Sequence[int]) -> Place:
        """The place after these tokens, which must be allowed."""
        place = self.place(b"", ())
        for token in tokens:
            following = place.after(token)
            assert following is not None, tokens
            place = following
        return place

    def place(self, written: bytes, tokens: tuple[int, ...]) -> Place:
        """That behind what is written, special tokens as bytes that no text has."""
        if written not in self._places:
            if len(self._places) >= _MOST:
                self._places.clear()
            self._places[written] = Place(self, written, tokens)
        return self._places[written]


class Place:
    """A place in the texts of `heads`, and the tokens with which it was first reached."""

    def __init__(self, heads: Heads, written: bytes, tokens: tuple[int, ...]) -> None:
        self._heads = heads
        self._written = written
        self._tokens = tokens
        self._next: dict[int, Place] = {}

    def after(self, token: int) -> Place | None:
        """Where a token leads, None if it may not follow."""
        if token not in self._next:
            if not self._matcher().validate_tokens([token]):
                return None
            table = self._heads.compiled.table
            is_text = token < len(table.tokens)
            written = self._written + (table.tokens[token] if is_text else b"\xff%d\xff" % token)
            self._next[token] = self._heads.place(written, (*self._tokens, token))
        return self._next[token]

    @cached_property
    def name(self) -> str | None:
        """What the head has named, if this is its end."""
        if self._tokens[-1:] != (self._heads.opening,):
            return None
        return self._matcher().compute_ff_bytes().decode()

    @cached_property
    def forced(self) -> list[int]:
        """The tokens that must come next, as far as the end of the head."""
        tokens = self._matcher().compute_ff_tokens()
        if self._heads.opening in tokens:
            return tokens[: tokens.index(self._heads.opening) + 1]
        return tokens

    def fill(self, row: Row) -> None:
        """Write which tokens may follow."""
        words, bits = self._allowed
        row.mask.fill(0)
        row.mask[words] = bits

    @cached_property
    def _allowed(self) -> tuple[np.ndarray, np.ndarray]:
        """The words of the mask that are not zero, and their places; few tokens may follow in a head."""
        mask = np.frombuffer(self._matcher().compute_bitmask(), np.int32)[: self._heads.compiled.table.words]
        words = np.flatnonzero(mask)
        return words, mask[words]

    def _matcher(self) -> LLMatcher:
        """A matcher that has come to this place."""
        matcher = self._heads.compiled.matcher.deep_copy()
        if not matcher.consume_tokens(list(self._tokens)):
            raise ConstraintError(f"the grammar of the heads failed: {matcher.get_error()}")
        return matcher


class HeadMatcher:
    """Follows a head from a place to its end, where it stops."""

    def __init__(self, heads: Heads, place: Place, failure: str | None = None) -> None:
        self.place = place
        self.failure = failure
        self._heads = heads

    @property
    def compiled(self) -> Compiled:
        return self._heads.compiled

    @property
    def stopped(self) -> bool:
        return self.place.name is not None

    def fill(self, row: Row) -> None:
        self.place.fill(row)

    def consume(self, token: int) -> bool:
        place = self.place.after(token)
        if place is None:
            self.failure = f"token {token} may not follow in a head"
            return False
        self.place = place
        return True

    def validate(self, tokens: Sequence[int]) -> int:
        place = self.place
        for count, token in enumerate(tokens):
            following = place.after(token)
            if following is None:
                return count
            place = following
        return len(tokens)

    def forced(self) -> list[int]:
        return self.place.forced

    def copy(self) -> HeadMatcher:
        return HeadMatcher(self._heads, self.place, self.failure)

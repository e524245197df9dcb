"""Any text up to one special token, which needs no automaton: almost all of its masks are the same one.

The masks are those that llguidance gives for any text, whose view of the vocabulary need not be built for
them. They differ only within a character that is cut: after its first bytes just those may come that go on
with it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from harmony.runtime.token_table import Mask, packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harmony.runtime.matcher import Row
    from harmony.runtime.token_table import TokenTable

ANY_TEXT = "start: /(?s:.*)/"


class FreeText:
    """The masks of any text over a vocabulary, each made when it is first needed."""

    def __init__(self, table: TokenTable) -> None:
        self.table = table
        self._masks: dict[tuple[bytes, int], Mask] = {}

    def mask(self, cut: bytes, end: int) -> Mask:
        """What may follow, behind the first bytes of a character; `end` may behind a whole one."""
        if (cut, end) not in self._masks:
            self._masks[cut, end] = self._mask(cut, end)
        return self._masks[cut, end]

    def cut_after(self, cut: bytes, token: int) -> bytes | None:
        """The bytes behind the last whole character, after a token; None if it may not follow."""
        tokens = self.table.tokens
        return _cut(cut + tokens[token]) if token < len(tokens) else None

    def _mask(self, cut: bytes, end: int) -> Mask:
        if cut:
            may_follow = [token for token, text in self._going_on if _cut(cut + text) is not None]
            return packed(may_follow, self.table.words)
        tokens = enumerate(self.table.tokens)
        may_not = [token for token, text in tokens if not text.isascii() and _cut(text) is None]
        all_but = np.delete(np.arange(len(self.table.tokens)), may_not)
        return packed(np.append(all_but, end), self.table.words)

    @cached_property
    def _going_on(self) -> list[tuple[int, bytes]]:
        """The tokens that may go on with a character, as no first byte of one begins them."""
        return [(token, text) for token, text in enumerate(self.table.tokens) if text[0] & 0xC0 == 0x80]


class TextMatcher:
    """Follows any text up to its end."""

    compiled = None

    def __init__(self, free: FreeText, end: int) -> None:
        self.stopped = False
        self.failure: str | None = None
        self._free = free
        self._end = end
        self._cut = b""

    def fill(self, row: Row) -> bool:
        if self.stopped:
            row.only(self._free.table.end_of_text)
        else:
            row.copy(self._free.mask(self._cut, self._end))
        return self.failure is None

    def consume(self, token: int) -> bool:
        if not self.validate([token]):
            self.failure = f"token {token} may not follow in a text"
            return False
        self.stopped = token == self._end
        if not self.stopped:
            self._cut = self._free.cut_after(self._cut, token) or b""
        return True

    def validate(self, tokens: Sequence[int]) -> int:
        cut = self._cut
        for count, token in enumerate(() if self.stopped else tokens):
            if token == self._end and not cut:
                after = tokens[count + 1 : count + 2]
                return count + 1 + ([*after] == [self._free.table.end_of_text])
            if (following := self._free.cut_after(cut, token)) is None:
                return count
            cut = following
        return 0 if self.stopped else len(tokens)

    def forced(self) -> list[int]:
        return []

    def copy(self) -> TextMatcher:
        other = TextMatcher(self._free, self._end)
        other.stopped, other.failure, other._cut = self.stopped, self.failure, self._cut
        return other


def _cut(text: bytes) -> bytes | None:
    """The bytes behind the last whole character of UTF-8; None if more would not make a character of them."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return text[error.start :] if error.reason == "unexpected end of data" else None
    return b""

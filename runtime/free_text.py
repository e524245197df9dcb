"""Any text up to one special token, which needs no automaton: almost all of its masks are the same one.

The masks are those that llguidance gives for any text. They differ only within a character that is cut:
after its first bytes just those may come that go on with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harmony.runtime.token_table import WORD, Mask, packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harmony.runtime.grammars import Compiled
    from harmony.runtime.matcher import Row

ANY_TEXT = "start: /(?s:.*)/"


class FreeText:
    """The masks of any text over the vocabulary of ANY_TEXT, as it was compiled."""

    def __init__(self, compiled: Compiled) -> None:
        self.table = compiled.table
        self._compiled = compiled
        self._masks: dict[tuple[bytes, int], Mask] = {}
        self._octets = {self.table.tokens[token]: token for token in self.table.octets}

    def mask(self, cut: bytes, end: int) -> Mask:
        """What may follow, behind the first bytes of a character; `end` may behind a whole one."""
        if (cut, end) not in self._masks:
            self._masks[cut, end] = self._mask(cut, end)
        return self._masks[cut, end]

    def cut_after(self, cut: bytes, token: int) -> bytes:
        """The bytes behind the last whole character, after a token of the mask."""
        text = cut + self.table.tokens[token]
        try:
            text.decode()
        except UnicodeDecodeError as error:
            return text[error.start :]
        return b""

    def _mask(self, cut: bytes, end: int) -> Mask:
        matcher, table = self._compiled.matcher.deep_copy(), self.table
        matcher.consume_tokens([self._octets[bytes([octet])] for octet in cut])
        mask = np.frombuffer(matcher.compute_bitmask(), np.int32)[: table.words]
        return mask if cut else mask & ~packed([table.end_of_text], table.words) | packed([end], table.words)


class TextMatcher:
    """Follows any text up to its end."""

    compiled = None

    def __init__(self, free: FreeText, end: int) -> None:
        self.stopped = False
        self.failure: str | None = None
        self._free = free
        self._end = end
        self._cut = b""

    def fill(self, row: Row) -> None:
        if self.stopped:
            row.only(self._free.table.end_of_text)
        else:
            np.copyto(row.mask, self._free.mask(self._cut, self._end))

    def consume(self, token: int) -> bool:
        if not self.validate([token]):
            self.failure = f"token {token} may not follow in a text"
            return False
        self.stopped = token == self._end
        if not self.stopped:
            self._cut = self._free.cut_after(self._cut, token)
        return True

    def validate(self, tokens: Sequence[int]) -> int:
        cut = self._cut
        for count, token in enumerate(() if self.stopped else tokens):
            if not self._free.mask(cut, self._end)[token // WORD] >> token % WORD & 1:
                return count
            if token == self._end:
                after = tokens[count + 1 : count + 2]
                return count + 1 + ([*after] == [self._free.table.end_of_text])
            cut = self._free.cut_after(cut, token)
        return 0 if self.stopped else len(tokens)

    def forced(self) -> list[int]:
        return []

    def copy(self) -> TextMatcher:
        other = TextMatcher(self._free, self._end)
        other.stopped, other.failure, other._cut = self.stopped, self.failure, self._cut
        return other

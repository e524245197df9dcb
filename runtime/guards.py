"""Guards against running away: tokens taken from a mask while a model repeats itself.

A guard only ever leaves fewer tokens, and never none: where all that the grammar allows would go, nothing
goes. Each is a function of the last tokens, so that going back needs no bookkeeping.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import takewhile

from harmony.runtime.matcher import Row
from harmony.runtime.token_table import WORD, Mask, TokenTable, packed

MOST_REPEATS = 32
"""How often the same token may come in a row, and how many tokens of white space."""

MOST_DIGITS = 20
"""How many digits a number of JSON may have in a row; no 64-bit integer has more."""


class Guards:
    """The guards for one vocabulary; `narrow` is called with every mask."""

    def __init__(self, table: TokenTable) -> None:
        self._table = table
        self._ordinary = len(table.tokens)

    def narrow(self, row: Row, tokens: Sequence[int]) -> bool:
        """Take from a mask, in place, what would run away after `tokens`; whether there was any.

        Nothing is taken where it would leave nothing, so that a mask with less in it may come out wider.
        """
        if len(tokens) < 2 or ((last := tokens[-1]) not in self._suspect and tokens[-2] != last):
            return False
        narrowed = False
        if len(tokens) >= MOST_REPEATS and last < self._ordinary:
            if len(set(tokens[-MOST_REPEATS:])) == 1:
                narrowed |= row.remove(packed([last], self._table.words))
            if self._blank.issuperset(tokens[-MOST_REPEATS:]):
                narrowed |= row.remove(self._blank_mask)
        if last in self._digits and self._in_number(row.mask) and self._trailing_digits(tokens) > MOST_DIGITS:
            narrowed |= row.remove(self._digit_mask)
        return narrowed

    def _in_number(self, mask: Mask) -> bool:
        """Whether digits may come and letters may not: a number, rather than text or a string."""
        word, bit = divmod(self._letter, WORD)
        return not int(mask[word]) >> bit & 1

    def _trailing_digits(self, tokens: Sequence[int]) -> int:
        digits = takewhile(self._digits.__contains__, reversed(tokens[-MOST_DIGITS - 1 :]))
        return sum(len(self._table.tokens[token]) for token in digits)

    @cached_property
    def _letter(self) -> int:
        return self._table.tokens.index(b"a")

    @cached_property
    def _blank(self) -> frozenset[int]:
        return frozenset(token for token, text in enumerate(self._table.tokens) if text.isspace())

    @cached_property
    def _digits(self) -> frozenset[int]:
        return frozenset(token for token, text in enumerate(self._table.tokens) if text.isdigit())

    @cached_property
    def _suspect(self) -> frozenset[int]:
        return self._blank | self._digits

    @cached_property
    def _blank_mask(self) -> Mask:
        return packed(self._blank, self._table.words)

    @cached_property
    def _digit_mask(self) -> Mask:
        return packed(self._digits, self._table.words)

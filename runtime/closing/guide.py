"""A generation within a limit, under a constraint: what comes unasked, and what becomes of a sample."""

from collections.abc import Sequence

from harmony.errors import DeadEndError
from harmony.runtime.closing.closer import Closer
from harmony.runtime.constraint import Constraint
from harmony.runtime.token_table import Mask

_OTHERS = 3
"""How many samples are refused at a place because no end was found behind them, before one is believed."""


class Guide:
    """Leads a generation of at most `left` tokens to an end of its grammar.

        while not guide.ended:
            tokens = guide.given() or guide.offer(sample(mask_logits(logits, guide.mask)))

    `possible` says whether an end was known at the start, `closed` whether it was led to one.
    """

    def __init__(self, constraint: Constraint, left: int) -> None:
        self.left = left
        self.closed = False
        self._constraint = constraint
        self._closer = Closer(constraint)
        self._others = 0
        self.possible = self._closer.fits(left)

    @property
    def ended(self) -> bool:
        """Whether nothing follows: the grammar has ended, or the limit is reached."""
        return self.closed or not self.left or self._constraint.ended

    @property
    def whole(self) -> bool:
        """Whether the grammar has ended, or may."""
        return self._constraint.ended or self._closer.plan == []

    def given(self) -> list[int]:
        """The tokens that come without a sample; if there are none, `mask` says what one may be.

        Those that are forced, or the plan where all that may come was refused; raises DeadEndError if
        there is no plan then.
        """
        if forced := self._constraint.forced()[: self.left]:
            self._constraint.accept(*forced)
            return self._reached(forced) or self._close(len(forced))
        try:
            self.mask: Mask = self._constraint.mask()
        except DeadEndError:
            if not self._closer.plan:
                raise
            return self._close(0)
        return []

    def offer(self, token: int) -> list[int]:
        """What comes of a sampled token: itself, the plan in its stead, or nothing, to sample again."""
        if not self._constraint.take(token):
            return []
        if tokens := self._reached([token]):
            return tokens
        if self._closer.is_near(self.left - 1) or self._others == _OTHERS:
            return self._close(1)
        self._others += 1
        self._constraint.refuse(token)
        return []

    def _reached(self, tokens: Sequence[int]) -> list[int]:
        """The tokens, if an end is in reach behind them or hoped for."""
        left = self.left - len(tokens)
        if self._closer.must_close(left, hopeful=self._others == _OTHERS or len(tokens) > 1):
            return []
        self._others, self.left = 0, left
        return [*tokens]

    def _close(self, instead: int) -> list[int]:
        """The plan, instead of the last few tokens."""
        self._constraint.rollback(instead)
        plan = self._closer.plan or [self._constraint.table.end_of_text]
        self._constraint.accept(*plan)
        self.left -= len(plan)
        self.closed = True
        return plan

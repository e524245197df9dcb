"""A generation within a limit, under a constraint: what comes unasked, and what becomes of a sample."""

from collections.abc import Sequence

from harmony.errors import DeadEndError
from harmony.runtime.closing.closer import Closer
from harmony.runtime.constraint import Constraint
from harmony.runtime.token_table import Mask, packed

_OTHERS = 3
"""How many samples are refused at a place because no end was found behind them, before one is believed."""

_STEADY = 8
"""Samples in a row after which another is likely, with nothing refused and nothing forced; not measured."""


class Guide:
    """Leads a generation of at most `left` tokens to an end of its grammar.

        while not guide.ended:
            tokens = guide.given() or guide.offer(sample(mask_logits(logits, guide.mask())))

    `possible` says whether an end was known at the start, `closed` whether it was led to one.
    """

    def __init__(self, constraint: Constraint, left: int) -> None:
        self.left = left
        self.closed = False
        self._constraint = constraint
        self._closer = Closer(constraint)
        self._others = 0
        self._sampled = 0  # in a row
        self._is_cornered = False
        self.possible = self._closer.fits(left)

    @property
    def ended(self) -> bool:
        """Whether nothing follows: the grammar has ended, or the limit is reached."""
        return self.closed or not self.left or self._constraint.ended

    @property
    def whole(self) -> bool:
        """Whether the grammar has ended, or may."""
        return self._constraint.ended or self._closer.plan == []

    @property
    def is_steady(self) -> bool:
        """Whether the next sample will likely be taken, and nothing forced behind it."""
        return self._sampled >= _STEADY

    @property
    def may_widen(self) -> bool:
        """Whether, if the next sample is refused, the mask after it may allow what the last one did not."""
        return self._constraint.is_guarded

    def given(self) -> list[int]:
        """The tokens that are forced, which come without a sample, or the plan in their stead; often none."""
        forced = self._constraint.forced()[: self.left]
        if not forced:
            return []
        self._sampled = 0
        self._constraint.accept(*forced)
        return self._reached(forced) or self._close(len(forced))

    def mask(self) -> Mask:
        """What a sample may be: where all that may come was refused, only how the plan begins.

        Raises DeadEndError if there is no plan then.
        """
        try:
            return self._constraint.mask()
        except DeadEndError:
            if not self._closer.plan:
                raise
            self._is_cornered = True
            return packed(self._closer.plan[:1], self._constraint.table.words)

    def offer(self, token: int) -> list[int]:
        """What comes of a sampled token: itself, the plan in its stead, or nothing, to sample again."""
        if self._is_cornered:
            return self._close(0)
        steady, self._sampled = self._sampled, 0
        if not self._constraint.take(token):
            return []
        if tokens := self._reached([token]):
            self._sampled = steady + 1
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

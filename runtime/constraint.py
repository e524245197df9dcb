"""One generation that keeps to a grammar: which tokens may come next, and which must.

    grammars = Grammars(table)                 # once for a vocabulary
    constraint = Constraint(grammars, text)    # once for a generation; compiles in the background
    while not constraint.ended:
        while not constraint.take(sample(mask_logits(logits, constraint.mask()))):
            pass

Nothing here knows what the grammar is about. A constraint that fails raises, and from then on always does:
no token is ever chosen without its mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from harmony.errors import ConstraintError, DeadEndError
from harmony.runtime.grammars import Grammars
from harmony.runtime.matcher import Matcher, Row
from harmony.runtime.token_table import Mask, packed

if TYPE_CHECKING:
    from harmony.runtime.closing.automaton import Automaton
    from harmony.runtime.closing.parted import PartedAutomaton
    from harmony.runtime.closing.symbols import Costs
    from harmony.runtime.parts import Parts

EVERYTHING = -1
"""A word of a mask that allows all of its tokens."""

_STRIDE = 64  # tokens between the places that going back starts from


@dataclass(frozen=True, slots=True)
class Interruption:
    """Tokens that are forced once `after` tokens were generated, as soon as the grammar allows them all.

    It ends reasoning that takes too long: the tokens are those that end it and begin the answer.
    """

    after: int
    tokens: tuple[int, ...]


class Watch(Protocol):
    """Something that looks on beside the grammar, as a generation stands: a value that never changes."""

    def after(self, token: int) -> Watch | None:
        """How it stands after one token more; None if it objects to the token."""


class Constraint:
    """The grammar `text`, and how far a generation has come in it.

    The first call that needs the grammar waits for it to be compiled and raises GrammarError if it cannot
    be. `parts` are the same grammar in parts, which is faster: a body among them that is not awaited is
    waited for where it begins, and raises GrammarError there. `guarded` False leaves the guards against
    running away off; `interruption` cuts a part short; `watch` objects to what the grammar allows.
    `stated` says all of this as JSON, for a server of ours that is to keep to it too.
    """

    def __init__(
        self,
        grammars: Grammars,
        text: str,
        *,
        parts: Parts | None = None,
        guarded: bool = True,
        interruption: Interruption | None = None,
        watch: Watch | None = None,
        stated: Mapping[str, object] | None = None,
    ) -> None:
        self.table = grammars.table
        self.stated = stated
        self._text = text
        self._grammars = grammars
        self.tokens: list[int] = []
        self._watches = [] if watch is None else [watch]
        self._refused: list[int] = []  # at this place, and at the one before
        self._refused_before: list[int] = []
        self._kept: tuple[tuple[int, Matcher], ...] = ()
        self._compiled = grammars.compiled(text) if parts is None else grammars.parted(text, parts)
        self._guards = grammars.guards if guarded else None
        self.is_guarded = False  # whether a guard narrows the last mask
        self._interruption = interruption
        self._row = Row(self.table.words)

    @property
    def ended(self) -> bool:
        """Whether nothing may follow."""
        return self._checked().stopped

    @property
    def is_compiled(self) -> bool:
        """Whether nothing has to wait for the grammar, be it that it cannot be compiled."""
        return self._compiled.done()

    def ready(self) -> Self:
        """Itself, once the grammar is compiled; raises GrammarError if it cannot be."""
        self._compiled.result()
        return self

    def mask(self) -> Mask:
        """Which tokens may come next, a bit each, int32 [words], to be read before the next call alone.

        At least one may, or it raises DeadEndError. When nothing may follow, that is the end of text. Each
        call gives the same array, of which it writes what has changed.
        """
        row = self._row
        if not self._matcher.fill(row):
            self._checked()
        if self._refused and not row.remove(packed(self._refused, self.table.words)):
            raise DeadEndError(f"nothing may follow the {len(self.tokens)} tokens; ask again")
        self.is_guarded = self._guards is not None and self._guards.narrow(row, self.tokens)
        return row.mask

    def take(self, token: int) -> bool:
        """Go on by a token of the mask, unless the watch objects; the next mask is then without it.

        Raises ConstraintError for a token that is not of the mask.
        """
        follows = self._watches and token not in self._refused and self._checked().validate([token])
        if follows and self._watches[-1].after(token) is None:
            self._refused.append(token)
            return False
        self.accept(token)
        return True

    def refuse(self, token: int) -> None:
        """Take back this token, the last one; the next mask is without it and those refused there before."""
        refused = self._refused_before
        self.rollback(1)
        self._refused = [*refused, token]

    def accept(self, *tokens: int) -> None:
        """Go on by these tokens; raises ConstraintError if one of them is not allowed."""
        for token in tokens:
            if not self._matcher.consume(token):
                self._checked()
            if self._watches:
                watch = self._watches[-1].after(token)
                if watch is None:
                    raise ConstraintError(
                        f"token {token} breaks what is watched after {len(self.tokens)} tokens"
                    )
                self._watches.append(watch)
            self.tokens.append(token)
            self._refused_before, self._refused = self._refused, []
            if len(self.tokens) % _STRIDE == 0:
                self._kept = (*self._kept[-1:], (len(self.tokens), self._matcher.copy()))

    def allowed(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, may follow; nothing changes."""
        most = self._checked().validate(tokens)
        watch: Watch | None = self._watches[-1] if self._watches else None
        for count, token in enumerate(tokens[:most] if watch else ()):
            watch = watch and watch.after(token)
            if watch is None:
                return count
        return most

    def forced(self) -> list[int]:
        """The tokens that must come next: the grammar leaves no choice, or interrupts; often none."""
        cut = self._interruption
        if cut and len(self.tokens) >= cut.after and self.allowed(cut.tokens) == len(cut.tokens):
            return [*cut.tokens]
        tokens = self._checked().forced()
        return tokens[: self.allowed(tokens)] if self._watches else tokens

    def rollback(self, count: int) -> None:
        """Take back the last `count` tokens, by going forward again from a place before.

        The rollback of llguidance 1.9.1 is no way to do it: it keeps the last mask, and may give it for
        other tokens that are taken from there.
        """
        if count > len(self.tokens):
            raise ValueError(f"only {len(self.tokens)} tokens were accepted, {count} cannot be taken back")
        if count:
            rest = self.tokens[: len(self.tokens) - count]
            self._kept = tuple(kept for kept in self._kept if kept[0] <= len(rest))
            place, matcher = self._kept[-1] if self._kept else (0, self._compiled.result().start())
            self._matcher, self.tokens = matcher.copy(), rest[:place]
            self._refused = []
            del self._watches[place + 1 :]
            self.accept(*rest[place:])

    def copy(self) -> Constraint:
        """Another constraint that has come as far; what one accepts then does not move the other."""
        other = copy(self)
        other.tokens, other._watches = [*self.tokens], [*self._watches]
        other._refused, other._refused_before = [*self._refused], [*self._refused_before]
        other._matcher = self._checked().copy()
        other._row = Row(self.table.words)
        return other

    def tokenized(self, text: str) -> list[int]:
        """The ordinary tokens of a text."""
        return self.table.encode(text)

    def automaton(self) -> Automaton | PartedAutomaton:
        """A reader of texts of the grammar, which knows the shortest ends of each."""
        return self._compiled.result().automaton()

    def costs(self) -> Costs:
        """The symbols of the grammar, with what the shortest text of each costs."""
        return self._grammars.automaton(self._text).costs

    def draft_masks(self, draft: Sequence[int]) -> Mask:
        """The masks before each token of a draft and after the last, int32 [len(draft) + 1, words].

        After a token that is not allowed the rows allow everything: they are of no use, but safe to apply.
        """
        masks = np.full((len(draft) + 1, self.table.words), EVERYTHING, np.int32)
        ahead = self.copy()
        legal = self.allowed(draft)
        for row, token in enumerate(draft[:legal]):
            masks[row] = ahead.mask()
            ahead.accept(token)
        masks[legal] = ahead.mask()
        return masks

    @cached_property
    def _matcher(self) -> Matcher:
        return self._compiled.result().start()

    def _checked(self) -> Matcher:
        matcher = self._matcher
        if failure := matcher.failure:
            if matcher.compiled is not None:
                self._grammars.forget(matcher.compiled)
            reason = failure.strip().partition("\n")[0]
            raise ConstraintError(f"the grammar cannot go on after {len(self.tokens)} tokens: {reason}")
        return matcher


def fill_masks(constraints: Sequence[Constraint | None], masks: Mask) -> None:
    """Fill a row of `masks` int32 [B, words] for each generation; None is one that may say anything."""
    for row, constraint in zip(masks, constraints, strict=True):
        row[:] = EVERYTHING if constraint is None else constraint.mask()

"""Drafts of what comes next, from what came after the same tokens before.

Tools, code and quotations make a model write again what it has read. Verifying a draft costs the model one
step of a few rows; each token of it that comes true saves a step (prompt lookup decoding, Saxena 2023).
"""

from collections.abc import Sequence

NGRAM = 3
"""How many tokens must have come before in this order; with fewer, drafts seldom come true."""

FIRST, MOST = 2, 15
"""The tokens of the first draft, and of the longest."""

PAUSE = 16
"""How many tokens there is no draft for after one that was wholly wrong."""


class PromptLookup:
    """Drafts for one generation, whose `tokens` may only grow.

    A draft that comes true makes the next one twice as long, up to MOST tokens; one that does not makes it
    as long as what did. After one of which nothing did, there is none for PAUSE tokens.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens
        self._behind: dict[tuple[int, ...], int] = {}  # where the last such tokens end
        self._indexed = NGRAM
        self._length = FIRST
        self._resumes = 0

    def draft(self, most: int) -> list[int]:
        """Up to `most` tokens that may come next; often none."""
        for end in range(self._indexed, len(self._tokens)):
            self._behind[tuple(self._tokens[end - NGRAM : end])] = end
        self._indexed = max(self._indexed, len(self._tokens))
        start = self._behind.get(tuple(self._tokens[-NGRAM:]))
        if start is None or len(self._tokens) < self._resumes:
            return []
        return list(self._tokens[start : start + min(self._length, most)])

    def judge(self, draft: Sequence[int], true: int) -> None:
        """Learn that the first `true` tokens of a draft came true."""
        self._length = min(2 * self._length, MOST) if true == len(draft) else max(true, FIRST)
        if not true:
            self._resumes = len(self._tokens) + PAUSE

"""A constraint kept on a server that knows of none: what it samples is read along and corrected.

The server streams as it always does. At the first token that may not come the stream is closed. What the
constraint forces there needs no server; else the server is asked for one token more, with a bias that leaves
only what is allowed, and then streams on. For temperature alone this draws from the same distribution as
masks do: with p the chance of an allowed token and Z that of all of them, p + (1 - Z) p / Z = p / Z.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from harmony.errors import EngineError
from harmony.runtime.closing.guide import Guide
from harmony.runtime.constraint import Constraint
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.runtime.token_table import unpacked

BIAS = 100.0
"""Added to or taken from logits; the most that OpenAI's API defines."""

_ATTEMPTS = 4

Bias = Mapping[int, float]
Stream = Callable[[Sequence[int], SamplingParams, Bias], AsyncGenerator[GeneratedToken]]
"""Tokens that a server samples after a prompt, with a bias by token id."""


class Corrected:
    """One generation of at most `limit` tokens that ends with the constraint."""

    def __init__(
        self,
        stream: Stream,
        prompt: Sequence[int],
        sampling: SamplingParams,
        limit: int,
        constraint: Constraint,
    ) -> None:
        self._stream = stream
        self._prompt = prompt
        self._sampling = sampling
        self._limit = limit
        self._constraint = constraint

    async def tokens(self) -> AsyncGenerator[GeneratedToken]:
        """What was sampled, corrected, or forced. Raises EngineError when the server heeds no bias."""
        guide = await asyncio.to_thread(Guide, self._constraint, self._limit)
        while not guide.ended:
            async with aclosing(self._free(guide)) as streamed:
                async for token in streamed:
                    yield token
            if guide.ended:
                return
            given = [GeneratedToken(token) for token in guide.given()]
            for token in self._told(guide, given) or self._offered(guide, await self._biased(guide)):
                yield token

    async def _free(self, guide: Guide) -> AsyncGenerator[GeneratedToken]:
        """What the server samples, up to the first token that does not come."""
        async with aclosing(self._ask({}, guide.left)) as streamed:
            async for token in streamed:
                forced = self._constraint.forced()
                if token.token != forced[0] if forced else not self._constraint.allowed([token.token]):
                    return
                tokens = self._offered(guide, token)
                for taken in tokens:
                    yield taken
                if guide.ended or not tokens:
                    return

    async def _biased(self, guide: Guide) -> GeneratedToken:
        """One token that may come, from the server if there are several."""
        allowed, size = unpacked(guide.mask()).tolist(), self._constraint.table.size
        if len(allowed) == 1:
            return GeneratedToken(allowed[0])
        bias = dict.fromkeys(allowed, BIAS)
        if len(allowed) > size // 2:
            bias = dict.fromkeys(set(range(size)).difference(allowed), -BIAS)
        for attempt in range(_ATTEMPTS):
            async with aclosing(self._ask(bias, 1, attempt)) as streamed:
                token = await anext(streamed)
            if self._constraint.allowed([token.token]):
                return token
        raise EngineError("the server does not heed logit_bias, so no grammar can be kept; update it")

    def _ask(self, bias: Bias, limit: int, attempt: int = 0) -> AsyncGenerator[GeneratedToken]:
        written, seed = self._constraint.tokens, self._sampling.seed
        fresh = None if seed is None else seed + len(written) + attempt
        sampling = replace(self._sampling, max_tokens=limit, seed=fresh)
        return self._stream([*self._prompt, *written], sampling, bias)

    def _offered(self, guide: Guide, token: GeneratedToken) -> list[GeneratedToken]:
        """What comes of a sample; it may be nothing."""
        tokens = guide.offer(token.token)
        return self._told(guide, [token] if tokens == [token.token] else [*map(GeneratedToken, tokens)])

    def _told(self, guide: Guide, tokens: list[GeneratedToken]) -> list[GeneratedToken]:
        """The tokens, the last one with the reason if the generation ends with it."""
        tokens = [replace(token, finish_reason=None) for token in tokens]
        if tokens and guide.ended:
            closed = guide.closed or tokens[-1].closed or (not self._constraint.ended and guide.whole)
            stopped = self._constraint.ended and not closed
            tokens[-1] = replace(tokens[-1], finish_reason="stop" if stopped else "length", closed=closed)
        return tokens

"""A scripted engine that keeps to grammars, as engines with logits do."""

from collections.abc import AsyncGenerator, Collection, Sequence
from random import Random

from random_turns import Sampler
from scripted import Scripted

from harmony import load_encoding
from harmony.agent.grammars import harmony_grammars
from harmony.runtime.closing.guide import Guide
from harmony.runtime.constraint import Constraint
from harmony.runtime.generation import GeneratedToken, SamplingParams


class Masked(Scripted):
    """Wants to say its script; what a constraint rules out of it becomes a random token that may come.

    Without a constraint it says just the script.
    """

    vocab_size = 201_088

    def __init__(self, *turns: str, context_length: int = 100_000) -> None:
        super().__init__(*turns, context_length=context_length)
        self.constrained: list[bool] = []
        self._sampler = Sampler(harmony_grammars(self.vocab_size), load_encoding())
        self._random = Random(7)

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        *,
        stop: Collection[int],
        constraint: Constraint | None = None,
    ) -> AsyncGenerator[GeneratedToken]:
        self.constrained.append(constraint is not None)
        if constraint is None:
            async for token in super().generate(prompt, sampling, stop=stop):
                yield token
            return
        self.prompts.append(list(prompt))
        script = self._turns[len(self.prompts) - 1]
        room = self.context_length - len(prompt)
        guide = Guide(constraint, min(room, sampling.max_tokens or room))
        while not guide.ended:
            tokens = guide.given() or guide.offer(self._wanted(script, constraint, guide))
            for token in tokens[:-1]:
                yield GeneratedToken(token)
            if tokens:
                yield self._last(tokens[-1], guide, constraint)

    def _wanted(self, script: list[int], constraint: Constraint, guide: Guide) -> int:
        position = len(constraint.tokens)
        if position < len(script) and constraint.allowed([script[position]]):
            return script[position]
        return self._sampler.draw(guide.mask(), self._random, closing=0.3)

    def _last(self, token: int, guide: Guide, constraint: Constraint) -> GeneratedToken:
        if not guide.ended:
            return GeneratedToken(token)
        if constraint.ended and not guide.closed:
            return GeneratedToken(token, "stop")
        return GeneratedToken(token, "length", closed=guide.whole or guide.closed)

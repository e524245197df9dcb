"""When tokens arrive from an engine, and the rates that follow from it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import torch

from harmony.runtime.generation import GeneratedToken, SamplingParams, TokenEngine

Prompt = list[int]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The tokens of one generation: when it was asked for, and when each came, in seconds."""

    asked: float
    times: tuple[float, ...]
    tokens: tuple[int, ...]
    cached: int

    @property
    def first(self) -> float:
        """The time to the first token."""
        return self.times[0] - self.asked


async def arrivals(generation: AsyncGenerator[GeneratedToken]) -> Arrivals:
    """Note when the tokens of a generation come."""
    asked, times, tokens = time.perf_counter(), [], []
    cached = 0
    async for token in generation:
        times.append(time.perf_counter())
        tokens.append(token.token)
        cached = token.cached_tokens
    return Arrivals(asked, tuple(times), tuple(tokens), cached)


def steady_rate(generations: Sequence[Sequence[float]]) -> float | None:
    """Tokens a second of all while all of them decode: from the last one's first token to the first one's
    last. None if there was no such time, because they took turns."""
    start, end = max(times[0] for times in generations), min(times[-1] for times in generations)
    count = sum(start < time <= end for times in generations for time in times)
    return count / (end - start) if end > start else None


async def decode_rate(engine: TokenEngine, prompts: Sequence[Prompt], tokens: int) -> float | None:
    """Tokens a second that the engine decodes after these prompts, together."""
    generations = [
        arrivals(engine.generate(prompt, SamplingParams(seed=seed, max_tokens=tokens), stop=()))
        for seed, prompt in enumerate(prompts)
    ]
    return steady_rate([found.times for found in await asyncio.gather(*generations)])


async def read(engine: TokenEngine, prompt: Prompt, tokens: int = 1) -> Arrivals:
    """Read a prompt and generate a few tokens."""
    return await arrivals(engine.generate(prompt, SamplingParams(seed=0, max_tokens=tokens), stop=()))


def random_prompts(count: int, length: int, vocab: int, seed: int) -> list[Prompt]:
    """Prompts of random tokens; shorter ones of a seed are the beginnings of longer ones."""
    prompts = []
    for number in range(count):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        prompts.append(torch.randint(0, vocab, (length,), generator=generator).tolist())
    return prompts

"""What the engine makes of a checkpoint: several generations at once, and the next turn of a conversation."""

import argparse
import asyncio
from collections.abc import Iterator
from statistics import median

from harmony.runtime.backend import Model
from harmony.runtime.bench.roofline import weight_bytes
from harmony.runtime.bench.timing import decode_rate, random_prompts, read
from harmony.runtime.config import ModelConfig
from harmony.runtime.engine import Engine
from harmony.runtime.generation import SamplingParams

PROMPT, NEW = 32, 200  # tokens before those that are decoded together, and of a turn


def engine_lines(model: Model, config: ModelConfig, options: argparse.Namespace) -> Iterator[str]:
    """The lines that --together and --history ask for."""
    engine = Engine(
        model,
        name="harmony",
        context_length=options.together * (PROMPT + options.tokens)
        + options.history
        + NEW
        + options.tokens
        + 1,
        default_sampling=SamplingParams(),
        max_sequences=max(1, options.together),
    )
    if options.together:
        yield from _together(engine, config, options)
    if options.history:
        yield from _next_turn(engine, config, options)
    asyncio.run(engine.aclose())


def _together(engine: Engine, config: ModelConfig, options: argparse.Namespace) -> Iterator[str]:
    """What a step reads is bound: the experts that are met once for all of their tokens."""
    rates: dict[int, list[float]] = {1: [], options.together: []}
    for turn in range(options.turns):
        for count, found in rates.items():
            prompts = random_prompts(count, PROMPT, config.vocab_size, seed=100 * turn + count)
            found.append(asyncio.run(decode_rate(engine, prompts, options.tokens)) or 0)
    count = options.together
    one, many = median(rates[1]), median(rates[count])
    most = count * weight_bytes(config) / weight_bytes(config, count)
    yield f"| engine decode, one | {one:.2f} tokens/s | | |"
    yield f"| engine decode, {count} together | {many:.2f} tokens/s | | |"
    yield f"| {count} together to one | {many / one:.2f}x | {most:.2f}x | {many / one / most:.0%} |"


def _next_turn(engine: Engine, config: ModelConfig, options: argparse.Namespace) -> Iterator[str]:
    """The first token of a turn, beside that of the conversation before, which was read cold."""
    cold, warm = [], []
    for prompt in random_prompts(options.turns, options.history + NEW, config.vocab_size, seed=7):
        before = asyncio.run(read(engine, prompt[: options.history], options.tokens))
        after = asyncio.run(
            read(engine, [*prompt[: options.history], *before.tokens, *prompt[options.history :]])
        )
        cold.append(before.first)
        warm.append(after.first)
    first, second = median(cold), median(warm)
    yield f"| first token after {options.history}, cold | {first:.2f} s | | |"
    yield f"| first token of the next turn, {NEW} more | {second:.3f} s | | |"
    yield f"| next turn to cold | {second / first:.1%} | | |"

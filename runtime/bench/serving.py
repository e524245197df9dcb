"""The engine, measured from outside: by the times at which its tokens come."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, product
from statistics import median

import torch

from harmony.runtime.backend import build, why_not_fused
from harmony.runtime.bench.cpu import resident
from harmony.runtime.bench.idle import between_steps, busy_while, gaps
from harmony.runtime.bench.machine import Machine
from harmony.runtime.bench.roofline import prefill_flops, step_bytes, weight_bytes
from harmony.runtime.bench.table import Row
from harmony.runtime.bench.timing import Prompt, arrivals, decode_rate, random_prompts, read
from harmony.runtime.config import ModelConfig
from harmony.runtime.constraint import Constraint
from harmony.runtime.engine import Engine
from harmony.runtime.generation import SamplingParams, TokenEngine
from harmony.runtime.grammars import Grammars, enforceable
from harmony.runtime.memory import GIB, estimate, free_memory
from harmony.runtime.model import State
from harmony.runtime.pages import PAGE, pages_of
from harmony.runtime.token_table import TokenTable

HISTORY, NEW = 8192, 200  # tokens before an agent's turn, and those that it adds
GRAMMAR = r"start: /[^\n]*\n/"
HELD = 64  # tokens at least under the grammar, as the first ones are not begun before the last is known


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: all batches at all contexts, `tokens` of each sequence, and medians of `turns`."""

    batches: Sequence[int]
    contexts: Sequence[int]
    tokens: int
    turns: int

    def positions(self, batch: int, context: int) -> int:
        """How many the cache must hold for a cell, in whole pages of each sequence."""
        return batch * PAGE * (pages_of(context + self.tokens + 1) + 1)


def engine_rows(
    config: ModelConfig, state: State, device: torch.device, plan: Plan, machine: Machine
) -> Iterator[Row]:
    """Every figure of our engine with these weights."""
    packed, model = why_not_fused(device, torch.bfloat16) is None, build(config, state)
    room, together = free_memory(device), max(plan.batches)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def needed(positions: int) -> int:
        found = estimate(config, positions, torch.bfloat16, max_sequences=together, packed=packed)
        return found.cache + found.work

    cells = [(batch, context) for context in plan.contexts for batch in plan.batches]
    fitting = [cell for cell in cells if needed(plan.positions(*cell)) <= room]
    turn = PAGE * pages_of(min(HISTORY, max(plan.contexts)) + NEW + 2 * plan.tokens)
    positions = max([turn, *(plan.positions(*cell) for cell in fitting)])
    engine = Engine(
        model,
        name="harmony",
        context_length=positions,
        default_sampling=SamplingParams(),
        max_sequences=together,
    )
    asyncio.run(decode_rate(engine, random_prompts(2, 8, config.vocab_size, seed=99), 2))  # compiles
    yield from decode_rows(engine, config, plan, machine, fitting)
    for batch, context in cells:
        if (batch, context) not in fitting:
            lacking = (
                f"needs {needed(plan.positions(batch, context)) / GIB:.1f} GiB, {room / GIB:.1f} are free"
            )
            yield Row(f"{engine.name} {_decode(batch, context)}", note=lacking)
    yield from _prefill_rows(engine, config, plan, machine)
    yield _resumed(engine, config, plan, machine)
    yield _constrained(engine, config, plan)
    yield from _idle_rows(engine, config, plan, device)
    yield _memory(device)
    asyncio.run(engine.aclose())


def decode_rows(
    engine: TokenEngine,
    config: ModelConfig,
    plan: Plan,
    machine: Machine,
    cells: Sequence[tuple[int, int]],
) -> Iterator[Row]:
    """Tokens a second in each of the `cells`, batch and context, beside the bandwidth over a step's bytes."""
    together: dict[int, bool] = {}
    for batch, context in cells:
        figure = f"{engine.name} {_decode(batch, context)}"
        if batch not in together:
            short = random_prompts(batch, 8, config.vocab_size, seed=98)
            together[batch] = asyncio.run(decode_rate(engine, short, plan.tokens)) is not None
        if not together[batch]:
            yield Row(figure, note="the engine does not decode so many together")
            continue
        prompts = random_prompts(batch, context, config.vocab_size, seed=0)
        rate = asyncio.run(decode_rate(engine, prompts, plan.tokens))
        bound = batch * machine.bandwidth / step_bytes(config, batch, context)
        note = "" if rate else "the first ended before the last one's prompt was read; decode more tokens"
        yield Row(figure, rate, "tokens/s", bound, note)


def _prefill_rows(engine: TokenEngine, config: ModelConfig, plan: Plan, machine: Machine) -> Iterator[Row]:
    for number, context in enumerate(plan.contexts):
        prompts = random_prompts(plan.turns, context, config.vocab_size, seed=10 + number)
        times = [asyncio.run(read(engine, prompt)).first for prompt in prompts]
        bound = machine.product / prefill_flops(config, context)
        yield Row(f"prefill of {context}", context / median(times), "tokens/s", bound)


def _resumed(engine: TokenEngine, config: ModelConfig, plan: Plan, machine: Machine) -> Row:
    """What is new of a turn is read, and the weights at least once."""
    history = min(HISTORY, max(plan.contexts))
    times, cached = [], 0
    for prompt in random_prompts(plan.turns, history + NEW, config.vocab_size, seed=2):
        before = asyncio.run(read(engine, prompt[:history], plan.tokens))
        after = asyncio.run(read(engine, [*prompt[:history], *before.tokens, *prompt[history:]]))
        times.append(after.first * 1000)
        cached = after.cached
    computing = NEW * prefill_flops(config, 2 * history) / machine.product
    reading = weight_bytes(config, NEW) / machine.bandwidth
    figure = f"first token of a turn of {NEW} after {history}"
    note = f"{cached} tokens came from the cache"
    return Row(figure, median(times), "ms", 1000 * max(computing, reading), note, less=True)


def _constrained(engine: Engine, config: ModelConfig, plan: Plan) -> Row:
    figure = "constrained to free decoding, batch 1"
    if not enforceable():
        return Row(figure, note="llguidance is not installed")
    grammars, tokens = Grammars(byte_table(config.vocab_size)), max(HELD, plan.tokens)
    ratios = []
    for prompt in random_prompts(plan.turns + 1, min(plan.contexts), config.vocab_size, seed=3):
        free = asyncio.run(decode_rate(engine, [prompt], tokens))
        held = asyncio.run(_constrained_rate(engine, prompt, tokens, Constraint(grammars, GRAMMAR)))
        if free and held:
            ratios.append(held / free)
    if len(ratios) < 2:
        return Row(figure, note="every constrained generation ended at once; decode more tokens")
    return Row(figure, median(ratios[1:]), "x", 1.0)  # the first one compiled the grammar


async def _constrained_rate(
    engine: Engine, prompt: Prompt, tokens: int, constraint: Constraint
) -> float | None:
    sampling = SamplingParams(seed=0, max_tokens=tokens)
    found = await arrivals(engine.generate(prompt, sampling, stop=(), constraint=constraint))
    lasted = found.times[-1] - found.times[0]
    return (len(found.times) - 1) / lasted if lasted > 0 else None


def byte_table(vocab: int) -> TokenTable:
    """A vocabulary of that size: all bytes, words of letters, and a token that ends a text."""
    letters = b"abcdefghijklmnopqrstuvwxyz"
    words = (bytes(word) for length in (2, 3, 4) for word in product(letters, repeat=length))
    octets = (bytes([octet]) for octet in range(256))
    return TokenTable(
        {token: place for place, token in enumerate(chain(octets, islice(words, vocab - 257)))},
        {"<|end|>": vocab - 1},
        encode=lambda text: [*text.encode()],
        size=vocab,
        end_of_text=vocab - 1,
    )


def _idle_rows(engine: TokenEngine, config: ModelConfig, plan: Plan, device: torch.device) -> Iterator[Row]:
    figures = "idle between steps, batch 1", "idle in all, a step, batch 1"
    if device.type != "cuda":
        yield from (Row(figure, note="kernels are timed on a GPU only") for figure in figures)
        return
    prompt = random_prompts(1, min(plan.contexts), config.vocab_size, seed=0)[0]
    asyncio.run(read(engine, prompt))
    busy = busy_while(lambda: asyncio.run(read(engine, prompt, plan.tokens)))
    yield Row(figures[0], between_steps(busy, plan.tokens), "µs")
    yield Row(figures[1], sum(gaps(busy)) / plan.tokens, "µs")


def _memory(device: torch.device) -> Row:
    if device.type == "cuda":
        return Row("peak memory of torch", torch.cuda.max_memory_allocated(device) / GIB, "GiB")
    return Row("memory of the process at the end", resident()[0] * 1e9 / GIB, "GiB")


def _decode(batch: int, context: int) -> str:
    return f"decode, batch {batch}, context {context}"

"""A checkpoint on this CPU, beside what its memory and its matrix products allow, and llama.cpp.

Bounds are the rate at which torch reads memory and that of its matrix product, measured in the same run.
llama.cpp runs the same shape, its attention and tables in Q8_0 or bfloat16, in turns with ours.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from harmony.kernels.cpu import computes_alone, level
from harmony.kernels.cpu.threads import torch_alone
from harmony.runtime.backend import build
from harmony.runtime.bench.roofline import linear_flops, weight_bytes
from harmony.runtime.bench.together import engine_lines
from harmony.runtime.checkpoint import Checkpoint
from harmony.runtime.config import ModelConfig
from harmony.runtime.llama_cpp import LlamaCpp
from harmony.runtime.memory import STEP_TOKENS
from harmony.runtime.paged import Batch, PagedCache, Part
from harmony.runtime.pages import pages_of

CPU = torch.device("cpu")


class Session:
    """Our model, with a paged cache for one sequence."""

    name = "harmony"

    def __init__(self, folder: Path, context: int) -> None:
        checkpoint = Checkpoint.open(folder)
        self.model = build(checkpoint.config, checkpoint.load(device=CPU, dtype=torch.bfloat16))
        pages = pages_of(context + 1)
        self._cache = PagedCache(checkpoint.config, pages, pages, dtype=torch.bfloat16, device=CPU)

    def prefill(self, tokens: int) -> None:
        """Read a fresh prompt."""
        self._cache.clear()
        prompt = torch.randint(0, self.model.config.vocab_size, (tokens,)).tolist()
        self._sequence = self._cache.open(prompt)
        for start in range(0, tokens, STEP_TOKENS):
            self._read(prompt[start : start + STEP_TOKENS])

    def decode(self, tokens: int) -> None:
        """Go on with the most likely tokens."""
        for _ in range(tokens):
            self._read([self._likeliest])

    def _read(self, tokens: list[int]) -> None:
        assert self._sequence is not None
        assert self._sequence.extend(len(tokens))
        batch = Batch(self._cache, [Part(self._sequence, tokens, 1)])
        with torch_alone(computes_alone(len(tokens))):
            self._likeliest = int(self.model(torch.tensor(tokens), batch).argmax())
        self._sequence.advance(tokens)


def report(folder: Path, config: ModelConfig, options: argparse.Namespace) -> Iterator[str]:
    """The lines of the table."""
    context = options.prompt + options.tokens * (options.turns + 1) + 1
    yield f"{config.num_hidden_layers} layers, {config.num_experts} experts, vocabulary {config.vocab_size}, "
    yield f"{options.threads} threads, kernels {level()}; medians of {options.turns} turns"
    yield "| | measured | bound | share |\n| --- | --- | --- | --- |"
    start = time.perf_counter()
    ours = Session(folder, context)
    loaded = time.perf_counter()
    ours.prefill(1)
    yield f"| load | {loaded - start:.2f} s | | |"
    yield f"| load and first token of a prompt of one | {time.perf_counter() - start:.2f} s | | |"
    ours.decode(options.tokens)
    private, mapped = resident()
    yield f"| resident after {options.tokens} tokens | {private:.2f} GB own, {mapped:.2f} GB mapped | | |"
    sides: list[Session | LlamaCpp] = [ours]
    if options.vs:
        sides.append(LlamaCpp(folder, config, options.threads, context, matrices=options.gguf))
    times: dict[str, list[float]] = {}
    for _ in range(options.turns):
        for side in sides:
            reading = seconds(partial(side.prefill, options.prompt))
            decoding = seconds(partial(side.decode, options.tokens))
            times.setdefault(f"{side.name} prefill", []).append(options.prompt / reading)
            times.setdefault(f"{side.name} decode", []).append(options.tokens / decoding)
        times.setdefault("bandwidth", []).append(bandwidth())
        times.setdefault("product", []).append(product())
    rates = {name: statistics.median(found) for name, found in times.items()}
    bounds = {
        "prefill": rates["product"] / linear_flops(config),
        "decode": rates["bandwidth"] / weight_bytes(config),
    }
    yield f"| memory read | {rates['bandwidth'] / 1e9:.1f} GB/s | | |"
    yield f"| matrix product | {rates['product'] / 1e9:.0f} GFLOP/s | | |"
    for side in sides:
        for kind, bound in bounds.items():
            rate = rates[f"{side.name} {kind}"]
            yield f"| {side.name} {kind} | {rate:.2f} tokens/s | {bound:.2f} | {rate / bound:.0%} |"
    if options.vs:
        for kind in bounds:
            ratio = rates[f"harmony {kind}"] / rates[f"llama.cpp {kind}"]
            yield f"| {kind}, ours to llama.cpp | {ratio:.2f}x | | |"
    if options.profile:
        from harmony.runtime.bench.profile import profile_lines  # needs numba

        yield from profile_lines(ours.model, config, options.profile, rates["bandwidth"])
    yield from engine_lines(ours.model, config, options)


def seconds(job: Callable[[], object]) -> float:
    """How long a job takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def bandwidth(size: int = 1 << 28) -> float:
    """Bytes per second that torch reads from memory, the best of three."""
    numbers = torch.ones(size // 4)
    return size / min(seconds(numbers.sum) for _ in range(3))


def product(rows: int = 512) -> float:
    """Operations per second of torch's matrix product in bfloat16 or float32, whichever is faster here."""
    x, weight = torch.randn(rows, 2880), torch.randn(2880, 2880)
    pairs = (x, weight), (x.bfloat16(), weight.bfloat16())
    times = [seconds(partial(F.linear, *pair)) for pair in pairs for _ in range(3)]
    return 2 * rows * weight.numel() / min(times)


def resident() -> tuple[float, float]:
    """Gigabytes of this process in memory: its own, and those of files."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text("ascii").splitlines())
    private, mapped = (int(lines[kind].split()[0]) * 1024 / 1e9 for kind in ("RssAnon", "RssFile"))
    return private, mapped

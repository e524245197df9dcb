"""Where the time of a decode step goes: its kernels one by one, beside what reading their weights takes."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import median

import torch

from harmony.kernels.cpu.loading import name_of
from harmony.kernels.cpu.pool import pool
from harmony.kernels.cpu.threads import torch_alone
from harmony.kernels.unembedding import unembed
from harmony.runtime.backend import Model
from harmony.runtime.bench.roofline import BFLOAT16, experts_met
from harmony.runtime.config import ModelConfig
from harmony.runtime.generation import SamplingParams
from harmony.runtime.layout import tensors
from harmony.runtime.on_cpu import CpuTransformer
from harmony.runtime.paged import Batch, PagedCache, Part
from harmony.runtime.pages import pages_of
from harmony.runtime.sampling import new_generator, sample

BEFORE, STEPS = 32, 6  # tokens that were read before, and steps whose medians are told
PARTS = {"multiply": "experts", "linear": "attention's matrices", "attention": "attention"}  # by kernel


def profile_lines(model: Model, config: ModelConfig, rows: int, bandwidth: float) -> Iterator[str]:
    """For each part of a step of one row, and of `rows`, its time, its share, and that of reading in it."""
    assert isinstance(model, CpuTransformer)
    for count in sorted({1, rows}):
        found, least = _medians(model, config, count), _bytes(config, count)
        total = sum(found.values())
        yield f"| step of {count} | {total * 1e3:.1f} ms | {sum(least.values()) / bandwidth * 1e3:.1f} | |"
        for part, seconds in sorted(found.items(), key=lambda one: -one[1]):
            bound = least.get(part, 0) / bandwidth
            beside = f"{bound * 1e3:.1f} | {bound / seconds:.0%}" if bound else " | "
            yield f"| step of {count}: {part}, {seconds / total:.1%} | {seconds * 1e3:.1f} ms | {beside} |"


def _medians(model: CpuTransformer, config: ModelConfig, rows: int) -> Mapping[str, float]:
    """Seconds in each part; the first step, which makes the list, does not count."""
    pages = rows * pages_of(BEFORE + STEPS + 2)
    cache = PagedCache(config, pages, pages, dtype=torch.bfloat16, device=model.device)
    prompts = [torch.randint(0, config.vocab_size, (BEFORE,)).tolist() for _ in range(rows)]
    opened = [cache.open(prompt) for prompt in prompts]
    sequences = [sequence for sequence in opened if sequence is not None]
    assert all(sequence.extend(BEFORE) for sequence in sequences)
    read = [Part(sequence, prompt, 1) for sequence, prompt in zip(sequences, prompts, strict=True)]
    model(torch.tensor(prompts).flatten(), Batch(cache, read))
    for sequence, prompt in zip(sequences, prompts, strict=True):
        sequence.advance(prompt)
    times: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(STEPS + 1):
        tokens = torch.randint(0, config.vocab_size, (rows,))
        assert all(sequence.extend(1) for sequence in sequences)
        parts = [Part(one, [token], 1) for one, token in zip(sequences, tokens.tolist(), strict=True)]
        with torch_alone():
            found = _step(model, tokens, Batch(cache, parts))
        for part, seconds in found.items() if number else ():
            times[part].append(seconds)
        for sequence, token in zip(sequences, tokens.tolist(), strict=True):
            sequence.advance([token])
    return {part: median(measured) for part, measured in times.items()}


def _step(model: CpuTransformer, tokens: torch.Tensor, batch: Batch) -> Mapping[str, float]:
    step = model.step(len(tokens), batch)
    found: defaultdict[str, float] = defaultdict(float)
    last = time.perf_counter()

    def lap(part: str) -> None:
        nonlocal last
        now = time.perf_counter()
        found[part] += now - last
        last = now

    step.fill(tokens, batch)
    lap("embedding")
    for one in step.program.steps():
        pool().play(one)
        lap(PARTS.get(name_of(one.kernels[0]), "the rest of the layers"))
    logits = unembed(step.program.result, model.norm, model.unembedding, eps=model.config.rms_norm_eps)
    lap("unembedding")
    for row in logits:
        sample(row, SamplingParams(), new_generator(0))
    lap("sampling")
    assert logits.isfinite().all()  # else all choices are the same expert
    return found


def _bytes(config: ModelConfig, rows: int) -> Mapping[str, float]:
    """What a step reads of the weights in each part, if routing is uniform."""
    share = experts_met(config, rows) / config.num_experts
    found: defaultdict[str, float] = defaultdict(float)
    table = "embedding.weight" if config.tie_word_embeddings else "unembedding.weight"
    for spec in tensors(config):
        size = spec.numel * (1 if spec.packed else BFLOAT16)
        if ".mlp.mlp" in spec.name:
            found["experts"] += size * share
        elif spec.name.endswith((".qkv.weight", ".out.weight")):
            found["attention's matrices"] += size
        elif spec.name == table:
            found["unembedding"] += size
    return found

"""A model over several devices of this machine: its speed at batch 1, without the engine."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from harmony.errors import ModelError
from harmony.runtime.backend import why_not_fused
from harmony.runtime.bench.machine import Machine
from harmony.runtime.bench.roofline import step_bytes
from harmony.runtime.bench.serving import Plan
from harmony.runtime.bench.shapes import random_state
from harmony.runtime.bench.table import Row
from harmony.runtime.config import ModelConfig
from harmony.runtime.memory import STEP_TOKENS
from harmony.runtime.parallel import ParallelTransformer, Shard

PATIENCE = timedelta(minutes=10)


def rank_rows(config: ModelConfig, kind: str, plan: Plan, ranks: int, machine: Machine) -> Iterator[Row]:
    """Tokens a second after each context, beside the bandwidth of all devices over a step's bytes."""
    Shard(config, 0, ranks)  # refuses before anything is started
    if kind == "cuda" and torch.cuda.device_count() < ranks:
        raise ModelError(f"there are {torch.cuda.device_count()} GPUs here; use --ranks of at most as many")
    with TemporaryDirectory() as folder:
        work = (config, kind, plan, ranks, folder)
        spawn(_rank, work, nprocs=ranks)  # type: ignore[no-untyped-call]
        rates = json.loads((Path(folder) / "rates.json").read_text("utf-8"))
    for context, rate in zip(plan.contexts, rates, strict=True):
        bound = ranks * machine.bandwidth / step_bytes(config, 1, context)
        yield Row(f"{ranks} ranks decode, batch 1, context {context}", rate, "tokens/s", bound)


def _rank(rank: int, config: ModelConfig, kind: str, plan: Plan, ranks: int, folder: str) -> None:
    """One process: its part of the weights, and the same tokens as all."""
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // ranks))
    backend = "nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, f"file://{folder}/meeting", PATIENCE, rank=rank, world_size=ranks)
    shard = Shard(config, rank, ranks)
    state = random_state(
        shard.config, device, torch.bfloat16, packed=why_not_fused(device, torch.bfloat16) is None
    )
    if not config.tie_word_embeddings:
        state["unembedding.weight"] = state["unembedding.weight"][shard.rows].clone()
    model = ParallelTransformer(shard, state)
    rates = [decode_rate(model, context, plan.tokens) for context in plan.contexts]
    if rank == 0:
        (Path(folder) / "rates.json").write_text(json.dumps(rates), "utf-8")
    dist.destroy_process_group()


def decode_rate(model: ParallelTransformer, context: int, tokens: int) -> float:
    """Tokens a second after a random prompt, the likeliest each; two are decoded before it counts."""
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(0, model.config.vocab_size, (context,), generator=generator).to(model.device)
    cache = model.new_cache(context + tokens + 2)
    for piece in torch.split(prompt, STEP_TOKENS):
        logits = model(piece, cache)
    start = 0.0
    for step in range(tokens + 2):
        if step == 2:
            start = _now(model.device)
        logits = model(logits.argmax()[None], cache)
    return tokens / (_now(model.device) - start)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

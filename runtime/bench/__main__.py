"""`python -m harmony.runtime.bench`: the speed of a model on this machine, beside what the machine allows."""

import argparse
import asyncio
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from harmony.errors import ModelError
from harmony.process import as_process, exit_status
from harmony.runtime.backend import current, why_not_fused
from harmony.runtime.bench.check import check_rows
from harmony.runtime.bench.cpu import report
from harmony.runtime.bench.loading import find_or_write, load_rows
from harmony.runtime.bench.machine import Machine
from harmony.runtime.bench.options import read_options
from harmony.runtime.bench.peers import Transformers
from harmony.runtime.bench.ranks import rank_rows
from harmony.runtime.bench.serving import Plan, decode_rows, engine_rows
from harmony.runtime.bench.shapes import SHAPES, random_state, shape
from harmony.runtime.bench.table import HEAD, Row, write_json
from harmony.runtime.config import ModelConfig
from harmony.runtime.generation import TokenEngine

RIGHT, WRONG = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the result is the exit status."""

    def command() -> int:
        options = read_options(sys.argv[1:] if arguments is None else arguments)
        torch.set_num_threads(options.threads)
        return _shape(options) if options.shape else _checkpoint(options)

    return exit_status(command)


def _checkpoint(options: argparse.Namespace) -> int:
    with nullcontext(options.folder) if options.folder else TemporaryDirectory() as folder:
        checkpoint = find_or_write(Path(folder), shape(options.layers, options.experts, options.vocab))
        for line in report(checkpoint.folder, checkpoint.config, options):
            print(line, flush=True)
    return RIGHT


def _shape(options: argparse.Namespace) -> int:
    device = options.device
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("torch sees no GPU here; run this on a machine with one, or with --device cpu")
    with current(device):
        config, machine = SHAPES[options.shape], Machine.measured(device)
        print(f"{options.shape}: {machine}\n{HEAD}", flush=True)
        rows = []
        for row in _rows(config, device, machine, options):
            print(row, flush=True)
            rows.append(row)
            if options.json:  # at each, so that a run that fails late leaves what it measured
                write_json(options.json, machine, options.shape, options.command, rows)
    return WRONG if options.check and (rows[-1].share or 0) < 1 else RIGHT


def _rows(
    config: ModelConfig, device: torch.device, machine: Machine, options: argparse.Namespace
) -> Iterator[Row]:
    plan = Plan(options.batches, options.contexts, options.tokens, options.turns)
    if options.check:
        yield from check_rows(config, device)
        return
    if options.ranks > 1:
        yield from rank_rows(config, device.type, plan, options.ranks, machine)
        return
    if options.folder:
        checkpoint = find_or_write(options.folder, config)
        config, state = checkpoint.config, (yield from load_rows(checkpoint, device))
    else:
        state = random_state(
            config, device, torch.bfloat16, packed=why_not_fused(device, torch.bfloat16) is None
        )
    if options.embedding_on_host and device.type == "cuda":
        state["embedding.weight"] = state["embedding.weight"].cpu().pin_memory()
    ours: dict[str, float] = {}
    for row in engine_rows(config, state, device, plan, machine):
        yield row
        if row.value is not None:
            ours[row.figure] = row.value
    del state
    if options.vs:
        yield from _compared(config, device, machine, plan, options.vs, ours)


def _compared(
    config: ModelConfig,
    device: torch.device,
    machine: Machine,
    plan: Plan,
    other: str,
    ours: dict[str, float],
) -> Iterator[Row]:
    """The other's decoding, and how many times as fast ours is."""
    gc.collect()  # our engine, whose memory the other may need
    if device.type == "cuda":
        torch.cuda.empty_cache()
    engine: TokenEngine
    if other == "transformers":
        engine = Transformers(config, device)
        batches: Sequence[int] = [1]
    else:
        from harmony.runtime.remote import RemoteEngine

        engine, batches = RemoteEngine(other), plan.batches
    cells = [
        (batch, context)
        for context in plan.contexts
        for batch in batches
        if context + plan.tokens <= engine.context_length
    ]
    for row in decode_rows(engine, config, plan, machine, cells):
        yield row
        figure = row.figure.removeprefix(engine.name).strip()
        if row.value and f"harmony {figure}" in ours:
            yield Row(f"{figure}, ours to {engine.name}", ours[f"harmony {figure}"] / row.value, "x")
    asyncio.run(engine.aclose())


if __name__ == "__main__":
    sys.exit(as_process(main))

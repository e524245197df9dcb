"""The speed of a model on this machine, beside what the machine allows.

Without --shape a checkpoint runs on the CPU: a random one is written into --folder, unless one lies there
(all of gpt-oss-20b is `--layers 24 --experts 32 --vocab 201088`, 13.8 GB), loaded, and measured. With --shape
random weights are made on --device, or those of --folder are loaded there, which is measured, too, and the
engine is measured from outside: tokens a second for each of --batches and --contexts beside the roofline,
which is the bandwidth of the same run over the bytes of a step; prefill beside the rate of a matrix product;
a resumed turn; constrained decoding; idle gaps; memory.
"""

import argparse
import asyncio
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from harmony.errors import ModelError
from harmony.kernels.cpu import FEW_ROWS, level
from harmony.process import as_process, exit_status
from harmony.runtime.backend import current, why_not_fused
from harmony.runtime.bench.check import check_rows
from harmony.runtime.bench.cpu import report
from harmony.runtime.bench.loading import find_or_write, load_rows
from harmony.runtime.bench.machine import Machine
from harmony.runtime.bench.peers import Transformers
from harmony.runtime.bench.ranks import rank_rows
from harmony.runtime.bench.serving import Plan, decode_rows, engine_rows
from harmony.runtime.bench.shapes import SHAPES, random_state, shape
from harmony.runtime.bench.table import HEAD, Row, write_json
from harmony.runtime.config import ModelConfig
from harmony.runtime.generation import TokenEngine
from harmony.runtime.llama_cpp import MATRICES

RIGHT, WRONG = 0, 1
PACKAGES = {"llama.cpp": "llama-cpp-python", "transformers": "transformers"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the result is the exit status."""

    def command() -> int:
        options = _options(arguments)
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
    device = torch.device(options.device)
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
        checkpoint = find_or_write(Path(options.folder), config)
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

        engine, batches = RemoteEngine(other, vocab_size=config.vocab_size), plan.batches
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


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m harmony.runtime.bench",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--device", default="cpu", help="cpu, cuda or cuda:N")
    add("--shape", choices=[*SHAPES], help="measure the engine on random weights; on cuda 20b if left out")
    add("--folder", help="where the checkpoint is or will stay; else a temporary one")
    add("--layers", type=int, default=4, help="of the random checkpoint")
    add("--experts", type=int, default=8, help="of each of its layers")
    add("--vocab", type=int, default=32768, help="its tokens")
    add("--prompt", type=int, default=512, help="tokens of the prompt of a checkpoint")
    add("--together", type=int, default=0, help="sequences of a checkpoint that the engine decodes together")
    add(
        "--profile", type=int, default=0, help="tokens of a decode step of a checkpoint whose parts are timed"
    )
    add(
        "--history", type=int, default=0, help="tokens of a conversation of a checkpoint before its next turn"
    )
    add("--batches", type=_numbers, default=[1, 8, 32, 128], help="sequences together, with --shape")
    add("--contexts", type=_numbers, default=[1024, 8192, 65536], help="tokens before, with --shape")
    add("--tokens", type=int, default=16, help="tokens decoded in each turn")
    add("--turns", type=int, default=5, help="whose medians are printed")
    add("--threads", type=int, default=torch.get_num_threads(), help="of either side, on a CPU")
    add("--ranks", type=int, default=1, help="devices over which the shape is cut, one process each")
    add("--embedding-on-host", action="store_true", help="leave a shape's embedding out of the GPU's memory")
    add("--check", action="store_true", help="compare the shape's logits with plain torch in float32 instead")
    add("--vs", help="measure this one, too: llama.cpp, or with --shape transformers or a server's URL")
    add("--gguf", choices=MATRICES, default="q8_0", help="what llama.cpp keeps attention and tables in")
    add("--json", type=Path, metavar="FILE", help="write the shape's table to this file, too")
    command = sys.argv[1:] if arguments is None else [*arguments]
    options = parser.parse_args(command)
    options.command = command
    if options.device != "cpu" and not options.shape:
        options.shape = "20b"
    if options.profile and (options.shape or level() == "torch" or options.profile > FEW_ROWS):
        parser.error(f"--profile takes up to {FEW_ROWS} tokens of a checkpoint, and the kernels of a CPU")
    if options.vs and (options.vs == "llama.cpp") == bool(options.shape):
        parser.error("--vs llama.cpp goes with a checkpoint on the CPU, transformers and URLs with --shape")
    package = PACKAGES.get(options.vs)
    if package is not None and find_spec(package.replace("-python", "").replace("-", "_")) is None:
        parser.error(f"--vs {options.vs} needs it: pip install {package}")
    if not options.shape and (options.check or options.json or options.ranks > 1):
        parser.error("--check, --json and --ranks measure a --shape; name one")
    return options


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    sys.exit(as_process(main))

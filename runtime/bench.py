"""The speed of a model on this CPU, beside what the machine allows: `python -m harmony.runtime.bench`.

It writes a random checkpoint of the asked shape into --folder, unless one lies there (all of gpt-oss-20b is
`--layers 24 --experts 32 --vocab 201088`, 13.8 GB), loads it, and prints one table. Bounds are the rate at
which torch reads memory and that of its bfloat16 matrix product, measured in the same run. `--vs llama.cpp`
runs the same shape in llama-cpp-python, its attention and tables in Q8_0, in turns with ours.
"""

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch import Tensor

from harmony.kernels.cpu import level
from harmony.runtime.checkpoint import Checkpoint
from harmony.runtime.config import ModelConfig, alternating_layers
from harmony.runtime.layout import TensorSpec, tensors
from harmony.runtime.llama_cpp import LlamaCpp
from harmony.runtime.memory import STEP_TOKENS
from harmony.runtime.model import Transformer

CPU = torch.device("cpu")


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    with nullcontext(options.folder) if options.folder else TemporaryDirectory() as folder:
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        if not (path / "config.json").is_file():
            write_random(path, shape(options.layers, options.experts, options.vocab))
        for line in report(path, Checkpoint.open(path).config, options):
            print(line, flush=True)


def shape(layers: int, experts: int, vocab: int) -> ModelConfig:
    """A gpt-oss model with layers as wide as those of the published ones."""
    return ModelConfig(
        num_hidden_layers=layers,
        num_experts=experts,
        experts_per_token=4,
        vocab_size=vocab,
        hidden_size=2880,
        intermediate_size=2880,
        head_dim=64,
        num_attention_heads=64,
        num_key_value_heads=8,
        sliding_window=128,
        layer_types=alternating_layers(layers),
        max_context_length=131072,
    )


def write_random(folder: Path, config: ModelConfig) -> None:
    """Write a checkpoint in the layout of original/, a file for each layer; no more is held in memory."""
    for name, specs in groupby(tensors(config), lambda spec: _file_of(spec.name)):
        save_file({spec.name: _random(spec) for spec in specs}, folder / f"{name}.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_original()), "utf-8")


def _file_of(tensor: str) -> str:
    layer = re.match(r"block\.\d+", tensor)
    return layer[0] if layer else tensor


def _random(spec: TensorSpec) -> Tensor:
    if spec.name.endswith("scales"):
        return torch.randint(117, 121, spec.shape, dtype=torch.uint8)
    if spec.packed:
        return torch.randint(0, 256, spec.shape, dtype=torch.uint8)
    return (torch.randn(spec.shape) * 0.02 + spec.name.endswith("norm.scale")).bfloat16()


def read_bytes(config: ModelConfig) -> int:
    """What one decoded token reads of the weights: all but the embedding and the experts not chosen."""
    share = config.experts_per_token / config.num_experts
    sizes = [
        spec.numel * (share if ".mlp.mlp" in spec.name else 1) * (1 if spec.packed else 2)
        for spec in tensors(config)
        if spec.name != "embedding.weight"
    ]
    return int(sum(sizes))


def flops(config: ModelConfig) -> int:
    """Operations of one prompt token in the linear layers, without the unembedding."""
    active = sum(
        spec.numel * (config.experts_per_token / config.num_experts if ".mlp.mlp" in spec.name else 1)
        * (2 if spec.name.endswith("blocks") else 1)
        for spec in tensors(config)
        if spec.name.endswith(("blocks", "qkv.weight", "out.weight"))
    )  # fmt: skip
    return int(2 * active)


class Session:
    """Our model, with the cache of one sequence."""

    name = "harmony"

    def __init__(self, folder: Path, context: int) -> None:
        checkpoint = Checkpoint.open(folder)
        self.model = Transformer(checkpoint.config, checkpoint.load(device=CPU, dtype=torch.bfloat16))
        self._context = context

    def prefill(self, tokens: int) -> None:
        """Read a fresh prompt."""
        self._cache = self.model.new_cache(self._context)
        prompt = torch.randint(0, self.model.config.vocab_size, (tokens,))
        for start in range(0, tokens, STEP_TOKENS):
            self._logits = self.model(prompt[start : start + STEP_TOKENS], self._cache)

    def decode(self, tokens: int) -> None:
        """Go on with the most likely tokens."""
        for _ in range(tokens):
            self._logits = self.model(self._logits.argmax()[None], self._cache)


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
        sides.append(LlamaCpp(folder / "model.gguf", config, options.threads, context))
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
    bounds = {"prefill": rates["product"] / flops(config), "decode": rates["bandwidth"] / read_bytes(config)}
    yield f"| memory read | {rates['bandwidth'] / 1e9:.1f} GB/s | | |"
    yield f"| bfloat16 matrix product | {rates['product'] / 1e9:.0f} GFLOP/s | | |"
    for side in sides:
        for kind, bound in bounds.items():
            rate = rates[f"{side.name} {kind}"]
            yield f"| {side.name} {kind} | {rate:.2f} tokens/s | {bound:.2f} | {rate / bound:.0%} |"
    if options.vs:
        for kind in bounds:
            ratio = rates[f"harmony {kind}"] / rates[f"llama.cpp {kind}"]
            yield f"| {kind}, ours to llama.cpp | {ratio:.2f}x | | |"


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
    """Operations per second of torch's bfloat16 matrix product, the best of three."""
    x, weight = torch.randn(rows, 2880).bfloat16(), torch.randn(2880, 2880).bfloat16()
    return 2 * rows * weight.numel() / min(seconds(lambda: x @ weight.T) for _ in range(3))


def resident() -> tuple[float, float]:
    """Gigabytes of this process in memory: its own, and those of files."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text("ascii").splitlines())
    private, mapped = (int(lines[kind].split()[0]) * 1024 / 1e9 for kind in ("RssAnon", "RssFile"))
    return private, mapped


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m harmony.runtime.bench",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--folder", help="where the checkpoint is or will stay; else a temporary one")
    parser.add_argument("--layers", type=int, default=4, help="of the random checkpoint")
    parser.add_argument("--experts", type=int, default=8, help="of each of its layers")
    parser.add_argument("--vocab", type=int, default=32768, help="its tokens")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=16, help="tokens decoded in each turn")
    parser.add_argument("--turns", type=int, default=5, help="whose medians are printed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of either side")
    parser.add_argument("--vs", choices=["llama.cpp"], help="measure this one, too")
    options = parser.parse_args()
    if options.vs and find_spec("llama_cpp") is None:
        parser.error("--vs llama.cpp needs it: pip install llama-cpp-python")
    return options


if __name__ == "__main__":
    main()

"""One token through matrices of experts in MXFP4, beside the repacked kernel of llama.cpp in the same run.

    pip install llama-cpp-python && python tests/bench/expert_matvec.py --threads 2

Matrices of the published width, more of them than caches hold, are multiplied by one vector each: by the
kernel of this package on the checkpoint's own bytes, and by ggml's on rows that it has repacked, in turns.
The error is the largest difference to float64, of the largest output.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from ggml import RepackedProducts, found
from products import products

from harmony.kernels.cpu import level
from harmony.kernels.mxfp4 import dequantize

HIDDEN, OUTPUTS = 2880, 5760
CHECKED = 4  # matrices whose products are compared with float64


def main() -> None:
    """Print each side's rate of reading weights and its error."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--matrices", type=int, default=96, help="as many, of 8.8 MB each (%(default)s)")
    parser.add_argument("--rounds", type=int, default=25, help="times of each side (%(default)s)")
    parser.add_argument("--ggml", type=Path, help="a library with ggml (llama-cpp-python's, or xllamacpp's)")
    options = parser.parse_args()
    library = options.ggml or found()
    if library is None:
        parser.exit(2, "llama.cpp is missing: pip install llama-cpp-python\n")
    torch.set_num_threads(options.threads)
    blocks, scales, x = _experts(options.matrices)
    runs: dict[str, Callable[[], Tensor]] = {
        f"harmony, {level()}": partial(products, x, blocks, scales),
        "llama.cpp, repacked": RepackedProducts(library, blocks, scales, x, options.threads),
    }
    errors = [_error(run(), blocks, scales, x) for run in runs.values()]
    times = _alternated(list(runs.values()), options.rounds)
    read = blocks.nbytes + scales.nbytes
    print(f"{options.matrices} matrices [{OUTPUTS}, {HIDDEN}] with a vector each, {options.threads} threads")
    print(f"{'':22}{'median GB/s':>12}{'best GB/s':>12}{'error':>10}")
    for name, taken, error in zip(runs, times, errors, strict=True):
        print(f"{name:22}{read / median(taken) / 1e9:12.1f}{read / min(taken) / 1e9:12.1f}{error:10.1e}")
    ours, theirs = times
    print(f"times as fast: {median(theirs) / median(ours):.2f} (best rounds: {min(theirs) / min(ours):.2f})")


def _experts(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = count, OUTPUTS, HIDDEN // 32
    blocks = torch.randint(256, (*size, 16), dtype=torch.uint8, generator=generator)
    scales = torch.randint(118, 124, size, dtype=torch.uint8, generator=generator)
    return blocks, scales, torch.randn(count, HIDDEN, generator=generator).bfloat16()


def _error(outputs: Tensor, blocks: Tensor, scales: Tensor, x: Tensor) -> float:
    matrices = dequantize(blocks[:CHECKED], scales[:CHECKED], torch.float32).double()
    exact = torch.einsum("eoi,ei->eo", matrices, x[:CHECKED].double())
    return float((outputs[:CHECKED].double() - exact).abs().max() / exact.abs().max())


def _alternated(runs: list[Callable[[], Tensor]], rounds: int) -> list[list[float]]:
    """The seconds of each run in each round."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, taken in zip(runs, times, strict=True):
            begun = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begun)
    return times


if __name__ == "__main__":
    main()

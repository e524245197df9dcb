"""Products of packed rows by the CPU's kernels, alone."""

import torch
from torch import Tensor

from harmony.kernels.cpu import moe
from harmony.kernels.cpu.mxfp4 import TABLE, padded, stored
from harmony.kernels.cpu.pool import compute, pool


def products(x: Tensor, blocks: Tensor, scales: Tensor) -> Tensor:
    """Row i of `x` bfloat16 [m, in] times the matrix of expert i, float32 [m, out]."""
    experts, hidden, width = len(x), blocks.shape[1], x.shape[1]
    vectors, outputs = stored(experts, width), torch.empty(experts, hidden)
    compute(moe._store, experts, x, vectors, width, padded(width))
    bias = torch.zeros(experts, hidden, dtype=torch.bfloat16)
    numbers = torch.arange(experts)
    pool().run(
        moe._down, experts * hidden, blocks, scales, bias, TABLE, numbers, numbers + 1,
        vectors, outputs, width, hidden, padded(width),
    )  # fmt: skip
    return outputs

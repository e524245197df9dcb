"""Products of packed rows by the CPU's kernels, alone."""

import torch
from torch import Tensor

from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.mxfp4 import TABLE, padded, stored
from harmony.kernels.cpu.pool import compute, pool


def products(x: Tensor, blocks: Tensor, scales: Tensor) -> Tensor:
    """Rows of `x` bfloat16 [E m, in] times the matrices of E experts, m each: float32 [E m, out]."""
    (experts, hidden), (count, width) = blocks.shape[:2], x.shape
    vectors, outputs = stored(count, width), torch.empty(count, hidden)
    compute(kernel("moe.store"), count, x, vectors, width, padded(width))
    bias = torch.zeros(experts, hidden, dtype=torch.bfloat16)
    numbers = torch.arange(experts)
    pool().run(
        kernel("moe.multiply"), experts * hidden // 2, blocks, scales, bias, TABLE, numbers,
        (numbers + 1) * (count // experts), 0, vectors, outputs, width, hidden, padded(width),
    )  # fmt: skip
    return outputs

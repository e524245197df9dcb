"""The router's scores of all experts, computed for each row as if it were alone."""

import torch
from torch import Tensor

from harmony.kernels.cpu import bfloat16
from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.llvm import load_f32, store_f32
from harmony.kernels.cpu.pool import compute_rows


def scores(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`x` bfloat16 [n, H] times `weight` float32 [E, H], plus `bias` float32 [E]; float32 [n, E].

    Not by torch, which would share so small a product with its own threads: they then wait awake and take a
    core from those of our pool.
    """
    out = torch.empty(len(x), len(weight))
    compute_rows(_scores, len(x), x.contiguous(), weight, bias, out, len(weight), x.shape[1])
    return out


@kernel
def _scores(arguments, first, last):
    x, weight, bias, out = arguments[0], arguments[1], arguments[2], arguments[3]
    experts, columns = arguments[4], arguments[5]
    for row in range(first, last):
        for expert in range(experts):
            score = bfloat16.dot(x + 2 * row * columns, weight + 4 * expert * columns, columns)
            store_f32(out + 4 * (row * experts + expert), score + load_f32(bias + 4 * expert))

"""A few rows times a matrix of bfloat16, as fast as the matrix can be read."""

import torch
from torch import Tensor

from harmony.kernels.cpu import bfloat16
from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.pool import pool


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x` [n, in] times the rows of `weight` [out, in], plus `bias` [out]; all bfloat16, so the result."""
    n, (rows, columns) = len(x), weight.shape
    out = torch.empty(n, rows, dtype=x.dtype)
    pool().run(_linear, rows, weight, x.float(), 0 if bias is None else bias, out, n, rows, columns)
    return out


@kernel
def _linear(arguments, first, last):
    weight, vectors, bias, out = arguments[0], arguments[1], arguments[2], arguments[3]
    n, rows, columns = arguments[4], arguments[5], arguments[6]
    for row in range(first, last):
        for index in range(n):
            total = bfloat16.dot(weight + 2 * row * columns, vectors + 4 * index * columns, columns)
            if bias:
                total += bfloat16.load(bias, row)
            bfloat16.store(out, index * rows + row, total)

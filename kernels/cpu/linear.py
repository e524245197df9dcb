"""A few rows times a matrix of bfloat16, as fast as the matrix can be read."""

import torch
from torch import Tensor

from harmony.kernels.cpu import bfloat16
from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.llvm import store_f32
from harmony.kernels.cpu.pool import pool


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x` [n, in] times the rows of `weight` [out, in], plus `bias` [out]; all bfloat16, so the result."""
    n, (rows, columns) = len(x), weight.shape
    vectors, sums = x.float(), torch.empty(n, rows)
    pool().run(_linear, rows, weight, vectors, sums, n, rows, columns)
    return (sums if bias is None else sums.add_(bias)).bfloat16()


@kernel
def _linear(arguments, first, last):
    weight, vectors, sums = arguments[0], arguments[1], arguments[2]
    n, rows, columns = arguments[3], arguments[4], arguments[5]
    for row in range(first, last):
        for index in range(n):
            total = bfloat16.dot(weight + 2 * row * columns, vectors + 4 * index * columns, columns)
            store_f32(sums + 4 * (index * rows + row), total)

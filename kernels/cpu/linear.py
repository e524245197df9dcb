"""A few rows times a matrix of bfloat16, as fast as the matrix can be read."""

import numpy as np
import torch
from torch import Tensor

from harmony.kernels.cpu import bfloat16, bfloat16_avx512, level
from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.pool import pool

ON_AVX512 = level() == "avx512"
TILE = 8  # rows of the matrix: 46 KB at a width of 2880, which a core's own cache holds


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x` [n, in] times the rows of `weight` [out, in], plus `bias` [out]; all bfloat16, so the result.

    A row of `x` gets the same bits whatever rows are beside it.
    """
    n, (rows, columns) = len(x), weight.shape
    out = torch.empty(n, rows, dtype=x.dtype)
    vectors = x.contiguous() if ON_AVX512 else x.float()
    run = _linear_avx512 if ON_AVX512 else _linear
    pool().run(run, rows, weight, vectors, 0 if bias is None else bias, out, n, rows, columns)
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


if ON_AVX512:

    @kernel
    def _linear_avx512(arguments, first, last):
        """Some rows at a time are read from memory by the first vectors, and from the cache by the others."""
        weight, vectors, bias, out = arguments[0], arguments[1], arguments[2], arguments[3]
        n, rows, columns = arguments[4], arguments[5], arguments[6]
        for begin in range(first, last, TILE):
            index = 0
            while index < n:
                vector, start = vectors + 2 * index * columns, index * rows
                for row in range(begin, min(begin + TILE, last)):
                    at, more = weight + 2 * row * columns, np.float32(0)
                    if bias:
                        more = bfloat16.load(bias, row)
                    if index + 4 <= n:
                        a, b, c, d = bfloat16_avx512.dot_four(at, vector, columns)
                        bfloat16.store(out, start + row, a + more)
                        bfloat16.store(out, start + rows + row, b + more)
                        bfloat16.store(out, start + 2 * rows + row, c + more)
                        bfloat16.store(out, start + 3 * rows + row, d + more)
                    else:
                        bfloat16.store(out, start + row, bfloat16_avx512.dot(at, vector, columns) + more)
                index += 4 if index + 4 <= n else 1

"""A few rows times a matrix of bfloat16, as fast as the matrix can be read."""

import numpy as np
import torch
from torch import Tensor

from harmony.kernels.cpu import bfloat16, bfloat16_avx512, bfloat16_wide, level
from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.pool import pool

PRODUCTS = bfloat16_avx512 if level() == "avx512" else bfloat16_wide
ELEMENT = torch.bfloat16 if level() == "avx512" else torch.float32  # of the vectors that it multiplies
SIZE = ELEMENT.itemsize
TILE = 8  # rows of the matrix: 46 KB at a width of 2880, which a core's own cache holds
dot, dot_four = PRODUCTS.dot, PRODUCTS.dot_four


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x` [n, in] times the rows of `weight` [out, in], plus `bias` [out]; all bfloat16, so the result.

    A row of `x` gets the same bits whatever rows are beside it.
    """
    n, (rows, columns) = len(x), weight.shape
    out = torch.empty(n, rows, dtype=x.dtype)
    vectors = x.contiguous().to(ELEMENT)
    pool().run(_linear, rows, weight, vectors, 0 if bias is None else bias, out, n, rows, columns)
    return out


@kernel
def _linear(arguments, first, last):
    """Some rows at a time are read from memory by the first vectors, and from the cache by the others."""
    weight, vectors, bias, out = arguments[0], arguments[1], arguments[2], arguments[3]
    n, rows, columns = arguments[4], arguments[5], arguments[6]
    for begin in range(first, last, TILE):
        index = 0
        while index < n:
            vector, start = vectors + SIZE * index * columns, index * rows
            for row in range(begin, min(begin + TILE, last)):
                at, more = weight + 2 * row * columns, np.float32(0)
                if bias:
                    more = bfloat16.load(bias, row)
                if index + 4 <= n:
                    a, b, c, d = dot_four(at, vector, columns)
                    bfloat16.store(out, start + row, a + more)
                    bfloat16.store(out, start + rows + row, b + more)
                    bfloat16.store(out, start + 2 * rows + row, c + more)
                    bfloat16.store(out, start + 3 * rows + row, d + more)
                else:
                    bfloat16.store(out, start + row, dot(at, vector, columns) + more)
            index += 4 if index + 4 <= n else 1

"""A few rows times a matrix of bfloat16, as fast as the matrix can be read."""

import numpy as np
import torch
from numba import carray, njit
from torch import Tensor

from harmony.kernels.cpu import bfloat16, bfloat16_avx512, bfloat16_wide, level
from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.llvm import pointer_f32, pointer_u16
from harmony.kernels.cpu.pool import compute_rows, pool
from harmony.kernels.cpu.tape import empty

PRODUCTS = bfloat16_avx512 if level() == "avx512" else bfloat16_wide
ELEMENT = torch.bfloat16 if level() == "avx512" else torch.float32  # of the vectors that it multiplies
SIZE = ELEMENT.itemsize
TILE = 8  # rows of the matrix: 46 KB at a width of 2880, which a core's own cache holds
dot, dot_four = PRODUCTS.dot, PRODUCTS.dot_four


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None = None) -> Tensor:
    """`x` [n, in] times the rows of `weight` [out, in], plus `bias` [out]; all bfloat16, so the result.

    The rounded result is added to a `residual` [n, out] and rounded again. A row of `x` gets the same bits
    whatever rows are beside it.
    """
    n, (rows, columns) = len(x), weight.shape
    out, added = empty(n, rows, dtype=x.dtype), 0 if residual is None else residual
    pool().run(
        _linear, rows, weight, _vectors(x), 0 if bias is None else bias, added, out, n, rows, columns
    )  # fmt: skip
    return out


def _vectors(x: Tensor) -> Tensor:
    """The rows of `x` as they are multiplied."""
    x = x.contiguous()
    if x.dtype == ELEMENT:
        return x
    wide = empty(*x.shape, dtype=ELEMENT)
    compute_rows(_widen, len(x), x, wide, x.shape[1])
    return wide


@kernel
def _widen(arguments, first, last):
    x, wide, columns = arguments[0], arguments[1], arguments[2]
    numbers = carray(pointer_u16(x), last * columns)
    floats = carray(pointer_f32(wide), last * columns)
    for index in range(first * columns, last * columns):
        floats[index] = bfloat16.value(numbers[index])


@njit(inline="always")
def _put(out, residual, index, value):
    if residual:
        value = bfloat16.value(bfloat16.rounded(value)) + bfloat16.load(residual, index)
    bfloat16.store(out, index, value)


@kernel
def _linear(arguments, first, last):
    """Some rows at a time are read from memory by the first vectors, and from the cache by the others."""
    weight, vectors, bias, residual = arguments[0], arguments[1], arguments[2], arguments[3]
    out, n, rows, columns = arguments[4], arguments[5], arguments[6], arguments[7]
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
                    _put(out, residual, start + row, a + more)
                    _put(out, residual, start + rows + row, b + more)
                    _put(out, residual, start + 2 * rows + row, c + more)
                    _put(out, residual, start + 3 * rows + row, d + more)
                else:
                    _put(out, residual, start + row, dot(at, vector, columns) + more)
            index += 4 if index + 4 <= n else 1

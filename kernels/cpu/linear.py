"""A few rows times a matrix of bfloat16, as fast as the matrix can be read."""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from harmony.kernels.cpu import bfloat16, bfloat16_avx512, bfloat16_wide, level
from harmony.kernels.cpu.bfloat16_block import ROOM, add_products_of_pairs, sums
from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.llvm import stack, store_f32
from harmony.kernels.cpu.pool import compute_rows, pool
from harmony.kernels.cpu.tape import empty
from harmony.kernels.cpu.wide import LANES

PRODUCTS = bfloat16_avx512 if level() == "avx512" else bfloat16_wide
ELEMENT = torch.bfloat16 if level() == "avx512" else torch.float32  # of the vectors that it multiplies
SIZE = ELEMENT.itemsize
TILE = 8  # rows of the matrix: 46 KB at a width of 2880, which a core's own cache holds
dot, dot_four = PRODUCTS.dot, PRODUCTS.dot_four
PAIRED = PRODUCTS is bfloat16_wide and LANES == 16  # registers enough for two rows at a time
room = stack(ROOM * TILE // 2)


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
    for row in range(first, last):
        for index in range(columns):
            to = row * columns + bfloat16_wide.place(index, columns)
            store_f32(wide + 4 * to, bfloat16.load(x, row * columns + index))


@njit(inline="always")
def _put(out, residual, index, value):
    if residual:
        value = bfloat16.value(bfloat16.rounded(value)) + bfloat16.load(residual, index)
    bfloat16.store(out, index, value)


@njit(inline="always")
def _put_four(out, residual, index, step, values, more):
    _put(out, residual, index, values[0] + more)
    _put(out, residual, index + step, values[1] + more)
    _put(out, residual, index + 2 * step, values[2] + more)
    _put(out, residual, index + 3 * step, values[3] + more)


@njit(inline="always")
def _bias(bias, row):
    return bfloat16.load(bias, row) if bias else np.float32(0)


@kernel
def _linear(arguments, first, last):
    """Some rows at a time are read from memory by the first vectors, and from the cache by the others.

    Those that go by pairs of rows have the next rows asked for meanwhile, half of them by each of the first
    two, if there are two.
    """
    weight, vectors, bias, residual = arguments[0], arguments[1], arguments[2], arguments[3]
    out, n, rows, columns = arguments[4], arguments[5], arguments[6], arguments[7]
    registers = room()
    for begin in range(first, last, TILE):
        end = min(begin + TILE, last)
        paired = (end - begin) // 2 if PAIRED else 0
        next_tile = 2 * TILE * columns if end < last else 0
        for index in range(0, n - 3, 4):
            vector, start = vectors + SIZE * index * columns, index * rows
            ahead, other_ahead = next_tile * (index == 0), next_tile * (index == 4 or n < 8)
            at = weight + 2 * begin * columns
            add_products_of_pairs(at, paired, vector, columns, registers, ahead, other_ahead)
            for row in range(begin, begin + 2 * paired):
                found = registers + ROOM // 2 * (row - begin)
                values = sums(found, weight + 2 * row * columns, vector, columns)
                _put_four(out, residual, start + row, rows, values, _bias(bias, row))
            for row in range(begin + 2 * paired, end):
                values = dot_four(weight + 2 * row * columns, vector, columns)
                _put_four(out, residual, start + row, rows, values, _bias(bias, row))
        for index in range(n // 4 * 4, n):
            vector, start = vectors + SIZE * index * columns, index * rows
            for row in range(begin, end):
                value = dot(weight + 2 * row * columns, vector, columns)
                _put(out, residual, start + row, value + _bias(bias, row))

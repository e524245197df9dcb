"""A few rows times a matrix of bfloat16, as fast as the matrix can be read."""

import numpy as np
from numba import njit

from harmony.kernels.cpu import level
from harmony.kernels.cpu.compiled import bfloat16, bfloat16_avx512, bfloat16_wide
from harmony.kernels.cpu.compiled.bfloat16_block import ROOM, add_products_of_pairs, sums
from harmony.kernels.cpu.compiled.llvm import stack, store_f32
from harmony.kernels.cpu.linear import SIZE
from harmony.kernels.cpu.vectors import LANES

PRODUCTS = bfloat16_avx512 if level() == "avx512" else bfloat16_wide
TILE = 8  # rows of the matrix: 46 KB at a width of 2880, which a core's own cache holds
dot, dot_four = PRODUCTS.dot, PRODUCTS.dot_four
PAIRED = PRODUCTS is bfloat16_wide and LANES == 16  # registers enough for two rows at a time
room = stack(ROOM * TILE // 2)


def widen(arguments, first, last):
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


def linear(arguments, first, last):
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

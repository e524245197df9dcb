"""A few rows times a matrix of bfloat16, as fast as the matrix can be read."""

from typing import Any

import numpy as np
from numba import njit

from harmony.kernels.cpu import FEW_ROWS, level
from harmony.kernels.cpu.compiled import bfloat16, bfloat16_avx512, bfloat16_block
from harmony.kernels.cpu.compiled.bfloat16_block import TILE, place
from harmony.kernels.cpu.compiled.bfloat16_wide import RUN
from harmony.kernels.cpu.compiled.llvm import load_f32, stack, store_f32
from harmony.kernels.cpu.compiled.wide import load_even_bf16, load_odd_bf16, store, zero
from harmony.kernels.cpu.vectors import LANES

products: Any = (bfloat16_avx512 if level() == "avx512" else bfloat16_block).products
room = stack(4 * TILE * FEW_ROWS)


def widen(arguments, first, last):
    x, wide, n, columns = arguments[0], arguments[1], arguments[2], arguments[3]
    whole = columns // RUN * RUN
    for row in range(first, last):
        filled, at = row < n, x + 2 * row * columns
        for index in range(0, whole, RUN):
            to = wide + 4 * place(index, row, n, columns)
            store(to, load_even_bf16(at + 2 * index) if filled else zero())
            store(to + 4 * LANES, load_odd_bf16(at + 2 * index) if filled else zero())
        for index in range(whole, columns):
            value = bfloat16.load(at, index) if filled else np.float32(0)
            store_f32(wide + 4 * place(index, row, n, columns), value)


@njit(inline="always")
def _put(out, residual, index, value):
    if residual:
        value = bfloat16.value(bfloat16.rounded(value)) + bfloat16.load(residual, index)
    bfloat16.store(out, index, value)


def linear(arguments, first, last):
    """Some rows at a time, while as many that follow are asked for."""
    weight, vectors, bias, residual = arguments[0], arguments[1], arguments[2], arguments[3]
    out, n, rows, columns = arguments[4], arguments[5], arguments[6], arguments[7]
    sums = room()
    for begin in range(first, last, TILE):
        here, following = min(TILE, last - begin), min(begin + TILE, max(last - TILE, first))
        products(
            weight + 2 * begin * columns, here, vectors, n, columns, sums, weight + 2 * following * columns
        )  # fmt: skip
        for row in range(begin, begin + here):
            more = bfloat16.load(bias, row) if bias else np.float32(0)
            for vector in range(n):
                value = load_f32(sums + 4 * ((row - begin) * n + vector))
                _put(out, residual, vector * rows + row, value + more)

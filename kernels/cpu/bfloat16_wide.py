"""The products of a bfloat16 row with float32 vectors, by the level's vectors.

Of each run of 2 LANES columns the even ones come first in a stored vector: a row's lie in the lower halves of
32 bits, the odd ones in the upper halves, where either is one instruction from float32. A vector's sum is the
same whether it is multiplied alone or with three others.
"""

import numpy as np
from numba import njit

from harmony.kernels.cpu import bfloat16
from harmony.kernels.cpu.avx512 import AHEAD
from harmony.kernels.cpu.llvm import load_f32, prefetch, prefetch_l2
from harmony.kernels.cpu.wide import LANES, add, add_product, load, load_even_bf16, load_odd_bf16, total, zero


RUN = 2 * LANES


@njit(inline="always")
def place(index, columns):
    """Where element `index` of a vector of `columns` is stored; those behind the last run stay in order."""
    if index >= columns // RUN * RUN:
        return index
    return index // RUN * RUN + index % 2 * LANES + index % RUN // 2


@njit(inline="always")
def _sum(even, odd, row, vector, columns):
    """What two registers and the last `columns` % (2 * LANES) columns add up to."""
    rest = np.float32(0)
    for column in range(columns // (2 * LANES) * 2 * LANES, columns):
        rest += bfloat16.load(row, column) * load_f32(vector + 4 * column)
    return total(add(even, odd)) + rest


@njit(inline="always")
def dot(row, vector, columns):
    """Multiply `columns` numbers of a row and a vector."""
    even, odd = zero(), zero()
    for pair in range(columns // (2 * LANES)):
        at, x = row + 4 * LANES * pair, vector + 8 * LANES * pair
        prefetch(at + AHEAD)
        even = add_product(even, load_even_bf16(at), load(x))
        odd = add_product(odd, load_odd_bf16(at), load(x + 4 * LANES))
    return _sum(even, odd, row, vector, columns)


@njit(inline="always")
def dot_four(row, vectors, columns):
    """The same for four vectors that lie one behind the other."""
    at = _each(vectors, columns)
    even, odd = _zeros(), _zeros()
    for pair in range(columns // (2 * LANES)):
        weights, x = row + 4 * LANES * pair, 8 * LANES * pair
        prefetch(weights + AHEAD)
        even = _add_products(even, load_even_bf16(weights), _loaded(at, x))
        odd = _add_products(odd, load_odd_bf16(weights), _loaded(at, x + 4 * LANES))
    return _sums(even, odd, row, at, columns)


@njit(inline="always")
def dot_four_with_two(row, other, vectors, columns, ahead, other_ahead):
    """The same for two rows, which share what is read of the vectors.

    Asks for what lies so many bytes ahead of each row.
    """
    at = _each(vectors, columns)
    even, odd, even_other, odd_other = _zeros(), _zeros(), _zeros(), _zeros()
    for pair in range(columns // (2 * LANES)):
        weights, more, x = row + 4 * LANES * pair, other + 4 * LANES * pair, 8 * LANES * pair
        prefetch_l2(weights + ahead)
        prefetch_l2(more + other_ahead)
        numbers = _loaded(at, x)
        even = _add_products(even, load_even_bf16(weights), numbers)
        even_other = _add_products(even_other, load_even_bf16(more), numbers)
        numbers = _loaded(at, x + 4 * LANES)
        odd = _add_products(odd, load_odd_bf16(weights), numbers)
        odd_other = _add_products(odd_other, load_odd_bf16(more), numbers)
    return _sums(even, odd, row, at, columns), _sums(even_other, odd_other, other, at, columns)


@njit(inline="always")
def _each(vectors, columns):
    size = 4 * columns
    return vectors, vectors + size, vectors + 2 * size, vectors + 3 * size


@njit(inline="always")
def _zeros():
    return zero(), zero(), zero(), zero()


@njit(inline="always")
def _loaded(at, x):
    return load(at[0] + x), load(at[1] + x), load(at[2] + x), load(at[3] + x)


@njit(inline="always")
def _add_products(totals, weights, numbers):
    return (
        add_product(totals[0], weights, numbers[0]),
        add_product(totals[1], weights, numbers[1]),
        add_product(totals[2], weights, numbers[2]),
        add_product(totals[3], weights, numbers[3]),
    )


@njit(inline="always")
def _sums(even, odd, row, at, columns):
    return (
        _sum(even[0], odd[0], row, at[0], columns),
        _sum(even[1], odd[1], row, at[1], columns),
        _sum(even[2], odd[2], row, at[2], columns),
        _sum(even[3], odd[3], row, at[3], columns),
    )

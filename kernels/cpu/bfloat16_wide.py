"""The products of a bfloat16 row with float32 vectors, by the level's vectors.

A vector's sum is the same whether it is multiplied alone or with three others: its even runs of LANES
columns are added up in one register, the odd ones in another.
"""

import numpy as np
from numba import njit

from harmony.kernels.cpu import bfloat16
from harmony.kernels.cpu.avx512 import AHEAD
from harmony.kernels.cpu.llvm import load_f32, prefetch
from harmony.kernels.cpu.wide import LANES, add, add_product, load, load_bf16, total, zero


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
        even = add_product(even, load_bf16(at), load(x))
        odd = add_product(odd, load_bf16(at + 2 * LANES), load(x + 4 * LANES))
    return _sum(even, odd, row, vector, columns)


@njit(inline="always")
def dot_four(row, vectors, columns):
    """The same for four vectors that lie one behind the other."""
    a, b = vectors, vectors + 4 * columns
    c, d = b + 4 * columns, b + 8 * columns
    even_a, even_b, even_c, even_d = zero(), zero(), zero(), zero()
    odd_a, odd_b, odd_c, odd_d = zero(), zero(), zero(), zero()
    for pair in range(columns // (2 * LANES)):
        at, x = row + 4 * LANES * pair, 8 * LANES * pair
        prefetch(at + AHEAD)
        weights = load_bf16(at)
        even_a = add_product(even_a, weights, load(a + x))
        even_b = add_product(even_b, weights, load(b + x))
        even_c = add_product(even_c, weights, load(c + x))
        even_d = add_product(even_d, weights, load(d + x))
        weights, x = load_bf16(at + 2 * LANES), x + 4 * LANES
        odd_a = add_product(odd_a, weights, load(a + x))
        odd_b = add_product(odd_b, weights, load(b + x))
        odd_c = add_product(odd_c, weights, load(c + x))
        odd_d = add_product(odd_d, weights, load(d + x))
    return (
        _sum(even_a, odd_a, row, a, columns),
        _sum(even_b, odd_b, row, b, columns),
        _sum(even_c, odd_c, row, c, columns),
        _sum(even_d, odd_d, row, d, columns),
    )

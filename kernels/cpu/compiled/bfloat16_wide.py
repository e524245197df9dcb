"""The products of a bfloat16 row with float32 vectors, by the level's vectors.

Of each run of 2 LANES columns the even ones come first in a stored vector: a row's lie in the lower halves of
32 bits, the odd ones in the upper halves, where either is one instruction from float32. A vector's sum is the
same whether it is multiplied alone or with others.
"""

import numpy as np
from numba import njit

from harmony.kernels.cpu.compiled import bfloat16
from harmony.kernels.cpu.compiled.avx512 import AHEAD
from harmony.kernels.cpu.compiled.llvm import load_f32, prefetch
from harmony.kernels.cpu.compiled.wide import (
    add,
    add_product,
    load,
    load_even_bf16,
    load_odd_bf16,
    total,
    zero,
)
from harmony.kernels.cpu.vectors import LANES

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

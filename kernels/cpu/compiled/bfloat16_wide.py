"""The product of a bfloat16 row with a float32 vector, by the level's vectors.

Of each run of 2 LANES columns the even ones come first in a stored vector: a row's lie in the lower halves of
32 bits, the odd ones in the upper halves, where either is one instruction from float32.
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
def dot(row, vector, columns):
    """Multiply `columns` numbers of a row and a vector."""
    even, odd, rest = zero(), zero(), np.float32(0)
    for run in range(columns // RUN):
        at, x = row + 2 * RUN * run, vector + 4 * RUN * run
        prefetch(at + AHEAD)
        even = add_product(even, load_even_bf16(at), load(x))
        odd = add_product(odd, load_odd_bf16(at), load(x + 4 * LANES))
    for column in range(columns // RUN * RUN, columns):
        rest += bfloat16.load(row, column) * load_f32(vector + 4 * column)
    return total(add(even, odd)) + rest

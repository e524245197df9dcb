"""The products of some rows of bfloat16 with four vectors, some columns at a time.

So much of four vectors lies in a core's nearest cache while two rows after the other are multiplied, and two
rows share what is loaded of them; their registers wait in memory. The sums are those of `bfloat16_wide`.
"""

from numba import njit

from harmony.kernels.cpu.compiled.bfloat16_wide import RUN, add_products, each, loaded, sums_of
from harmony.kernels.cpu.compiled.llvm import prefetch_l2
from harmony.kernels.cpu.compiled.wide import load_even_bf16, load_odd_bf16, store, zero
from harmony.kernels.cpu.vectors import LANES

NEAR = 48  # runs at a time: 24 KB of four vectors
QUARTER = 16 * LANES  # bytes of the even, or the odd, sums of a row
ROOM = 4 * QUARTER  # of those of two rows


@njit(inline="always")
def add_products_of_pairs(rows, pairs, vectors, columns, room, ahead, other_ahead):
    """Fill ROOM bytes of each pair of rows.

    Asks for what lies `ahead` bytes behind the first row of a pair, and `other_ahead` behind the second.
    """
    runs = columns // RUN
    for pair in range(pairs):
        for register in range(16):
            store(room + ROOM * pair + 4 * LANES * register, zero())
    for first in range(0, runs, NEAR):
        last = min(first + NEAR, runs)
        for pair in range(pairs):
            row = rows + 4 * pair * columns
            other, at = row + 2 * columns, room + ROOM * pair
            _add_runs(first, last, row, other, vectors, columns, at, ahead, other_ahead)


@njit(inline="always")
def _add_runs(first, last, row, other, vectors, columns, room, ahead, other_ahead):
    at, more = each(vectors, columns), room + ROOM // 2
    even, odd = loaded(_places(room), 0), loaded(_places(room), QUARTER)
    even_other, odd_other = loaded(_places(more), 0), loaded(_places(more), QUARTER)
    for run in range(first, last):
        weights, others, x = row + 2 * RUN * run, other + 2 * RUN * run, 4 * RUN * run
        prefetch_l2(weights + ahead)
        prefetch_l2(others + other_ahead)
        numbers = loaded(at, x)
        even = add_products(even, load_even_bf16(weights), numbers)
        even_other = add_products(even_other, load_even_bf16(others), numbers)
        numbers = loaded(at, x + 4 * LANES)
        odd = add_products(odd, load_odd_bf16(weights), numbers)
        odd_other = add_products(odd_other, load_odd_bf16(others), numbers)
    _keep(room, even)
    _keep(room + QUARTER, odd)
    _keep(more, even_other)
    _keep(more + QUARTER, odd_other)


@njit(inline="always")
def sums(room, row, vectors, columns):
    """What the registers of a row, and the columns behind its runs, add up to."""
    even, odd = loaded(_places(room), 0), loaded(_places(room), QUARTER)
    return sums_of(even, odd, row, each(vectors, columns), columns)


@njit(inline="always")
def _places(room):
    return room, room + 4 * LANES, room + 8 * LANES, room + 12 * LANES


@njit(inline="always")
def _keep(room, totals):
    store(room, totals[0])
    store(room + 4 * LANES, totals[1])
    store(room + 8 * LANES, totals[2])
    store(room + 12 * LANES, totals[3])

"""The products of some rows of bfloat16 with up to MOST vectors at once, some columns at a time.

So much of the vectors lies in a core's nearest cache while one row after the other is multiplied, and a row
is read once for all of them; their sums wait in memory. The sums are those of `bfloat16_wide`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types

from harmony.kernels.cpu import linear
from harmony.kernels.cpu.compiled import bfloat16
from harmony.kernels.cpu.compiled.bfloat16_wide import RUN
from harmony.kernels.cpu.compiled.llvm import F32, I32, I64, ask, load_f32, operation, stack, store_f32
from harmony.kernels.cpu.compiled.streams import STREAMS
from harmony.kernels.cpu.compiled.sums import add_in_registers
from harmony.kernels.cpu.compiled.wide import add, load, store, total, zero
from harmony.kernels.cpu.linear import MOST
from harmony.kernels.cpu.vectors import LANES

TILE = 8  # rows at a time: 46 KB at a width of 2880, which a core's own cache holds twice
READ = 2 * RUN  # bytes of a run of a row
NEAR = 192  # runs of all vectors together: 24 KB where LANES is 16

_BITS = ir.VectorType(I32, LANES)
_VECTOR = ir.VectorType(F32, LANES)
_SIZE = 4 * LANES
room = stack(TILE * 2 * MOST * _SIZE)


together = njit(inline="always")(linear.together)


@njit(inline="always")
def place(index, vector, n, columns):
    """Where element `index` of one of `n` vectors is stored.

    Of those that are multiplied at once, each has a run, the even columns of it first, before any has the
    next; the columns behind the last run stay in order.
    """
    first = vector // MOST * MOST
    count, whole = together(n - first), columns // RUN * RUN
    if index >= whole:
        return first * columns + count * whole + (vector - first) * (columns - whole) + index - whole
    run = first * columns + index // RUN * count * RUN + (vector - first) * RUN
    return run + index % 2 * LANES + index % RUN // 2


@njit(inline="always")
def products(weights, rows, vectors, n, columns, sums, following):
    """Fill `sums` float32 [rows, n], and ask for as many rows, at `following`, meanwhile."""
    registers, runs, first = room(), columns // RUN, 0
    while first < n:
        count = together(n - first)
        panel, step = vectors + 4 * first * columns, NEAR // count
        for register in range(2 * count * rows):
            store(registers + _SIZE * register, zero())
        for block in range((runs + step - 1) // step):
            begin = block * step
            here = min(step, runs - begin)
            for row in range(rows):
                at, found = weights + 2 * (row * columns + begin * RUN), registers + 2 * count * _SIZE * row
                x, asked = panel + 4 * begin * count * RUN, (begin * rows + row * here) * READ // STREAMS
                _add(found, at, x, count, here, following + asked, rows * columns * 2 // STREAMS)
        for row in range(rows):
            for vector in range(min(count, n - first)):
                found = registers + _SIZE * (2 * count * row + vector)
                value = total(add(load(found), load(found + count * _SIZE)))
                rest = _rest(weights + 2 * row * columns, panel, vector, count, columns)
                store_f32(sums + 4 * (row * n + first + vector), value + rest)
        first, following = first + count, weights


@njit(inline="always")
def _rest(row, panel, vector, count, columns):
    """What the columns behind the last run multiply to."""
    whole, rest = columns // RUN * RUN, np.float32(0)
    for column in range(whole, columns):
        at = count * whole + vector * (columns - whole) + column - whole
        rest += bfloat16.load(row, column) * load_f32(panel + 4 * at)
    return rest


@njit(inline="always")
def _add(sums, row, panel, count, runs, following, part):
    if count == 8:
        _add_runs_of_8(sums, row, panel, runs, following, part)
    elif count == 4:
        _add_runs_of_4(sums, row, panel, runs, following, part)
    elif count == 2:
        _add_runs_of_2(sums, row, panel, runs, following, part)
    else:
        _add_runs_of_1(sums, row, panel, runs, following, part)


def _adder(count: int) -> Any:
    @operation(types.void, *6 * [types.int64])
    def add_runs(builder: Any, sums: Any, row: Any, panel: Any, runs: Any, following: Any, part: Any) -> Any:
        """Add to `sums` float32 [2, count, LANES] what some runs of a row and of `count` vectors multiply to.

        For each run as many bytes are asked for, at one of STREAMS places that are `part` bytes apart.
        """

        def at(address: Any, offset: int, kind: Any) -> Any:
            return builder.inttoptr(builder.add(address, I64(offset)), kind.as_pointer())

        places = [at(sums, _SIZE * index, _VECTOR) for index in range(2 * count)]

        def added(run: Any, before: Sequence[Any]) -> Sequence[Any]:
            stream = builder.mul(builder.urem(run, I64(STREAMS)), part)
            within = builder.mul(builder.udiv(run, I64(STREAMS)), I64(READ))
            ask(builder, builder.add(following, builder.add(stream, within)), 2)
            bits = builder.load(at(builder.add(row, builder.mul(run, I64(READ))), 0, _BITS), align=1)
            even = builder.shl(bits, ir.Constant(_BITS, [16] * LANES))
            odd = builder.and_(bits, ir.Constant(_BITS, [0xFFFF0000] * LANES))
            x, after = builder.add(panel, builder.mul(run, I64(4 * count * RUN))), []
            for index, begun in enumerate(before):
                parity, vector = divmod(index, count)
                weights = builder.bitcast(odd if parity else even, _VECTOR)
                number = builder.load(at(x, _SIZE * (2 * vector + parity), _VECTOR), align=4)
                product = builder.fmul(weights, number, flags=("contract",))
                after.append(builder.fadd(begun, product, flags=("contract",)))
            return after

        add_in_registers(builder, places, runs, added)
        return None

    return add_runs


_add_runs_of_1, _add_runs_of_2, _add_runs_of_4, _add_runs_of_8 = map(_adder, (1, 2, 4, 8))

"""Matrix products of many vectors, in float32, for CPUs that do not multiply bfloat16.

The vectors lie in panels, float32 [panels, columns, LANES]: LANES of them side by side. BLOCK rows of weights
at a time are unpacked into a core's own caches, and each of them is multiplied with all vectors of a panel.
"""

from collections.abc import Callable
from typing import Any

from numba import njit

from harmony.kernels.cpu.compiled import bfloat16
from harmony.kernels.cpu.compiled.llvm import load_i64, load_u8, stack, store_f32
from harmony.kernels.cpu.compiled.microkernel import DEPTH, add_products, add_products_of_two
from harmony.kernels.cpu.compiled.mxfp4 import LEVEL
from harmony.kernels.cpu.compiled.plain import place
from harmony.kernels.cpu.compiled.wide import load_bf16, store, zero
from harmony.kernels.cpu.panels import MOST, ROWS, TILES
from harmony.kernels.cpu.vectors import LANES

TILE_BYTES, SUM_BYTES = 4 * ROWS * DEPTH, 4 * ROWS * LANES
unpack = LEVEL.unpack
tiles, sums = stack(TILES * TILE_BYTES), stack(MOST * TILES * SUM_BYTES)


def _multiplier(unpack_part: Callable[..., None]) -> Any:
    @njit
    def multiply(weights, scales, table, row, rows, columns, panels, count, tiles, sums):
        """Set `sums` to the products of `rows` rows from `row` on with `count` panels."""
        for index in range((count + 1) // 2 * 2 * TILES * ROWS):
            store(sums + 4 * LANES * index, zero())
        stride = 4 * LANES * columns
        for begin in range(0, columns, DEPTH):
            depth = min(DEPTH, columns - begin)
            for index in range(rows):
                target = tiles + 4 * DEPTH * index
                unpack_part(weights, scales, table, row + index, columns, begin, depth, target)
            for pair in range((count + 1) // 2):
                panel = panels + 2 * pair * stride + 4 * LANES * begin
                for tile in range((rows + ROWS - 1) // ROWS):
                    weight = tiles + TILE_BYTES * tile
                    total = sums + 2 * SUM_BYTES * (pair * TILES + tile)
                    if 2 * pair + 1 < count:
                        add_products_of_two(total, weight, panel, stride, depth)
                    else:
                        add_products(total, weight, panel, stride, depth)

    return multiply


@njit(inline="always")
def sums_of(sums, panel, row):
    """Where the LANES sums of a panel and a row of the block lie."""
    return sums + SUM_BYTES * ((panel // 2 * TILES + row // ROWS) * 2 + panel % 2) + 4 * LANES * (row % ROWS)


@njit
def _unpack_bfloat16(weights, scales, table, row, columns, begin, depth, target):
    at = weights + 2 * (row * columns + begin)
    whole = depth // LANES * LANES
    for column in range(0, whole, LANES):
        store(target + 4 * column, load_bf16(at + 2 * column))
    for column in range(whole, depth):
        store_f32(target + 4 * column, bfloat16.load(at, column))


@njit
def _unpack_mxfp4(weights, scales, table, row, columns, begin, depth, target):
    for block in range(begin // 32, (begin + depth) // 32):
        at = row * (columns // 32) + block
        unpack(weights + 16 * at, load_u8(scales + at), target + 4 * (32 * block - begin), table)


multiply_bfloat16, multiply_mxfp4 = _multiplier(_unpack_bfloat16), _multiplier(_unpack_mxfp4)


def pack(arguments, first, last):
    """Item i: row rows[i] of bfloat16 as vector places[i] of the panels, in the order of MXFP4 or its own."""
    x, rows, places, panels = arguments[0], arguments[1], arguments[2], arguments[3]
    columns, packed = arguments[4], arguments[5]
    for item in range(first, last):
        row, vector = load_i64(rows + 8 * item), load_i64(places + 8 * item)
        target = panels + 4 * (vector // LANES * columns * LANES + vector % LANES)
        for column in range(columns):
            to = place(column) if packed else column
            store_f32(target + 4 * LANES * to, bfloat16.load(x, row * columns + column))

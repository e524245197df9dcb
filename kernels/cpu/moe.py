"""Experts on their packed weights: row by row for a few tokens, in unpacked tiles for many."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from harmony.kernels.cpu import FEW_ROWS, bfloat16, level
from harmony.kernels.cpu.activation import swiglu
from harmony.kernels.cpu.compiling import compiled, kernel
from harmony.kernels.cpu.llvm import load_f32, load_i64, load_u16, store_f32, store_i64
from harmony.kernels.cpu.mxfp4 import SIZE, TABLE, dot, dot_two, padded, put, stored, unpack
from harmony.kernels.cpu.pool import compute, numbers, pool
from harmony.kernels.moe import Experts
from harmony.kernels.swiglu import swiglu as swiglu_of_all

FEW = 4  # tokens of one expert, on average, up to which rows are multiplied without being unpacked
TILE = 256  # unpacked rows: 1.5 MB at a width of 2880


def moe(x: Tensor, weights: Tensor, ids: Tensor, experts: Experts) -> Tensor:
    """What `harmony.kernels.moe.moe` computes, on bfloat16 `x` [n, H]."""
    n, top_k = ids.shape
    places, rows = torch.empty(2, n * top_k, dtype=torch.int64)
    chosen, ends = torch.empty(2, len(experts.up_blocks), dtype=torch.int64)
    lists = [tensor.data_ptr() for tensor in (places, rows, chosen, ends)]
    found = _group(ids.contiguous().data_ptr(), n * top_k, top_k, len(chosen), *lists)
    way = _row_by_row if n <= FEW_ROWS or n * top_k <= FEW * found else _many()
    outputs, mixed = way(x, rows, chosen[:found], ends[:found], experts), torch.empty_like(x)
    pool().run(_mix, n, outputs, places, weights.contiguous(), mixed, top_k, x.shape[1])
    return mixed


def _many() -> Callable[[Tensor, Tensor, Tensor, Tensor, Experts], Tensor]:
    """What multiplies many tokens: torch where it has instructions for bfloat16."""
    if level() == "avx512":
        return _in_tiles
    from harmony.kernels.cpu.moe_panels import in_panels

    return in_panels


def _row_by_row(x: Tensor, rows: Tensor, chosen: Tensor, ends: Tensor, experts: Experts) -> Tensor:
    """The outputs float32 [m, H] of m rows of `x`; those before ends[i] and the last are of chosen[i]."""
    hidden, width = x.shape[1], experts.down_blocks.shape[2] * 32
    vectors, activated = stored(len(x), hidden), stored(len(rows), width)
    outputs = torch.empty(len(rows), hidden)
    shape = numbers(experts.alpha, experts.limit)
    compute(_store, len(x), x, vectors, hidden, padded(hidden))
    pool().run(
        _up, len(chosen) * width,
        experts.up_blocks, experts.up_scales, experts.up_bias.to(x.dtype), TABLE, chosen, ends, rows,
        vectors, activated, shape, hidden, width, padded(hidden), padded(width),
    )  # fmt: skip
    pool().run(
        _down, len(chosen) * hidden,
        experts.down_blocks, experts.down_scales, experts.down_bias.to(x.dtype), TABLE, chosen, ends,
        activated, outputs, width, hidden, padded(width),
    )  # fmt: skip
    return outputs


def _in_tiles(x: Tensor, rows: Tensor, chosen: Tensor, ends: Tensor, experts: Experts) -> Tensor:
    """The same, by matrix products in bfloat16 with some rows of an expert at a time."""
    outputs = torch.empty(len(rows), x.shape[1])
    first = 0
    for expert, end in zip(chosen.tolist(), ends.tolist(), strict=True):
        up = _product(x[rows[first:end]], experts.up_blocks[expert], experts.up_scales[expert])
        hidden = swiglu_of_all(
            up.add_(experts.up_bias[expert]).float(), alpha=experts.alpha, limit=experts.limit
        ).to(x.dtype)
        down = _product(hidden, experts.down_blocks[expert], experts.down_scales[expert])
        torch.add(down, experts.down_bias[expert], out=outputs[first:end])
        first = end
    return outputs


def _product(x: Tensor, blocks: Tensor, scales: Tensor) -> Tensor:
    """`x` [m, in] times the packed rows [out, in]."""
    result = x.new_empty(len(x), len(blocks))
    tile = x.new_empty(TILE, x.shape[1])
    for first in range(0, len(blocks), TILE):
        part = slice(first, first + TILE)
        unpacked = tile[: len(blocks[part])]
        unpack(blocks[part], scales[part], unpacked)
        result[:, part] = F.linear(x, unpacked)
    return result


@compiled("int64(int64, int64, int64, int64, int64, int64, int64, int64)")
def _group(ids, choices, top_k, experts, places, rows, chosen, ends):
    """List the choices by expert: the place of each, the row that made it, and where each chosen one's end.

    Gives how many experts are chosen.
    """
    found, place = 0, 0
    for expert in range(experts):
        start = place
        for choice in range(choices):
            if load_i64(ids + 8 * choice) == expert:
                store_i64(places + 8 * choice, place)
                store_i64(rows + 8 * place, choice // top_k)
                place += 1
        if place > start:
            store_i64(chosen + 8 * found, expert)
            store_i64(ends + 8 * found, place)
            found += 1
    return found


@kernel
def _mix(arguments, first, last):
    """Item i: the sum of row i's choices by their weights, in their order."""
    outputs, places, weights, mixed = arguments[0], arguments[1], arguments[2], arguments[3]
    top_k, hidden = arguments[4], arguments[5]
    for row in range(first, last):
        for column in range(hidden):
            total = np.float32(0)
            for choice in range(row * top_k, (row + 1) * top_k):
                place = load_i64(places + 8 * choice)
                total += load_f32(weights + 4 * choice) * load_f32(outputs + 4 * (place * hidden + column))
            bfloat16.store(mixed, row * hidden + column, total)


@kernel
def _store(arguments, first, last):
    """Rows of bfloat16 as stored vectors."""
    x, vectors, columns, width = arguments[0], arguments[1], arguments[2], arguments[3]
    for row in range(first, last):
        for column in range(columns):
            bits = load_u16(x + 2 * (row * columns + column))
            put(vectors + SIZE * row * width, column, bits)


@njit(inline="always")
def _activated(gate, up, bias, row, alpha, limit):
    gate, up = gate + bfloat16.load(bias, row), up + bfloat16.load(bias, row + 1)
    return bfloat16.rounded(np.float32(swiglu(gate, up, alpha, limit)))


@kernel
def _up(arguments, first, last):
    """Item i: the activation i % width of the rows of expert i // width, two of them at a time."""
    blocks, scales, bias, table = arguments[0], arguments[1], arguments[2], arguments[3]
    chosen, ends, rows = arguments[4], arguments[5], arguments[6]
    vectors, activated, shape = arguments[7], arguments[8], arguments[9]
    hidden, width, hidden_padded, width_padded = arguments[10], arguments[11], arguments[12], arguments[13]
    alpha, limit = load_f32(shape), load_f32(shape + 4)
    size, step = SIZE * hidden_padded, SIZE * width_padded
    for item in range(first, last):
        group, column = item // width, item % width
        row = 2 * (load_i64(chosen + 8 * group) * width + column)
        gates, ups = blocks + row * (hidden // 2), blocks + (row + 1) * (hidden // 2)
        gate_scales, up_scales = scales + row * (hidden // 32), scales + (row + 1) * (hidden // 32)
        slot, end = load_i64(ends + 8 * (group - 1)) if group else 0, load_i64(ends + 8 * group)
        while slot + 1 < end:
            one, other = (
                vectors + size * load_i64(rows + 8 * slot),
                vectors + size * load_i64(rows + 8 * slot + 8),
            )
            a, c = dot_two(gates, gate_scales, one, other, hidden, table)
            b, d = dot_two(ups, up_scales, one, other, hidden, table)
            put(activated + step * slot, column, _activated(a, b, bias, row, alpha, limit))
            put(activated + step * (slot + 1), column, _activated(c, d, bias, row, alpha, limit))
            slot += 2
        if slot < end:
            vector = vectors + size * load_i64(rows + 8 * slot)
            a = dot(gates, gate_scales, vector, hidden, table)
            b = dot(ups, up_scales, vector, hidden, table)
            put(activated + step * slot, column, _activated(a, b, bias, row, alpha, limit))


@kernel
def _down(arguments, first, last):
    """Item i: the output i % hidden of the rows of expert i // hidden, two of them at a time."""
    blocks, scales, bias, table = arguments[0], arguments[1], arguments[2], arguments[3]
    chosen, ends, activated, outputs = arguments[4], arguments[5], arguments[6], arguments[7]
    width, hidden, width_padded = arguments[8], arguments[9], arguments[10]
    step = SIZE * width_padded
    for item in range(first, last):
        group, column = item // hidden, item % hidden
        row = load_i64(chosen + 8 * group) * hidden + column
        at, scale, more = blocks + row * (width // 2), scales + row * (width // 32), bfloat16.load(bias, row)
        slot, end = load_i64(ends + 8 * (group - 1)) if group else 0, load_i64(ends + 8 * group)
        while slot + 1 < end:
            vector = activated + step * slot
            a, b = dot_two(at, scale, vector, vector + step, width, table)
            store_f32(outputs + 4 * (slot * hidden + column), a + more)
            store_f32(outputs + 4 * ((slot + 1) * hidden + column), b + more)
            slot += 2
        if slot < end:
            total = dot(at, scale, activated + step * slot, width, table)
            store_f32(outputs + 4 * (slot * hidden + column), total + more)

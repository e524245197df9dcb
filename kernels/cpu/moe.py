"""Experts on their packed weights: row by row for a few tokens, in unpacked tiles for many."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numba import carray, njit
from torch import Tensor

from harmony.kernels.cpu import FEW_ROWS, bfloat16, level
from harmony.kernels.cpu.activation import swiglu
from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.llvm import (
    load_f32,
    load_i64,
    load_u16,
    pointer_f32,
    pointer_u16,
    store_f32,
    store_i64,
)
from harmony.kernels.cpu.mxfp4 import FINISHES, SIZE, TABLE, dot, dot_two, finish, padded, put, stored, unpack
from harmony.kernels.cpu.pool import compute, compute_rows, numbers, pool
from harmony.kernels.cpu.tape import empty
from harmony.kernels.moe import Experts
from harmony.kernels.swiglu import swiglu as swiglu_of_all

FEW = 4  # tokens of one expert, on average, up to which rows are multiplied without being unpacked
TILE = 256  # unpacked rows: 1.5 MB at a width of 2880


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The choices of rows for experts, by expert: all int64, and what `_group` fills.

    `places` [choices] are the places of the choices, `rows` [choices] the row that made the choice at each
    place. The places before ends[i] and the last are those of expert chosen[i], both [experts]; `count` [3]
    are how many experts are chosen, and this times the outputs of the first and of the second matrix.
    """

    places: Tensor
    rows: Tensor
    chosen: Tensor
    ends: Tensor
    count: Tensor


def grouped(ids: Tensor, experts: Experts) -> Groups:
    """Group `ids` [n, top_k]."""
    (total, _, width), hidden = experts.down_blocks.shape[:3], experts.down_blocks.shape[1]
    places, rows = (empty(ids.numel(), dtype=torch.int64) for _ in range(2))
    chosen, ends = (empty(total, dtype=torch.int64) for _ in range(2))
    count = empty(3, dtype=torch.int64)
    sizes = ids.numel(), ids.shape[1], total, 32 * width, hidden
    compute(_group, 1, ids.contiguous(), places, rows, chosen, ends, count, *sizes)
    return Groups(places, rows, chosen, ends, count)


def moe(x: Tensor, weights: Tensor, ids: Tensor, experts: Experts, residual: Tensor | None = None) -> Tensor:
    """What `harmony.kernels.moe.moe` computes, on bfloat16 `x` [n, H]."""
    (n, top_k), groups = ids.shape, grouped(ids, experts)
    if n <= FEW_ROWS or n * top_k <= FEW * int(groups.count[0]):
        outputs = _row_by_row(x, groups, experts)
    elif level() == "avx512":
        outputs = _in_tiles(x, groups, experts)
    else:
        from harmony.kernels.cpu.moe_panels import in_panels

        outputs = in_panels(x, groups, experts)
    mixed, added = empty(*x.shape, dtype=x.dtype), 0 if residual is None else residual
    compute_rows(
        _mix, n, outputs, groups.places, weights.contiguous(), added, mixed, top_k, x.shape[1]
    )  # fmt: skip
    return mixed


def _row_by_row(x: Tensor, groups: Groups, experts: Experts) -> Tensor:
    """The outputs float32 [choices, H] of the experts, in the order of their places."""
    hidden, width = x.shape[1], experts.down_blocks.shape[2] * 32
    vectors, activated = stored(len(x), hidden), stored(len(groups.rows), width)
    outputs = empty(len(groups.rows), hidden)
    shape = numbers(experts.alpha, experts.limit)
    compute(_store, len(x), x, vectors, hidden, padded(hidden))
    pool().run(
        _up, groups.count[1:2],
        experts.up_blocks, experts.up_scales, experts.up_bias.to(x.dtype), TABLE, groups.chosen, groups.ends,
        groups.rows, vectors, activated, shape, hidden, width, padded(hidden), padded(width),
    )  # fmt: skip
    if FINISHES:
        compute_rows(_finish, len(groups.rows), activated, width, padded(width))
    pool().run(
        _down, groups.count[2:3],
        experts.down_blocks, experts.down_scales, experts.down_bias.to(x.dtype), TABLE, groups.chosen,
        groups.ends, activated, outputs, width, hidden, padded(width),
    )  # fmt: skip
    return outputs


def _in_tiles(x: Tensor, groups: Groups, experts: Experts) -> Tensor:
    """The same, by torch's matrix products in bfloat16 with some rows of an expert at a time."""
    found, rows = int(groups.count[0]), groups.rows
    chosen, ends = groups.chosen[:found], groups.ends[:found]
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


@kernel
def _group(arguments, first, last):
    ids, places, rows, chosen, ends = arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]
    count, choices, top_k, experts = arguments[5], arguments[6], arguments[7], arguments[8]
    width, hidden = arguments[9], arguments[10]
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
    store_i64(count, found)
    store_i64(count + 8, found * width)
    store_i64(count + 16, found * hidden)


@njit(inline="always")
def _scale(total, weight):
    for index in range(len(total)):
        total[index] *= weight


@njit(inline="always")
def _add(total, weight, other):
    for index in range(len(total)):
        total[index] += weight * other[index]


@njit(inline="always")
def _round(rounded, total):
    for index in range(len(total)):
        rounded[index] = bfloat16.rounded(total[index])


@njit(inline="always")
def _round_to(rounded, total, residual):
    """The rounded total and what it is added to, rounded again."""
    for index in range(len(total)):
        value = bfloat16.value(bfloat16.rounded(total[index]))
        rounded[index] = bfloat16.rounded(value + bfloat16.value(residual[index]))


@kernel
def _mix(arguments, first, last):
    """Item i: the sum of row i's choices by their weights, in their order, which overwrites the first."""
    outputs, places, weights, residual = arguments[0], arguments[1], arguments[2], arguments[3]
    mixed, top_k, hidden = arguments[4], arguments[5], arguments[6]
    for row in range(first, last):
        of_row, at = row * top_k, 2 * row * hidden
        total = carray(pointer_f32(outputs + 4 * load_i64(places + 8 * of_row) * hidden), hidden)
        _scale(total, load_f32(weights + 4 * of_row))
        for choice in range(of_row + 1, of_row + top_k):
            other = carray(pointer_f32(outputs + 4 * load_i64(places + 8 * choice) * hidden), hidden)
            _add(total, load_f32(weights + 4 * choice), other)
        rounded = carray(pointer_u16(mixed + at), hidden)
        if residual:
            _round_to(rounded, total, carray(pointer_u16(residual + at), hidden))
        else:
            _round(rounded, total)


@kernel
def _store(arguments, first, last):
    """Rows of bfloat16 as stored vectors, with zeros behind them."""
    x, vectors, columns, width = arguments[0], arguments[1], arguments[2], arguments[3]
    for row in range(first, last):
        vector = vectors + SIZE * row * width
        for column in range(columns):
            put(vector, column, load_u16(x + 2 * (row * columns + column)))
        for column in range(columns, width):
            put(vector, column, np.uint16(0))
        finish(vector, columns)


@kernel
def _finish(arguments, first, last):
    """Rows of which all elements are put."""
    vectors, columns, width = arguments[0], arguments[1], arguments[2]
    for row in range(first, last):
        finish(vectors + SIZE * row * width, columns)


@njit(inline="always")
def _activated(gate, up, bias, row, alpha, limit):
    gate, up = gate + bfloat16.load(bias, row), up + bfloat16.load(bias, row + 1)
    return bfloat16.rounded(np.float32(swiglu(gate, up, alpha, limit)))


@kernel
def _up(arguments, first, last):
    """Item i: the activation i % width of the rows of expert i // width, two of them at a time.

    The last one of a row puts zeros behind it.
    """
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
        if column == width - 1:
            for place in range(slot, end):
                for behind in range(width, width_padded):
                    put(activated + step * place, behind, np.uint16(0))
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

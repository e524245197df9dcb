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
from harmony.kernels.cpu.mxfp4 import (
    SIZE,
    TABLE,
    dot_rows,
    dot_rows_twice,
    finish,
    padded,
    put,
    stored,
    unpack,
)
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
    choices, hidden, width = len(groups.rows), x.shape[1], experts.down_blocks.shape[2] * 32
    vectors, sums = stored(len(x), hidden), empty(choices, 2 * width)
    activated, inputs = empty(choices, width, dtype=x.dtype), stored(choices, width)
    outputs = empty(choices, hidden)
    compute_rows(_store, len(x), x, vectors, hidden, padded(hidden))
    pool().run(
        _multiply, groups.count[1:2],
        experts.up_blocks, experts.up_scales, experts.up_bias.to(x.dtype), TABLE, groups.chosen, groups.ends,
        groups.rows, vectors, sums, hidden, 2 * width, padded(hidden),
    )  # fmt: skip
    shape = numbers(experts.alpha, experts.limit)
    pool().run(_activate, choices, sums, activated, shape, inputs, width, padded(width))
    pool().run(
        _multiply, groups.count[2:3],
        experts.down_blocks, experts.down_scales, experts.down_bias.to(x.dtype), TABLE, groups.chosen,
        groups.ends, 0, inputs, outputs, width, hidden, padded(width),
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
    store_i64(count + 16, found * (hidden // 2))


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


@njit(inline="always")
def _store_row(x, vector, columns, width):
    """A row of bfloat16 as a stored vector, with zeros behind it."""
    for column in range(columns):
        put(vector, column, load_u16(x + 2 * column))
    for column in range(columns, width):
        put(vector, column, np.uint16(0))
    finish(vector, columns)


@kernel
def _store(arguments, first, last):
    x, vectors, columns, width = arguments[0], arguments[1], arguments[2], arguments[3]
    for row in range(first, last):
        _store_row(x + 2 * row * columns, vectors + SIZE * row * width, columns, width)


@njit(inline="always")
def _activate_all(activated, sums, alpha, limit):
    for index in range(len(activated)):
        gate, up = sums[2 * index], sums[2 * index + 1]
        activated[index] = bfloat16.rounded(np.float32(swiglu(gate, up, alpha, limit)))


@kernel
def _activate(arguments, first, last):
    """Item i: the activations of choice i, as bfloat16 and as a stored vector."""
    sums, activated, shape, vectors = arguments[0], arguments[1], arguments[2], arguments[3]
    width, padded = arguments[4], arguments[5]
    alpha, limit = load_f32(shape), load_f32(shape + 4)
    for choice in range(first, last):
        at = activated + 2 * choice * width
        pairs = carray(pointer_f32(sums + 8 * choice * width), 2 * width)
        _activate_all(carray(pointer_u16(at), width), pairs, alpha, limit)
        _store_row(at, vectors + SIZE * choice * padded, width, padded)


@njit(inline="always")
def _row(rows, place):
    return load_i64(rows + 8 * place) if rows else place


@njit(inline="always")
def _put_two(sums, index, first, second):
    store_f32(sums + 4 * index, first)
    store_f32(sums + 4 * index + 4, second)


@kernel
def _multiply(arguments, first, last):
    """Item i: outputs 2 j and 2 j + 1 of expert i // (outputs / 2), where j is the rest; with the bias.

    A place's vector is that of its row, or its own where there are no `rows`.
    """
    blocks, scales, bias, table = arguments[0], arguments[1], arguments[2], arguments[3]
    chosen, ends, rows, vectors, sums = arguments[4], arguments[5], arguments[6], arguments[7], arguments[8]
    columns, outputs, padded = arguments[9], arguments[10], arguments[11]
    pairs, size = outputs // 2, SIZE * padded
    for item in range(first, last):
        group, output = item // pairs, item % pairs * 2
        row = load_i64(chosen + 8 * group) * outputs + output
        at, scale = blocks + row * (columns // 2), scales + row * (columns // 32)
        more, other = bfloat16.load(bias, row), bfloat16.load(bias, row + 1)
        place, end = load_i64(ends + 8 * (group - 1)) if group else 0, load_i64(ends + 8 * group)
        while place + 1 < end:
            one, two = vectors + size * _row(rows, place), vectors + size * _row(rows, place + 1)
            a, b, c, d = dot_rows_twice(at, scale, one, two, columns, table)
            _put_two(sums, place * outputs + output, a + more, b + other)
            _put_two(sums, (place + 1) * outputs + output, c + more, d + other)
            place += 2
        if place < end:
            a, b = dot_rows(at, scale, vectors + size * _row(rows, place), columns, table)
            _put_two(sums, place * outputs + output, a + more, b + other)

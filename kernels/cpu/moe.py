"""Experts on their packed weights: row by row for a few tokens, in unpacked tiles for many."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harmony.kernels.cpu import FEW_ROWS, level
from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.mxfp4 import TABLE, padded, stored, unpack
from harmony.kernels.cpu.pool import compute, compute_rows, numbers, pool
from harmony.kernels.cpu.tape import empty
from harmony.kernels.moe import Experts
from harmony.kernels.swiglu import swiglu as swiglu_of_all

FEW = 4  # tokens of one expert, on average, up to which rows are multiplied without being unpacked
TILE = 256  # unpacked rows: 1.5 MB at a width of 2880


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The choices of rows for experts, by expert: all int64, and what the kernel `group` fills.

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
    compute(kernel("moe.group"), 1, ids.contiguous(), places, rows, chosen, ends, count, *sizes)
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
        kernel("moe.mix"), n, outputs, groups.places, weights.contiguous(), added, mixed, top_k, x.shape[1]
    )  # fmt: skip
    return mixed


def _row_by_row(x: Tensor, groups: Groups, experts: Experts) -> Tensor:
    """The outputs float32 [choices, H] of the experts, in the order of their places."""
    choices, hidden, width = len(groups.rows), x.shape[1], experts.down_blocks.shape[2] * 32
    vectors, sums = stored(len(x), hidden), empty(choices, 2 * width)
    activated, inputs = empty(choices, width, dtype=x.dtype), stored(choices, width)
    outputs = empty(choices, hidden)
    compute_rows(kernel("moe.store"), len(x), x, vectors, hidden, padded(hidden))
    pool().run(
        kernel("moe.multiply"), groups.count[1:2],
        experts.up_blocks, experts.up_scales, experts.up_bias.to(x.dtype), TABLE, groups.chosen, groups.ends,
        groups.rows, vectors, sums, hidden, 2 * width, padded(hidden),
    )  # fmt: skip
    shape = numbers(experts.alpha, experts.limit)
    pool().run(kernel("moe.activate"), choices, sums, activated, shape, inputs, width, padded(width))
    pool().run(
        kernel("moe.multiply"), groups.count[2:3],
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
